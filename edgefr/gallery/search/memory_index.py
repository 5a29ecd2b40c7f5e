"""The index of a gallery in a file: names, expiry dates and templates in memory."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence

import numpy as np

from edgefr.gallery.record_checks import InvalidPerson
from edgefr.gallery.records import Person
from edgefr.gallery.search.int8_index import Int8Index, Match
from edgefr.gallery.stores.sqlite import SqliteStore
from edgefr.types import Floats

MAX_CACHED = 65_536
"""Number of templates that are kept as float32: 128 MiB of 512 numbers each. Others are decrypted when needed."""
BATCH = 4096
"""Number of people that are added to the index at a time."""


class MemoryIndex:
    """Names, expiry dates and templates of all people in a store: `id_of` maps names to ids, `name_of` ids to names."""

    def __init__(self, store: SqliteStore) -> None:
        """Read and verify all people. Templates that are not cached are read from the store again.

        People with records that are not valid are not in the index, but in the list `invalid`.
        """
        self._store = store
        self.id_of: dict[str, int] = {}
        self.name_of: dict[int, str] = {}
        self._index = Int8Index(self._read_templates)
        self.hidden: dict[int, tuple[str, float]] = {}
        """Expired people who are not removed yet: id -> name and expiry date."""
        self._expires: dict[int, float] = {}
        self._next_expiry, self._last_hidden = math.inf, -math.inf
        self._cache: dict[int, Floats] = {}
        self.invalid: list[InvalidPerson] = []
        self.add(store.people(self.invalid.append))

    def add(self, people: Iterable[Person]) -> None:
        """Add people whose ids are not in the index."""
        batch = []
        for person in people:
            self.id_of[person.name], self.name_of[person.id] = person.id, person.name
            if person.expires is not None:
                self._expires[person.id] = person.expires
                self._next_expiry = min(self._next_expiry, person.expires)
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
            del self.hidden[number]
        known = sorted(ids & self.name_of.keys())
        for number in known:
            del self.id_of[self.name_of.pop(number)]
            self._expires.pop(number, None)
            self._cache.pop(number, None)
        if known:
            self._index.remove(known)

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
            self.remove(back)
            self.add(self._store.person(number) for number in back)
            self._last_hidden = max((date for _, date in self.hidden.values()), default=-math.inf)
        if now < self._next_expiry:  # every search calls this, and a million dates take long to compare
            return
        expired = {number: (self.name_of[number], date) for number, date in self._expires.items() if date <= now}
        self.remove(expired)
        self.hidden |= expired
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
        cache = self._cache
        return np.stack([cache[number] if number in cache else self._store.person(number).template for number in ids])
