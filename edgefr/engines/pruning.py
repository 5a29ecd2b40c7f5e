"""Engines that nothing here will load again, and how they are removed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edgefr.engines.engine_cache import records, withdraw
from edgefr.errors import EdgefrError
from edgefr.manifest import manifest_path, model_digest
from edgefr.runtimes import local_target
from edgefr.runtimes.engine_file import SUFFIXES, EngineRecord, Target

ENGINES = ("model.onnx", *(f"engine{suffix}" for suffix in SUFFIXES))
WRITTEN = frozenset((*ENGINES, *(manifest_path(Path(name)).name for name in ENGINES)))
"""The names of all files that a build writes into an engine's folder."""


@dataclass(frozen=True)
class Pruned:
    """A folder that was removed, the bytes that it held, and why."""

    folder: Path
    bytes: int
    why: str


def prune(root: Path, model: Path | None = None) -> Iterator[Pruned]:
    """Remove the engines below `root` that were built for this device by another version or driver than it has now,
    and with `model` those of a file of its name that had other weights; gives each when it is removed.

    Engines for other devices, or of a runtime that does not run here, stay: they may be meant for elsewhere. So does a
    folder that holds anything but what a build writes. One that goes does so in one step, as it came.

    Raises:
        EdgefrError: the model cannot be read, or a folder cannot be removed.
    """
    digest = None if model is None else model_digest(model)
    for path, manifest, record in records(root):
        folder, why = path.parent, _outdated(record.key.place)
        if why is None and model is not None and record.key.onnx != digest:
            why = f"of another {model.name}" if manifest.made_from.get("onnx", {}).get("file") == model.name else None
        if why is None:
            continue
        files = _files(folder)
        if files and _named(folder, record) and files.keys() <= WRITTEN:
            withdraw(folder)
            yield Pruned(folder, sum(files.values()), why)


def _outdated(made: Target) -> str | None:
    """What has changed of this device since an engine was made for it; None where nothing has, or it is another."""
    here = _place(made.runtime)
    if here is None:
        return None
    suits = made.holds(here)
    changed = [name for name in ("version", "driver") if not suits[name]]
    if not suits["device"] or not changed:
        return None
    return f"for {made.runtime}'s {changed[0]} {getattr(made, changed[0])}, here is {getattr(here, changed[0])}"


def _place(runtime: str) -> Target | None:
    """None where the runtime does not run here."""
    with suppress(EdgefrError):
        return local_target(runtime)
    return None


def _named(folder: Path, record: EngineRecord) -> bool:
    """Whether a folder has the name that a build of this engine gives it, and is none elsewhere."""
    key = record.key
    name = f"-{key.precision}-{key.place.runtime}-{key.digest()}"
    return folder.name.endswith(name) and not folder.is_symlink()


def _files(folder: Path) -> dict[str, int]:
    """What a folder holds, with its bytes; nothing where another process removed it meanwhile."""
    with suppress(FileNotFoundError):
        return {file.name: file.lstat().st_size for file in folder.iterdir()}
    return {}
