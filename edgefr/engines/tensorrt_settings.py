"""What TensorRT is asked for, in the words that the installed version knows.

Every decision asks whether an enum has a member or a class an attribute, never which version it is: 8.6 has weak types
only, 10.3 both, 11 strong types only, TensorRT-RTX strong types and a target without a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgefr.engines.device_profile import Profile
from edgefr.errors import EdgefrError
from edgefr.runtimes.tensorrt.library import members


@dataclass(frozen=True)
class Plan:
    """Names of the flags to set and to clear, `weak` where the ONNX file's types have to be imposed on every layer,
    the compute capabilities to compile for without a GPU (none: for the GPU that is there), and the level of hardware
    compatibility (None: none)."""

    network_flags: tuple[str, ...]
    builder_flags: tuple[str, ...]
    cleared_flags: tuple[str, ...]
    weak: bool
    capabilities: tuple[str, ...]
    hardware: str | None


def plan(trt: Any, precision: str, profile: Profile, gpu: bool) -> Plan:
    """The plan for `precision` with the library `trt`; `gpu` says whether there is one to build on.

    Raises:
        EdgefrError: the library cannot do what the profile asks for.
    """
    if precision == "bf16":
        raise EdgefrError("fp32, fp16 or int8 for TensorRT", "bf16", "use --fp16, or --runtime openvino")
    network, builder = members(trt.NetworkDefinitionCreationFlag), members(trt.BuilderFlag)
    strong = "STRONGLY_TYPED" in network
    flags: list[str] = []
    if not strong:  # 8.x: the weak flag allows a precision, the layers' own types then demand it
        flags += {"fp16": ["FP16"], "int8": ["FP16", "INT8"]}.get(precision, [])
        flags += ["OBEY_PRECISION_CONSTRAINTS"] if precision != "fp32" else []
    flags += ["GPU_FALLBACK"] if profile.dla else []
    flags += ["VERSION_COMPATIBLE"] if profile.any_version else []
    levels = members(getattr(trt, "HardwareCompatibilityLevel", None))
    wanted = ["AMPERE_PLUS"] if profile.any_gpu else []
    if missing := [name for name in flags if name not in builder] + [name for name in wanted if name not in levels]:
        raise EdgefrError(
            f"a TensorRT with {', '.join(missing)} for the profile {profile.name}",
            f"{getattr(trt, '__version__', 'one')} without",
            "use another --device-profile or --precision",
        )
    return Plan(
        network_flags=("STRONGLY_TYPED",) if strong else ("EXPLICIT_BATCH",),
        builder_flags=tuple(flags),
        # TF32 rounds FP32's products to 10 bits, and is on by default.
        cleared_flags=("TF32",) if precision == "fp32" and "TF32" in builder else (),
        weak=not strong,
        capabilities=() if gpu else _capabilities(trt, profile),
        hardware=wanted[0] if wanted else None,
    )


def _capabilities(trt: Any, profile: Profile) -> tuple[str, ...]:
    """The profile's compute capabilities in the library's words; what cannot be compiled for is refused."""
    known = members(getattr(trt, "ComputeCapability", None))
    if not known:
        raise EdgefrError(
            "an NVIDIA GPU to build a TensorRT engine on",
            "none",
            "run it on the device itself, or use --runtime tensorrt-rtx for RTX cards",
        )
    offered = ", ".join(name.removeprefix("SM") for name in known if name.startswith("SM"))
    wanted = [f"SM{capability}" for capability in profile.compute_capabilities]
    if not wanted or not set(wanted) <= known.keys():
        raise EdgefrError(
            f"compute capabilities among {offered} to compile for without a GPU",
            f"{', '.join(name.removeprefix('SM') for name in wanted) or 'none'} in the profile {profile.name}",
            "use --device-profile rtx, or build on the device itself",
        )
    return tuple(wanted)
