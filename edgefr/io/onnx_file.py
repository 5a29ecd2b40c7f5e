"""Reads the outputs, the metadata and the precision of an ONNX file, and rewrites its metadata.

The file is walked as protobuf, and weights are stepped over: devices have no `onnx` package, and an inference session
takes a tenth of a second or more. Field numbers are those of onnx.proto3.
"""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgefr.errors import EdgefrError, WrongModelError
from edgefr.io.protobuf import Message, encode_field, fields

MAX_DETECTOR_BYTES = 64 << 20
"""Detectors with landmarks have 0.2 to 17 MB."""

HEAVY = ("Conv", "Gemm", "MatMul")
"""The operators that take nearly all of a recogniser's time. Their number formats are its precision."""

_GRAPH, _METADATA, _FUNCTION = 7, 14, 25  # of ModelProto
_KEY, _VALUE = 1, 2  # of StringStringEntryProto
_NODE, _INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 5, 11, 12  # of GraphProto
_NODE_INPUT, _NODE_OUTPUT, _OP_TYPE, _ATTRIBUTE, _ATTRIBUTE_INT = 1, 2, 4, 5, 3  # of NodeProto, AttributeProto
_TENSOR_TYPE, _TENSOR_NAME = 2, 8  # of TensorProto
_VALUE_NAME, _VALUE_TYPE, _TENSOR_OF_TYPE, _ELEMENT_TYPE, _SHAPE = 1, 2, 1, 1, 2  # of ValueInfoProto, TypeProto
_DIM, _DIM_VALUE = 1, 1  # of TensorShapeProto
_FLOAT, _UINT8, _FLOAT16 = 1, 2, 10  # of TensorProto.DataType


def map_file(path: Path) -> memoryview:
    """The bytes of a file, which are read when they are used. The file is closed with the last view of them.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is empty.
    """
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def read_metadata(model: memoryview) -> dict[str, str]:
    """The metadata of an ONNX model.

    Raises:
        ValueError: The bytes are not a model, or end too early.
    """
    return dict(_entry(value) for number, value, _ in fields(model) if number == _METADATA)


def with_metadata(model: memoryview, key: str, value: str) -> Iterator[memoryview | bytes]:
    """An ONNX model in pieces, with one entry of its metadata replaced and all other bytes as they are.

    Raises:
        ValueError: The bytes are not a model, or end too early.
    """
    yield from without_metadata(model, key)
    yield encode_field(_METADATA, encode_field(_KEY, key.encode()) + encode_field(_VALUE, value.encode()))


def without_metadata(model: memoryview, key: str) -> Iterator[memoryview]:
    """An ONNX model in pieces, without one entry of its metadata and with all other bytes as they are.

    Raises:
        ValueError: The bytes are not a model, or end too early.
    """
    for number, found, place in fields(model):
        if number != _METADATA or _entry(found)[0] != key:
            yield model[place]


def _entry(field: int | memoryview) -> tuple[str, str]:
    entry = Message(field) if isinstance(field, memoryview) else None
    if entry is None or not (entry.views(_KEY) and entry.views(_VALUE)):
        raise ValueError("metadata without a key or value")
    return entry.text(_KEY), entry.text(_VALUE)


def graph_outputs(path: Path) -> dict[str, int | None]:
    """The outputs of a detector, which tell one kind of detector from another.

    Args:
        path: An .onnx file of at most 64 MiB.

    Returns:
        The name of each output and the length of its last axis, None if it is not fixed.

    Raises:
        EdgefrError: The file cannot be read or is not a whole ONNX file.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_DETECTOR_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise EdgefrError(
            f"a face detector at {path}", f"that it cannot be read ({reason})", "give the .onnx file of YuNet or SCRFD"
        ) from error
    try:
        if len(data) > MAX_DETECTOR_BYTES:
            raise ValueError(f"it has more than {MAX_DETECTOR_BYTES >> 20} MiB")
        outputs = Message(memoryview(data)).messages(_GRAPH, _GRAPH_OUTPUT)
        if not outputs:
            raise ValueError("it has no graph")
        return {output.text(_VALUE_NAME): _last_axis(output) for output in outputs}
    except ValueError as error:
        raise EdgefrError(
            f"a face detector in {path}",
            f"no whole ONNX file ({error})",
            "download the .onnx file of YuNet or SCRFD again",
        ) from error


def _last_axis(value: Message) -> int | None:
    axes = value.messages(_VALUE_TYPE, _TENSOR_OF_TYPE, _SHAPE, _DIM)
    return axes[-1].integer(_DIM_VALUE) if axes else None


@dataclass(frozen=True)
class ParsedModel:
    """An ONNX file whose graph is parsed once for several questions, which takes a millisecond or more.

    Attributes:
        path: The file.
        graph: The graph, without fields if the file has none.
        nodes: Its nodes.
        initializers: Its weights.
        functions: The functions of the model.
    """

    path: Path
    graph: Message
    nodes: list[Message]
    initializers: list[Message]
    functions: list[Message]

    @classmethod
    def read(cls, path: Path) -> ParsedModel:
        """Parse an ONNX file.

        Raises:
            WrongModelError: The file is not an ONNX model.
        """
        try:
            model = Message(map_file(path))
            graph = next(iter(model.messages(_GRAPH)), Message(memoryview(b"")))
            nodes, initializers = graph.messages(_NODE), graph.messages(_INITIALIZER)
            return cls(path, graph, nodes, initializers, model.messages(_FUNCTION))
        except (OSError, ValueError) as error:
            raise damaged_model(path, error) from error


def graph_inputs(path: Path) -> dict[str, tuple[str, ...]]:
    """The names of the graph's inputs by the type of their elements: "float32", "float16", "uint8" or "other".

    Nothing else of the graph is decoded: every model is asked this when it is opened.

    Raises:
        WrongModelError: The file is not an ONNX model.
    """
    known = {_FLOAT: "float32", _FLOAT16: "float16", _UINT8: "uint8"}
    found: dict[str, tuple[str, ...]] = {}
    try:
        for value in Message(map_file(path)).messages(_GRAPH, _GRAPH_INPUT):
            tensors = value.messages(_VALUE_TYPE, _TENSOR_OF_TYPE)
            kind = known.get(tensors[0].integer(_ELEMENT_TYPE) or 0, "other") if tensors else "other"
            found[kind] = (*found.get(kind, ()), value.text(_VALUE_NAME))
    except (OSError, ValueError) as error:
        raise damaged_model(path, error) from error
    return found


def damaged_model(path: Path, error: Exception) -> WrongModelError:
    """The error for a file that is missing, is not an ONNX model, or cannot be read."""
    if isinstance(error, FileNotFoundError):
        return WrongModelError(
            f"a model at {path}", "no file", "check the path, which may come from --model or $EDGEFR_MODEL"
        )
    found = getattr(error, "strerror", None) or str(error)
    return WrongModelError(
        f"an ONNX model in {path}",
        f"another or a damaged file ({found})",
        "export it again, or get the file again from its publisher",
    )


@dataclass(frozen=True)
class GraphPrecision:
    """How many of a graph's heavy nodes compute in each number format."""

    fp32: int
    fp16: int
    int8: int

    @property
    def name(self) -> str:
        """The lowest format that occurs."""
        return "int8" if self.int8 else "fp16" if self.fp16 else "fp32"

    def share(self, precision: str) -> float:
        """The share of the heavy nodes that computes in `precision`; 0 if there are none."""
        total = self.fp32 + self.fp16 + self.int8
        return {"fp32": self.fp32, "fp16": self.fp16, "int8": self.int8}[precision] / total if total else 0.0


def graph_precision(model: Path | ParsedModel) -> GraphPrecision:
    """Find out what an ONNX file computes in, from its nodes and not from its name or manifest.

    A heavy node is int8 if its first two inputs come from DequantizeLinear. Otherwise its format is that of its first
    floating-point input. Types follow from the inputs, weights and casts of the graph.

    Args:
        model: An .onnx file.

    Returns:
        The number of heavy nodes in each format.

    Raises:
        WrongModelError: The file is not an ONNX model.
    """
    parsed = ParsedModel.read(model) if isinstance(model, Path) else model
    try:
        return _count(parsed)
    except (ValueError, LookupError) as error:
        raise damaged_model(parsed.path, error) from error


def _count(model: ParsedModel) -> GraphPrecision:
    types = {tensor.text(_TENSOR_NAME): tensor.integer(_TENSOR_TYPE) for tensor in model.initializers}
    for value in model.graph.messages(_GRAPH_INPUT):
        tensors = value.messages(_VALUE_TYPE, _TENSOR_OF_TYPE)
        types[value.text(_VALUE_NAME)] = tensors[0].integer(_ELEMENT_TYPE) if tensors else None
    dequantised: set[str] = set()
    count: Counter[str] = Counter()
    for node in model.nodes:
        op_type, inputs, outputs = node.text(_OP_TYPE), node.texts(_NODE_INPUT), node.texts(_NODE_OUTPUT)
        # All floating-point inputs of a standard operator have one type, which is that of its outputs.
        kind = next((types[name] for name in inputs if types.get(name) in (_FLOAT, _FLOAT16)), None)
        if op_type == "Cast":
            kind = node.messages(_ATTRIBUTE)[0].integer(_ATTRIBUTE_INT)
        elif op_type == "DequantizeLinear":
            dequantised.update(outputs)
        elif op_type in HEAVY:
            int8 = len(inputs) > 1 and dequantised.issuperset(inputs[:2])
            count["int8" if int8 else "fp16" if kind == _FLOAT16 else "fp32"] += 1
        if op_type != "QuantizeLinear":
            types.update(dict.fromkeys(outputs, kind))
    return GraphPrecision(count["fp32"], count["fp16"], count["int8"])
