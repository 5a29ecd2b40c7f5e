"""Errors that a user can act on: what was expected, what was found and what to do about it."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType


class EdgefrError(Exception):
    """An error that a user can act on. The command line prints it and exits with `exit_code`.

    Callers tell errors apart by their type, never by their text.

    Args:
        expected: What was needed, for example "a face in a.jpg". Empty if `found` is a sentence of its own.
        found: What was there instead, for example "none".
        fix: What the user can do, as an instruction without a full stop.
    """

    exit_code = 2

    def __init__(self, expected: str, found: str, fix: str) -> None:
        super().__init__(expected, found, fix)  # all three are `args`, which pickle needs
        self.expected, self.found, self.fix = expected, found, fix

    @property
    def problem(self) -> str:
        """What is wrong, without the fix."""
        return f"expected {self.expected}, found {self.found}" if self.expected else self.found

    def __str__(self) -> str:
        return f"{self.problem}. {self.fix[:1].upper()}{self.fix[1:]}."


class InvalidArgumentError(EdgefrError):
    """An argument, an option or a setting has a value that is not allowed."""


class MissingExtraError(EdgefrError):
    """A library that belongs to one of edgefr's extras is not installed."""


class ImageError(EdgefrError):
    """One picture cannot be used; others of the same batch can."""


class UnreadableImageError(ImageError):
    """A picture cannot be read or decoded, or its size or format is not supported."""


class NoFaceError(ImageError):
    """A picture has no usable face."""


class SeveralFacesError(ImageError):
    """A picture has several faces where exactly one is allowed."""


class PoorFaceError(ImageError):
    """A face is too small, blurred, turned or uncertain for its purpose."""


class WrongModelError(EdgefrError):
    """A model, a detector or a precision does not fit the data it is used with."""


class NoThresholdError(WrongModelError):
    """No calibrated threshold of a model is strict enough for the size of a gallery."""


class LockedError(EdgefrError):
    """A gallery cannot be opened with the given key or passphrase."""


class UnavailableError(EdgefrError):
    """A server, a device, a file or a lock is not available now. Trying again later can help."""


class InternalError(EdgefrError):
    """A fault of edgefr itself."""

    @classmethod
    def of(cls, error: Exception) -> InternalError:
        """The error for an exception that edgefr did not expect."""
        found = f"Internal error: {type(error).__name__} ({error})"
        return cls("", found, "run the command again with EDGEFR_DEBUG=1 and report what it prints")


def install_command(extra: str) -> str:
    """The command that installs an extra, as it works where edgefr runs.

    Args:
        extra: Name of the extra, see pyproject.toml.

    Returns:
        `pip install '.[extra]'` if edgefr comes from a checkout, else `pip install 'edgefr[extra]'`.
    """
    return f"pip install '{'.' if _is_from_checkout() else 'edgefr'}[{extra}]'"


def update_command() -> str:
    """The command that installs the newest edgefr, as it works where edgefr runs."""
    return "git pull && pip install ." if _is_from_checkout() else "pip install --upgrade edgefr"


def _is_from_checkout() -> bool:
    """Whether edgefr is imported from a source tree, or was installed from a folder (PEP 610)."""
    if Path(__file__).parents[1].joinpath("pyproject.toml").is_file():
        return True
    import json
    from importlib import metadata  # which takes as long to import as a third of `edgefr --help`

    try:
        origin = metadata.distribution("edgefr").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return False
    return origin is not None and "dir_info" in json.loads(origin)


def require_extra(module: str, extra: str) -> ModuleType:
    """Import a library that belongs to an extra.

    Args:
        module: Name of the module to import.
        extra: Name of the extra that installs it.

    Returns:
        The imported module.

    Raises:
        MissingExtraError: The module is not installed or cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"the library '{module}'", f"that it cannot be imported ({error})", f"run: {install_command(extra)}"
        ) from error
