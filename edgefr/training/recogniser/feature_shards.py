"""Records of training samples in memory-mapped shards: cached feature maps, or pictures with teacher embeddings.

A folder holds `index.json` and shards `00000.npy`, each an array of records with one record per sample. The index
names the shards with their SHA-256, and the key of what they were made from. It is written after each shard, so that
an interrupted run resumes with the next one.
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
from edgefr.types import MAP_SIZE, Floats

SHARD_SIZE = 2048
"""Samples of a shard: 100 MB of int8 maps."""

MAX_OPEN_SHARDS = 512
"""Shards that are mapped at once. Each holds a file descriptor, and a process often has no more than 1,024."""

INDEX, LOCK = "index.json", "lock"
Records = npt.NDArray[np.void]
Advance = Callable[[int], None]


def record_dtype(store: str, channels: int, embeddings_dim: int) -> np.dtype[np.void]:
    """Type of the record of a sample: both maps with the channels of the wider one, their scales (int8), embeddings,
    targets and label."""
    maps: list[Any] = [("maps", np.int8 if store == "int8" else np.float16, (2, channels, MAP_SIZE, MAP_SIZE))]
    if store == "int8":
        maps.append(("scale", np.float32, (2, channels)))
    vectors = [(name, np.float32, (embeddings_dim,)) for name in ("embeddings", "aims")]
    return np.dtype([*maps, *vectors, ("label", np.int64)])


def pack_maps(maps: Floats, records: Records) -> None:
    """Write maps (B, 2, C, 7, 7) into records (B,); int8 is relative to the largest value of each channel."""
    if "scale" not in (records.dtype.names or ()):
        records["maps"] = maps.clip(-65504, 65504)
        return
    scale = np.abs(maps).max((3, 4)) / 127  # (B, 2, C)
    records["scale"] = scale
    records["maps"] = np.rint(maps / np.where(scale > 0, scale, 1)[..., None, None])


def unpack_maps(records: Records) -> Floats:
    """Read maps (B, 2, C, 7, 7) from records (B,)."""
    maps = records["maps"].astype(np.float32)
    if "scale" in (records.dtype.names or ()):
        maps *= records["scale"][..., None, None]
    return maps


@dataclass(frozen=True)
class Shards:
    """A cache of records on disk.

    Attributes:
        folder: Folder of the shards.
        key: Hash of everything the records are made from.
        count: Number of records.
        dtype: Type of a record.
    """

    folder: Path
    key: str
    count: int
    dtype: np.dtype[np.void]

    def starts(self) -> list[int]:
        """First sample of every shard."""
        return list(range(0, self.count, SHARD_SIZE))

    def missing(self) -> list[int]:
        """First samples of the shards that do not exist yet.

        Raises:
            EdgefrError: The folder holds records of something else.
        """
        done = self._index()
        return [start for start in self.starts() if _file_name(start) not in done]

    def fill(
        self, titles: tuple[str, str], make_records: Callable[[int, Advance], Records], progress: Progress, world: World
    ) -> None:
        """Make the missing shards, then compare all with their checksums.

        The first process does it while the others wait.

        Args:
            titles: Titles of the progress bars of both.
            make_records: Given the first sample of a shard and a function that advances the bar, returns its records.
            progress: Shows the work.
            world: The processes that train together.

        Raises:
            EdgefrError: The disk is too small, another run is making these shards, or a shard is damaged.
        """
        making, checking = titles
        if world.first:
            if self.missing():
                with run_lock(self.folder / LOCK, private=True):
                    missing = self.missing()  # another run may have made some meanwhile
                    self._check_disk_space(missing)
                    with progress(making, self._samples(missing)) as advance:
                        for start in missing:
                            self.write(start, make_records(start, advance))
            with progress(checking, self.count) as advance:
                self.verify(advance)
        world.barrier()

    def write(self, start: int, records: Records) -> None:
        """Write the shard that begins with sample `start`, then add it to the index."""
        path = self.folder / _file_name(start)
        with atomic_write(path, private=True) as temporary:
            np.save(temporary, records, allow_pickle=False)
        self._write_index(self._index() | {path.name: {"sha256": sha256_of(path), "views": len(records)}})

    def verify(self, advance: Advance) -> None:
        """Compare every shard with its checksum.

        Args:
            advance: Called with the number of checked samples.

        Raises:
            EdgefrError: A shard is damaged. It is removed from the index, so that the next run makes it again.
        """
        shards = self._index()
        for name, entry in shards.items():
            path = self.folder / name
            if not path.is_file() or sha256_of(path) != entry["sha256"]:
                self._write_index({other: intact for other, intact in shards.items() if other != name})
                raise EdgefrError(
                    f"the records of {path} as they were written",
                    "others",
                    "run the same command again, which makes this shard again",
                )
            advance(entry["views"])

    def column(self, name: str) -> npt.NDArray[Any]:
        """One field of all records, (count, ...)."""
        return np.concatenate([np.array(self.map_shard(start)[name]) for start in self.starts()])

    def map_shard(self, start: int) -> Records:
        """Map the shard that begins with sample `start` into memory.

        Raises:
            EdgefrError: It holds records of another type.
        """
        shard: Records = np.load(self.folder / _file_name(start), mmap_mode="r")
        if shard.dtype != self.dtype:
            raise EdgefrError(f"records of {self.dtype.itemsize} bytes in {self.folder}", "others", "remove the folder")
        return shard

    def _samples(self, starts: list[int]) -> int:
        return sum(min(SHARD_SIZE, self.count - start) for start in starts)

    def _check_disk_space(self, missing: list[int]) -> None:
        needed, free = self.dtype.itemsize * self._samples(missing), shutil.disk_usage(self.folder).free
        if needed > free:
            raise EdgefrError(
                f"{needed / 1e9:,.3f} GB of free disk space for {self.folder}",
                f"{free / 1e9:,.3f} GB",
                "free some space, or --set runs=FOLDER on a larger disk",
            )

    def _write_index(self, shards: dict[str, Any]) -> None:
        with atomic_write(self.folder / INDEX, private=True) as temporary:
            temporary.write_text(json.dumps({"key": self.key, "shards": shards}, indent=1) + "\n", encoding="utf-8")

    def _index(self) -> dict[str, Any]:
        path = self.folder / INDEX
        if not path.is_file():
            return {}
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            key, shards = raw["key"], dict(raw["shards"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise EdgefrError(
                f"an index of shards in {path}", f"something else ({error})", "remove the folder"
            ) from error
        if key != self.key:
            raise EdgefrError(f"records of this recipe in {self.folder}", "those of another", "remove the folder")
        return shards


class ShardReader:
    """Reads records by the numbers of their samples. In another process it maps the shards again."""

    def __init__(self, shards: Shards) -> None:
        self.shards, self._map_shard = shards, lru_cache(MAX_OPEN_SHARDS)(shards.map_shard)

    def __reduce__(self) -> tuple[type[ShardReader], tuple[Shards]]:
        return ShardReader, (self.shards,)

    def __call__(self, numbers: npt.NDArray[np.int64]) -> Records:
        """(B,) numbers -> (B,) records."""
        records = np.empty(len(numbers), self.shards.dtype)
        for index, number in enumerate(numbers):
            row = int(number) % SHARD_SIZE
            records[index] = self._map_shard(int(number) - row)[row]
        return records


def shard_batches(start: int, count: int, batch: int) -> Iterator[npt.NDArray[np.int64]]:
    """The samples of the shard that begins with `start`, of `count` in all, in batches and in order."""
    end = min(start + SHARD_SIZE, count)
    return (np.arange(first, min(first + batch, end)) for first in range(start, end, batch))


def _file_name(start: int) -> str:
    return f"{start // SHARD_SIZE:05d}.npy"
