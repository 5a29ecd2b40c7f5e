"""The outputs an .onnx file declares, read straight from its bytes.

Neither the `onnx` package (not on devices) nor an onnxruntime session (a tenth of a second or more) is needed
to tell one detector from another. Only the path from the file to its outputs is followed; weights are stepped
over. Field numbers: onnx.proto3 (ModelProto, GraphProto, ValueInfoProto, TypeProto, TensorShapeProto); wire
format: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from pathlib import Path

from edgefr.errors import EdgefrError
from edgefr.io.protobuf import fields, messages

MAX_BYTES = 64 << 20
"""Detectors with landmarks have 0.2 to 17 MB."""


def graph_outputs(path: Path) -> dict[str, int | None]:
    """Name of each output of the graph in `path` and the length of its last axis, None where it is not fixed.

    Raises:
        EdgefrError: the file cannot be read or is no whole ONNX file.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise EdgefrError(
            f"a face detector at {path}", f"that it cannot be read ({reason})", "give the .onnx file of YuNet or SCRFD"
        ) from error
    try:
        if len(data) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES >> 20} MiB")
        graphs = messages(memoryview(data), 7)
        outputs = [output for graph in graphs for output in messages(graph, 12)]
        if not outputs:
            raise ValueError("no graph in it")
        return {_name(output): _last_axis(output) for output in outputs}
    except (ValueError, IndexError) as error:
        raise EdgefrError(
            f"a face detector in {path}",
            f"no whole ONNX file ({error})",
            "download the .onnx file of YuNet or SCRFD again",
        ) from error


def _name(value_info: memoryview) -> str:
    return b"".join(messages(value_info, 1)).decode("utf-8")


def _last_axis(value_info: memoryview) -> int | None:
    length = None
    for kind in messages(value_info, 2):  # ValueInfoProto.type
        for tensor in messages(kind, 1):  # TypeProto.tensor_type
            for shape in messages(tensor, 2):  # Tensor.shape
                for axis in messages(shape, 1):  # TensorShapeProto.dim
                    sizes = [value for number, value in fields(axis) if number == 1]
                    length = sizes[-1] if sizes and isinstance(sizes[-1], int) else None
    return length
