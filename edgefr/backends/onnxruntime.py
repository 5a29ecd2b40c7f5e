"""ONNX Runtime on the processor, in FP32: starts fastest and runs wherever edgefr installs."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from edgefr.backends.base import (
    Array,
    Description,
    TensorInfo,
    checked,
    failed,
    model_file,
    only,
    unreadable,
)
from edgefr.errors import MissingExtraError

RUNTIME = "onnxruntime"
INSTALL = "pip install onnxruntime"
SILENT = 4  # onnxruntime's severity "fatal"; everything milder also arrives as an exception
DTYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16"}


class OnnxRuntimeBackend:
    """An ONNX file in an inference session.

    Threads and their spinning are left as the library has them: without spinning one or two faces took about
    25 % longer (two MobileFaceNets, 2 cores of an AMD EPYC, Zen 4), batches of 8 and more the same.

    Raises:
        EdgefrError: the file is not an ONNX model, or `precision` is not fp32.
    """

    def __init__(self, path: Path, precision: str = "auto") -> None:
        self._precision = only(("fp32",), precision, RUNTIME, "use --precision fp32 or --runtime openvino")
        model_file(path, ".onnx", RUNTIME)
        library = _library()
        options = library.SessionOptions()
        options.log_severity_level = SILENT
        try:
            self._session = library.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the library's exceptions share no narrower base
            raise unreadable(path, RUNTIME, error) from error
        self._description = Description(
            RUNTIME,
            self._precision,
            tuple(_info(node) for node in self._session.get_inputs()),
            tuple(_info(node) for node in self._session.get_outputs()),
        )

    def describe(self) -> Description:
        return self._description

    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        feed = checked(inputs, self._description)
        names = [info.name for info in self._description.outputs]
        try:
            found = self._session.run(names, feed)
        except Exception as error:  # as above
            raise failed(RUNTIME, error) from error
        return {name: np.asarray(array) for name, array in zip(names, found, strict=True)}


def _library() -> ModuleType:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError(
            f"expected the library 'onnxruntime', found it missing or broken ({error}): {INSTALL}"
        ) from error
    return onnxruntime  # type: ignore[no-any-return]


def _info(node: Any) -> TensorInfo:
    dtype = DTYPES.get(node.type, node.type.removeprefix("tensor(").removesuffix(")"))
    shape = tuple(size if isinstance(size, int) else None for size in node.shape or ())
    return TensorInfo(node.name, dtype, shape)
