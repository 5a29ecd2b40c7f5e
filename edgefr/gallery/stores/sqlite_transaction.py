"""One change of a gallery: rows written and the header kept true to them. `store.Store.change` begins and ends it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace

from edgefr.gallery.crypto.encryption import damaged, new_key
from edgefr.gallery.records import Event, FaceSample, Person
from edgefr.gallery.stores.row_codec import Header, RowCodec


class SqliteTransaction:
    """The rows and the header within an open transaction of `database`.

    `written` and `gone` tell who was enrolled or changed, and who was removed, by row number.
    """

    def __init__(self, database: sqlite3.Connection, rows: RowCodec, header: Header) -> None:
        self.header = header
        self.written: dict[int, Person] = {}
        self.gone: list[int] = []
        self._database = database
        self._rows = rows

    def add(self, person: Person, samples: Sequence[FaceSample]) -> None:
        """Enrol somebody new, by a new row number and with these images, whatever `person` says of both."""
        self._write(replace(person, id=self._number(), images=()), new_key(), samples)

    def extend(self, person: Person, samples: Sequence[FaceSample]) -> None:
        """Write a person's record anew, as a new name or template makes it, with further images beside the named."""
        self._write(person, self._take(person.id), samples)

    def re_embed_all(self, person: Person, samples: Sequence[FaceSample]) -> None:
        """Write a person's record anew with other images in place of the named."""
        self._drop_images(person)
        self._write(replace(person, images=()), self._take(person.id), samples)

    def remove(self, person: Person) -> None:
        """Destroy a person's key, record and images."""
        self._drop_images(person)
        self._take(person.id)
        self.gone.append(person.id)

    def log(self, events: Sequence[Event]) -> None:
        """Add lines to the log."""
        for event in events:
            number = self.header.events + 1
            sealed = self._rows.sealed_event(number, event)
            self._database.execute("INSERT INTO events VALUES (?, ?)", (number, sealed))
            link = self._rows.link(self.header.link, number, sealed)
            self.header = replace(self.header, events=number, link=link)

    def reseal(self, former: RowCodec, events: Sequence[Event]) -> None:
        """Wrap every data key of `former`, and seal the log, which is `events`, with this change's keys."""
        people = self._database.execute("SELECT id, key, record FROM people").fetchall()
        self.header = replace(self.header, people=0, rows=0, events=0, link="")
        for number, key, record in people:
            wrapped = self._rows.wrapped(number, former.data_key(number, key))
            self._database.execute("UPDATE people SET key = ? WHERE id = ?", (wrapped, number))
            self.header = self.header.with_row(self._rows.digest(number, wrapped, record))
        self._database.execute("DELETE FROM events")
        self.log(events)

    def finish(self) -> None:
        """Seal the header; without this the change does not hold."""
        self.header = replace(self.header, turn=self.header.turn + 1)
        self._database.execute("UPDATE header SET body = ? WHERE id = 1", (self._rows.sealed_header(self.header),))

    def _number(self) -> int:
        number = self.header.next_row
        self.header = replace(self.header, next_row=number + 1)
        return number

    def _write(self, person: Person, data_key: bytes, samples: Sequence[FaceSample]) -> None:
        named = list(person.images)
        for sample in samples:
            number = self._number()
            record, crop = self._rows.sealed_portrait(number, sample, data_key)
            self._database.execute("INSERT INTO images VALUES (?, ?, ?)", (number, record, crop))
            named.append(number)
        person = replace(person, images=tuple(named))
        wrapped, sealed = self._rows.wrapped(person.id, data_key), self._rows.sealed_person(person, data_key)
        self._database.execute("INSERT INTO people VALUES (?, ?, ?)", (person.id, wrapped, sealed))
        self.header = self.header.with_row(self._rows.digest(person.id, wrapped, sealed))
        self.written[person.id] = person

    def _take(self, number: int) -> bytes:
        """Delete a person's row and give the data key that was in it."""
        row = self._database.execute("SELECT key, record FROM people WHERE id = ?", (number,)).fetchone()
        if row is None:
            raise damaged("the list of people")
        self._database.execute("DELETE FROM people WHERE id = ?", (number,))
        self.header = self.header.without_row(self._rows.digest(number, *row))
        return self._rows.data_key(number, row[0])

    def _drop_images(self, person: Person) -> None:
        self._database.executemany("DELETE FROM images WHERE id = ?", [(number,) for number in person.images])
