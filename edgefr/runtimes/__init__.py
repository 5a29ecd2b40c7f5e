"""Runtimes behind one protocol, and the choice among them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from edgefr import __version__
from edgefr.errors import EdgefrError
from edgefr.io.onnx_file import graph_precision
from edgefr.runtimes.base import Backend
from edgefr.runtimes.engine_file import SUFFIXES, Target
from edgefr.runtimes.processor import processor
from edgefr.runtimes.tensorrt.library import INSTALLS as TENSORRT_INSTALLS
from edgefr.runtimes.tensorrt.library import MODULES as TENSORRT_MODULES
from edgefr.runtimes.triton.server_address import is_address

FAKE = Path("fake")
"""The model path that stands for the fake backend."""

MANY_IMAGES = {"bf16": 64, "fp32": 128}
"""From how many images on OpenVINO, by its precision, is done before ONNX Runtime, start included. Measured
with two MobileFaceNets in one graph on 2 cores of an AMD EPYC (Zen 4): ONNX Runtime starts 0.36 s sooner and
takes 7.3 ms an image, OpenVINO 2.2 ms in bf16 and 4.5 ms in FP32."""

INSTALLS = {
    "onnxruntime": "pip install onnxruntime",
    "onnxruntime-cuda": "pip uninstall onnxruntime; pip install 'edgefr[cuda]'",
    "openvino": "pip install 'edgefr[cpu]'",
    "torch": "pip install 'edgefr[train]'",
    **TENSORRT_INSTALLS,
    "triton": "pip install 'edgefr[triton]'",
}

MODULES = {**TENSORRT_MODULES, "onnxruntime-cuda": ("onnxruntime",), "triton": ("tritonclient",)}
"""Where a module is not called as its runtime, the names it may have."""

PACKAGES = {
    "onnxruntime-cuda": ("onnxruntime-gpu",),
    "tensorrt-rtx": ("tensorrt-rtx", "tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu12-bindings"),
    "triton": ("tritonclient",),
}
"""Likewise packages."""


@dataclass(frozen=True)
class Runtime:
    """A runtime that edgefr knows: its version (None if not installed), the precisions it offers on this
    processor, the default first, and the command that installs it."""

    name: str
    version: str | None
    precisions: tuple[str, ...]
    install: str


def available_runtimes() -> tuple[Runtime, ...]:
    """All runtimes that edgefr knows, found without importing them."""
    precisions = {
        "openvino": ("bf16", "fp32") if processor().bf16 else ("fp32",),
        **dict.fromkeys((*TENSORRT_MODULES, "triton"), ("fp16", "int8", "fp32")),
    }
    return (
        *(
            Runtime(name, _version(name), precisions.get(name, ("fp32",)), install)
            for name, install in INSTALLS.items()
        ),
        Runtime("fake", __version__, ("fp32",), "comes with edgefr"),
    )


def open_backend(
    path: Path,
    runtime: str = "auto",
    precision: str = "auto",
    *,
    images: int | None = None,
    threads: int | None = None,
) -> Backend:
    """Make a model ready to infer.

    Args:
        path: an .onnx file, a fused checkpoint (.safetensors), or `fake`.
        runtime: "auto" takes torch for a checkpoint, and for an ONNX file what will be done first;
            `triton://HOST[:PORT][/NAME]` is a server that runs this model.
        precision: "fp32", "bf16" or "auto": bf16 where the runtime and the processor have it.
        images: how many images to expect; None for many.
        threads: of this processor that ONNX Runtime and OpenVINO may keep busy; None for as many as there are cores.

    Raises:
        EdgefrError: the file is not a model, or the runtime is unknown, not installed or lacks the precision.
    """
    chosen = _choose(path, precision, images) if runtime == "auto" else runtime
    if (chosen == "fake") != (path == FAKE):
        raise EdgefrError(
            "the model 'fake' with the runtime fake and no other",
            f"{path} with {chosen}",
            "choose another --model or --runtime",
        )
    if chosen == "fake":
        from edgefr.runtimes.fake import FakeBackend

        return FakeBackend(precision)
    if chosen in ("onnxruntime", "onnxruntime-cuda"):
        from edgefr.runtimes.onnxruntime import OnnxRuntimeBackend

        return OnnxRuntimeBackend(path, precision, chosen, threads)
    if chosen == "openvino":
        from edgefr.runtimes.openvino import OpenVinoBackend

        return OpenVinoBackend(path, precision, threads)
    if chosen in ("tensorrt", "tensorrt-rtx"):
        from edgefr.runtimes.tensorrt.engine_runtime import TensorRtBackend

        return TensorRtBackend(path, precision)
    if chosen == "torch":
        from edgefr.runtimes.torch import TorchBackend

        return TorchBackend(path, precision)
    if is_address(chosen):
        from edgefr.runtimes.triton.client import TritonBackend

        return TritonBackend(path, chosen, precision)
    libraries = ", ".join(name for name in INSTALLS if name != "triton")
    raise EdgefrError(f"the runtime auto, {libraries}, triton://HOST:PORT/NAME or fake", runtime, "see `edgefr doctor`")


def local_target(runtime: str) -> Target:
    """What an engine of `runtime` has to be built for to run here.

    Raises:
        EdgefrError: the runtime has no engines, is not installed, or there is no GPU for it.
    """
    if runtime == "onnxruntime":
        from edgefr.runtimes import onnxruntime

        return onnxruntime.place()
    if runtime == "openvino":
        from edgefr.runtimes import openvino

        return openvino.place()
    if runtime in ("tensorrt", "tensorrt-rtx"):
        from edgefr.runtimes.cuda_probe import require_gpu
        from edgefr.runtimes.tensorrt.engine_runtime import place
        from edgefr.runtimes.tensorrt.library import tensorrt_library

        return place(runtime, tensorrt_library(runtime), require_gpu(runtime))
    raise EdgefrError(
        "the runtime onnxruntime, openvino, tensorrt or tensorrt-rtx to build for", runtime, "choose another --runtime"
    )


def _choose(path: Path, precision: str, images: int | None) -> str:
    if path == FAKE:
        return "fake"
    if path.suffix.lower() == ".safetensors":
        return "torch"
    if (made_by := SUFFIXES.get(path.suffix.lower())) is not None:
        return made_by
    if path.suffix.lower() != ".onnx":
        raise EdgefrError(
            "an .onnx file, an engine, a .safetensors checkpoint or `fake`", str(path), "choose another --model"
        )
    if precision == "bf16" or not _present("onnxruntime"):
        return "openvino"
    expected = "bf16" if precision == "auto" and processor().bf16 else "fp32"
    many = images is None or images >= MANY_IMAGES[expected]
    # OpenVINO refuses what it would compute in FP32.
    fast = many and _present("openvino") and (path.is_file() and graph_precision(path).name) != "fp16"
    return "openvino" if fast else "onnxruntime"


def _present(name: str) -> bool:
    return any(util.find_spec(module) is not None for module in MODULES.get(name, (name,)))


def _version(name: str) -> str | None:
    if not _present(name):
        return None
    for package in PACKAGES.get(name, (name,)):
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(package)
    # The same module from another package, such as onnxruntime-gpu - which itself shares onnxruntime's.
    return None if name == "onnxruntime-cuda" else "unknown"
