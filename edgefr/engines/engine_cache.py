"""The folder of engines. Every engine has a folder of its own, which is filled under another name and renamed:

    engines/cache/NAME-PRECISION-RUNTIME-DIGEST/
        model.onnx, model.onnx.json      the converted file
        engine.blob, engine.blob.json    the compiled engine, unless the runtime compiles at every start

The folder is renamed in one step after everything in it is on the disk. So a reader finds a whole engine or none, even
during a build, on a full disk and after a kill. A folder that a killed build leaves behind starts with a dot. The next
build of the same engine removes it.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgefr.errors import EdgefrError, UnavailableError
from edgefr.io.files import sync_path
from edgefr.manifest import Manifest, model_digest, read_manifest
from edgefr.runtimes import local_target
from edgefr.runtimes.engine_file import EngineKey, EngineRecord, check_engine


def engine_folder(root: Path, name: str, key: EngineKey) -> Path:
    """The folder of an engine below `root`; `name` is for humans."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or "model"
    return root / f"{plain}{folder_suffix(key)}"


def folder_suffix(key: EngineKey) -> str:
    """The end of the name of an engine's folder."""
    return f"-{key.precision}-{key.place.runtime}-{key.digest()}"


def usable_engines(model: Path, root: Path) -> list[tuple[Path, str, str]]:
    """Path, runtime and precision of the engines below `root` that were built from `model` and run on this machine."""
    digest = model_digest(model)
    return [
        (engine, record.key.place.runtime, record.key.precision)
        for engine, _, record in list_engines(root)
        if record.key.onnx == digest and _is_usable(engine, record)
    ]


def list_engines(root: Path) -> Iterator[tuple[Path, Manifest, EngineRecord]]:
    """All engines in the folder of engines, for any machine, with their manifests and records.

    Raises:
        EdgefrError: A manifest cannot be read.
    """
    for path in sorted(root.glob("[!.]*/*.json")):  # a folder with a dot is still being built
        engine, manifest = path.with_suffix(""), None
        with suppress(FileNotFoundError):  # another process has removed it
            manifest = read_manifest(engine)
        if manifest is not None and manifest.kind == "engine":
            yield engine, manifest, EngineRecord.from_manifest(manifest, engine)


def _is_usable(engine: Path, record: EngineRecord) -> bool:
    try:
        check_engine(engine, local_target(record.key.place.runtime, record.key.precision))
    except EdgefrError:  # for another device, damaged, or its runtime is not installed
        return False
    return True


def delete_folder(folder: Path) -> None:
    """Delete an engine, if it is still there."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:  # another process was faster
        pass
    except OSError as error:
        raise _write_error(folder, error, CHOOSE_CACHE) from error


def retire_folder(folder: Path) -> None:
    """Delete an engine in one step for its readers: rename it to a hidden name, then delete that."""
    try:
        hidden = _make_hidden_folder(folder)
        with suppress(FileNotFoundError):  # another process was faster
            folder.rename(hidden)
    except OSError as error:
        raise _write_error(folder, error, CHOOSE_CACHE) from error
    delete_folder(hidden)


CHOOSE_CACHE = "choose another --cache or make room"


@contextmanager
def publish_folder(folder: Path, fix: str = CHOOSE_CACHE, keep_existing: bool = True) -> Iterator[Path]:
    """Fill a folder that appears as a whole.

    Args:
        folder: The final name. The yielded folder next to it is renamed on success and deleted on failure.
        fix: What the user can do if it cannot be written.
        keep_existing: Whether a folder that another process has published meanwhile is kept. Otherwise it is an error.

    Raises:
        UnavailableError: The disk is full, or the folder cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = _make_hidden_folder(folder)
    except OSError as error:
        raise _write_error(folder, error, fix) from error
    try:
        _remove_stale(folder)
        yield temporary
        _sync_files(temporary)
        temporary.chmod(0o755)
        try:
            temporary.rename(folder)
        except OSError:
            if not keep_existing or not any(folder.iterdir()):
                raise
        sync_path(folder.parent)
    except OSError as error:
        raise _write_error(folder, error, fix) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sync_files(folder: Path) -> None:
    """Wait until a folder and its files are on the disk."""
    for path in (*folder.iterdir(), folder):
        sync_path(path)


def _make_hidden_folder(folder: Path) -> Path:
    """An empty folder next to `folder` whose name starts with a dot and names the engine and this process."""
    return Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-{os.getpid()}-"))


def _remove_stale(folder: Path) -> None:
    """Delete the hidden folders of this engine whose processes have ended."""
    prefix = f".{folder.name}-"
    for hidden in folder.parent.glob(f"{prefix}*"):
        process = hidden.name.removeprefix(prefix).partition("-")[0]
        if process.isdigit() and not _is_running(int(process)):
            shutil.rmtree(hidden, ignore_errors=True)


def _is_running(process: int) -> bool:
    with suppress(PermissionError):  # it runs, for another user
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
    return True


def _write_error(folder: Path, error: OSError, fix: str) -> UnavailableError:
    return UnavailableError(f"to write {folder}", f"an error of the system ({error.strerror or error})", fix)
