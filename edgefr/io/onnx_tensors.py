"""The weights of an ONNX file: the files beside it that hold them, and whether they are numbers.

Weights are found wherever the format allows them: initialisers, attributes of nodes, and both within subgraphs and
functions. Field numbers are those of onnx.proto3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import numpy.typing as npt

from edgefr.errors import WrongModelError
from edgefr.io.onnx_file import ParsedModel, damaged_model, map_file
from edgefr.io.protobuf import Message

_FUNCTION_NODE = 7  # of FunctionProto
_NODE, _INITIALIZER, _SPARSE_INITIALIZER = 1, 5, 15  # of GraphProto
_OP_TYPE, _ATTRIBUTE = 4, 5  # of NodeProto
_TENSORS, _SUBGRAPHS, _SPARSE_TENSORS = (5, 10), (6, 11), (22, 23)  # of AttributeProto: each one and several
_VALUES, _INDICES = 1, 2  # of SparseTensorProto
_TYPE, _FLOATS, _INTEGERS, _NAME, _RAW, _DOUBLES, _EXTERNAL = 2, 4, 5, 8, 9, 10, 13  # of TensorProto
_KEY, _VALUE = 1, 2  # of StringStringEntryProto

_FLOAT, _INT8, _FLOAT16, _DOUBLE, _BFLOAT16 = 1, 3, 10, 11, 16  # of TensorProto.DataType
_EXPONENT = {_FLOAT16: 0x7C00, _BFLOAT16: 0x7F80}
"""The bits that are all set in a NaN or an infinity."""

REDUCED_RANGE = 64
"""The largest absolute value of INT8 weights in the reduced range, which has 7 bits."""


_ELEMENTWISE = ("Add", "Cast", "Clip", "Div", "Erf", "Mul", "PRelu", "Relu", "Sub")
_SHAPES = ("Concat", "Expand", "Reshape", "Shape", "Transpose", "Unsqueeze")
_SUMS = ("BatchNormalization", "Conv", "Gemm", "LayerNormalization", "MatMul", "ReduceL2", "ReduceMean", "Softmax")
_WITHOUT_TENSORS = frozenset((*_ELEMENTWISE, *_SHAPES, *_SUMS))
"""Frequent operators whose attributes are numbers only. Skipping these saves half of the time."""


def external_files(path: Path) -> tuple[Path, ...]:
    """The files beside an ONNX file that hold its weights ("external data"), sorted; mostly there are none.

    Raises:
        WrongModelError: A file is missing or lies outside the folder of the model, or the file is not an ONNX model.
    """
    tensors = _tensors(ParsedModel.read(path))
    locations = sorted({entry.get("location", "") for tensor in tensors if (entry := _external(tensor))})
    return tuple(_inside(path, location) for location in locations)


def model_size(path: Path) -> int:
    """Bytes of a model with its external files; see `external_files`."""
    parts = (path, *external_files(path)) if path.suffix.lower() == ".onnx" else (path,)
    return sum(part.stat().st_size for part in parts)


def check_weights(model: ParsedModel) -> None:
    """Check that every weight of an ONNX file is a finite number.

    Runtimes do not check it, and OpenVINO turns NaN into 0, so that a damaged model would give plausible embeddings.
    A single infinite number passes, because it can be the limit of a Clip.

    Raises:
        WrongModelError: A weight is NaN or infinite, or the file or its external data cannot be read.
    """
    for tensor in _tensors(model):
        if not _is_finite(tensor, model.path):
            raise WrongModelError(
                f"finite weights in {model.path}",
                f"NaN or infinity in {tensor.text(_NAME) or 'a constant'}",
                "get the file again, or train and export the model again",
            )


def has_full_range(model: ParsedModel) -> bool:
    """Whether INT8 weights of an ONNX file use all 8 bits, and not the reduced range of 7 bits.

    Raises:
        WrongModelError: The file or its external data cannot be read.
    """
    kernels = (tensor for tensor in _tensors(model) if tensor.integer(_TYPE) == _INT8)
    numbers = (_numbers(tensor, model.path, np.int8).astype(np.int16) for tensor in kernels)
    return any(bool((np.abs(kernel) > REDUCED_RANGE).any()) for kernel in numbers)


def _tensors(model: ParsedModel) -> Iterator[Message]:
    """All tensors of an ONNX file."""
    with _readable(model.path):
        yield from model.initializers
        yield from _sparse_tensors(model.graph.messages(_SPARSE_INITIALIZER))
        yield from _node_tensors(model.nodes)
        for function in model.functions:
            yield from _node_tensors(function.messages(_FUNCTION_NODE))


@contextmanager
def _readable(model: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise damaged_model(model, error) from error


def _graph_tensors(graph: Message) -> Iterator[Message]:
    yield from graph.messages(_INITIALIZER)
    yield from _sparse_tensors(graph.messages(_SPARSE_INITIALIZER))
    yield from _node_tensors(graph.messages(_NODE))


def _node_tensors(nodes: Iterable[Message]) -> Iterator[Message]:
    for node in nodes:
        attributes = () if node.text(_OP_TYPE) in _WITHOUT_TENSORS else node.messages(_ATTRIBUTE)
        for attribute in attributes:
            for one, several in zip(_TENSORS, _SPARSE_TENSORS, strict=True):
                yield from attribute.messages(one)
                yield from _sparse_tensors(attribute.messages(several))
            for number in _SUBGRAPHS:
                for graph in attribute.messages(number):
                    yield from _graph_tensors(graph)


def _sparse_tensors(tensors: Iterable[Message]) -> Iterator[Message]:
    for tensor in tensors:
        yield from (*tensor.messages(_VALUES), *tensor.messages(_INDICES))


def _external(tensor: Message) -> dict[str, str]:
    """`location`, `offset` and `length` of a tensor in another file; empty if it is in this one."""
    return {entry.text(_KEY): entry.text(_VALUE) for entry in tensor.messages(_EXTERNAL)}


def _inside(model: Path, location: str) -> Path:
    """The external file at a location, which is relative to the folder of the model."""
    parts = PurePosixPath(location)
    escapes = parts.is_absolute() or ".." in parts.parts or PureWindowsPath(location).drive or "\\" in location
    if escapes or not location:
        raise WrongModelError(
            f"external data in the folder of {model}", f"a reference to {location!r}", "get the model from its source"
        )
    path = model.parent / parts
    if not path.is_file():
        raise WrongModelError(
            f"the external data of {model} in {path}", "no such file", "copy it into the folder of the .onnx file"
        )
    return path


def _is_finite(tensor: Message, model: Path) -> bool:
    """Whether no number is NaN or infinite; of other types, whether they can be read."""
    kind = tensor.integer(_TYPE)
    if kind in (_FLOAT, _DOUBLE):
        array = _numbers(tensor, model, np.float32 if kind == _FLOAT else np.float64)
        return bool(np.isfinite(array).all()) or (array.size == 1 and not np.isnan(array).any())
    if kind in _EXPONENT:
        bits, exponent = _numbers(tensor, model, np.uint16), _EXPONENT[kind]
        special = bits & 0x7FFF
        return not bool((special > exponent if bits.size == 1 else special >= exponent).any())
    if entry := _external(tensor):
        _inside(model, entry.get("location", ""))
    return True


def _numbers(tensor: Message, model: Path, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """The numbers of a tensor, flat, from the field or the file that holds them."""
    with _readable(model):
        if entry := _external(tensor):
            return np.frombuffer(_external_bytes(_inside(model, entry.get("location", "")), entry), dtype)
        if integers := tensor.views(_INTEGERS):  # narrow types may be stored as variable-length integers
            return _integers(np.frombuffer(b"".join(integers), np.uint8)).astype(dtype)
        parts = next((views for number in (_RAW, _FLOATS, _DOUBLES) if (views := tensor.views(number))), [])
        return np.frombuffer(parts[0] if len(parts) == 1 else b"".join(parts), dtype)


def _external_bytes(path: Path, entry: dict[str, str]) -> memoryview:
    data, start = map_file(path), int(entry.get("offset", 0))
    length = int(entry.get("length", len(data) - start))
    if start < 0 or length < 0 or start + length > len(data):
        raise ValueError(f"its external data {path.name} ends too early")
    return data[start : start + length]


def _integers(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Packed variable-length integers of protobuf."""
    ends = np.flatnonzero(data < 0x80)
    starts = np.concatenate([[0], ends[:-1] + 1])
    shift = 7 * (np.arange(len(data)) - np.repeat(starts, ends - starts + 1))
    return np.add.reduceat((data & 0x7F).astype(np.int64) << shift, starts)
