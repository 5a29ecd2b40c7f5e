"""Device profiles: what an engine for one kind of device is built with (`engines/*.toml`)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import util
from pathlib import Path
from typing import Literal

import edgefr
from edgefr.errors import EdgefrError
from edgefr.io.toml_dataclass import read_toml
from edgefr.runtimes.cuda_probe import find_gpu
from edgefr.runtimes.processor import processor

Precision = Literal["fp32", "bf16", "fp16", "int8"]
RuntimeName = Literal["onnxruntime", "openvino", "tensorrt", "tensorrt-rtx"]

LARGEST_BATCH = 1024


@dataclass(frozen=True)
class Batch:
    """The batch sizes that an engine takes: fastest at `opt`, up to `max`."""

    opt: int = 1
    max: int = 32


@dataclass(frozen=True)
class Profile:
    """A kind of device, its runtime, and what TensorRT is told; CPU runtimes use name, runtime and precisions only.

    `precisions`: those that pay on the device, the best first. `compute_capabilities`: such as 87 for 8.7; TensorRT-RTX
    compiles for them without a GPU. `workspace_mib`: None takes half of the GPU's free memory, or without a GPU what
    the library takes. `aux_streams`: streams beside the main one, on which TensorRT may run the two backbones side by
    side. `dla`: Jetson's accelerator takes what it can, the GPU the rest. `any_gpu`: one engine for all GPUs from
    Ampere on, `any_version`: for later versions of the same major one; both cost speed, and Jetson has neither.
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
        if not 1 <= self.batch.opt <= self.batch.max <= LARGEST_BATCH:
            raise EdgefrError(
                f"batches of 1 to {LARGEST_BATCH} with opt at most max in the profile {self.name}",
                f"opt {self.batch.opt} and max {self.batch.max}",
                f"correct engines/{self.name}.toml",
            )
        if not self.precisions:
            raise EdgefrError(f"a precision in the profile {self.name}", "none", f"correct engines/{self.name}.toml")

    @property
    def best(self) -> Precision:
        """The first of the precisions that this processor has, where it matters: an engine in bf16 is for one."""
        here = (name for name in self.precisions if name != "bf16" or processor().bf16)
        return next(here, self.precisions[0])


def profiles() -> Path:
    """The folder of the profiles: beside the package in a checkout, inside it where it was installed."""
    package = Path(edgefr.__file__).parent
    checkout = package.parent / "engines"
    return checkout if any(checkout.glob("*.toml")) else package / "engines" / "profiles"


def read_profile(name: str | None, runtime: str = "auto") -> Profile:
    """The profile `name` of `engines/`, or of a .toml file; without a name one of defaults for `runtime`, which "auto"
    takes to be TensorRT where there is a GPU for it, else OpenVINO.

    Raises:
        EdgefrError: there is none, it is invalid, or it is for another runtime.
    """
    if name is None:
        chosen: RuntimeName = _fastest() if runtime == "auto" else runtime  # type: ignore[assignment]
        return Profile("default", chosen, ("fp32", "bf16", "fp16", "int8"))
    path = Path(name) if name.endswith(".toml") else profiles() / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(entry.stem for entry in profiles().glob("*.toml"))) or "a .toml file of your own"
        raise EdgefrError("a device profile", f"none at {path}", f"choose among {known}")
    profile = read_toml(Profile, path)
    if runtime not in ("auto", profile.runtime):
        # TensorRT and TensorRT-RTX take the same settings; the CPU runtimes take none of them.
        if {runtime, profile.runtime} - {"tensorrt", "tensorrt-rtx"}:
            raise EdgefrError(
                f"the runtime {profile.runtime} of the profile {profile.name}",
                runtime,
                "leave out --runtime or choose another --device-profile",
            )
        return replace(profile, runtime=runtime)  # type: ignore[arg-type]
    return profile


def _fastest() -> RuntimeName:
    return "tensorrt" if util.find_spec("tensorrt") is not None and find_gpu() is not None else "openvino"
