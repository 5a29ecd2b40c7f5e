"""What goes wrong, said in one sentence: what was expected, what was found, the command that mends it."""

from __future__ import annotations

import importlib
from types import ModuleType


class EdgefrError(Exception):
    """An error that a user can act on; the command line prints it and exits with `exit_code`."""

    exit_code = 2


class MissingExtraError(EdgefrError):
    """A library that comes with one of edgefr's extras is not installed."""


def need(module: str, extra: str) -> ModuleType:
    """Import `module`, or say which extra brings it.

    Raises:
        MissingExtraError: the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"expected the library '{module}', found it missing or broken ({error}): pip install 'edgefr[{extra}]'"
        ) from error
