"""The index of a gallery in a file: names, expiry dates and templates in memory."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from edgefr.gallery.record_checks import InvalidPerson
from edgefr.gallery.records import Person
from edgefr.gallery.search.directory import Directory
from edgefr.gallery.search.index_chunk import IndexChunk
from edgefr.gallery.search.index_snapshot import People
from edgefr.gallery.search.int8_index import Block, Int8Index, Match
from edgefr.gallery.stores.row_codec import Row
from edgefr.gallery.stores.sqlite import SqliteStore
from edgefr.types import Floats

MAX_CACHED = 65_536
"""Number of templates that are kept as float32: 128 MiB of 512 numbers each. Others are decrypted when needed."""
BATCH = 4096
"""Number of people that are added to the index at a time."""


class MemoryIndex:
    """Names, expiry dates and templates of all people in a store."""

    def __init__(self, store: SqliteStore, people: People) -> None:
        """Take the people that were read; `people.chunks` is emptied. Templates that are not cached are read again.

        People with records that are not valid are not in the index, but in the list `invalid`.
        """
        self._store = store
        self.directory = Directory()
        self._index = Int8Index(self._read_templates)
        self.hidden: dict[int, tuple[str, float]] = {}
        """Expired people who are not removed yet: id -> name and expiry date."""
        self._hidden_digests: dict[int, bytes] = {}
        self._expires: dict[int, float] = {}
        self._next_expiry, self._last_hidden = math.inf, -math.inf
        self._cache: dict[int, Floats] = {}
        self.invalid: list[InvalidPerson] = []
        self.add_chunks(people.chunks)
        self.add(people.loose)

    def add_chunks(self, chunks: list[IndexChunk]) -> None:
        """Add people whose ids are not in the index. The list is emptied, so that they are in memory only once."""
        self._index.add_blocks(self._take(chunks))

    def _take(self, chunks: list[IndexChunk]) -> Iterator[Block]:
        while chunks:
            chunk = chunks.pop()
            self.directory.add_chunk(chunk)
            self.invalid += [row.person for row in chunk.invalid if isinstance(row.person, InvalidPerson)]
            dated = np.flatnonzero(~np.isnan(chunk.expires))
            self._note_dates(chunk.block.ids[dated].tolist(), chunk.expires[dated].tolist())
            if len(chunk):
                yield chunk.block

    def _note_dates(self, ids: Sequence[int], dates: Sequence[float]) -> None:
        self._expires.update(zip(ids, dates, strict=True))
        self._next_expiry = min([self._next_expiry, *dates])

    def add(self, rows: Iterable[Row]) -> None:
        """Add people whose ids are not in the index."""
        batch = []
        for person, digest in rows:
            if isinstance(person, InvalidPerson):
                self.invalid.append(person)
                continue
            self.directory.add(person.id, person.name, digest)
            if person.expires is not None:
                self._note_dates([person.id], [person.expires])
            if len(self._cache) < MAX_CACHED:
                self._cache[person.id] = person.template
            batch.append((person.id, person.template))
            if len(batch) == BATCH:
                self._add_templates(batch)
                batch = []
        self._add_templates(batch)

    def remove(self, ids: Iterable[int]) -> None:
        """Remove people. Ids that are not in the index are ignored."""
        ids = set(ids)
        for number in ids & self.hidden.keys():
            del self.hidden[number], self._hidden_digests[number]
        known = sorted(number for number in ids if number in self.directory)
        self.directory.remove(known)
        for number in known:
            self._expires.pop(number, None)
            self._cache.pop(number, None)
        if known:
            self._index.remove(known)

    def person(self, number: int) -> Person:
        """The person with this id, who may be hidden."""
        digest = self._hidden_digests.get(number) or self.directory.digest(number)
        return self._store.person(number, digest)

    def search(self, embedding: Floats, top: int) -> list[Match]:
        """The `top` people most similar to an embedding (K,), best first."""
        return self._index.search(embedding, top)

    def hide_expired(self) -> None:
        """Leave the people whose expiry date has passed out of names and searches, until `remove` gets their ids.

        They are added again if the clock was set back before that date.
        """
        now = time.time()
        if self.hidden and now < self._last_hidden:
            back = [number for number, (_, date) in self.hidden.items() if date > now]
            rows = [Row(self.person(number), self._hidden_digests[number]) for number in back]
            self.remove(back)
            self.add(rows)
            self._last_hidden = max((date for _, date in self.hidden.values()), default=-math.inf)
        if now < self._next_expiry:  # every search calls this, and a million dates take long to compare
            return
        expired = {number: date for number, date in self._expires.items() if date <= now}
        hidden = {number: (self.directory.name(number), date) for number, date in expired.items()}
        self._hidden_digests |= {number: self.directory.digest(number) for number in expired}
        self.remove(expired)
        self.hidden |= hidden
        self._last_hidden = max((date for _, date in self.hidden.values()), default=-math.inf)
        self._next_expiry = min(self._expires.values(), default=math.inf)

    def expired_until(self, at: float) -> list[int]:
        """Ids of the expired people with an expiry date up to a time."""
        return [number for number, (_, date) in self.hidden.items() if date <= at]

    def find_hidden(self, name: str) -> int | None:
        """The id of an expired person who is not removed yet."""
        return next((number for number, (other, _) in self.hidden.items() if other == name), None)

    def _add_templates(self, batch: Sequence[tuple[int, Floats]]) -> None:
        if batch:
            self._index.add([number for number, _ in batch], np.stack([template for _, template in batch]))

    def _read_templates(self, ids: Sequence[int]) -> Floats:
        return np.stack([self._template(number) for number in ids])

    def _template(self, number: int) -> Floats:
        template = self._cache.get(number)
        if template is None:
            template = self._store.template(number, self.directory.digest(number))
            if len(self._cache) < MAX_CACHED:
                self._cache[number] = template
        return template
