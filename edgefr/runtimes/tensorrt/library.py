"""TensorRT and TensorRT-RTX: one API under several module names, imported only once a GPU is known or not needed."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from edgefr.errors import MissingExtraError

MODULES = {"tensorrt": ("tensorrt",), "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings")}
INSTALLS = {
    "tensorrt": "take it from JetPack (`sudo apt install python3-libnvinfer`) or `pip install tensorrt`",
    "tensorrt-rtx": "pip install 'edgefr[rtx]'",
}


def tensorrt_library(runtime: str) -> ModuleType:
    """The Python module of `runtime`.

    Raises:
        MissingExtraError: it is not installed.
    """
    for name in MODULES[runtime]:
        try:
            return importlib.import_module(name)
        except ImportError as error:
            missing = error
    raise MissingExtraError(
        f"the library {runtime}", f"it missing or broken ({missing})", str(INSTALLS[runtime])
    ) from missing


def members(enum: Any) -> dict[str, Any]:
    """The members of one of the library's enums by name; none of an enum that this version has not."""
    return dict(getattr(enum, "__members__", {}))


def runtime_of(trt: ModuleType, log: Any) -> Any:
    """What loads engines. One that later versions load, too, brings code of its own: it may run, since an engine is
    only loaded with the digest that its manifest names."""
    runtime = trt.Runtime(log)
    if hasattr(runtime, "engine_host_code_allowed"):
        runtime.engine_host_code_allowed = True
    return runtime


def logger(trt: ModuleType) -> Any:
    """A logger that keeps errors, for the sentence that a user reads, and shows nothing."""

    class Quiet(trt.ILogger):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(message)

    return Quiet()
