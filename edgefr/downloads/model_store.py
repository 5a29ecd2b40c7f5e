"""The user's folder of models: downloading into it, adding files that are there, and removing them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from edgefr.catalogue import Entry, PublishedFile, by_digest, pack_named
from edgefr.downloads.http_client import LostConnectionError, RefusedError, check_mirror
from edgefr.downloads.model_packs import MAX_MODEL_BYTES, known_members, store, unpack
from edgefr.downloads.resumable import Advance, Download, download, validator_path
from edgefr.errors import EdgefrError, UnavailableError, WrongModelError
from edgefr.io.files import sha256_of, unwritable
from edgefr.io.run_lock import run_lock
from edgefr.manifest import manifest_path, original_digest
from edgefr.models import SHIPPED, require_models_folder, shipped_model

Progress = Callable[[str, int | None], AbstractContextManager[Advance]]
"""Shows the progress of a download: its title and number of bytes, None if that is not known."""

ABOUT = 4
"""A file may have so many times the size that a page states in whole megabytes."""


@dataclass(frozen=True)
class Mirror:
    """Where to download from instead of the publishers.

    Attributes:
        url: Address of a folder on a server that has the files, under their names in a folder of models or those that
            their publishers gave them; None if there is no mirror.
        allow_http: Whether it may be reached by http on another machine. The digests are checked in any case.
    """

    url: str | None = None
    allow_http: bool = False


def is_fetchable(entry: Entry, mirror: Mirror) -> bool:
    """Whether edgefr can download a model: an address is known, and a digest to check what comes from there."""
    return all(file.sha256 and (mirror.url or file.url or file.pack) for file in entry.files)


def get_model(entry: Entry, mirror: Mirror, progress: Progress) -> Path:
    """Download a model into the user's folder of models, unless it is there.

    Args:
        entry: The model.
        mirror: Where to download from.
        progress: Shows the download.

    Returns:
        The file of the model.

    Raises:
        UnavailableError: The download failed, nothing can be downloaded, another process does the same, or the file
            cannot be written.
        WrongModelError: The server, or the folder, has another file under this name.
    """
    if entry.name in SHIPPED:
        return shipped_model(entry.name)
    folder = require_models_folder()
    for file in entry.files:
        target = folder / entry.stored_name(file)
        if target.is_file():
            _check_stored(entry, file, target)
        elif is_fetchable(entry, mirror):
            _get_file(file, target, mirror, progress)
        else:
            raise UnavailableError(
                f"an address of {entry.name} that edgefr can download from and check",
                f"{entry.source}",
                f"download {file.name} there by hand, and save it as {target}",
            )
    return folder / entry.stored_name(entry.files[0])


def add_models(path: Path) -> list[tuple[Entry, Path]]:
    """Store a file of published models that is there already.

    Args:
        path: A model, or a zip that holds models.

    Returns:
        Each model that was recognised by its digest, with its file in the user's folder of models.

    Raises:
        WrongModelError: The file is missing, or no published model has its content.
        UnavailableError: A file cannot be written.
    """
    folder = require_models_folder()
    try:
        digest = sha256_of(path)
    except OSError as error:
        raise WrongModelError(f"a model file at {path}", error.strerror or str(error), "check the path") from error
    added = []
    entry = by_digest(digest)
    if entry is not None:
        file = next(file for file in entry.files if file.sha256 == digest)
        with path.open("rb") as stream:
            store(stream, file, folder / entry.stored_name(file))
        added.append((entry, folder / entry.stored_name(file)))
    elif path.suffix.lower() == ".zip":
        for entry, file, member in known_members(path):
            target = folder / entry.stored_name(file)
            store(member, file, target)
            added.append((entry, target))
    if not added:
        raise WrongModelError(
            f"a file of the catalogue in {path}",
            f"one that it does not know (SHA-256 {digest})",
            f"use it as your own model: `edgefr adopt {path}`",
        )
    return added


def remove_model(entry: Entry) -> list[Path]:
    """Remove a model, its manifest and unfinished downloads of it from the user's folder of models.

    Args:
        entry: The model.

    Returns:
        The files that were removed.

    Raises:
        WrongModelError: There is nothing to remove.
        UnavailableError: A file cannot be removed.
    """
    folder = require_models_folder()
    removed = []
    for file in entry.files:
        target = folder / entry.stored_name(file)
        unfinished = [_partial(folder, target.name, file.sha256)]
        if pack := pack_named(file.pack):
            unfinished.append(_partial(folder, Path(pack.url).name, pack.sha256))
        for path in (target, manifest_path(target), *unfinished, *map(validator_path, unfinished)):
            try:
                if path.is_file():
                    path.unlink()
                    removed.append(path)
            except OSError as error:
                raise unwritable(path, error, "check who may write there") from error
    if not removed:
        found = "one that comes with edgefr" if entry.name in SHIPPED else "none"
        raise WrongModelError(f"the model {entry.name} in {folder}", found, "list what is there with `edgefr models`")
    return removed


def _check_stored(entry: Entry, file: PublishedFile, target: Path) -> None:
    """A file that was placed by hand may be another one. A calibrated one has its manifest inside."""
    if not file.sha256 or sha256_of(target) == file.sha256:
        return
    try:
        digest = original_digest(target)
    except WrongModelError:  # not even a model
        digest = ""
    if digest != file.sha256:
        raise WrongModelError(
            f"SHA-256 {file.sha256} of {target}",
            "another file",
            f"move it away, or remove it with `edgefr models remove {entry.name}`",
        )


def _get_file(file: PublishedFile, target: Path, mirror: Mirror, progress: Progress) -> None:
    """Try the places that have a file, one after the other."""
    failure: EdgefrError | None = None
    for wanted, member in _sources(file, target, mirror):
        try:
            _fetch(wanted, target, member, progress)
            return
        except (RefusedError, WrongModelError) as error:
            failure = failure or error
        except LostConnectionError as error:
            raise LostConnectionError(
                error.expected,
                error.found,
                f"{error.fix}. Without a network: download {wanted.url} on another machine, copy it here, and run "
                "`edgefr models add FILE`",
            ) from error
    assert failure is not None
    raise failure


def _sources(file: PublishedFile, target: Path, mirror: Mirror) -> Iterator[tuple[Download, PublishedFile | None]]:
    """What to download instead of each other: the file alone, or a pack with the member to take from it."""
    pack = pack_named(file.pack)
    alone, packed = [file.url] if file.url else [], pack.url if pack else ""
    if mirror.url:
        base = check_mirror(mirror.url, mirror.allow_http)
        alone = [f"{base}/{quote(name)}" for name in dict.fromkeys([target.name, file.name])]
        packed = f"{base}/{Path(packed).name}"
    for url in alone:
        yield Download(url, file.sha256, file.bytes, _limit(file), mirror.allow_http), None
    if pack:
        yield Download(packed, pack.sha256, pack.bytes, pack.bytes, mirror.allow_http), file


def _fetch(wanted: Download, target: Path, member: PublishedFile | None, progress: Progress) -> None:
    """Download a file to `target`, or a pack of which `member` becomes `target`."""
    title = target.name if member is None else Path(wanted.url).name
    partial = _partial(target.parent, title, wanted.sha256)
    with run_lock(partial.with_name(partial.name + ".lock")):
        _check_space(partial, (wanted.bytes or 0) + (0 if member is None else member.bytes or 0))
        with progress(title, wanted.bytes) as advance:
            download(wanted, partial, advance)
        try:
            if member is None:
                partial.replace(target)
            else:
                unpack(partial, member, target)
                partial.unlink()
        except OSError as error:
            raise unwritable(target, error) from error


def _partial(folder: Path, title: str, sha256: str) -> Path:
    """Where an unfinished download is kept: by content, so that it is never completed with another file's end."""
    return folder / ".partial" / f"{sha256[:12]}-{title}"


def _limit(file: PublishedFile) -> int:
    if file.bytes is not None:
        return file.bytes
    return MAX_MODEL_BYTES if file.about_mb is None else int(ABOUT * file.about_mb * 1e6) + (1 << 20)


def _check_space(partial: Path, size: int) -> None:
    try:
        there = partial.stat().st_size if partial.is_file() else 0
        free = shutil.disk_usage(partial.parent).free
    except OSError as error:
        raise unwritable(partial, error) from error
    if free < size - there:
        raise UnavailableError(
            f"{(size - there) / 1e6:,.0f} MB of free space in {partial.parent}",
            f"{free / 1e6:,.0f} MB",
            "free disk space, and run the same command again",
        )
