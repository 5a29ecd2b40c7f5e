"""TensorRT and TensorRT-RTX: one API with different module names."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from edgefr.errors import MissingExtraError, install_command

MODULES = {"tensorrt": ("tensorrt",), "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings")}


def install_tensorrt(runtime: str) -> str:
    """How to install the library of `runtime`, a key of `MODULES`."""
    if runtime == "tensorrt":
        return "take it from JetPack (`sudo apt install python3-libnvinfer`) or `pip install tensorrt`"
    return install_command("rtx")


def tensorrt_library(runtime: str) -> ModuleType:
    """Import the library of `runtime`, a key of `MODULES`.

    Raises:
        MissingExtraError: It is not installed.
    """
    for name in MODULES[runtime]:
        try:
            return importlib.import_module(name)
        except ImportError as error:
            missing = error
    raise MissingExtraError(
        f"the library {runtime}", f"that it cannot be imported ({missing})", install_tensorrt(runtime)
    ) from missing


def members(enum: Any) -> dict[str, Any]:
    """Name -> member of one of the library's enums; empty for an enum that this version does not have."""
    return dict(getattr(enum, "__members__", {}))


def make_runtime(trt: ModuleType, log: Any) -> Any:
    """Make the object that loads engines.

    It may run the code that version-compatible engines contain, because an engine is only loaded if its manifest names
    its digest.
    """
    runtime = trt.Runtime(log)
    if hasattr(runtime, "engine_host_code_allowed"):
        runtime.engine_host_code_allowed = True
    return runtime


def make_logger(trt: ModuleType) -> Any:
    """Make a logger that prints nothing and keeps the errors in its list `errors`."""

    class ErrorLog(trt.ILogger):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(message)

    return ErrorLog()
