"""The chunks of an export: a person with all images as bytes, and encrypted bytes after their length.

Everything in an export may be chosen by somebody who knows only its passphrase, so sizes are checked before memory is
allocated, and every record is checked before it is returned.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from edgefr.errors import InvalidArgumentError
from edgefr.gallery.crypto.encryption import damaged
from edgefr.gallery.model_binding import ModelBinding
from edgefr.gallery.record_checks import LARGEST_CROP, LARGEST_META, MAX_DIM, InvalidRecordError
from edgefr.gallery.records import MAX_IMAGES, Entry, FaceSample, Person, checked_entry

LARGEST_CHUNK = 64 << 20
"""Bytes: twice a person with the maximum number of images, each with its crop."""
LARGEST_PART = max(LARGEST_CROP, LARGEST_META + 4 * MAX_DIM + 1)
"""Bytes of a record or a crop."""


class InvalidExportError(InvalidArgumentError):
    """An export is authentic, but something in it cannot be true."""

    @classmethod
    def of(cls, path: Path, error: InvalidRecordError) -> InvalidExportError:
        """The error for a record of an export."""
        return cls(
            f"{error.expected} in {path}",
            f"{error.found}, so nothing was imported",
            "export the people again from the gallery they come from, after `edgefr gallery audit` there",
        )


def serialise_entry(person: Person, samples: Iterable[FaceSample]) -> bytes:
    """A person with all images as the plaintext of a chunk."""
    parts = [person.to_bytes()]
    for sample in samples:
        parts += sample.to_bytes()
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def parse_entry(chunk: bytes, dim: int) -> Entry:
    """Read the result of `serialise_entry`.

    Args:
        chunk: The plaintext of a chunk.
        dim: K of the export.

    Raises:
        InvalidRecordError: It is something else, or claims what cannot be true.
    """
    parts: list[bytes] = []
    at = 0
    while at < len(chunk):
        size = int.from_bytes(chunk[at : at + 4], "big")
        part = chunk[at + 4 : at + 4 + size]
        if len(part) != size or size > LARGEST_PART or len(parts) > 2 * MAX_IMAGES:
            raise InvalidRecordError.of("a person with images", "parts of other lengths")
        parts.append(part)
        at += 4 + size
    if len(parts) % 2 == 0:
        raise InvalidRecordError.of("a person and two parts for each image", f"{len(parts)} parts")
    samples = [FaceSample.from_bytes(parts[number], parts[number + 1]) for number in range(1, len(parts), 2)]
    return checked_entry(Person.from_bytes(0, parts[0]), samples, dim)


def parse_binding(chunk: bytes) -> ModelBinding:
    """Read the models that the templates come from.

    Raises:
        InvalidRecordError: It is something else.
    """
    try:
        return ModelBinding.from_dict(json.loads(chunk))
    except (ValueError, RecursionError) as error:
        raise InvalidRecordError.of("the model of the templates", "something else") from error


def write_chunk(file: BinaryIO, encrypted: bytes) -> None:
    """Append a chunk after its length."""
    file.write(len(encrypted).to_bytes(4, "big") + encrypted)


def read_chunk(file: BinaryIO, path: Path) -> bytes | None:
    """The next chunk, or None at the end of the file.

    Raises:
        DamagedError: The file ends too early, or a length is out of range.
    """
    head = file.read(4)
    if not head:
        return None
    size = int.from_bytes(head, "big")
    encrypted = file.read(size) if len(head) == 4 and size <= LARGEST_CHUNK else b""
    if len(encrypted) != size or not size:
        raise damaged(str(path))
    return encrypted


def count_chunks(file: BinaryIO, path: Path) -> int:
    """Number of chunks from the present position on, by their lengths. Raises like `read_chunk`."""
    end = path.stat().st_size
    chunks, at = 0, file.tell()
    while at < end:
        size = int.from_bytes(file.read(4), "big")
        if not 0 < size <= min(LARGEST_CHUNK, end - at - 4):
            raise damaged(str(path))
        at = file.seek(at + 4 + size)
        chunks += 1
    return chunks
