"""The result of compiling a model for a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CompiledEngine:
    """A compiled model.

    Attributes:
        path: The file that the runtime loads: the ONNX file itself if the runtime compiles at every start.
        layers: Number format -> number of heavy layers. None if the runtime does not report it.
        runs: Whether it can run on this machine.
    """

    path: Path
    layers: Mapping[str, int] | None
    runs: bool = True
