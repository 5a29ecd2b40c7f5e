"""Converts between Triton's messages and arrays, and checks what a server sends."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from edgefr.errors import EdgefrError
from edgefr.runtimes.base import Array, TensorInfo
from edgefr.runtimes.triton.model_fingerprint import ModelFingerprint, parameter_name

DTYPES = {"FP32": "float32", "FP64": "float64", "FP16": "float16", "UINT8": "uint8"}
"""Triton's name of a number format -> numpy's."""


def parse_fingerprints(config: Any) -> dict[str, ModelFingerprint]:
    """Version -> fingerprint, for the versions in a `ModelConfig` that edgefr exported."""
    fingerprints = {}
    for name, value in config.parameters.items():
        version = name.removeprefix(parameter_name(""))
        fingerprint = ModelFingerprint.parse(value.string_value)
        if name != version and fingerprint is not None:
            fingerprints[version] = fingerprint
    return fingerprints


def parse_tensors(infos: Iterable[Any]) -> tuple[TensorInfo, ...]:
    """The inputs or outputs of a `ModelMetadataResponse`.

    Triton needs an axis besides the batch: `norm` (B,) is (B, 1) there, and (B,) again here.
    """
    tensors = []
    for info in infos:
        shape = tuple(None if size < 0 else int(size) for size in info.shape)
        shape = shape[:1] if shape[1:] == (1,) else shape
        tensors.append(TensorInfo(info.name, DTYPES.get(info.datatype, info.datatype.lower()), shape))
    return tuple(tensors)


def add_inputs(request: Any, feed: dict[str, Array]) -> None:
    """Add checked inputs to a `ModelInferRequest`."""
    datatypes = {numpy_name: name for name, numpy_name in DTYPES.items()}
    for name, array in feed.items():
        request.inputs.add(name=name, datatype=datatypes[array.dtype.name], shape=array.shape)
        request.raw_input_contents.append(array.tobytes())


def parse_outputs(response: Any, infos: tuple[TensorInfo, ...], batch: int) -> dict[str, Array]:
    """The outputs of a `ModelInferResponse` to a batch, as `infos` describes them.

    Raises:
        EdgefrError: An output is missing, or has another type or size than described.
    """
    # A server may send less data than it announces. The check of the size below finds that.
    raw = dict(zip((output.name for output in response.outputs), response.raw_output_contents, strict=False))
    dtypes = {output.name: DTYPES.get(output.datatype) for output in response.outputs}
    outputs = {}
    for info in infos:
        shape = (batch, *(size or 1 for size in info.shape[1:]))
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(info.dtype).itemsize
        sent = len(raw.get(info.name, b""))
        if dtypes.get(info.name) != info.dtype or sent != size:
            raise EdgefrError(
                f"{size:,} bytes of {info} from Triton for a batch of {batch}",
                f"{sent:,} bytes of {dtypes.get(info.name) or 'nothing'}",
                "see its log; a Python backend from before 2025 needs numpy<2",
            )
        outputs[info.name] = np.frombuffer(raw[info.name], info.dtype).reshape(shape)
    return outputs
