"""ONNX Runtime, in what the file computes in: on the processor it starts fastest and runs wherever edgefr installs, by
its CUDA provider it runs on any NVIDIA GPU without an engine."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from edgefr.errors import MissingExtraError
from edgefr.io.onnx_file import graph_precision
from edgefr.runtimes.base import (
    Array,
    Description,
    TensorInfo,
    check_inputs,
    failed,
    model_file,
    select_precision,
    unreadable,
)
from edgefr.runtimes.cuda_probe import require_gpu
from edgefr.runtimes.engine_file import Target

RUNTIME, CUDA_RUNTIME = "onnxruntime", "onnxruntime-cuda"
INSTALL = "pip install onnxruntime"
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
SILENT = 4  # onnxruntime's severity "fatal"; everything milder also arrives as an exception
DTYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16"}


class OnnxRuntimeBackend:
    """An ONNX file in an inference session, in FP32 or INT8, or in FP16 for its answers' sake: on a processor FP16
    nodes are computed in FP32 and rounded, which is no faster.

    Threads, where their number is not given, and their spinning are left as the library has them: without spinning
    one or two faces took about 25 % longer (two MobileFaceNets, 2 cores of an AMD EPYC, Zen 4), batches of 8 and more
    the same.

    Raises:
        EdgefrError: the file is not an ONNX model, `precision` is not what it computes in, or there is no GPU for
            `onnxruntime-cuda` or no library that uses it.
    """

    def __init__(self, path: Path, precision: str = "auto", runtime: str = RUNTIME, threads: int | None = None) -> None:
        model_file(path, ".onnx", runtime)
        library = _library()
        providers = [CPU] if runtime == RUNTIME else _on_gpu(library)
        computed = graph_precision(path).name
        self._runtime = runtime
        self._precision = select_precision(
            (computed,), precision, runtime, f"use --precision {computed} or --runtime openvino"
        )
        options = library.SessionOptions()
        options.log_severity_level = SILENT
        options.intra_op_num_threads = threads or 0  # 0: as many as there are cores
        if computed == "fp16":  # all optimisations crash on some FP16 graphs (1.24 to 1.32)
            options.graph_optimization_level = library.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        try:
            self._session = library.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # the library's exceptions share no narrower base
            raise unreadable(path, runtime, error) from error
        if runtime == CUDA_RUNTIME and self._session.get_providers()[0] != CUDA:  # it falls back without a word
            raise MissingExtraError(
                f"{CUDA} to load",
                "that onnxruntime fell back to the processor",
                "install the CUDA and cuDNN libraries that its version asks for, or use --runtime onnxruntime",
            )
        self._description = Description(
            runtime,
            self._precision,
            tuple(_info(node) for node in self._session.get_inputs()),
            tuple(_info(node) for node in self._session.get_outputs()),
        )

    def describe(self) -> Description:
        return self._description

    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        feed = check_inputs(inputs, self._description)
        names = [info.name for info in self._description.outputs]
        try:
            found = self._session.run(names, feed)
        except Exception as error:  # as above
            raise failed(self._runtime, error) from error
        return {name: np.asarray(array) for name, array in zip(names, found, strict=True)}


def place() -> Target:
    """What a converted file is made for; ONNX Runtime compiles at every start, so only its version counts."""
    return Target(RUNTIME, _library().__version__, "any")


def _on_gpu(library: ModuleType) -> list[Any]:
    """Providers for the GPU; FP32 there is not rounded to TF32, and what has no kernel runs on the processor.

    Raises:
        EdgefrError: there is no GPU, or this onnxruntime is the one without CUDA.
    """
    require_gpu(CUDA_RUNTIME)
    if CUDA not in library.get_available_providers():
        raise MissingExtraError(
            f"an onnxruntime with {CUDA}", "one without", "pip uninstall onnxruntime, then pip install 'edgefr[cuda]'"
        )
    return [(CUDA, {"use_tf32": "0"}), CPU]


def _library() -> ModuleType:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("the library 'onnxruntime'", f"it missing or broken ({error})", INSTALL) from error
    return onnxruntime  # type: ignore[no-any-return]


def _info(node: Any) -> TensorInfo:
    dtype = DTYPES.get(node.type, node.type.removeprefix("tensor(").removesuffix(")"))
    shape = tuple(size if isinstance(size, int) else None for size in node.shape or ())
    return TensorInfo(node.name, dtype, shape)
