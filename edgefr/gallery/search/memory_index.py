"""Who is enrolled, in memory: names by row number and back, who expires when, and the index of templates."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence

import numpy as np

from edgefr.gallery.records import Person
from edgefr.gallery.search.int8_index import Int8Index
from edgefr.gallery.stores.sqlite import SqliteStore
from edgefr.types import Floats

KEPT = 65_536
"""Templates kept as float32, 128 MiB of 512 numbers each; those beyond are unsealed when they are compared."""
BATCH = 4096
"""People taken into the index at a time."""


class MemoryIndex:
    """Everybody in a store."""

    def __init__(self, store: SqliteStore) -> None:
        """Read and prove everybody.

        Raises:
            EdgefrError: the file is damaged.
        """
        self._store = store
        self.number_of: dict[str, int] = {}
        self.name_of: dict[int, str] = {}
        self.index = Int8Index(self._exact)
        self._expires: dict[int, float] = {}
        self._next = math.inf  # nobody's time is over before
        self._templates: dict[int, Floats] = {}
        self.take_in(store.people())

    def take_in(self, people: Iterable[Person]) -> None:
        """Add people who are not in yet."""
        batch = []
        for person in people:
            self.number_of[person.name], self.name_of[person.id] = person.id, person.name
            if person.expires is not None:
                self._expires[person.id] = person.expires
                self._next = min(self._next, person.expires)
            if len(self._templates) < KEPT:
                self._templates[person.id] = person.template
            batch.append((person.id, person.template))
            if len(batch) == BATCH:
                self._to_index(batch)
                batch = []
        self._to_index(batch)

    def leave_out(self, numbers: Iterable[int]) -> None:
        """Drop people; nothing happens for row numbers that nobody has."""
        known = [number for number in numbers if number in self.name_of]
        for number in known:
            del self.number_of[self.name_of.pop(number)]
            self._expires.pop(number, None)
            self._templates.pop(number, None)
        if known:
            self.index.remove(known)

    def due(self) -> list[int]:
        """Row numbers of those whose time is over."""
        now = time.time()
        if now < self._next:  # every search asks, and a million dates are long to walk
            return []
        over = [number for number, until in self._expires.items() if until <= now]
        if not over:  # as long as somebody is, whose removal may fail, they are to be found again
            self._next = min(self._expires.values(), default=math.inf)
        return over

    def _to_index(self, batch: Sequence[tuple[int, Floats]]) -> None:
        if batch:
            self.index.add([number for number, _ in batch], np.stack([template for _, template in batch]))

    def _exact(self, numbers: Sequence[int]) -> Floats:
        kept = self._templates
        return np.stack([kept[number] if number in kept else self._store.person(number).template for number in numbers])
