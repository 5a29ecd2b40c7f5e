"""The result of compiling a model for a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CompiledEngine:
    """The file that a runtime loads, which is the ONNX file itself if the runtime compiles at every start.

    `layers`: number format -> number of heavy layers, if the runtime reports it. `runs`: whether it runs here.
    `fp32_nodes`, `faces`: what a compiler that converts the precision itself kept in FP32, and the number of faces that
    it calibrated on.
    """

    path: Path
    layers: Mapping[str, int] | None
    runs: bool = True
    fp32_nodes: tuple[str, ...] = ()
    faces: int = 0
