"""`make soak`: kill a process that changes a gallery, 20,000 times at random.

The changes: enrol, extend, import, rename, remove, remove an image, rotate the key, log.

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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgefr.errors import LockedError
from edgefr.gallery.base import Gallery
from edgefr.gallery.crypto.key_wrapping import KeyFile
from edgefr.gallery.file_gallery import FileGallery
from edgefr.gallery.model_binding import ModelBinding
from edgefr.gallery.pin import Pin
from edgefr.gallery.records import Event, FaceSample, Person, fuse_template
from edgefr.gallery.search import index_snapshot
from edgefr.gallery.stores.base import NoGalleryError

DIM = 8
BINDING = ModelBinding("none", "none", "none", "none", "fp32", DIM)
MAX_SECONDS = 0.03
"""Longest time until the kill: enough to open a gallery and to change it many times."""
FROM_START = 0.3
"""Share of kills whose time starts with the process, and not with the first change."""
MAX_PEOPLE = 12
PART_ROWS = 3
"""People in a part of the snapshot of the index, so that so few people fill several."""
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
        elif what == "import":
            people[name] = (more,)
        elif what == "remove":
            del people[name]
        elif what == "remove image":
            people[name] = tuple(source for source in people[name] if source != more)
        elif what == "rename":
            people[more] = people.pop(name)
        key = 1 - self.key if what == "rotate" else self.key
        return State(people, self.events + 1, key)


def run(kills: int, folder: Path, seed: int) -> dict[str, object]:
    """Kill processes, check the gallery after each, and return the counts."""
    keys, path = [KeyFile.create(folder / f"key{n}") for n in (0, 1)], folder / "people.gallery"
    index_snapshot.CHUNK_ROWS, index_snapshot.FOLD_ROWS = PART_ROWS, PART_ROWS - 1

    def clear() -> None:
        for file in folder.glob("people.gallery*"):
            file.unlink()

    return repeat(
        kills,
        seed,
        clear,
        lambda known, rng: _killed(path, keys, known, rng),
        lambda: _found(path, keys, folder / "copy"),
    )


def repeat(
    kills: int,
    seed: int,
    clear: Callable[[], None],
    kill: Callable[[State | None, random.Random], tuple[list[list[str]], list[str]]],
    find: Callable[[], State | None],
) -> dict[str, object]:
    """Kill writers of one gallery and check it after each.

    Args:
        kills: How many.
        seed: For the changes and times.
        clear: Removes the gallery, so that the next writer creates one.
        kill: Kills a writer; returns the changes that it acknowledged, and the one in progress.
        find: What the gallery holds after a kill; None if there is none.

    Returns:
        The counts.
    """
    rng, known = random.Random(seed), None  # noqa: S311
    changes = torn = 0
    start = time.perf_counter()
    for number in range(kills):
        if number and number % REPORT_EVERY == 0:
            print(f"{number:,} kills, {changes:,} changes acknowledged, none lost", file=sys.stderr, flush=True)
        if known is None or rng.random() < NEW_GALLERY:
            clear()
            known = None
        done, pending = kill(known, rng)
        for change in done:
            known = State({}) if change[0] == "create" else _known(known).after(change)
        changes += len(done)
        found = find()
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
    seed, wait, seconds = rng.random(), rng.random() >= FROM_START, rng.uniform(0, MAX_SECONDS)
    return killed(lambda pipe: _work(path, keys, known, random.Random(seed), pipe), wait, seconds)  # noqa: S311


def killed(work: Callable[[int], None], wait: bool, seconds: float) -> tuple[list[list[str]], list[str]]:
    """Kill a child that works; returns the changes that it acknowledged before, and the one in progress.

    Args:
        work: Called in the child with the pipe that it reports to.
        wait: Whether the time until the kill starts with the first report, and not with the process.
        seconds: Time until the kill.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            work(writer)
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
    """Change the gallery in the file at random until the kill."""

    def begin() -> Gallery:
        if known is None:
            return FileGallery.create(path, keys[0], BINDING, _pin(path))
        return FileGallery.open(path, keys[known.key], _pin(path))

    work(begin, known, keys, rng, pipe)


def work(begin: Callable[[], Gallery], known: State | None, keys: list[KeyFile], rng: random.Random, pipe: int) -> None:
    """Open or create a gallery, change it at random without end, and report each change before and after it."""

    def report(line: str) -> None:
        os.write(pipe, line.encode() + b"\n")  # a short line arrives as a whole

    try:
        if known is None:
            report(json.dumps(["create", "", ""]))
            gallery, state = begin(), State({})
            report("done")
        else:
            gallery, state = begin(), known
        while True:
            change = random_change(state, rng)
            report(json.dumps(change))
            state = state.after(change)
            _apply(gallery, change, keys[state.key], rng)
            report("done")
    except BaseException as error:
        report(json.dumps(["failed", type(error).__name__, str(error)]))


def _pin(path: Path) -> Pin:
    """The pin of the gallery. It must fit after every kill, also to the copy that is checked."""
    return Pin(path, path.with_name("pins"), required=True)


def random_change(state: State, rng: random.Random) -> tuple[str, str, str]:
    names, fresh = sorted(state.people), f"{rng.getrandbits(48):x}"
    if not names or (len(names) < MAX_PEOPLE and rng.random() < 0.4):
        return rng.choice(["enrol", "import"]), fresh, fresh
    name = rng.choice(names)
    what = rng.choice(["enrol", "remove", "rename", "rotate", "log", "remove image"])
    if what == "remove image" and len(state.people[name]) > 1:
        return what, name, rng.choice(state.people[name])
    what = "remove" if what == "remove image" else what
    return (what, "", "") if what in ("rotate", "log") else (what, name, fresh)


def _apply(gallery: Gallery, change: Sequence[str], key: KeyFile, rng: random.Random) -> None:
    what, name, more = change
    if what == "enrol":
        gallery.enrol(name, [_sample(more, rng)])
    elif what == "import":
        sample = _sample(more, rng)
        gallery.import_all([(Person(0, name, 1.0, None, fuse_template([sample]), ()), [sample])], "an export")
    elif what == "log":
        gallery.log([Event.now("matched", "nobody")])
    elif what == "remove image":
        gallery.remove_image(name, more)
    elif what == "remove":
        gallery.remove(name)
    elif what == "rename":
        gallery.rename(name, more)
    else:
        gallery.rotate(key)


def _sample(source: str, rng: random.Random) -> FaceSample:
    embedding = np.array([rng.gauss(0, 1) for _ in range(DIM)], np.float32)
    return FaceSample(source, embedding / np.linalg.norm(embedding), 1.0, rng.random(), 2.0)


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
            return content(gallery, number)
    raise AssertionError


def content(gallery: Gallery, key: int) -> State:
    """What an open gallery holds."""
    if gallery.orphan_images():
        raise SystemExit("images without a person")
    people = {name: tuple(one.source for one in gallery.samples(name)) for name in gallery.names()}
    for name in people:
        if gallery.search(gallery.person(name).template, 1)[0].name != name:
            raise SystemExit(f"{name} is not found by the template")
    return State(people, len(gallery.events()), key)


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
