"""Where engines lie, and how one gets there whole: a folder for each, made elsewhere and renamed.

    engines/cache/NAME-PRECISION-RUNTIME-DIGEST/
        model.onnx, model.onnx.json      the converted file
        engine.blob, engine.blob.json    what the runtime compiled, where it compiles

A folder is renamed into its place in one step, after everything in it is on the disk. So whoever looks sees all of an
engine or nothing of it: while it is built, after the disk was full, and after a kill. What a kill leaves behind begins
with a dot and is removed by the next build of the same engine.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgefr.errors import EdgefrError
from edgefr.manifest import Manifest, model_digest, read_manifest
from edgefr.runtimes import local_target
from edgefr.runtimes.engine_file import EngineKey, EngineRecord, check_engine


def engine_folder(root: Path, name: str, key: EngineKey) -> Path:
    """The folder of the engine of `key`; `name` is for people."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or "model"
    return root / f"{plain}-{key.precision}-{key.place.runtime}-{key.digest()}"


def engines_of(model: Path, root: Path) -> list[tuple[Path, str, str]]:
    """The engines below `root` that were built from `model` and can run here, with their runtime and precision."""
    digest = model_digest(model)
    return [
        (engine, record.key.place.runtime, record.key.precision)
        for engine, _, record in records(root)
        if record.key.onnx == digest and _fits(engine, record)
    ]


def records(root: Path) -> Iterator[tuple[Path, Manifest, EngineRecord]]:
    """The engines below `root`, whether they can run here or not, with what their manifests say.

    Raises:
        EdgefrError: a manifest there is none of this version.
    """
    for path in sorted(root.glob("[!.]*/*.json")):  # one with a dot is being built, and not compared yet
        engine, manifest = path.with_suffix(""), None
        with suppress(FileNotFoundError):  # removed meanwhile by another process
            manifest = read_manifest(engine)
        if manifest is not None and manifest.kind == "engine":
            yield engine, manifest, EngineRecord.from_manifest(manifest, engine)


def _fits(engine: Path, record: EngineRecord) -> bool:
    try:
        check_engine(engine, local_target(record.key.place.runtime))
    except EdgefrError:
        return False
    return True


def discard(folder: Path) -> None:
    """Remove an engine that is damaged.

    Raises:
        EdgefrError: it cannot be removed.
    """
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:  # by another process, which saw the same
        pass
    except OSError as error:
        raise _unwritable(folder, error) from error


def withdraw(folder: Path) -> None:
    """Remove an engine in one step: out of sight, under a name that the next build of it sweeps up, and then for good.

    Raises:
        EdgefrError: it cannot be removed.
    """
    try:
        aside = _beside(folder)
        with suppress(FileNotFoundError):  # another process was faster
            folder.rename(aside)
    except OSError as error:
        raise _unwritable(folder, error) from error
    discard(aside)


@contextmanager
def published(folder: Path) -> Iterator[Path]:
    """Give a folder beside `folder` to fill; rename it on success, remove it on failure.

    Where another process was faster its engine stays: it has the same key.

    Raises:
        EdgefrError: the disk is full, or the folder cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = _beside(folder)
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        _sweep(folder)
        yield temporary
        on_disk(temporary)
        temporary.chmod(0o755)
        try:
            temporary.rename(folder)
        except OSError:
            if not any(folder.iterdir()):
                raise
    except OSError as error:
        raise _unwritable(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def on_disk(folder: Path) -> None:
    """Wait until a folder and the files in it are on the disk.

    Raises:
        OSError: the disk is full.
    """
    for path in (*folder.iterdir(), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _beside(folder: Path) -> Path:
    """An empty folder beside `folder`, out of sight, whose name tells of which engine and process it is."""
    return Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-{os.getpid()}-"))


def _sweep(folder: Path) -> None:
    """Remove what builds of this engine left that no longer run."""
    prefix = f".{folder.name}-"
    for left in folder.parent.glob(f"{prefix}*"):
        process = left.name.removeprefix(prefix).partition("-")[0]
        if process.isdigit() and not _runs(int(process)):
            shutil.rmtree(left, ignore_errors=True)


def _runs(process: int) -> bool:
    with suppress(PermissionError):  # another user's, which runs
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
    return True


def _unwritable(folder: Path, error: OSError) -> EdgefrError:
    return EdgefrError(
        f"to write an engine to {folder.parent}",
        f"that this cannot be done ({error.strerror or error})",
        "choose another --cache or make room",
    )
