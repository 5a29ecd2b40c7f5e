"""Device profiles: the settings for engines of one kind of device (`engines/*.toml`)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import util
from pathlib import Path
from typing import Literal

import edgefr
from edgefr.errors import InvalidArgumentError
from edgefr.io.toml_dataclass import read_toml
from edgefr.runtimes.cuda_probe import find_gpu
from edgefr.runtimes.processor import processor

Precision = Literal["fp32", "bf16", "fp16", "int8"]
RuntimeName = Literal["onnxruntime", "openvino", "ncnn", "tensorrt", "tensorrt-rtx"]

MAX_BATCH = 1024


@dataclass(frozen=True)
class Batch:
    """The batch sizes that an engine accepts: 1 to `max`, optimised for `opt`."""

    opt: int = 1
    max: int = 32


@dataclass(frozen=True)
class Profile:
    """A kind of device. Runtimes on a processor use `name`, `runtime` and `precisions` only.

    The text of a profile is part of the key of an engine, so that a renamed field gives every engine another key.

    Attributes:
        name: Name of the profile.
        runtime: The runtime of its engines.
        precisions: The precisions that make sense on the device, the best first.
        batch: Batch sizes.
        compute_capabilities: Compute capabilities, 87 for 8.7. TensorRT-RTX compiles for them without a GPU.
        workspace_mib: Memory for TensorRT's workspace in MiB. None takes half of the GPU's free memory, or without a
            GPU the default of the library.
        aux_streams: Number of additional streams, on which TensorRT may run the two backbones in parallel.
        dla: Whether layers run on Jetson's deep learning accelerator where possible, and on the GPU otherwise.
        any_gpu: Whether the engine runs on all GPUs from Ampere on. Costs speed; not available on Jetson.
        any_version: Whether later versions with the same major number load it. Costs speed; not available on Jetson.
    """

    name: str
    runtime: RuntimeName
    precisions: tuple[Precision, ...]
    batch: Batch = Batch()
    compute_capabilities: tuple[int, ...] = ()
    workspace_mib: int | None = None
    aux_streams: int = 1
    dla: bool = False
    any_gpu: bool = False
    any_version: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.batch.opt <= self.batch.max <= MAX_BATCH:
            raise InvalidArgumentError(
                f"batch sizes of 1 to {MAX_BATCH}, with opt at most max, in the profile {self.name}",
                f"opt {self.batch.opt} and max {self.batch.max}",
                f"correct engines/{self.name}.toml",
            )
        if not self.precisions:
            raise InvalidArgumentError(
                f"a precision in the profile {self.name}", "none", f"correct engines/{self.name}.toml"
            )

    @property
    def default_precision(self) -> Precision:
        """The first of the precisions; bf16 counts only if this processor has it."""
        usable = (name for name in self.precisions if name != "bf16" or processor().bf16)
        return next(usable, self.precisions[0])


def profile_folder() -> Path:
    """The folder of the profiles: `engines/` of a checkout, else a folder of the installed package."""
    package = Path(edgefr.__file__).parent
    checkout = package.parent / "engines"
    return checkout if any(checkout.glob("*.toml")) else package / "engines" / "profiles"


def read_profile(name: str | None, runtime: str = "auto") -> Profile:
    """Read a profile.

    Args:
        name: Name of a profile in `engines/`, or a .toml file. None gives a default profile.
        runtime: Name of a runtime, or "auto" for that of the profile. The default profile takes TensorRT if it is
            installed and there is a GPU, else OpenVINO.

    Raises:
        InvalidArgumentError: There is no such profile, it is not valid, or it is for another runtime.
    """
    if name is None:
        chosen: RuntimeName = _default_runtime() if runtime == "auto" else runtime  # type: ignore[assignment]
        return Profile("default", chosen, ("fp32", "bf16", "fp16", "int8"))
    path = Path(name) if name.endswith(".toml") else profile_folder() / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(entry.stem for entry in profile_folder().glob("*.toml"))) or "a .toml file of your own"
        raise InvalidArgumentError(f"a device profile at {path}", "none", f"choose one of {known}")
    profile = read_toml(Profile, path)
    if runtime not in ("auto", profile.runtime):
        # TensorRT and TensorRT-RTX have the same settings. The runtimes on a processor use none of them.
        if {runtime, profile.runtime} - {"tensorrt", "tensorrt-rtx"}:
            raise InvalidArgumentError(
                f"the runtime {profile.runtime} of the profile {profile.name}",
                runtime,
                "leave out --runtime or choose another --device-profile",
            )
        return replace(profile, runtime=runtime)  # type: ignore[arg-type]
    return profile


def _default_runtime() -> RuntimeName:
    return "tensorrt" if util.find_spec("tensorrt") is not None and find_gpu() is not None else "openvino"
