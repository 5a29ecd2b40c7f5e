"""Models by name: the ones that come with edgefr and the files that hold them."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

MINI, SPOT = "mini", "spot"

SHIPPED = {MINI: "mini.onnx", SPOT: "spot.onnx"}
"""Name -> file in `edgefr/assets`. `mini` is a recogniser, `spot` a face detector."""


def shipped_model(name: str) -> Path:
    """The file of a model that comes with edgefr.

    Args:
        name: A key of `SHIPPED`.

    Returns:
        The path of its .onnx file.
    """
    return Path(str(resources.files("edgefr").joinpath("assets", SHIPPED[name])))


def find_model(name_or_path: str | Path) -> Path:
    """The file that a name or a path stands for.

    Args:
        name_or_path: The name of a shipped model, or any path. A path is not checked.

    Returns:
        The file of the shipped model, or the path itself.
    """
    name = str(name_or_path)
    return shipped_model(name) if name in SHIPPED else Path(name_or_path)
