"""The models that come with edgefr, by their names: `mini`, the recogniser, and `spot`, the detector."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

MINI, SPOT = Path("mini"), Path("spot")


def model_file(name: Path) -> Path:
    """The file of a model that comes with edgefr."""
    return Path(str(resources.files("edgefr").joinpath("assets", f"{name}.onnx")))
