"""People on a shelf, read and written: who calls holds the gallery where people are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import NoReturn

from edgefr.errors import EdgefrError
from edgefr.gallery.crypto.encryption import damaged, new_key
from edgefr.gallery.records import Event, FaceSample, Person, check_name
from edgefr.gallery.stores.base import IMAGE, Blob, GalleryStore, PendingWrite, PersonRow
from edgefr.gallery.stores.remote_row_codec import RemoteRowCodec, over
from edgefr.types import Floats

BATCH = 500
"""People that are read with all their images at a time: some 200 MB if each had ten, with crops."""


class DatabasePeople:
    """The people of one gallery."""

    def __init__(self, shelf: GalleryStore, rows: RemoteRowCodec) -> None:
        self._shelf = shelf
        self._rows = rows
        self._source = str(shelf.address)

    def add(self, entries: Iterator[tuple[Person, Sequence[FaceSample]]], first: int) -> int:
        """Enrol people under the numbers from `first` on; how many they are.

        Raises:
            EdgefrError: one of the names is taken.
        """
        count, names = 0, set[str]()
        empty = self._shelf.count() == 0
        while batch := list(islice(entries, BATCH)):
            tokens = [self._rows.token(person.name) for person, _ in batch]
            taken = {} if empty else {row.token: row for row in self._shelf.named(tokens)}
            things: list[Blob] = []
            rows: list[PersonRow] = []
            for token, (person, samples) in zip(tokens, batch, strict=True):
                if token in taken or person.name in names:
                    raise EdgefrError(
                        f"nobody of the name {person.name} in {self._source}",
                        "one",
                        ("rename or remove that person with `edgefr gallery rename` or `remove`; nothing was imported"),
                    )
                names.add(person.name)
                added, row = self._rows.sealed(replace(person, id=first + count, images=()), new_key(), samples)
                things += added
                rows.append(row)
                count += 1
            self._shelf.put_things(things)
            self._shelf.put(rows, [person.template for person, _ in batch])
        return count

    def write(self, person: Person, data_key: bytes, samples: Sequence[FaceSample]) -> None:
        """Write a person's row, and before it further images beside the named."""
        things, row = self._rows.sealed(person, data_key, samples)
        self._shelf.intend(PendingWrite(person.id, person.id))
        self._shelf.put_things(things)
        self._shelf.put([row], [person.template])

    def remove(self, row: PersonRow) -> None:
        """Delete a person's row, and then the images."""
        name = self._rows.person(row).name
        self._shelf.intend(PendingWrite(row.id, row.id))
        self._shelf.drop(row.id, row.id)
        self.log([Event.now("removed", name)])

    def expire(self, now: int) -> None:
        """Delete everybody whose time is over, many at a time; the row last, for by it the next writer goes on."""
        while rows := self._shelf.due(now):
            names = [self._rows.person(row).name for row in rows]
            self._shelf.drop_people([row.id for row in rows])
            self.log([Event.now("expired", name) for name in names])

    def mend(self, intent: PendingWrite) -> None:
        """Clear away what a change left that was cut short."""
        row = None if intent.whole else self._shelf.numbered(intent.first)
        if row is None:
            self._shelf.drop(intent.first, intent.last)
            return
        named = set(self._rows.person(row).images)
        left = [thing.id for thing in self._shelf.things(IMAGE, [row.id]) if thing.id not in named]
        self._shelf.drop_things(IMAGE, left)

    def samples(self, rows: Sequence[PersonRow]) -> dict[int, list[FaceSample]]:
        """The images of these people by number, each as the person's record names it."""
        things = {thing.id: thing for thing in self._shelf.things(IMAGE, [row.id for row in rows])}
        found = {}
        for row in rows:
            samples = self._rows.samples(row, things)
            found[row.id] = self._insist_on_same(row) if samples is None else samples
        return found

    def _insist_on_same(self, row: PersonRow) -> NoReturn:
        """Images are missing that a person's row names: because somebody changed the person since, or took them."""
        if self._shelf.numbered(row.id) == row:
            raise damaged(f"the images of a person in {self._source}")
        raise EdgefrError(f"nobody to change a person of {self._source} just now", "a change", "try again")

    def nearest(self, queries: Floats, top: int) -> list[list[Person]]:
        """As `GalleryStore.nearest`, unsealed."""
        return [[self._rows.person(row) for row in rows] for rows in self._shelf.nearest(queries, top)]

    def find(self, name: str) -> PersonRow | None:
        """The row of who has this name, if anybody has."""
        rows = self._shelf.named([self._rows.token(check_name(name))])
        return rows[0] if rows and not over(self._rows.person(rows[0])) else None

    def row(self, name: str) -> PersonRow:
        """The row of who has this name.

        Raises:
            EdgefrError: nobody has it.
        """
        row = self.find(name)
        return self.nobody(name) if row is None else row

    def nobody(self, name: str) -> NoReturn:
        """Raises EdgefrError, for nobody has this name."""
        raise EdgefrError(f"{name} in {self._source}", "nobody of that name", "see `edgefr gallery list`")

    def log(self, events: Sequence[Event]) -> None:
        """Add lines to the log."""
        self._shelf.put_things([self._rows.sealed_event(event) for event in events])
