"""Lists the runtimes, chooses one and opens a model with it.

A new runtime is one module that describes itself in `RUNTIMES`, a tuple of `base.Runtime`, and one entry of `MODULES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from edgefr.errors import EdgefrError, InvalidArgumentError
from edgefr.io.onnx_file import graph_precision
from edgefr.runtimes.base import Backend, Runtime, wrong_suffix
from edgefr.runtimes.engine_file import Target
from edgefr.runtimes.measured_choice import Candidate, fastest, read_candidates

MODULES = (
    "edgefr.runtimes.onnxruntime",
    "edgefr.runtimes.openvino",
    "edgefr.runtimes.ncnn",
    "edgefr.runtimes.torch",
    "edgefr.runtimes.tensorrt.engine_runtime",
    "edgefr.runtimes.triton.client",
    "edgefr.runtimes.fake",
)
"""Imported in this order, and only as far as a search goes."""

FAKE = Path("fake")
"""The model path that stands for the fake backend."""

FEW_IMAGES = 2
"""Number of images up to which the start matters most, as for `verify`."""

MANY_IMAGES = 128
"""Number of images from which OpenVINO finishes before ONNX Runtime, start included. Measured with two MobileFaceNets
in one graph on 2 cores of an AMD EPYC (Zen 4): ONNX Runtime starts 0.36 s sooner and takes 7.3 ms an image, OpenVINO
4.5 ms."""


def available_runtimes() -> tuple[Runtime, ...]:
    """All runtimes that edgefr supports, installed or not. Their libraries are not imported."""
    return tuple(_runtimes())


def open_backend(
    path: Path,
    runtime: str = "auto",
    precision: str = "auto",
    *,
    images: int | None = None,
    threads: int | None = None,
    spinning: bool = True,
) -> Backend:
    """Open a model for inference.

    Args:
        path: An .onnx file, an engine, a fused checkpoint (.safetensors), or `FAKE`.
        runtime: Name of a runtime, or "triton://HOST[:PORT][/NAME]" for a server that runs this model. "auto" goes by
            the suffix, and for an .onnx file by what was measured (`measured_choice`), or else by `images`.
        precision: "fp32", "bf16", "fp16", "int8" or "auto", which is the precision of the file, or bf16 if that was
            found faster on this machine with an engine that decides like the model.
        images: Number of images to expect. None means many.
        threads: Number of processor threads that ONNX Runtime, OpenVINO and ncnn may use. None means all cores.
        spinning: Whether threads may keep a core busy while they wait, which makes single images faster. They do not
            for few images, nor if other work shares the cores.

    Raises:
        InvalidArgumentError: The runtime is unknown, or it lacks the precision.
        MissingExtraError: The runtime is not installed.
        EdgefrError: The file is not a model for the runtime.
    """
    name = runtime
    quiet = not spinning or (images is not None and images <= FEW_IMAGES)
    if runtime == "auto" and (measured := _measured_choice(path, precision, images)) is not None:
        with suppress(EdgefrError):  # its engine is gone or does not fit any more
            return _open_measured(measured, path, threads, quiet)
    if runtime == "auto":
        name = _choose_runtime(path, precision, images)
    chosen = _find_runtime(name)
    if chosen is None:
        names = ", ".join(entry.url or entry.name for entry in _runtimes())
        raise InvalidArgumentError(f"the runtime auto or one of {names}", runtime, "see `edgefr doctor`")
    if chosen.takes_file == (path == FAKE):
        raise InvalidArgumentError(
            "the model 'fake' together with the runtime fake",
            f"{path} with {name}",
            "choose another --model or --runtime",
        )
    return _opening(chosen, quiet)(path, name, precision, threads)


def local_target(runtime: str, precision: str = "fp32") -> Target:
    """The target that an engine must be built for to run on this machine.

    Args:
        runtime: Name of a runtime that has engines.
        precision: Precision of the engine.

    Returns:
        Version, device and driver of the runtime here.

    Raises:
        InvalidArgumentError: The runtime has no engines.
        MissingExtraError: The runtime is not installed.
        UnavailableError: There is no GPU for it.
    """
    chosen = _find_runtime(runtime)
    if chosen is None or chosen.target is None:
        names = ", ".join(entry.name for entry in _runtimes() if entry.target is not None)
        raise InvalidArgumentError(f"one of the runtimes {names} to build for", runtime, "choose another --runtime")
    return chosen.target().for_precision(precision)


def engine_suffixes() -> dict[str, str]:
    """Runtime -> suffix of its compiled engines. Runtimes that compile at every start have none."""
    return {entry.name: entry.own_suffix for entry in _runtimes() if entry.target is not None and entry.own_suffix}


def _runtimes() -> Iterator[Runtime]:
    for module in MODULES:
        yield from import_module(module).RUNTIMES


def _find_runtime(name: str) -> Runtime | None:
    return next((entry for entry in _runtimes() if entry.has_name(name)), None)


def _is_installed(name: str) -> bool:
    entry = _find_runtime(name)
    return entry is not None and entry.is_installed


def _measured_choice(path: Path, precision: str, images: int | None) -> Candidate | None:
    """The candidate of an .onnx file that finishes first, by what was measured on this machine."""
    if path.suffix.lower() != ".onnx":
        return None
    known = list(read_candidates(path, "fp32" if precision == "auto" else precision))
    # Libraries are looked for only if there is something to choose: this is done at every start.
    if known and precision == "auto":
        known += read_candidates(path, "bf16")
    while (found := fastest(known, images)) is not None:
        runtime = _find_runtime(found.runtime)
        there = not found.engine or Path(found.engine).is_file()  # slower engines are deleted after the measurement
        if there and runtime is not None and runtime.version == found.version:
            return found
        known.remove(found)
    return None


def _opening(runtime: Runtime, quiet: bool) -> Callable[[Path, str, str, int | None], Backend]:
    """How a runtime opens a model; `quiet` if its threads may not wait busily."""
    return (runtime.open_without_spinning if quiet else None) or runtime.open


def _open_measured(measured: Candidate, path: Path, threads: int | None, quiet: bool) -> Backend:
    runtime = _find_runtime(measured.runtime)
    assert runtime is not None  # _measured_choice has found it
    file = Path(measured.engine) if measured.engine else path
    return _opening(runtime, quiet)(file, measured.runtime, measured.precision, threads)


def _choose_runtime(path: Path, precision: str, images: int | None) -> str:
    """The runtime that "auto" stands for."""
    suffix = path.suffix.lower()
    if path == FAKE:
        return str(FAKE)
    if suffix != ".onnx":
        for entry in _runtimes():
            if suffix and suffix == entry.own_suffix:
                return entry.name
        expected = "an .onnx file, an engine, a .safetensors checkpoint, `fake`, or a name that `edgefr models` lists"
        raise wrong_suffix(path, expected, "choose another --model")
    if precision == "bf16" or not _is_installed("onnxruntime"):
        return "openvino"
    many = images is None or images >= MANY_IMAGES
    # OpenVINO refuses an FP16 file where it would compute in FP32.
    if many and _is_installed("openvino") and path.is_file() and graph_precision(path).name != "fp16":
        return "openvino"
    return "onnxruntime"
