"""`make soak`: a process that enrols, extends, renames, removes and rotates keys is killed 20,000 times at random.

Afterwards the gallery holds all that was acknowledged and nothing of what was not.

The change that was under way may have happened or not, but wholly. A copy is checked, so that the file itself stays as
the kill left it and the next process finds what a machine finds that comes back.
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
from edgefr.gallery.records import FaceSample
from edgefr.gallery.stores.base import NoGalleryError

DIM = 8
BINDING = ModelBinding("none", "none", "none", "none", "fp32", DIM)
LONGEST = 0.03
"""Seconds until the kill: enough to open a gallery, and to change it many times."""
BEFORE_OPEN = 0.3
"""How often these seconds begin before the gallery is opened, and not with the first change."""
MOST_PEOPLE = 12
AFRESH = 0.02
"""How often a new gallery is begun, so that creation is killed, too."""
TOLD = 500
"""Kills after which it is told that it goes on."""


@dataclass(frozen=True)
class State:
    """What must be in the file: the sources of everybody's images, lines of log, and which of two keys locks it."""

    people: dict[str, tuple[str, ...]]
    events: int = 0
    key: int = 0

    def after(self, change: Sequence[str]) -> State:
        """The state when a change has happened."""
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
    """Kill so many processes; what was found."""
    rng, keys = random.Random(seed), [KeyFile.create(folder / f"key{n}") for n in (0, 1)]  # noqa: S311
    path, known = folder / "people.gallery", None
    changes = torn = 0
    start = time.perf_counter()
    for number in range(kills):
        if number and number % TOLD == 0:
            print(f"{number:,} kills, {changes:,} changes acknowledged, none lost", file=sys.stderr, flush=True)
        if known is None or rng.random() < AFRESH:
            for file in folder.glob("people.gallery*"):
                file.unlink()
            known = None
        done, under_way = _killed(path, keys, known, rng)
        for change in done:
            known = State({}) if change[0] == "create" else _known(known).after(change)
        changes += len(done)
        found = _found(path, keys, folder / "copy")
        if found == known:
            torn += bool(under_way)
        elif under_way and found == (State({}) if under_way[0] == "create" else _known(known).after(under_way)):
            known = found
        else:
            raise SystemExit(f"kill {number} of seed {seed}: expected {known} or it after {under_way}, found {found}")
    seconds = time.perf_counter() - start
    return {"kills": kills, "acknowledged": changes, "undone": torn, "kills_per_second": kills / seconds}


def _known(state: State | None) -> State:
    assert state is not None, "a gallery was changed before it was acknowledged to be there"
    return state


def _killed(
    path: Path, keys: list[KeyFile], known: State | None, rng: random.Random
) -> tuple[list[list[str]], list[str]]:
    """Changes that a child acknowledged before it was killed, and the one that was under way."""
    reader, writer = os.pipe()
    seed, wait, seconds = rng.random(), rng.random() >= BEFORE_OPEN, rng.uniform(0, LONGEST)
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
    under_way: list[str] = []
    for line in lines:
        if line == "done":
            done.append(under_way)
            under_way = []
        else:
            under_way = json.loads(line)
    return done, under_way


def _work(path: Path, keys: list[KeyFile], known: State | None, rng: random.Random, pipe: int) -> None:
    """Change the gallery at random for ever, and tell before and after each change."""

    def tell(line: str) -> None:
        os.write(pipe, line.encode() + b"\n")  # a line is short enough to arrive whole

    try:
        if known is None:
            tell(json.dumps(["create", "", ""]))
            gallery, state = FileGallery.create(path, keys[0], BINDING), State({})
            tell("done")
        else:
            gallery, state = FileGallery.open(path, keys[known.key]), known
        while True:
            change = _any_change(state, rng)
            tell(json.dumps(change))
            state = state.after(change)
            _do(gallery, change, keys[state.key], rng)
            tell("done")
    except BaseException as error:
        tell(json.dumps(["failed", type(error).__name__, str(error)]))


def _any_change(state: State, rng: random.Random) -> tuple[str, str, str]:
    names, fresh = sorted(state.people), f"{rng.getrandbits(48):x}"
    if not names or (len(names) < MOST_PEOPLE and rng.random() < 0.4):
        return "enrol", fresh, fresh
    name = rng.choice(names)
    what = rng.choice(["enrol", "remove", "rename", "rotate"])
    return (what, "", "") if what == "rotate" else (what, name, fresh)


def _do(gallery: FileGallery, change: Sequence[str], key: KeyFile, rng: random.Random) -> None:
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
    """What a copy of the file holds, proven; None where there is no gallery yet."""
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for file in path.parent.glob("people.gallery*"):
        if not file.name.endswith("-shm"):  # SQLite makes it anew after a crash of the machine
            shutil.copy(file, copy)
    for number, key in enumerate(keys):
        try:
            gallery = FileGallery.open(copy / path.name, key)
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
    # A kill leaves the machine's memory as it is, so that files there are tried as well as on a disk, and faster.
    memory = Path("/dev/shm")  # noqa: S108
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        json.dump(run(given.kills, Path(folder), given.seed), sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
