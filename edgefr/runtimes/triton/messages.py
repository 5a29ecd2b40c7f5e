"""Triton's messages as arrays and descriptions, and back; what a server sends is measured before it is believed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from edgefr.errors import EdgefrError
from edgefr.runtimes.base import Array, TensorInfo
from edgefr.runtimes.triton.model_fingerprint import ModelFingerprint, parameter

DTYPES = {"FP32": "float32", "FP64": "float64", "FP16": "float16", "UINT8": "uint8"}
"""Triton's words for number formats, and numpy's."""


def versions_of(config: Any) -> dict[str, ModelFingerprint]:
    """What a `ModelConfig` says of each version that edgefr exported."""
    found = {}
    for name, value in config.parameters.items():
        version = name.removeprefix(parameter(""))
        served = ModelFingerprint.parse(value.string_value)
        if name != version and served is not None:
            found[version] = served
    return found


def tensors_of(infos: Iterable[Any]) -> tuple[TensorInfo, ...]:
    """Inputs or outputs of a `ModelMetadataResponse`.

    Triton knows no output of a batch alone: `norm` (B,) is (B, 1) there, and (B,) again here.
    """
    found = []
    for info in infos:
        shape = tuple(None if size < 0 else int(size) for size in info.shape)
        shape = shape[:1] if shape[1:] == (1,) else shape
        found.append(TensorInfo(info.name, DTYPES.get(info.datatype, info.datatype.lower()), shape))
    return tuple(found)


def add_inputs(request: Any, feed: dict[str, Array]) -> None:
    """Put checked inputs into a `ModelInferRequest`."""
    datatypes = {numpy_name: name for name, numpy_name in DTYPES.items()}
    for name, array in feed.items():
        request.inputs.add(name=name, datatype=datatypes[array.dtype.name], shape=array.shape)
        request.raw_input_contents.append(array.tobytes())


def outputs_of(answer: Any, wanted: tuple[TensorInfo, ...], batch: int) -> dict[str, Array]:
    """The outputs of a `ModelInferResponse`, as they were described.

    Raises:
        EdgefrError: one is missing, or of another type or size.
    """
    # A server may send fewer than it names: what is missing is seen below.
    raw = dict(zip((output.name for output in answer.outputs), answer.raw_output_contents, strict=False))
    kinds = {output.name: DTYPES.get(output.datatype) for output in answer.outputs}
    found = {}
    for info in wanted:
        shape = (batch, *(size or 1 for size in info.shape[1:]))
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(info.dtype).itemsize
        sent = len(raw.get(info.name, b""))
        if kinds.get(info.name) != info.dtype or sent != size:
            raise EdgefrError(
                f"{size:,} bytes of {info} from Triton for a batch of {batch}",
                f"{sent:,} of {kinds.get(info.name) or 'nothing'}",
                "see its log; a Python backend of before 2025 needs numpy<2",
            )
        found[info.name] = np.frombuffer(raw[info.name], info.dtype).reshape(shape)
    return found
