"""What a database must do to keep a gallery: rows of people to search, rows of things that belong to them.

`served.ServedGallery` seals what goes in; a shelf sees tokens, templates, dates of removal and sealed bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from edgefr.gallery.address import Address
from edgefr.types import Floats

HEADER, IMAGE, EVENT = "header", "image", "event"
"""Kinds of things."""

SECONDS = 10.0
"""How long one call may take before it counts as failed."""
WAIT_SECONDS = 60.0
"""How long a writer waits for others."""
PAGE = 1000
"""Rows of one call at most."""
TOGETHER = 100
"""Searches of one call at most."""


@dataclass(frozen=True)
class PersonRow:
    """A person as the database sees one, but for the template, which lies beside it in clear: `token` stands for the
    name, `due` is the second since 1970 in which the person is to be removed (0: never), the rest is sealed."""

    id: int
    token: str
    due: int
    key: bytes
    record: bytes


@dataclass(frozen=True)
class Blob:
    """A sealed thing of one of the kinds, and whose it is; `extra` is an image's crop and the header's lock."""

    kind: str
    id: int
    owner: int
    body: bytes
    extra: bytes = b""


@dataclass(frozen=True)
class PendingWrite:
    """Whom a change is about: the people whose numbers are from `first` to `last`. If the change is cut short, all of
    a `whole` one is to go (nobody of an import was acknowledged), else what the person's record does not name."""

    first: int
    last: int
    whole: bool = False


Mend = Callable[[PendingWrite], None]


class GalleryStore(Protocol):
    """One gallery's rows. One object serves one thread at a time.

    Every method raises EdgefrError where the database cannot be reached, takes too long, refuses, or holds something
    else under the gallery's name. What a writing method has returned from is kept by the server, and every later read
    sees it, from whatever client.
    """

    address: Address
    sees: str
    """What the server's administrator can see, in a sentence."""

    def exists(self) -> bool:
        """Whether there is a gallery: one whose creation was cut short is none."""

    def create(self, dim: int, header: Blob) -> None:
        """Make the tables for templates of `dim` numbers; of two who try at once one succeeds."""

    def header(self) -> Blob: ...

    def count(self) -> int:
        """How many people there are."""

    def named(self, tokens: Sequence[str]) -> list[PersonRow]:
        """Those of so many people who are there."""

    def numbered(self, number: int) -> PersonRow | None: ...

    def nearest(self, queries: Floats, top: int) -> list[list[PersonRow]]:
        """For each of at most TOGETHER `queries` (N, K) the `top` people whose templates have the largest inner
        product with it, found among all: of a graph's walk (HNSW) a million people hide seven in ten."""

    def page(self, after: int) -> list[PersonRow]:
        """The next people by number."""

    def due(self, now: int) -> list[PersonRow]:
        """People whose time is over."""

    def things(self, kind: str, owners: Sequence[int]) -> list[Blob]:
        """All things of a kind of these owners."""

    def thing_page(self, kind: str, after: int) -> list[Blob]:
        """The next things of a kind by number, without `extra`."""

    def changing(self, mend: Mend, wait: float) -> AbstractContextManager[None]:
        """Hold the gallery for a change, alone among all clients, for the end of whose changes it waits so many
        seconds. Where the database can, all of it happens or nothing; else `mend` is called with what this change
        intended when it failed, and what a holder that died did."""

    def intend(self, intent: PendingWrite) -> None:
        """Say whom the following writes are about."""

    def put(self, people: Sequence[PersonRow], templates: Sequence[Floats]) -> None:
        """Insert people with their templates (K,), or replace who has the same number; each wholly or not at all."""

    def put_things(self, things: Sequence[Blob]) -> None:
        """Insert things, or replace those of the same kind and number."""

    def drop(self, first: int, last: int) -> None:
        """Delete the people numbered `first` to `last`, and then all their images."""

    def drop_people(self, numbers: Sequence[int]) -> None:
        """Delete all images of the people of these numbers, and then the people."""

    def drop_things(self, kind: str, numbers: Sequence[int]) -> None: ...

    def forget(self) -> None:
        """Ask the server to take what was removed out of its files, as far as it does that when asked."""

    def close(self) -> None: ...
