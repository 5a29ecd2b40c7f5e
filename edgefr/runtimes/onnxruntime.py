"""ONNX Runtime: starts fastest on a processor, and runs on any NVIDIA GPU without an engine by its CUDA provider."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from edgefr.errors import MissingExtraError, install_command
from edgefr.io.onnx_file import graph_precision
from edgefr.runtimes.base import (
    Array,
    Description,
    Runtime,
    TensorInfo,
    check_inputs,
    check_int8_range,
    check_onnx_file,
    inference_error,
    load_error,
    select_precision,
)
from edgefr.runtimes.cuda_probe import require_gpu
from edgefr.runtimes.engine_file import ANY, Target, check_onnx_engine

RUNTIME, CUDA_RUNTIME = "onnxruntime", "onnxruntime-cuda"
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
FATAL = 4
"""The severity of onnxruntime's log from which messages are printed. Milder ones also arrive as exceptions."""
DTYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16"}


class OnnxRuntimeBackend:
    """An ONNX file in an inference session, computed in the precision of the file.

    On a processor FP16 nodes are computed in FP32 and rounded, which gives FP16's results but is no faster.

    The number of threads, unless it is given, and their spinning keep the defaults of the library: without spinning
    one or two faces took about 25 % longer (two MobileFaceNets, 2 cores of an AMD EPYC, Zen 4), batches of 8 and more
    the same. A process that ends after two faces is sooner done without: spinning takes the cores from its start.
    """

    def __init__(
        self,
        path: Path,
        precision: str = "auto",
        runtime: str = RUNTIME,
        threads: int | None = None,
        spinning: bool = True,
    ) -> None:
        """Open a file.

        Args:
            path: An .onnx file.
            precision: Its precision, or "auto".
            runtime: `RUNTIME` for the processor, `CUDA_RUNTIME` for the GPU.
            threads: Number of processor threads. None means all cores.
            spinning: Whether threads that wait keep a core busy, so that they go on faster.

        Raises:
            WrongModelError: The file is not an ONNX model.
            InvalidArgumentError: It has another precision or suffix.
            UnavailableError: There is no GPU.
            MissingExtraError: The library is missing, or cannot use the GPU.
        """
        library = _library()
        model = check_onnx_file(path, runtime)
        check_onnx_engine(path, _target if runtime == RUNTIME else None)
        providers = [CPU] if runtime == RUNTIME else _gpu_providers(library)
        computed = graph_precision(model).name
        self._runtime = runtime
        self._precision = select_precision(
            (computed,), precision, runtime, f"use --precision {computed} or --runtime openvino"
        )
        if computed == "int8" and runtime == RUNTIME:
            check_int8_range(model)
        del model  # else the pages of its file would count beside the copy that the library makes
        options = library.SessionOptions()
        options.log_severity_level = FATAL
        options.intra_op_num_threads = threads or 0  # 0: as many as there are cores
        if not spinning:
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if computed == "fp16":  # all optimisations crash on some FP16 graphs (1.24 to 1.32)
            options.graph_optimization_level = library.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        try:
            self._session = library.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # the library's exceptions share no narrower base
            raise load_error(path, runtime, error) from error
        if runtime == CUDA_RUNTIME and self._session.get_providers()[0] != CUDA:  # it falls back without an error
            raise MissingExtraError(
                f"{CUDA} to load",
                "that onnxruntime fell back to the processor",
                "install the CUDA and cuDNN libraries that its version needs, or use --runtime onnxruntime",
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
            outputs = self._session.run(names, feed)
        except Exception as error:  # as above
            raise inference_error(self._runtime, error) from error
        return {name: np.asarray(array) for name, array in zip(names, outputs, strict=True)}


def _gpu_providers(library: ModuleType) -> list[Any]:
    """Providers for the GPU without TF32, which would round FP32. Operators without a kernel run on the processor."""
    require_gpu(CUDA_RUNTIME)
    if CUDA not in library.get_available_providers():
        raise MissingExtraError(f"an onnxruntime with {CUDA}", "one without", f"run: {_install_cuda()}")
    return [(CUDA, {"use_tf32": "0"}), CPU]


def _library() -> ModuleType:
    try:
        import onnxruntime
    except ImportError as error:  # it belongs to no extra
        raise MissingExtraError(
            "the library 'onnxruntime'", f"that it cannot be imported ({error})", f"run: {_install()}"
        ) from error
    return onnxruntime  # type: ignore[no-any-return]


def _info(node: Any) -> TensorInfo:
    dtype = DTYPES.get(node.type, node.type.removeprefix("tensor(").removesuffix(")"))
    shape = tuple(size if isinstance(size, int) else None for size in node.shape or ())
    return TensorInfo(node.name, dtype, shape)


def _open(path: Path, name: str, precision: str, threads: int | None) -> OnnxRuntimeBackend:
    return OnnxRuntimeBackend(path, precision, name, threads)


def _open_without_spinning(path: Path, name: str, precision: str, threads: int | None) -> OnnxRuntimeBackend:
    return OnnxRuntimeBackend(path, precision, name, threads, spinning=False)


def _target() -> Target:
    """ONNX Runtime compiles at every start, so that only its version counts."""
    return Target(RUNTIME, _library().__version__, ANY)


def _install() -> str:
    return "pip install onnxruntime"


def _install_cuda() -> str:
    """Both packages have the same module, so that one must go before the other comes."""
    return f"pip uninstall onnxruntime; {install_command('cuda')}"


RUNTIMES = (
    Runtime(
        RUNTIME,
        _open,
        _install,
        modules=("onnxruntime",),
        packages=("onnxruntime",),
        target=_target,
        open_without_spinning=_open_without_spinning,
    ),
    Runtime(
        CUDA_RUNTIME,
        _open,
        _install_cuda,
        modules=("onnxruntime",),
        packages=("onnxruntime-gpu",),
        exact_package=True,
    ),
)
