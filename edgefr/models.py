"""Models by name: the ones that come with edgefr, those of the catalogue, and the files that hold them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgefr.errors import WrongModelError
from edgefr.io.user_folders import require_user_folder, user_folder

if TYPE_CHECKING:
    from edgefr.catalogue import Entry

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
    return Path(__file__).with_name("assets") / SHIPPED[name]


def find_model(name_or_path: str | Path) -> Path:
    """The file that a name or a path stands for.

    Args:
        name_or_path: The name of a shipped model or of one of the catalogue, or any path. A path is not checked. The
            names of the catalogue have no effect where a file has the same name.

    Returns:
        The file of the model, or the path itself.

    Raises:
        WrongModelError: It is the name of a published model that is not in the user's folder of models.
    """
    name, path = str(name_or_path), Path(name_or_path)
    if name in SHIPPED:
        return shipped_model(name)
    if "/" in name or path.is_file():
        return path
    from edgefr.catalogue import by_name

    entry = by_name(name)
    return path if entry is None else present_model(entry)


def present_model(entry: Entry) -> Path:
    """The file of a published model.

    Args:
        entry: The model.

    Returns:
        Its file in the user's folder of models.

    Raises:
        WrongModelError: It is not there.
        UnavailableError: No home directory is known.
    """
    path = stored_model(entry)
    if path is None:
        folder = require_models_folder()
        raise WrongModelError(f"the model {entry.name} in {folder}", "none", f"run `edgefr models get {entry.name}`")
    return path


def stored_model(entry: Entry) -> Path | None:
    """The file of a published model if all its files are in the user's folder of models, or if it comes with edgefr."""
    if entry.name in SHIPPED:
        return shipped_model(entry.name)
    folder = user_folder("data")
    if folder is None:
        return None
    paths = [folder / "models" / entry.stored_name(file) for file in entry.files]
    return paths[0] if all(path.is_file() for path in paths) else None


def require_models_folder() -> Path:
    """The user's folder of models, which need not exist; UnavailableError if no home directory is known."""
    return require_user_folder("data", "models", "give the file of a model, or set $XDG_DATA_HOME") / "models"
