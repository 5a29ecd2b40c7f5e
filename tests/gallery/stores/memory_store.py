"""A `GalleryStore` in memory: the smallest store that fulfils the contract, to test how a store is added."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from edgefr.gallery.address import Address, StoreType
from edgefr.gallery.records import MAX_ID
from edgefr.gallery.stores.base import (
    HEADER,
    IMAGE,
    PAGE_ROWS,
    Blob,
    NoGalleryError,
    PendingWrite,
    PersonRow,
    Recover,
    gallery_exists_already,
    privacy_notice,
)
from edgefr.types import Floats

MEMORY = "memory"
MEMORY_STORE = StoreType(f"{MEMORY}:FILE.db/NAME", f"{__name__}.MemoryStore")


@dataclass
class Tables:
    """The rows of one gallery."""

    people: dict[int, PersonRow] = field(default_factory=dict)
    templates: dict[int, Floats] = field(default_factory=dict)
    blobs: dict[int, Blob] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)


GALLERIES: dict[str, Tables] = {}
"""Address -> rows, for all clients of this process."""


class MemoryStore:
    """Copies the rows before a change and restores them if it fails."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.privacy_notice = privacy_notice("This process")
        self._tables = GALLERIES.setdefault(str(address), Tables())

    def close(self) -> None:
        pass

    def exists(self) -> bool:
        return any(blob.kind == HEADER for blob in self._tables.blobs.values())

    def create(self, dim: int, header: Blob) -> None:
        with self._tables.lock:
            if self.exists():
                raise gallery_exists_already(self.address)
            self.put_blobs([header])

    def header(self) -> Blob:
        for blob in self._tables.blobs.values():
            if blob.kind == HEADER:
                return blob
        raise NoGalleryError.at(self.address)

    def count(self, now: int) -> int:
        return sum(not 0 < row.expires_at <= now for row in self._tables.people.values())

    def find(self, name_hashes: Sequence[str]) -> list[PersonRow]:
        return [row for row in self._tables.people.values() if row.name_hash in name_hashes]

    def get(self, number: int) -> PersonRow | None:
        return self._tables.people.get(number)

    def nearest(self, queries: Floats, top: int) -> list[list[PersonRow]]:
        ids = list(self._tables.people)
        if not ids:
            return [[] for _ in queries]
        similarity = queries @ np.stack([self._tables.templates[number] for number in ids]).T  # (N, people)
        return [[self._tables.people[ids[at]] for at in np.argsort(-row)[:top]] for row in similarity]

    def people_page(self, after: int) -> list[PersonRow]:
        return [self._tables.people[number] for number in sorted(self._tables.people) if number > after][:PAGE_ROWS]

    def expired(self, now: int) -> list[PersonRow]:
        return [row for row in self._tables.people.values() if 0 < row.expires_at <= now][:PAGE_ROWS]

    def blobs(self, kind: str, owners: Sequence[int]) -> list[Blob]:
        return [blob for blob in self._tables.blobs.values() if blob.kind == kind and blob.owner in owners]

    def blob_page(self, kind: str, after: int, before: int = MAX_ID) -> list[Blob]:
        found = [blob for blob in self._tables.blobs.values() if blob.kind == kind and after < blob.id < before]
        return [replace(blob, extra=b"") for blob in sorted(found, key=lambda blob: blob.id)[:PAGE_ROWS]]

    @contextmanager
    def changing(self, recover: Recover, wait: float) -> Iterator[None]:
        with self._tables.lock:
            tables = self._tables
            before = dict(tables.people), dict(tables.templates), dict(tables.blobs)
            try:
                yield
            except BaseException:
                tables.people, tables.templates, tables.blobs = before
                raise

    def begin(self, pending: PendingWrite) -> None:
        pass

    def put_people(self, people: Sequence[PersonRow], templates: Sequence[Floats]) -> None:
        self._tables.people |= {row.id: row for row in people}
        self._tables.templates |= {row.id: template for row, template in zip(people, templates, strict=True)}

    def put_blobs(self, blobs: Sequence[Blob]) -> None:
        self._tables.blobs |= {blob.id: blob for blob in blobs}

    def delete_range(self, first: int, last: int) -> None:
        self.delete_people([number for number in self._tables.people if first <= number <= last])

    def delete_people(self, ids: Sequence[int]) -> None:
        self.delete_blobs(IMAGE, [blob.id for blob in self.blobs(IMAGE, ids)])
        for number in ids:
            del self._tables.people[number], self._tables.templates[number]

    def delete_blobs(self, kind: str, ids: Sequence[int]) -> None:
        for number in ids:
            del self._tables.blobs[number]

    def vacuum(self) -> None:
        pass
