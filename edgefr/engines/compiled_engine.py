"""The result of compiling a model for a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CompiledEngine:
    """The file that a runtime loads, which is the ONNX file itself if the runtime compiles at every start.

    `layers`: number format -> number of heavy layers, if the runtime reports it. `runs`: whether it runs here.
    """

    path: Path
    layers: Mapping[str, int] | None
    runs: bool = True
