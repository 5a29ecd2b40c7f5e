"""Reads MXNet's `.rec` training sets without MXNet: a file of records, with an `.idx` of their offsets next to it.

A record is a head (magic number, length) and as many bytes, padded to four. The bytes are an image header (flag, label,
id, id2), `flag` labels that replace the one in the header, and the encoded picture. If the magic number happens to be
among the bytes, the record is cut there into parts. Sources: dmlc-core `recordio.h` (records), MXNet `recordio.py`
(`IRHeader`, the index), insightface `dataset.py` (the content of record 0).
"""

from __future__ import annotations

import re
import struct
from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import overload

import numpy as np

from edgefr.errors import EdgefrError
from edgefr.io.jpeg import MAX_PICTURE_BYTES
from edgefr.io.shared_file import SharedFile
from edgefr.types import Bools, Ints

MAGIC = struct.pack("<I", 0xCED7230A)
LENGTH = (1 << 29) - 1
WHOLE, START, MIDDLE, END = range(4)
"""The kinds of parts of a record: the three bits above its length."""

HEAD = struct.Struct("<4sI")
IMAGE_HEADER = struct.Struct("<IfQQ")
PREFIX = np.dtype(
    [("magic", "S4"), ("word", "<u4"), ("flag", "<u4"), ("label", "<f4"), ("id", "<u8", 2), ("first", "<f4")]
)
"""Both heads and the first of several labels: enough to know whose picture a record is."""

LINE = re.compile(rb"(\d{1,18})\t(\d{1,18})\s*")
NAME = re.compile(r"\d{1,18}/(\d{1,18})\.jpg")

MAX_INDEX_BYTES = 1 << 30
"""About fifty million records."""
MAX_PARTS = 1024
MAX_LABEL = 1 << 31
BLOCK = 1 << 14
THREADS = 8
"""Disks are faster at many small reads if several are outstanding at a time."""


class RecordNames(Sequence[str]):
    """The names `label/key.jpg` of all records, formatted on demand: millions of strings would fill the memory."""

    def __init__(self, keys: Ints, labels: Ints) -> None:
        self.keys = keys
        self.labels = labels

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return RecordNames(self.keys[index], self.labels[index])
        return f"{self.labels[index]}/{self.keys[index]}.jpg"

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), BLOCK):
            block = slice(start, start + BLOCK)
            for label, key in zip(self.labels[block].tolist(), self.keys[block].tolist(), strict=True):
                yield f"{label}/{key}.jpg"


class RecordPictures:
    """The pictures of a `.rec`, in the order of their keys. A picture is read on demand."""

    def __init__(self, path: Path) -> None:
        """List the records and check the head of each.

        Args:
            path: The .rec file. Its .idx must be next to it.

        Raises:
            EdgefrError: A file is missing, or a line or a record is damaged. Its number is named.
        """
        self.path = path
        self._keys, self._offsets = read_index(path.with_suffix(".idx"))
        try:
            self._file = SharedFile(path)
        except OSError as error:
            raise EdgefrError(
                f"records in {path}", f"that it cannot be read ({error.strerror})", "check its permissions"
            ) from error
        self._refuse(0, self._offsets > self._file.size - HEAD.size, "an offset beyond the end of the file")
        chosen = slice(*np.searchsorted(self._keys, self._range_of_pictures()))
        self._keys, self._offsets = self._keys[chosen], self._offsets[chosen]
        if not len(self._keys):
            raise EdgefrError(f"pictures in {path}", "none", "give the training set's .rec and its .idx")
        with ThreadPoolExecutor(THREADS) as pool:
            labels = np.concatenate(list(pool.map(self._labels, range(0, len(self._keys), BLOCK))))
        self.names = RecordNames(self._keys, labels)

    def read(self, name: str) -> bytes:
        """The encoded picture of a name.

        Raises:
            KeyError: There is no such record.
            ValueError: What was found instead of a whole record.
        """
        match = NAME.fullmatch(name)
        index = int(np.searchsorted(self._keys, int(match[1]))) if match else len(self._keys)
        if index == len(self._keys) or self.names[index] != name:
            raise KeyError(name)
        try:
            return _unpack(self._payload(int(self._offsets[index])))[2]
        except ValueError as error:
            raise ValueError(f"{error} in record {self._keys[index]}") from error

    def _range_of_pictures(self) -> tuple[int, int]:
        """First key of a picture, and the one after the last.

        Record 0 of insightface's sets has labels of its own and no picture. Its first label is the key after the last
        picture; records that list the pictures of each person follow, which are not needed.
        """
        if self._keys[0] == 0:
            try:
                flag, label, _ = _unpack(self._payload(int(self._offsets[0])))
                if flag and not 1 <= label <= MAX_INDEX_BYTES:  # nor NaN
                    raise ValueError(f"an end of the pictures at {label:g}")
            except ValueError as error:
                raise self._damaged(0, str(error)) from error
            if flag:
                return 1, int(label)
        return 0, MAX_INDEX_BYTES

    def _labels(self, start: int) -> Ints:
        """The labels of a block of records."""
        offsets, size = self._offsets[start : start + BLOCK], PREFIX.itemsize
        raw = b"".join(self._file.read(offset, size).ljust(size, b"\0") for offset in offsets.tolist())
        prefix = np.frombuffer(raw, PREFIX)
        part, length = prefix["word"] >> 29, (prefix["word"] & LENGTH).astype(np.int64)
        needed = IMAGE_HEADER.size + 4 * prefix["flag"].astype(np.int64)
        self._refuse(start, prefix["magic"] != MAGIC, "no magic number")
        self._refuse(start, part > START, "the middle of another record")
        self._refuse(start, length > MAX_PICTURE_BYTES, f"more than {MAX_PICTURE_BYTES >> 20} MiB")
        self._refuse(start, offsets + HEAD.size + length > self._file.size, "an end beyond that of the file")
        self._refuse(start, (part == WHOLE) & (length < needed), "an image header that is cut short")
        labels = np.where(prefix["flag"] > 0, prefix["first"], prefix["label"])
        for index in np.flatnonzero((part == START) & (length < size - HEAD.size)):
            labels[index] = self._label_in_parts(start + int(index))
        usable = (labels >= 0) & (labels < MAX_LABEL) & (labels == np.floor(labels))
        self._refuse(start, ~usable, "a label that is not a whole number from 0 on")
        return labels.astype(np.int64)

    def _label_in_parts(self, index: int) -> float:
        """The label of a record whose header has the magic number in it."""
        try:
            return _unpack(self._payload(int(self._offsets[index])))[1]
        except ValueError as error:
            raise self._damaged(index, str(error)) from error

    def _payload(self, offset: int) -> bytes:
        """The bytes of a record; the magic numbers between its parts are put back."""
        parts: list[bytes] = []
        size, part = 0, START
        while part in (START, MIDDLE):
            head = self._file.read(offset, HEAD.size)
            if len(head) < HEAD.size or not head.startswith(MAGIC):
                raise ValueError("no magic number")
            (word,) = struct.unpack_from("<I", head, len(MAGIC))
            part, length = word >> 29, word & LENGTH
            if part not in ((MIDDLE, END) if parts else (WHOLE, START)):
                raise ValueError("parts in a wrong order")
            size += length + len(MAGIC)
            if size > MAX_PICTURE_BYTES or len(parts) == MAX_PARTS:
                raise ValueError(f"more than {MAX_PICTURE_BYTES >> 20} MiB or {MAX_PARTS} parts")
            parts.append(self._file.read(offset + HEAD.size, length))
            if len(parts[-1]) < length:
                raise ValueError("an end beyond that of the file")
            offset += HEAD.size + (length + 3) // 4 * 4
        return MAGIC.join(parts)

    def _refuse(self, start: int, wrong: Bools, found: str) -> None:
        """Raise an error for the first record from `start` on that is `wrong`, if there is one."""
        if wrong.any():
            raise self._damaged(start + int(wrong.argmax()), found)

    def _damaged(self, index: int, found: str) -> EdgefrError:
        key = self._keys[index]
        return EdgefrError(
            f"a whole record in {self.path}",
            f"{found} in record {key}",
            f"get the .rec and its .idx again, or delete the line of {key} in the .idx",
        )


def _unpack(payload: bytes) -> tuple[int, float, bytes]:
    """Number of labels behind the image header, the label, and the encoded picture."""
    flag, label = struct.unpack_from("<If", payload.ljust(IMAGE_HEADER.size, b"\xff"))
    start = IMAGE_HEADER.size + 4 * flag
    if start > len(payload):
        raise ValueError("an image header that is cut short")
    if flag:
        (label,) = struct.unpack_from("<f", payload, IMAGE_HEADER.size)
    return flag, label, payload[start:]


def read_index(path: Path) -> tuple[Ints, Ints]:
    """Keys, sorted, and the offsets of their records, from lines of `key<tab>offset`.

    Raises:
        EdgefrError: The file is missing, a line is malformed (it is named), or a key occurs twice.
    """
    numbers = array("q")
    try:
        if path.stat().st_size > MAX_INDEX_BYTES:
            raise ValueError(f"more than {MAX_INDEX_BYTES >> 20} MiB")
        with path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                match = LINE.fullmatch(line)
                if match is None:
                    raise ValueError(f"{line[:40]!r} in line {number}")
                numbers.append(int(match[1]))
                numbers.append(int(match[2]))
        if not numbers:
            raise ValueError("no line")
        keys, offsets = np.frombuffer(numbers, np.int64).reshape(-1, 2).T
        order = np.argsort(keys, kind="stable")
        keys, offsets = keys[order], offsets[order]
        if (again := keys[1:][keys[1:] == keys[:-1]]).size:
            raise ValueError(f"record {again[0]} in several lines")
    except (OSError, ValueError) as error:
        found = getattr(error, "strerror", None) or str(error)
        raise EdgefrError(
            f"an index of 'key<tab>offset' in {path}, next to its .rec",
            found,
            "get it again, or make it with MXNet's rec2idx.py",
        ) from error
    return keys, offsets
