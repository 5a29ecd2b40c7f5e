"""The interface of a database that stores galleries.

A store sees name hashes, templates, expiry dates and ciphertexts. `DatabaseGallery` encrypts everything else. A new
store is one file with a class that implements `GalleryStore`, and one entry of `address.STORES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgefr.errors import InvalidArgumentError, UnavailableError
from edgefr.gallery.address import Address
from edgefr.gallery.records import MAX_ID
from edgefr.types import Floats

HEADER, IMAGE, EVENT, CLOCK, CONTRACT = "header", "image", "event", "clock", "contract"
"""Kinds of blobs."""

CALL_TIMEOUT_S = 10.0
"""A call of a server that takes longer has failed."""
LOCK_TIMEOUT_S = 60.0
"""How long a change waits for other clients."""
PAGE_ROWS = 1000
"""Maximum number of rows that one call returns."""
SEARCH_BATCH = 100
"""Maximum number of queries of one search."""


@dataclass(frozen=True)
class PersonRow:
    """A person as the database sees it; the template is stored beside the row.

    Attributes:
        id: Random number of the person.
        name_hash: Keyed digest of the name, to find the row.
        expires_at: Time of the removal in whole seconds since 1970, or 0.
        key: The data key of the person, wrapped.
        record: The record of the person, encrypted.
    """

    id: int
    name_hash: str
    expires_at: int
    key: bytes
    record: bytes


@dataclass(frozen=True)
class Blob:
    """Encrypted data: the body, and as `extra` the crop of an image, or the identity and the lock of the header.

    The id is unique among all blobs. The owner is the id of the person of an image, else 0.
    """

    kind: str
    id: int
    owner: int
    body: bytes
    extra: bytes = b""


@dataclass(frozen=True)
class PendingWrite:
    """The people with ids from `first` to `last` that a change is about to write, recorded for recovery after a crash.

    Recovery deletes all of them if `whole` is set, as after an import, whose people are acknowledged together. It
    otherwise deletes only the images that the record of the person does not list.
    """

    first: int
    last: int
    whole: bool = False


Recover = Callable[[PendingWrite], None]


class GalleryStore(Protocol):
    """The rows of one gallery. One object serves one thread at a time.

    Every method raises `UnavailableError` if the database does not respond in time or refuses the call. A write that
    has returned is durable on the server, and every later read of any client sees it.
    """

    address: Address
    privacy_notice: str
    """A sentence about what the administrator of the database can read."""

    def exists(self) -> bool:
        """Whether there is a gallery. One whose creation was interrupted does not count.

        Raises:
            InvalidArgumentError: Tables or collections of this name hold something else.
        """

    def create(self, dim: int, header: Blob) -> None:
        """Create the tables for templates of `dim` numbers. If two clients try at the same time, one succeeds.

        Raises:
            InvalidArgumentError: There is a gallery already.
        """

    def header(self) -> Blob:
        """The header. Raises NoGalleryError if there is no gallery."""

    def count(self, now: int) -> int:
        """Number of people without an expiry date up to `now`."""

    def find(self, name_hashes: Sequence[str]) -> list[PersonRow]:
        """The people with these name hashes, in any order."""

    def get(self, number: int) -> PersonRow | None:
        """The person with this id."""

    def nearest(self, queries: Floats, top: int) -> list[list[PersonRow]]:
        """For each of up to `SEARCH_BATCH` queries (N, K) the `top` people with the largest inner products.

        The search is exact: an HNSW index had a recall of 30 % with a million people (docs/stores.md).
        """

    def people_page(self, after: int) -> list[PersonRow]:
        """The next `PAGE_ROWS` people with ids above `after`, in the order of ids."""

    def expired(self, now: int) -> list[PersonRow]:
        """Up to `PAGE_ROWS` people with an expiry date up to `now`."""

    def blobs(self, kind: str, owners: Sequence[int]) -> list[Blob]:
        """All blobs of a kind that belong to these people."""

    def blob_page(self, kind: str, after: int, before: int = MAX_ID) -> list[Blob]:
        """The next `PAGE_ROWS` blobs of a kind with ids above `after` and below `before`, without `extra`."""

    def changing(self, recover: Recover, wait: float) -> AbstractContextManager[None]:
        """Lock the gallery for a change; wait up to `wait` seconds for other clients.

        A store with transactions writes the change completely or not at all. Another store calls `recover` with the
        pending writes of a change that failed here, or of a client that died.
        """

    def begin(self, pending: PendingWrite) -> None:
        """Record which people the next writes of the change are about."""

    def put_people(self, people: Sequence[PersonRow], templates: Sequence[Floats]) -> None:
        """Insert people with their templates (K,), or replace those with the same ids. Each row is written whole."""

    def put_blobs(self, blobs: Sequence[Blob]) -> None:
        """Insert blobs, or replace those of the same kind and id."""

    def delete_range(self, first: int, last: int) -> None:
        """Delete the people with ids from `first` to `last`, and then all their images."""

    def delete_people(self, ids: Sequence[int]) -> None:
        """Delete all images of these people, and then the people."""

    def delete_blobs(self, kind: str, ids: Sequence[int]) -> None:
        """Delete blobs of a kind."""

    def vacuum(self) -> None:
        """Ask the server to erase deleted rows from its files."""

    def close(self) -> None: ...


class NoGalleryError(UnavailableError):
    """There is no gallery at a path or an address."""

    @classmethod
    def at(cls, location: Path | Address, found: str = "none") -> NoGalleryError:
        """The error for a location."""
        fix = f"create one with `edgefr gallery enroll NAME IMAGE --gallery {location}`, or choose another --gallery"
        return cls(f"a gallery at {location}", found, fix)


def gallery_exists_already(address: Address) -> InvalidArgumentError:
    """The error if a gallery cannot be created because there is one."""
    return InvalidArgumentError("", f"There is a gallery at {address} already", "choose another name")


CLEAR = "in clear"
TRANSFORMED = "transformed by a secret of the gallery, and so which people look alike"
"""How the templates of a gallery are stored, in `privacy_notice`."""


def privacy_notice(reader: str) -> str:
    """What a store reveals, as a sentence; `reader` is who can read the database."""
    return (
        f"{reader} sees every template {CLEAR}, how many images each person has and when each person expires; names, "
        "images, times and the log are encrypted, unless the gallery is --plain"
    )
