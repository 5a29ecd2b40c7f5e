"""`make soak`: kill a process that enrols, extends, renames, removes and rotates keys, 20,000 times at random.

After each kill the gallery must hold all acknowledged changes and nothing else. The change in progress may have
happened or not, but only as a whole. A copy is checked, so that the file itself stays as the kill left it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgefr.errors import LockedError
from edgefr.gallery.crypto.key_wrapping import KeyFile
from edgefr.gallery.file_gallery import FileGallery
from edgefr.gallery.model_binding import ModelBinding
from edgefr.gallery.pin import Pin
from edgefr.gallery.records import FaceSample
from edgefr.gallery.stores.base import NoGalleryError

DIM = 8
BINDING = ModelBinding("none", "none", "none", "none", "fp32", DIM)
MAX_SECONDS = 0.03
"""Longest time until the kill: enough to open a gallery and to change it many times."""
FROM_START = 0.3
"""Share of kills whose time starts with the process, and not with the first change."""
MAX_PEOPLE = 12
NEW_GALLERY = 0.02
"""Share of kills of a process that creates a new gallery."""
REPORT_EVERY = 500
"""Number of kills between two progress messages."""


@dataclass(frozen=True)
class State:
    """The expected content: sources of the images of each person, number of log entries, and index of the key."""

    people: dict[str, tuple[str, ...]]
    events: int = 0
    key: int = 0

    def after(self, change: Sequence[str]) -> State:
        """The state after a change."""
        what, name, more = change
        people = dict(self.people)
        if what == "enrol":
            people[name] = (*people.get(name, ()), more)
        elif what == "remove":
            del people[name]
        elif what == "rename":
            people[more] = people.pop(name)
        key = 1 - self.key if what == "rotate" else self.key
        return State(people, self.events + 1, key)


def run(kills: int, folder: Path, seed: int) -> dict[str, object]:
    """Kill processes, check the gallery after each, and return the counts."""
    rng, keys = random.Random(seed), [KeyFile.create(folder / f"key{n}") for n in (0, 1)]  # noqa: S311
    path, known = folder / "people.gallery", None
    changes = torn = 0
    start = time.perf_counter()
    for number in range(kills):
        if number and number % REPORT_EVERY == 0:
            print(f"{number:,} kills, {changes:,} changes acknowledged, none lost", file=sys.stderr, flush=True)
        if known is None or rng.random() < NEW_GALLERY:
            for file in folder.glob("people.gallery*"):
                file.unlink()
            known = None
        done, pending = _killed(path, keys, known, rng)
        for change in done:
            known = State({}) if change[0] == "create" else _known(known).after(change)
        changes += len(done)
        found = _found(path, keys, folder / "copy")
        if found == known:
            torn += bool(pending)
        elif pending and found == (State({}) if pending[0] == "create" else _known(known).after(pending)):
            known = found
        else:
            raise SystemExit(f"kill {number} of seed {seed}: expected {known} or it after {pending}, found {found}")
    seconds = time.perf_counter() - start
    return {"kills": kills, "acknowledged": changes, "undone": torn, "kills_per_second": kills / seconds}


def _known(state: State | None) -> State:
    assert state is not None, "a gallery was changed before its creation was acknowledged"
    return state


def _killed(
    path: Path, keys: list[KeyFile], known: State | None, rng: random.Random
) -> tuple[list[list[str]], list[str]]:
    """The changes that a child acknowledged before it was killed, and the one in progress."""
    reader, writer = os.pipe()
    seed, wait, seconds = rng.random(), rng.random() >= FROM_START, rng.uniform(0, MAX_SECONDS)
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            _work(path, keys, known, random.Random(seed), writer)  # noqa: S311
        finally:
            os._exit(1)
    os.close(writer)
    first = os.read(reader, 1) if wait else b""
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reader) as file:
        lines = (first.decode() + file.read()).splitlines()
    if not os.WIFSIGNALED(status):
        raise SystemExit(f"the child failed: {lines}")
    done: list[list[str]] = []
    pending: list[str] = []
    for line in lines:
        if line == "done":
            done.append(pending)
            pending = []
        else:
            pending = json.loads(line)
    return done, pending


def _work(path: Path, keys: list[KeyFile], known: State | None, rng: random.Random, pipe: int) -> None:
    """Change the gallery at random until the kill, and report each change before and after it."""

    def report(line: str) -> None:
        os.write(pipe, line.encode() + b"\n")  # a short line arrives as a whole

    try:
        if known is None:
            report(json.dumps(["create", "", ""]))
            gallery, state = FileGallery.create(path, keys[0], BINDING, _pin(path)), State({})
            report("done")
        else:
            gallery, state = FileGallery.open(path, keys[known.key], _pin(path)), known
        while True:
            change = _random_change(state, rng)
            report(json.dumps(change))
            state = state.after(change)
            _apply(gallery, change, keys[state.key], rng)
            report("done")
    except BaseException as error:
        report(json.dumps(["failed", type(error).__name__, str(error)]))


def _pin(path: Path) -> Pin:
    """The pin of the gallery. It must fit after every kill, also to the copy that is checked."""
    return Pin(path, path.with_name("pins"), required=True)


def _random_change(state: State, rng: random.Random) -> tuple[str, str, str]:
    names, fresh = sorted(state.people), f"{rng.getrandbits(48):x}"
    if not names or (len(names) < MAX_PEOPLE and rng.random() < 0.4):
        return "enrol", fresh, fresh
    name = rng.choice(names)
    what = rng.choice(["enrol", "remove", "rename", "rotate"])
    return (what, "", "") if what == "rotate" else (what, name, fresh)


def _apply(gallery: FileGallery, change: Sequence[str], key: KeyFile, rng: random.Random) -> None:
    what, name, more = change
    if what == "enrol":
        embedding = np.array([rng.gauss(0, 1) for _ in range(DIM)], np.float32)
        embedding /= np.linalg.norm(embedding)
        gallery.enrol(name, [FaceSample(more, embedding, 1.0, rng.random(), 2.0)])
    elif what == "remove":
        gallery.remove(name)
    elif what == "rename":
        gallery.rename(name, more)
    else:
        gallery.rotate(key)


def _found(path: Path, keys: list[KeyFile], copy: Path) -> State | None:
    """The content of a copy of the file; None if there is no gallery yet."""
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for file in path.parent.glob("people.gallery*"):
        if not file.name.endswith("-shm"):  # SQLite creates it again after a crash of the machine
            shutil.copy(file, copy)
    for number, key in enumerate(keys):
        try:
            gallery = FileGallery.open(copy / path.name, key, _pin(path))
        except NoGalleryError:
            return None
        except LockedError:
            if number == 0:
                continue
            raise
        with gallery:
            if gallery.orphan_images():
                raise SystemExit("images without a person")
            people = {name: tuple(one.source for one in gallery.samples(name)) for name in gallery.names()}
            return State(people, len(gallery.events()), number)
    raise AssertionError


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--kills", type=int, default=20_000)
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    # A kill does not change the memory of the machine, so that files in memory are as good as on a disk, and faster.
    memory = Path("/dev/shm")  # noqa: S108
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        json.dump(run(given.kills, Path(folder), given.seed), sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
