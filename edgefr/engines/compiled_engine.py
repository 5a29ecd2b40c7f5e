"""What compiling a model for a device gave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CompiledEngine:
    """`path` is what a runtime loads: the ONNX file itself where it compiles at every start. `layers` counts the heavy
    layers by number format, None where the runtime does not tell; `runs` says whether it can be run here."""

    path: Path
    layers: Mapping[str, int] | None
    runs: bool = True
