"""Frozen backbones run once: what they say of every view, in memory-mapped shards.

A folder holds `index.json` and shards `00000.npy`, each an array of records, one a view. The index names the shards
with their SHA-256 and what they were made from; it is written after each shard, so that an interrupted run goes on
with the next one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgefr.errors import EdgefrError
from edgefr.io.files import atomic_write, sha256_of
from edgefr.io.run_lock import run_lock
from edgefr.training.common.parallel import World
from edgefr.training.common.progress import Progress
from edgefr.types import MAP_SIZE

SHARD = 2048
"""Views of a shard: 100 MB in int8."""

OPEN = 512
"""Shards that are mapped at once: each holds a file descriptor, and a process often has no more than 1,024."""

INDEX, LOCK = "index.json", "lock"
Records = npt.NDArray[np.void]
Advance = Callable[[int], None]


def record_type(store: str, channels: int, embeddings_dim: int) -> np.dtype[np.void]:
    """One view: both maps, a scale for each channel (int8), embeddings, the aim, and label."""
    maps: list[Any] = [("maps", np.int8 if store == "int8" else np.float16, (2, channels, MAP_SIZE, MAP_SIZE))]
    if store == "int8":
        maps.append(("scale", np.float32, (2, channels)))
    return np.dtype(
        [
            *maps,
            ("embeddings", np.float32, (embeddings_dim,)),
            ("aims", np.float32, (embeddings_dim,)),
            ("label", np.int64),
        ]
    )


def packed(maps: npt.NDArray[np.float32], records: Records) -> None:
    """Put maps (B, 2, C, 7, 7) into records; int8 keeps 7 bits of each channel's largest value."""
    if "scale" not in (records.dtype.names or ()):
        records["maps"] = maps.clip(-65504, 65504)
        return
    scale = np.abs(maps).max((3, 4)) / 127  # (B, 2, C)
    records["scale"] = scale
    records["maps"] = np.rint(maps / np.where(scale > 0, scale, 1)[..., None, None])


def unpacked(records: Records) -> npt.NDArray[np.float32]:
    """The maps (B, 2, C, 7, 7) of records."""
    maps = records["maps"].astype(np.float32)
    if "scale" in (records.dtype.names or ()):
        maps *= records["scale"][..., None, None]
    return maps


@dataclass(frozen=True)
class Shards:
    """A cache of `count` views in `folder`, made from what `key` says."""

    folder: Path
    key: str
    count: int
    dtype: np.dtype[np.void]

    def starts(self) -> list[int]:
        """The first view of every shard."""
        return list(range(0, self.count, SHARD))

    def missing(self) -> list[int]:
        """First views of the shards that are still to be made.

        Raises:
            EdgefrError: the folder holds a cache of something else.
        """
        done = self._index()
        return [start for start in self.starts() if _name(start) not in done]

    def views_of(self, starts: list[int]) -> int:
        """How many views the shards that begin there have."""
        return sum(min(SHARD, self.count - start) for start in starts)

    def fill(
        self, titles: tuple[str, str], records_of: Callable[[int, Advance], Records], progress: Progress, world: World
    ) -> None:
        """Make the missing shards, then compare all with their checksums; `titles` are those of the two bars.

        The first process does it while the others wait. `records_of(start, advance)` makes one shard's records.

        Raises:
            EdgefrError: the disk is too small, another run is making these shards, or a shard is damaged.
        """
        making, checking = titles
        if world.first:
            if self.missing():
                with run_lock(self.folder / LOCK):
                    missing = self.missing()  # another run may have made some until now
                    self._check_room(missing)
                    with progress(making, self.views_of(missing)) as advance:
                        for start in missing:
                            self.write(start, records_of(start, advance))
            with progress(checking, self.count) as advance:
                self.verify(advance)
        world.wait()

    def _check_room(self, missing: list[int]) -> None:
        needed, free = self.dtype.itemsize * self.views_of(missing), shutil.disk_usage(self.folder).free
        if needed > free:
            raise EdgefrError(
                f"{needed / 1000000000.0:,.3f} GB of free disk space for {self.folder}",
                f"{free / 1000000000.0:,.3f} GB",
                "make room, or --set runs=FOLDER on a larger disk",
            )

    def write(self, start: int, records: Records) -> None:
        """Write the shard that begins with view `start`, then enter it into the index."""
        path = self.folder / _name(start)
        with atomic_write(path) as temporary:
            np.save(temporary, records, allow_pickle=False)
        entry = {"sha256": sha256_of(path), "views": len(records)}
        shards = self._index() | {_name(start): entry}
        with atomic_write(self.folder / INDEX) as temporary:
            temporary.write_text(json.dumps({"key": self.key, "shards": shards}, indent=1) + "\n", encoding="utf-8")

    def verify(self, advance: Advance) -> None:
        """Compare every shard with its checksum.

        Raises:
            EdgefrError: a shard is damaged; it is taken off the index, so that the next run makes it again.
        """
        shards = self._index()
        for name, entry in shards.items():
            path = self.folder / name
            if not path.is_file() or sha256_of(path) != entry["sha256"]:
                kept = {other: known for other, known in shards.items() if other != name}
                with atomic_write(self.folder / INDEX) as temporary:
                    temporary.write_text(json.dumps({"key": self.key, "shards": kept}) + "\n", encoding="utf-8")
                raise EdgefrError(
                    f"the feature maps of {path} as they were written",
                    "others",
                    "run the same command again, it makes this shard anew",
                )
            advance(entry["views"])

    def open(self) -> Reader:
        """What reads the records of views by their numbers."""
        return Reader(self)

    def column(self, name: str) -> npt.NDArray[Any]:
        """One field of all records, (count, ...)."""
        return np.concatenate([np.array(self.mapped(start)[name]) for start in self.starts()])

    def mapped(self, start: int) -> Records:
        """The shard that begins with view `start`.

        Raises:
            EdgefrError: it holds records of another kind.
        """
        shard: Records = np.load(self.folder / _name(start), mmap_mode="r")
        if shard.dtype != self.dtype:
            raise EdgefrError(f"records of {self.dtype.itemsize} bytes in {self.folder}", "others", "remove the folder")
        return shard

    def _index(self) -> dict[str, Any]:
        path = self.folder / INDEX
        if not path.is_file():
            return {}
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            key, shards = raw["key"], dict(raw["shards"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise EdgefrError(
                f"an index of feature maps in {path}", f"something else ({error})", "remove the folder"
            ) from error
        if key != self.key:
            raise EdgefrError(
                f"feature maps of this recipe's backbones and views in {self.folder}", "others", "remove the folder"
            )
        return shards


class Reader:
    """Reads the records of views by their numbers from mapped memory; another process that is given one maps the shards
    itself."""

    def __init__(self, shards: Shards) -> None:
        self.shards, self._mapped = shards, lru_cache(OPEN)(shards.mapped)

    def __reduce__(self) -> tuple[type[Reader], tuple[Shards]]:
        return Reader, (self.shards,)

    def __call__(self, numbers: npt.NDArray[np.int64]) -> Records:
        """(B,) -> (B,) records."""
        records = np.empty(len(numbers), self.shards.dtype)
        for place, number in enumerate(numbers):
            row = int(number) % SHARD
            records[place] = self._mapped(int(number) - row)[row]
        return records


def numbers_of(start: int, count: int, batch: int) -> Iterator[npt.NDArray[np.int64]]:
    """The views of the shard that begins with `start`, in batches, in order."""
    end = min(start + SHARD, count)
    return (np.arange(first, min(first + batch, end)) for first in range(start, end, batch))


def _name(start: int) -> str:
    return f"{start // SHARD:05d}.npy"
