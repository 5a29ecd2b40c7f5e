"""What an ONNX file computes in, read from its nodes: no claim of a name or a manifest is believed.

Only the wire format is walked (protobuf.py): a device has no `onnx` package. Field numbers are onnx.proto3's.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from edgefr.errors import EdgefrError
from edgefr.io.protobuf import fields, map_file, messages

HEAVY = ("Conv", "Gemm", "MatMul")
"""The operators that take nearly all of a recogniser's time: their number formats are its precision."""

_GRAPH = 7
_NODE, _INITIALIZER, _GRAPH_INPUT = 1, 5, 11
_NODE_INPUT, _NODE_OUTPUT, _OP_TYPE, _ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_INT = 3
_TENSOR_TYPE, _TENSOR_NAME = 2, 8
_VALUE_NAME, _VALUE_TYPE, _TENSOR_OF_TYPE, _ELEMENT_TYPE = 1, 2, 1, 1
_FLOAT, _FLOAT16 = 1, 10

_Fields = defaultdict[int, list[memoryview | int]]


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
        """The part of all heavy nodes that computes in `precision`; 0 of none."""
        total = self.fp32 + self.fp16 + self.int8
        return {"fp32": self.fp32, "fp16": self.fp16, "int8": self.int8}[precision] / total if total else 0.0


def graph_precision(path: Path) -> GraphPrecision:
    """Walk the nodes of an ONNX file.

    A heavy node is int8 if its first two inputs come from DequantizeLinear, else what its first floating-point
    input is; the types follow from the file's inputs, weights and casts.

    Raises:
        EdgefrError: the file is no ONNX model.
    """
    try:
        graphs = messages(map_file(path), _GRAPH)
        return _count(graphs[0]) if graphs else GraphPrecision(0, 0, 0)
    except (OSError, ValueError, LookupError) as error:
        raise EdgefrError(
            f"an ONNX model in {path}", f"another or a damaged file ({error})", "make it again with `edgefr export`"
        ) from error


def _count(graph: memoryview) -> GraphPrecision:
    parts = _grouped(graph)
    types: dict[str, int] = {}
    for tensor in map(_grouped, parts[_INITIALIZER]):
        types[_text(tensor, _TENSOR_NAME)] = _number(tensor, _TENSOR_TYPE)
    for value in map(_grouped, parts[_GRAPH_INPUT]):
        types[_text(value, _VALUE_NAME)] = _element_type(value)
    dequantised: set[str] = set()
    found: Counter[str] = Counter()
    for node in map(_grouped, parts[_NODE]):
        op_type = _text(node, _OP_TYPE)
        inputs, outputs = _texts(node, _NODE_INPUT), _texts(node, _NODE_OUTPUT)
        # All floating-point inputs of a standard operator have one type, which is its outputs'.
        kind = next((types[name] for name in inputs if types.get(name) in (_FLOAT, _FLOAT16)), 0)
        if op_type == "Cast":
            kind = _number(_grouped(node[_ATTRIBUTE][0]), _ATTRIBUTE_INT)
        elif op_type == "DequantizeLinear":
            dequantised.update(outputs)
        elif op_type in HEAVY:
            whole = len(inputs) > 1 and dequantised.issuperset(inputs[:2])
            found["int8" if whole else "fp16" if kind == _FLOAT16 else "fp32"] += 1
        if op_type != "QuantizeLinear":
            types.update(dict.fromkeys(outputs, kind))
    return GraphPrecision(found["fp32"], found["fp16"], found["int8"])


def _element_type(value: _Fields) -> int:
    """Of a ValueInfoProto that is a tensor; 0 of another."""
    for kind in map(_grouped, value[_VALUE_TYPE]):
        for tensor in map(_grouped, kind[_TENSOR_OF_TYPE]):
            return _number(tensor, _ELEMENT_TYPE)
    return 0


def _grouped(message: memoryview | int) -> _Fields:
    """All fields of a message by their number, in one walk."""
    found: _Fields = defaultdict(list)
    if isinstance(message, memoryview):
        for number, value in fields(message):
            found[number].append(value)
    return found


def _text(message: _Fields, number: int) -> str:
    return (_texts(message, number) or [""])[0]


def _texts(message: _Fields, number: int) -> list[str]:
    return [bytes(value).decode() for value in message[number] if isinstance(value, memoryview)]


def _number(message: _Fields, number: int) -> int:
    return next((value for value in message[number] if isinstance(value, int)), 0)
