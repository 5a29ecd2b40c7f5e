"""Removes engines that cannot be loaded on this machine any more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edgefr.engines.engine_cache import folder_suffix, list_engines, retire_folder
from edgefr.errors import EdgefrError
from edgefr.manifest import manifest_path, model_digest
from edgefr.runtimes.engine_file import EngineKey, EngineRecord
from edgefr.runtimes.runtime_registry import engine_suffixes, local_target


@dataclass(frozen=True)
class PrunedEngine:
    """The folder of a removed engine, its size, and why it was removed."""

    folder: Path
    bytes: int
    why: str


def build_files() -> frozenset[str]:
    """The names of all files that a build writes into the folder of an engine."""
    engines = ["model.onnx", *(f"engine{suffix}" for suffix in engine_suffixes().values())]
    return frozenset((*engines, *(manifest_path(Path(name)).name for name in engines)))


def prune_engines(root: Path, model: Path | None = None) -> Iterator[PrunedEngine]:
    """Remove engines of this device that another version of their runtime or another driver built.

    Engines for other devices stay, as do those of runtimes that do not run here, because they may be meant for another
    machine. A folder with any file that a build does not write stays, too. Each folder disappears in one step.

    Args:
        root: The folder of engines.
        model: If given, engines of another file with its name are removed as well.

    Yields:
        Each engine after it was removed.

    Raises:
        UnavailableError: A folder cannot be removed.
        EdgefrError: The model cannot be read.
    """
    digest, known_files = None if model is None else model_digest(model), build_files()
    for path, manifest, record in list_engines(root):
        folder, why = path.parent, _reason(record.key)
        if why is None and model is not None and record.key.onnx != digest:
            why = f"of another {model.name}" if manifest.made_from.get("onnx", {}).get("file") == model.name else None
        if why is None:
            continue
        files = _file_sizes(folder)
        if files and _is_engine_folder(folder, record) and files.keys() <= known_files:
            retire_folder(folder)
            yield PrunedEngine(folder, sum(files.values()), why)


def _reason(key: EngineKey) -> str | None:
    """What has changed on this device since an engine was built; None if nothing has, or if it is another device."""
    built_for = key.place
    try:
        here = local_target(built_for.runtime, key.precision)
    except EdgefrError:  # the runtime does not run here
        return None
    fits = built_for.compare(here)
    changed = next((name for name in ("version", "driver") if not fits[name]), None)
    if not fits["device"] or changed is None:
        return None
    return f"for {built_for.runtime}'s {changed} {getattr(built_for, changed)}, here is {getattr(here, changed)}"


def _is_engine_folder(folder: Path, record: EngineRecord) -> bool:
    """Whether a folder has the name of this engine and is not a link."""
    return folder.name.endswith(folder_suffix(record.key)) and not folder.is_symlink()


def _file_sizes(folder: Path) -> dict[str, int]:
    """Name -> bytes of the files in a folder; empty if another process has removed it."""
    with suppress(FileNotFoundError):
        return {file.name: file.lstat().st_size for file in folder.iterdir()}
    return {}
