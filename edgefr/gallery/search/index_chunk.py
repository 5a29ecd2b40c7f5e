"""A part of the index of a gallery in a file: people with neighbouring ids, and what searches need of them.

The snapshot of an index consists of such parts (`search.index_snapshot`). A part stands for all rows of people with ids
from `first` to `last`, and knows the digest of each row, so that it can be compared with the header of the gallery.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgefr.gallery.crypto.encryption import DIGEST_BYTES
from edgefr.gallery.record_checks import InvalidPerson
from edgefr.gallery.records import Person
from edgefr.gallery.search.int8_index import Block, Codes
from edgefr.gallery.stores.row_codec import Row

FORMAT = 1
"""Of the bytes, and of the codes in them. A part of another format is not used."""


@dataclass(frozen=True)
class IndexChunk:
    """N people in the order of their ids.

    Attributes:
        first: The part stands for all rows with ids from `first` ...
        last: ... to `last`.
        block: Ids and encoded templates.
        digests: (N, 32) uint8, the digest of each row.
        expires: (N,) float64, seconds since 1970; NaN for people without an expiry date.
        names: The names in UTF-8, a line feed before and after each of them.
        invalid: Rows with records that are not valid, which are not among the N.
    """

    first: int
    last: int
    block: Block
    digests: npt.NDArray[np.uint8]
    expires: npt.NDArray[np.float64]
    names: bytes
    invalid: tuple[Row, ...] = ()

    @classmethod
    def of(cls, rows: Sequence[Row]) -> IndexChunk:
        """The part of at least one row in the order of ids. Templates have the same length."""
        people = [(row.person, row.digest) for row in rows if isinstance(row.person, Person)]
        templates = np.stack([person.template for person, _ in people]) if people else np.empty((0, 1), np.float32)
        return cls(
            rows[0].person.id,
            rows[-1].person.id,
            Block.of(np.array([person.id for person, _ in people], np.int64), templates),
            np.frombuffer(b"".join(digest for _, digest in people), np.uint8).reshape(-1, DIGEST_BYTES),
            np.array([np.nan if person.expires is None else person.expires for person, _ in people]),
            _join([person.name.encode() for person, _ in people]),
            tuple(row for row in rows if isinstance(row.person, InvalidPerson)),
        )

    def __len__(self) -> int:
        return len(self.block.ids)

    def name_list(self) -> list[str]:
        """The names in the order of ids."""
        return self.names.decode().split("\n")[1:-1]

    def total(self) -> tuple[int, int]:
        """Number of rows, and the sum of their digests."""
        words = self.digests.view(">u4").reshape(len(self), DIGEST_BYTES // 4).sum(axis=0, dtype=np.uint64)
        total = 0
        for word in words.tolist():
            total = (total << 32) + word
        invalid = sum(int.from_bytes(row.digest, "big") for row in self.invalid)
        return len(self) + len(self.invalid), total + invalid

    def changed(self, without: Collection[int], rows: Sequence[Row]) -> IndexChunk | None:
        """The part after rows with the ids `without` were deleted, and others were written; None if none is left."""
        keep = ~np.isin(self.block.ids, list(without))
        names = [name for name, kept in zip(self.name_list(), keep, strict=True) if kept]
        invalid = tuple(row for row in self.invalid if row.person.id not in without)
        rest = replace(
            self,
            block=self.block.select(keep),
            digests=self.digests[keep],
            expires=self.expires[keep],
            names=_join([name.encode() for name in names]),
            invalid=invalid,
        )
        if rows:
            rest = rest._merged(IndexChunk.of(rows))
        return rest if len(rest) or rest.invalid else None

    def _merged(self, other: IndexChunk) -> IndexChunk:
        if not len(self):
            return replace(other, first=self.first, last=self.last, invalid=(*self.invalid, *other.invalid))
        block = Block.join([self.block, other.block])
        order = np.argsort(block.ids)
        names = [*self.name_list(), *other.name_list()]
        return replace(
            self,
            block=block.select(order),
            digests=np.concatenate([self.digests, other.digests])[order],
            expires=np.concatenate([self.expires, other.expires])[order],
            names=_join([names[row].encode() for row in order]),
            invalid=(*self.invalid, *other.invalid),
        )

    def to_bytes(self) -> bytes:
        """A line of JSON, and the arrays in little-endian order."""
        invalid = [
            [row.person.id, row.person.problem, row.person.name, row.digest.hex()]
            for row in self.invalid
            if isinstance(row.person, InvalidPerson)
        ]
        shape = [len(self), self.block.codes.shape[1], len(self.names)]
        head = json.dumps({"format": FORMAT, "shape": shape, "invalid": invalid}).encode()
        return b"".join(
            [head, b"\n", self.names, *(array.astype(kind, copy=False).tobytes() for array, kind in self._arrays())]
        )

    def _arrays(self) -> list[tuple[npt.NDArray[np.generic], str]]:
        block = self.block
        return [
            (block.ids, "<i8"),
            (self.digests, "u1"),
            (self.expires, "<f8"),
            (block.step, "<f4"),
            (block.error, "<f4"),
            (block.codes, "i1"),
        ]

    @classmethod
    def from_bytes(cls, first: int, last: int, dim: int, data: bytes) -> IndexChunk:
        """Read the result of `to_bytes`.

        Args:
            first: See above.
            last: See above.
            dim: K, the length of the templates.
            data: The bytes.

        Raises:
            ValueError: They have another format, or another K.
        """
        head, _, body = data.partition(b"\n")
        raw = json.loads(head)
        count, width, length = raw["shape"]
        if raw["format"] != FORMAT or (count and width != dim):
            raise ValueError("another format")
        at, arrays = length, []
        for kind, columns in (("<i8", 1), ("u1", DIGEST_BYTES), ("<f8", 1), ("<f4", 1), ("<f4", 1)):
            # A copy, because a view would keep all bytes in memory.
            arrays.append(np.frombuffer(body, kind, count * columns, at).copy())
            at += arrays[-1].nbytes
        ids, digests, expires, step, error = arrays
        names, codes = body[:length], _copy_apart(np.frombuffer(body, np.int8, count * width, at))
        if at + codes.nbytes != len(body) or names.count(b"\n") != count + 1:
            raise ValueError("another length")
        invalid = tuple(
            Row(InvalidPerson(number, problem, name), bytes.fromhex(digest))
            for number, problem, name, digest in raw["invalid"]
        )
        block = Block(ids, codes.reshape(count, width), step, error)
        return cls(first, last, block, digests.reshape(count, DIGEST_BYTES), expires, names, invalid)


def _copy_apart(codes: Codes) -> Codes:
    """A copy that the system gets back when the codes are joined with others. What is allocated as usual, between small
    arrays that stay, would remain with the process: as much memory again as all codes."""
    copy = np.frombuffer(mmap.mmap(-1, max(codes.nbytes, 1)), np.int8, codes.size)
    copy[:] = codes
    return copy


def _join(names: Sequence[bytes]) -> bytes:
    return b"".join([b"\n", *(name + b"\n" for name in names)])
