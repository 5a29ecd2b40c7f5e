"""Small models that tests create."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def message(number: int, body: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(body)) + body


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def model_bytes(outputs: dict[str, tuple[int | None, ...]]) -> bytes:
    """An ONNX file with outputs only; None is a named axis."""
    graph = message(2, b"graph")
    for name, shape in outputs.items():
        axes = b"".join(message(1, message(2, b"any") if size is None else b"\x08" + varint(size)) for size in shape)
        tensor = b"\x08\x01" + message(2, axes)
        graph += message(12, message(1, name.encode()) + message(2, message(1, tensor)))
    return b"\x08\x08" + message(7, graph)


def write_constant_detector(path: Path, side: int, outputs: list[np.ndarray]) -> None:
    """An ONNX network that takes (1, 3, side, side) and gives `outputs` for every picture."""
    from onnx import TensorProto, helper, numpy_helper, save

    names = [str(440 + n) for n in range(len(outputs))]
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array))
        for name, array in zip(names, outputs, strict=True)
    ]
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, list(array.shape))
        for name, array in zip(names, outputs, strict=True)
    ]
    picture = helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [1, 3, side, side])
    graph = helper.make_graph(nodes, "detector", [picture], infos)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
