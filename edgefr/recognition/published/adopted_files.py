"""Where adopted copies of published recognisers are, so that the published file can be named afterwards."""

from __future__ import annotations

from pathlib import Path

from edgefr.errors import WrongModelError
from edgefr.io.onnx_file import graph_inputs
from edgefr.io.user_folders import user_folder
from edgefr.manifest import original_digest
from edgefr.types import INPUT_NAME


def is_native(path: Path) -> bool:
    """Whether an .onnx file has the input of edgefr's recognisers.

    Raises:
        WrongModelError: The file is not an ONNX model.
    """
    return INPUT_NAME in graph_inputs(path).get("uint8", ())


def adopted_path(published: Path) -> Path | None:
    """The place of the adopted copy of a published file, by its content; None without a home directory.

    Raises:
        WrongModelError: The file cannot be read.
    """
    folder = user_folder("data")
    return None if folder is None else folder / "adopted" / original_digest(published)[:16] / f"{published.stem}.onnx"


def is_published(model: Path) -> bool:
    """Whether a model is an ONNX file with other inputs than edgefr's; False for a damaged one."""
    try:
        return model.suffix.lower() == ".onnx" and model.is_file() and not is_native(model)
    except WrongModelError:
        return False


def native_copy(model: Path) -> Path:
    """The file to run for a model: its adopted copy if it is a published one that was adopted, else the file itself.

    Args:
        model: Any model file. It is not checked.
    """
    adopted = adopted_path(model) if is_published(model) else None
    return adopted if adopted is not None and adopted.is_file() else model
