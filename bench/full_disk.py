"""Fill the disk of a gallery in every possible way and check that each change is made or not, as it was reported.

Every change is tried with every amount of free space up to what it needs, on a small file system in memory. A second
round limits the size of files instead, which SQLite sees as an error of the disk. After each attempt the gallery is
read again from the disk, by a copy, as after a crash.

    unshare --map-root-user --mount python -m bench.full_disk
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from bench.kills import BINDING, DIM
from edgefr.errors import EdgefrError, UnavailableError
from edgefr.gallery.base import Gallery
from edgefr.gallery.crypto.key_wrapping import KeyFile
from edgefr.gallery.file_gallery import FileGallery
from edgefr.gallery.records import FaceSample
from edgefr.io.files import atomic_write

SIZE = 1 << 20
"""Bytes of the file system."""
PAGE = 4096
FORMER, LATER = "former", "later"

State = tuple[dict[str, tuple[str, ...]], int, str]
"""Sources of the images of each person, number of events, and the key that opens the gallery."""
CHANGES: dict[str, Callable[[Gallery, KeyFile], object]] = {
    "enrol": lambda gallery, _key: gallery.enrol("Grace", [_sample(n) for n in range(20, 24)]),
    "extend": lambda gallery, _key: gallery.enrol("person 1", [_sample(9)]),
    "rename": lambda gallery, _key: gallery.rename("person 1", "Ada"),
    "remove": lambda gallery, _key: gallery.remove("person 1"),
    "remove image": lambda gallery, _key: gallery.remove_image("person 1", "#1"),
    "rotate": lambda gallery, key: gallery.rotate(key),
    "rebuild": lambda gallery, _key: gallery.re_embed_all(
        replace(gallery.binding, model="other"), lambda _name, samples: samples
    ),
}


def run(step: int, folder: Path) -> dict[str, object]:
    """Try every change with every multiple of `step` bytes of free space; return how often it was made."""
    keys = {name: KeyFile.create(folder / name) for name in (FORMER, LATER)}
    disk = folder / "disk"
    disk.mkdir()
    _mount(f"size={SIZE}", disk)
    counts: Counter[str] = Counter()
    try:
        for name, change in CHANGES.items():
            for limit in (_full, _broken):
                for room in range(0, SIZE, step):
                    outcome = _attempt(disk, folder / "copy", keys, change, limit, room)
                    counts[f"{name}, {limit.__name__.strip('_')}: {outcome}"] += 1
                    if outcome == "made":  # there is enough space from here on
                        break
        _check_reading(disk, keys[FORMER])
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
    return dict(counts)


def _mount(options: str, disk: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", disk], check=True)


def _attempt(
    disk: Path,
    copy: Path,
    keys: dict[str, KeyFile],
    change: Callable[[Gallery, KeyFile], object],
    limit: Callable[[Path, int], object],
    room: int,
) -> str:
    """Try one change with `room` bytes; "made", "made with traces" or "not made", as reported and as found."""
    for file in disk.iterdir():
        file.unlink()
    with FileGallery.create(disk / "people.gallery", keys[FORMER], BINDING) as gallery:
        for number in range(3):
            gallery.enrol(f"person {number}", [_sample(number), _sample(number + 10)])
        before = _state(gallery, FORMER)
        with limit(disk, room):  # type: ignore[attr-defined]
            try:
                change(gallery, keys[LATER])
                outcome = "made with traces" if gallery.traces else "made"
            except UnavailableError:
                outcome = "not made"
            found = _copied(disk, copy, keys)
            gallery.search(_sample(1).embedding)
        if (found == before) is not (outcome == "not made"):
            raise SystemExit(f"{room} bytes: reported as {outcome}, found {found} after {before}")
        gallery._next_attempt = 0.0
        gallery.purge()
        if gallery.traces:
            raise SystemExit(f"{room} bytes: {gallery.traces}, although there is space again")
    return outcome


def _copied(disk: Path, copy: Path, keys: dict[str, KeyFile]) -> State:
    """The state that another process finds after a crash."""
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for file in disk.glob("people.gallery*"):
        if not file.name.endswith("-shm"):
            shutil.copy(file, copy)
    for name, key in keys.items():
        try:
            gallery = FileGallery.open(copy / "people.gallery", key)
        except EdgefrError:
            if name == LATER:
                raise
            continue
        with gallery:
            if gallery.orphan_images():
                raise SystemExit("images without a person")
            return _state(gallery, name)
    raise AssertionError


def _check_reading(disk: Path, key: KeyFile) -> None:
    """A closed gallery can be searched on a full and on a read-only disk, and files are whole or absent."""
    for file in disk.iterdir():
        file.unlink()
    with FileGallery.create(disk / "people.gallery", key, BINDING) as gallery:
        gallery.enrol("Ada", [_sample(1)])
        gallery.enrol("Grace", [_sample(2)], expires_in_s=1e-6)
    with _full(disk, 0):
        with FileGallery.open(disk / "people.gallery", key) as gallery:
            if gallery.names() != ["Ada"] or gallery.search(_sample(2).embedding)[0].name != "Ada":
                raise SystemExit("an expired person is found on a full disk")
        try:
            with atomic_write(disk / "a file") as temporary:
                temporary.write_bytes(bytes(PAGE))
        except UnavailableError:
            pass
        if [file.name for file in disk.iterdir() if "a file" in file.name]:
            raise SystemExit("a part of a file is left")
    with FileGallery.open(disk / "people.gallery", key) as gallery:
        gallery.remove("Grace")
        if [event.what for event in gallery.events()][-1] != "removed":
            raise SystemExit("an expired person is not removed after space was freed")
    _mount("remount,ro", disk)
    with FileGallery.open(disk / "people.gallery", key) as gallery:
        if gallery.search(_sample(1).embedding)[0].name != "Ada":
            raise SystemExit("a gallery on a read-only disk is not searched")
        try:
            gallery.remove("Ada")
        except UnavailableError as error:
            if "can only be read" not in str(error):
                raise
    _mount("remount,rw", disk)


@contextmanager
def _full(disk: Path, room: int) -> Iterator[None]:
    """Leave `room` bytes of free space."""
    filler = disk / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(PAGE)):
                    pass
            except OSError:
                file.truncate(max(0, file.tell() // PAGE * PAGE - room))
        yield
    finally:
        filler.unlink()


@contextmanager
def _broken(disk: Path, room: int) -> Iterator[None]:
    """Let no file grow by more than `room` bytes beyond SQLite's log: writes fail with an I/O error."""
    size = (disk / "people.gallery-wal").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _sample(number: int) -> FaceSample:
    import numpy as np

    embedding = np.random.default_rng(number).standard_normal(DIM).astype(np.float32)
    return FaceSample(f"{number}.jpg", embedding / np.linalg.norm(embedding), 20.0, -1.0, 2.0)


def _state(gallery: Gallery, key: str) -> State:
    people = {name: tuple(one.source for one in gallery.samples(name)) for name in gallery.names()}
    return people, len(gallery.events()), f"{key} {gallery.binding.model}"


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--step", type=int, default=PAGE, help="bytes between two amounts of free space")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        json.dump(run(given.step, Path(folder)), sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
