"""One change of a gallery in a file."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import replace

from edgefr.gallery.clock import Clock
from edgefr.gallery.crypto.encryption import damaged, new_key
from edgefr.gallery.event_log import new_pseudonym, without_names
from edgefr.gallery.records import Event, FaceSample, Person
from edgefr.gallery.stores.row_codec import MODULUS, Header, Row, RowCodec
from edgefr.gallery.stores.sqlite_schema import CONTRACT
from edgefr.gallery.stores.sqlite_snapshot import SnapshotTable

CHECK_EVERY = 1000
"""At most so many events, and those of the change that wrote the last of them, are verified at each opening."""


class SqliteTransaction:
    """Writes rows within an open transaction and keeps the header consistent with them.

    `written` are the people that were added or updated by id, with the digests of their rows, and `removed` the ids of
    removed people. `header` has the numbers of people and rows from before the change until `finish`.
    """

    def __init__(self, database: sqlite3.Connection, rows: RowCodec, header: Header) -> None:
        self.header = header
        self.written: dict[int, Row] = {}
        self.removed: list[int] = []
        self.snapshot = SnapshotTable(database, rows)
        self._database = database
        self._rows = rows
        self._people, self._sum, self._next_row = header.people, header.rows, header.next_row
        """These change with every row, and `finish` writes them into the header: copying it each time takes longer."""

    def add(self, person: Person, samples: Sequence[FaceSample]) -> None:
        """Enrol a new person under a new id with these images."""
        self._write(self._next_id(), person, (), new_key(), samples)

    def update(self, person: Person, samples: Sequence[FaceSample]) -> None:
        """Replace the record of a person and add images to it."""
        self._write(person.id, person, person.images, self._delete_row(person.id), samples)

    def replace_samples(self, person: Person, samples: Sequence[FaceSample]) -> None:
        """Replace the record and all images of a person."""
        self._delete_images(person)
        self._write(person.id, person, (), self._delete_row(person.id), samples)

    def remove(self, person: Person) -> None:
        """Delete the data key, the record and all images of a person."""
        self._delete_images(person)
        self._delete_row(person.id)
        self.removed.append(person.id)

    def remove_image(self, person: Person, image: int) -> None:
        """Replace the record of a person, which no longer lists an image, and delete this image."""
        self._database.execute("DELETE FROM images WHERE id = ?", (image,))
        self.update(person, ())

    def remove_invalid(self, ids: Collection[int], listed: Collection[int]) -> None:
        """Delete people by id, and all images but those that the valid people list."""
        for number in ids:
            self._delete_row(number)
        stored = [row[0] for row in self._database.execute("SELECT id FROM images").fetchall()]
        deleted = [(number,) for number in stored if number not in listed]
        self._database.executemany("DELETE FROM images WHERE id = ?", deleted)
        self.removed += ids

    def log(self, events: Sequence[Event]) -> None:
        """Append events to the log."""
        for event in events:
            number = self.header.events + 1
            encrypted = self._rows.encrypt_event(number, event)
            self._database.execute("INSERT INTO events VALUES (?, ?)", (number, encrypted))
            link = self._rows.link(self.header.link, number, encrypted)
            self.header = replace(self.header, events=number, link=link)
            if number - self.header.checked_event >= CHECK_EVERY:
                self.header = replace(self.header, checked_event=number, checked_link=link)

    def forget(self, names: Sequence[str]) -> list[str]:
        """Replace the names of people who are about to be removed in the whole log; returns their pseudonyms."""
        pseudonyms = {name: new_pseudonym() for name in names}
        rows = self._database.execute("SELECT id, event FROM events ORDER BY id DESC").fetchall()
        events = ((number, self._rows.decrypt_event(number, encrypted)) for number, encrypted in rows)
        changed = [
            (self._rows.encrypt_event(number, event), number) for number, event in without_names(events, pseudonyms)
        ]
        if changed:
            self._database.executemany("UPDATE events SET event = ? WHERE id = ?", changed)
            self._link_again()
        return list(pseudonyms.values())

    def keep_contract(self, record: bytes) -> None:
        """Replace the record of the embedding contract."""
        self._database.execute(CONTRACT)
        encrypted = self._rows.encrypt_contract(record)
        self._database.execute("INSERT OR REPLACE INTO contract VALUES (1, ?)", (encrypted,))

    def delete_events(self, before: float) -> None:
        """Delete the events from before a time, in seconds since 1970."""
        link, first = self.header.link_before, self.header.first_event
        for number, encrypted in self._database.execute("SELECT id, event FROM events ORDER BY id"):
            if number == self.header.events or self._rows.decrypt_event(number, encrypted).at >= before:
                break  # the last one is always kept
            link, first = self._rows.link(link, number, encrypted), number + 1
        if first != self.header.first_event:
            self._database.execute("DELETE FROM events WHERE id < ?", (first,))
            self.header = replace(self.header, first_event=first, link_before=link)
            if self.header.checked_event < first:
                self.header = replace(self.header, checked_event=first - 1, checked_link=link)

    def _link_again(self) -> None:
        """Compute the digest of the log after events were replaced."""
        link = self.header.link_before
        for number, encrypted in self._database.execute("SELECT id, event FROM events ORDER BY id"):
            link = self._rows.link(link, number, encrypted)
        last = self.header.events
        self.header = replace(self.header, link=link, checked_event=last, checked_link=link)

    def observe_clock(self, now: float) -> Clock:
        """Store what the clock says, and a jump in the log; returns the clock after it."""
        before = self.header.clock
        after = before.observe(now)
        if after is not before:
            if jump := before.jump(now):
                self.log([Event.now("clock", detail=jump)])
            self.header = replace(self.header, clock=after)
        return after

    def re_encrypt(self, former: RowCodec, events: Sequence[Event]) -> None:
        """Wrap all data keys of the former codec, and encrypt the whole log, with the new gallery key. The snapshot is
        deleted: the former key decrypts it."""
        self.snapshot.clear()
        people = self._database.execute("SELECT id, key, record FROM people").fetchall()
        self._people = self._sum = 0
        self.header = replace(
            self.header, events=0, link="", first_event=1, link_before="", checked_event=0, checked_link=""
        )
        for number, key, record in people:
            wrapped = self._rows.wrap_data_key(number, former.unwrap_data_key(number, key))
            self._database.execute("UPDATE people SET key = ? WHERE id = ?", (wrapped, number))
            self._count(1, self._rows.digest(number, wrapped, record))
        self._database.execute("DELETE FROM events")
        self.log(events)

    def finish(self) -> None:
        """Write the header. Without it the rows do not match and the gallery does not open."""
        self.header = replace(self.header, people=self._people, rows=self._sum, next_row=self._next_row)
        self.header = replace(self.header, turn=self.header.turn + 1)
        self._database.execute("UPDATE header SET body = ? WHERE id = 1", (self._rows.encrypt_header(self.header),))

    def _next_id(self) -> int:
        self._next_row += 1
        return self._next_row - 1

    def is_new(self, number: int) -> bool:
        """Whether a person was added by this change."""
        return number >= self.header.next_row

    def _count(self, people: int, digest: bytes) -> None:
        """Count a row with a digest that was added (`people` is 1) or deleted (-1)."""
        self._people += people
        self._sum = (self._sum + people * int.from_bytes(digest, "big")) % MODULUS

    def _write(
        self, number: int, person: Person, kept: Sequence[int], data_key: bytes, samples: Sequence[FaceSample]
    ) -> None:
        """Write a person under the id `number`, with the images `kept` that are stored already and new ones."""
        images = list(kept)
        for sample in samples:
            image = self._next_id()
            record, crop = self._rows.encrypt_sample(image, sample, data_key)
            self._database.execute("INSERT INTO images VALUES (?, ?, ?)", (image, record, crop))
            images.append(image)
        person = replace(person, id=number, images=tuple(images))
        wrapped, record = self._rows.wrap_data_key(person.id, data_key), self._rows.encrypt_person(person, data_key)
        self._database.execute("INSERT INTO people VALUES (?, ?, ?)", (person.id, wrapped, record))
        row = Row(person, self._rows.digest(person.id, wrapped, record))
        self._count(1, row.digest)
        self.written[person.id] = row

    def _delete_row(self, number: int) -> bytes:
        """Delete the row of a person and return its data key."""
        row = self._database.execute("SELECT key, record FROM people WHERE id = ?", (number,)).fetchone()
        if row is None:
            raise damaged("the list of people")
        self._database.execute("DELETE FROM people WHERE id = ?", (number,))
        self._count(-1, self._rows.digest(number, *row))
        return self._rows.unwrap_data_key(number, row[0])

    def _delete_images(self, person: Person) -> None:
        self._database.executemany("DELETE FROM images WHERE id = ?", [(number,) for number in person.images])
