"""Names of people and digests of their rows, by id. Most of them stay as packed as in a snapshot."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgefr.gallery.search.index_chunk import IndexChunk


@dataclass(frozen=True)
class _Packed:
    """The ids (N,), the digests (N, 32) and the names of an `IndexChunk`."""

    ids: npt.NDArray[np.int64]
    digests: npt.NDArray[np.uint8]
    names: bytes

    def row(self, number: int) -> int | None:
        row = int(np.searchsorted(self.ids, number))
        return row if row < len(self.ids) and self.ids[row] == number else None

    def rows_of(self, name: bytes) -> Iterator[int]:
        at = self.names.find(name)
        while at >= 0:
            yield self.names.count(b"\n", 0, at)
            at = self.names.find(name, at + 1)

    def name(self, row: int) -> str:
        ends = np.flatnonzero(np.frombuffer(self.names, np.uint8) == ord("\n"))
        return self.names[ends[row] + 1 : ends[row + 1]].decode()

    def name_list(self) -> list[str]:
        return self.names.decode().split("\n")[1:-1]


class Directory:
    """Names of people and digests of their rows. A million packed people take 60 MB, and 400 MB as Python objects."""

    def __init__(self) -> None:
        self._packed: list[_Packed] = []
        self._firsts: list[int] = []
        """The lowest id of each packed part, in order."""
        self._gone: set[int] = set()
        """Packed people who were removed."""
        self._name_of: dict[int, str] = {}
        self._id_of: dict[str, int] = {}
        self._digest_of: dict[int, bytes] = {}
        self._count = 0

    def add_chunk(self, chunk: IndexChunk) -> None:
        """Add the people of a part, whose ids are not in the directory."""
        if not len(chunk):
            return
        first = int(chunk.block.ids[0])
        at = bisect_right(self._firsts, first)
        self._firsts.insert(at, first)
        self._packed.insert(at, _Packed(chunk.block.ids, chunk.digests, chunk.names))
        self._count += len(chunk)

    def add(self, number: int, name: str, digest: bytes) -> None:
        """Add a person whose id is not in the directory."""
        self._name_of[number], self._id_of[name], self._digest_of[number] = name, number, digest
        self._count += 1

    def remove(self, ids: Collection[int]) -> None:
        """Remove people who are in the directory."""
        for number in ids:
            if number in self._name_of:
                del self._id_of[self._name_of.pop(number)], self._digest_of[number]
            else:
                self._gone.add(number)
        self._count -= len(ids)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, number: int) -> bool:
        return number in self._name_of or self._place(number) is not None

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """Ids and names."""
        for part in self._packed:
            for number, name in zip(part.ids.tolist(), part.name_list(), strict=True):
                if number not in self._gone:
                    yield number, name
        yield from self._name_of.items()

    def find(self, name: str) -> int | None:
        """The id of a name."""
        if (number := self._id_of.get(name)) is not None:
            return number
        line = b"\n" + name.encode() + b"\n"  # a name is printable, so it contains no line feed
        for part in self._packed:
            for row in part.rows_of(line):
                if (number := int(part.ids[row])) not in self._gone:
                    return number
        return None

    def name(self, number: int) -> str:
        """The name of an id in the directory."""
        if (name := self._name_of.get(number)) is not None:
            return name
        part, row = self._known(number)
        return part.name(row)

    def digest(self, number: int) -> bytes:
        """The digest of the row of an id in the directory."""
        if (digest := self._digest_of.get(number)) is not None:
            return digest
        part, row = self._known(number)
        stored: bytes = part.digests[row].tobytes()
        return stored

    def _known(self, number: int) -> tuple[_Packed, int]:
        place = self._place(number)
        if place is None:
            raise KeyError(number)
        return place

    def _place(self, number: int) -> tuple[_Packed, int] | None:
        at = bisect_right(self._firsts, number) - 1
        if at < 0 or number in self._gone:
            return None
        part = self._packed[at]
        row = part.row(number)
        return None if row is None else (part, row)
