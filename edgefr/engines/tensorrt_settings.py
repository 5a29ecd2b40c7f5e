"""Chooses the flags of TensorRT's builder that the installed version has.

Every decision checks for members of enums, never for the version: 8.6 has weak types only, 10.3 both kinds, 11 strong
types only, TensorRT-RTX strong types and builds without a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgefr.engines.device_profile import Profile
from edgefr.errors import EdgefrError, InvalidArgumentError, UnavailableError
from edgefr.runtimes.tensorrt.library import members


@dataclass(frozen=True)
class BuilderSettings:
    """Names of the flags for network and builder, and what else is set.

    `weak`: every layer needs the type of the ONNX file. `capabilities`: compute capabilities to compile for without a
    GPU. `hardware`: level of hardware compatibility, if any.
    """

    network_flags: tuple[str, ...]
    builder_flags: tuple[str, ...]
    cleared_flags: tuple[str, ...]
    weak: bool
    capabilities: tuple[str, ...]
    hardware: str | None


def choose_settings(trt: Any, precision: str, profile: Profile, gpu: bool) -> BuilderSettings:
    """Choose the settings for a version of the library; `gpu`: whether there is one to build on.

    Raises:
        EdgefrError: The library cannot build for this precision or profile, or needs a GPU.
    """
    if precision == "bf16":
        raise InvalidArgumentError("fp32, fp16 or int8 for TensorRT", "bf16", "use --fp16, or --runtime openvino")
    network, builder = members(trt.NetworkDefinitionCreationFlag), members(trt.BuilderFlag)
    strong = "STRONGLY_TYPED" in network
    flags: list[str] = []
    if not strong:  # 8.x: a flag allows a precision, and the types of the layers demand it
        flags += {"fp16": ["FP16"], "int8": ["FP16", "INT8"]}.get(precision, [])
        flags += ["OBEY_PRECISION_CONSTRAINTS"] if precision != "fp32" else []
    flags += ["GPU_FALLBACK"] if profile.dla else []
    flags += ["VERSION_COMPATIBLE"] if profile.any_version else []
    levels = members(getattr(trt, "HardwareCompatibilityLevel", None))
    wanted = ["AMPERE_PLUS"] if profile.any_gpu else []
    if missing := [name for name in flags if name not in builder] + [name for name in wanted if name not in levels]:
        raise EdgefrError(
            f"a TensorRT with {', '.join(missing)} for the profile {profile.name}",
            f"version {getattr(trt, '__version__', 'unknown')} without it",
            "use another --device-profile or --precision",
        )
    return BuilderSettings(
        network_flags=("STRONGLY_TYPED",) if strong else ("EXPLICIT_BATCH",),
        builder_flags=tuple(flags),
        # TF32 rounds the factors of FP32 to 10 bits, and is on by default.
        cleared_flags=("TF32",) if precision == "fp32" and "TF32" in builder else (),
        weak=not strong,
        capabilities=() if gpu else _capabilities(trt, profile),
        hardware=wanted[0] if wanted else None,
    )


def _capabilities(trt: Any, profile: Profile) -> tuple[str, ...]:
    """The library's names of the profile's compute capabilities, all of which it must support."""
    known = members(getattr(trt, "ComputeCapability", None))
    if not known:
        raise UnavailableError(
            "an NVIDIA GPU to build a TensorRT engine on",
            "none",
            "run the command on the device itself, or use --runtime tensorrt-rtx for RTX cards",
        )
    offered = ", ".join(name.removeprefix("SM") for name in known if name.startswith("SM"))
    wanted = [f"SM{capability}" for capability in profile.compute_capabilities]
    if not wanted or not set(wanted) <= known.keys():
        raise InvalidArgumentError(
            f"compute capabilities among {offered} to compile for without a GPU",
            f"{', '.join(name.removeprefix('SM') for name in wanted) or 'none'} in the profile {profile.name}",
            "use --device-profile rtx, or build on the device itself",
        )
    return tuple(wanted)
