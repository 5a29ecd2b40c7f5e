"""How edgefr is asked on its command line, and how an answer is compared with the one that version 0.1.0 gave.

Nothing of edgefr is imported here: what is asked is what `python -m edgefr` says.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import os
import runpy
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PREVIOUS = Path(__file__).with_name("previous")

EXACT = 1e-5
TOLERANCES = {"box": 0.05, "landmarks": 0.05, "score": 1e-3, "sharpness": 1e-3, "measured": 1e-3}
"""How far a number may be from 0.1.0's, by its key: other processors round the detector's sums otherwise."""
VARIES = {"time_ms", "versions"}
"""Keys whose values are another run's or another machine's: only that they are there counts."""

SENTENCES = {"err", "reason", "reasons", "refused"}
"""Keys whose values are sentences for people, which may be reworded: only that there is one counts."""

Answer = dict[str, Any]


@dataclass(frozen=True)
class Told:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The document that --json printed."""
        assert self.code in (0, 1, 2), self.err
        assert self.out, self.err
        return json.loads(self.out)

    @property
    def refusal(self) -> Answer:
        """The exit code of an error and what its sentence says was expected."""
        return {"exit": self.code, "out": self.out, "err": self.err.partition(", found")[0]}


class Shell:
    """Runs commands in a folder, in this process, as `python -m edgefr` would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: object, **environment: str) -> Told:
        out, err = io.StringIO(), io.StringIO()
        with _alone_in(self.folder, [str(argument) for argument in arguments], environment):
            code: object = 0
            with redirect_stdout(out), redirect_stderr(err):
                try:
                    runpy.run_module("edgefr", run_name="__main__")
                except SystemExit as stop:
                    code = stop.code
        here = f"{self.folder}/"
        return Told(int(str(code or 0)), out.getvalue().replace(here, ""), err.getvalue().replace(here, ""))

    def asked(self, *arguments: object, **environment: str) -> Answer:
        """A command's exit code and document, to be kept and compared."""
        told = self(*arguments, "--json", **environment)
        return {"exit": told.code, "json": told.json}

    def document(self, path: str) -> Any:
        """A JSON file of the folder, or one that is compressed."""
        content = (self.folder / path).read_bytes()
        return json.loads(gzip.decompress(content) if path.endswith(".gz") else content)


@contextmanager
def _alone_in(folder: Path, arguments: list[str], environment: dict[str, str]) -> Iterator[None]:
    """No setting of whoever runs the tests counts, nor a gallery or a detector in their data folder."""
    before, here, words = dict(os.environ), Path.cwd(), sys.argv
    for name in [name for name in os.environ if name.startswith("EDGEFR_")]:
        del os.environ[name]
    os.environ.update({"XDG_DATA_HOME": str(folder / "data"), "EDGEFR_DEBUG": "1", **environment})
    os.chdir(folder)
    sys.argv = ["edgefr", *arguments]
    try:
        yield
    finally:
        sys.argv = words
        os.chdir(here)
        os.environ.clear()
        os.environ.update(before)


def opened(folder: Path) -> Shell:
    """A shell in `folder`, with a copy of all that 0.1.0 made: the files themselves are never written to."""
    shutil.copytree(PREVIOUS, folder, dirs_exist_ok=True)
    (folder / "gallery.key").chmod(0o600)  # Git keeps no such mode
    return Shell(folder)


def keys_of(document: Any) -> dict[str, Any]:
    """The keys of a document, all the way down; those of all entries of a list together."""
    if isinstance(document, dict):
        return {key: keys_of(value) for key, value in document.items()}
    found: dict[str, Any] = {}
    if isinstance(document, list):
        for entry in document:
            _add(found, keys_of(entry))
    return found


def _add(found: dict[str, Any], more: dict[str, Any]) -> None:
    for key, below in more.items():
        _add(found.setdefault(key, {}), below)


def differences(wanted: Any, found: Any, where: str = "", near: float = EXACT) -> Iterator[str]:
    """Where an answer is not what it was, in words. Further keys are no difference."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key, value in wanted.items():
            if key not in found:
                yield f"{where}.{key} is missing"
            elif key in SENTENCES:
                if bool(value) != bool(found[key]):
                    yield f"{where}.{key} is {found[key]!r}, not {value!r}"
            elif key not in VARIES:
                yield from differences(value, found[key], f"{where}.{key}", TOLERANCES.get(key, near))
    elif isinstance(wanted, list) and isinstance(found, list):
        if len(wanted) != len(found):
            yield f"{where} has {len(found)} entries, not {len(wanted)}: {found}"
        for number, pair in enumerate(zip(wanted, found, strict=False)):
            yield from differences(*pair, f"{where}[{number}]", near)
    elif isinstance(wanted, float) and isinstance(found, int | float) and not isinstance(found, bool):
        if not math.isclose(wanted, found, rel_tol=1e-6, abs_tol=near):
            yield f"{where} is {found}, not {wanted}"
    elif type(wanted) is not type(found) or wanted != found:
        yield f"{where} is {found!r}, not {wanted!r}"
