"""Read and write the people of a gallery in a database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice, takewhile

import numpy as np

from edgefr.errors import EdgefrError, UnavailableError
from edgefr.gallery.base import name_taken
from edgefr.gallery.clock import Clock
from edgefr.gallery.crypto.encryption import damaged, new_key
from edgefr.gallery.event_log import new_pseudonym, without_names
from edgefr.gallery.record_checks import InvalidPerson, InvalidRecordError, ignore_invalid
from edgefr.gallery.records import MAX_ID, Event, FaceSample, NumberedEvent, Person
from edgefr.gallery.stores.base import (
    CLOCK,
    CONTRACT,
    EVENT,
    IMAGE,
    PAGE_ROWS,
    Blob,
    GalleryStore,
    PendingWrite,
    PersonRow,
)
from edgefr.gallery.stores.remote_row_codec import RemoteRowCodec, event_id, is_expired, new_id
from edgefr.gallery.stores.row_codec import TemplateTransforms
from edgefr.types import Floats

BATCH = 500
"""People that are read or written together with all their images: 200 MB if each has ten with crops."""


MAX_BATCH_IMAGES = 5000

FIRST_SPAN = 3600 * 10**9
"""Nanoseconds for which the newest events are searched at first: their ids are times."""


def _next_batch(
    entries: Iterator[tuple[Person, Sequence[FaceSample]]],
) -> Iterator[tuple[Person, Sequence[FaceSample]]]:
    """Up to `BATCH` people with about `MAX_BATCH_IMAGES` images. An import can have a thousand images of each."""
    images = 0
    for person, samples in islice(entries, BATCH):
        yield person, samples
        images += len(samples)
        if images >= MAX_BATCH_IMAGES:
            return


class DatabasePeople:
    """The people of one gallery. The methods that write need the lock of `GalleryStore.changing`."""

    def __init__(self, store: GalleryStore, rows: RemoteRowCodec, transforms: TemplateTransforms) -> None:
        self.transforms = transforms
        self._store = store
        self._rows = rows
        self._source = str(store.address)
        self._found: PersonRow | None = None

    def find(self, name: str) -> Person | None:
        """The person of a name, unless expired. `samples` and `update` use the row that was found last."""
        for row in self._store.find([self._rows.name_hash(name)]):
            if not is_expired(person := self._rows.decrypt_person(row)):
                self._found = row
                return person
        return None

    def find_expired(self, name: str) -> Person | None:
        """The person of a name who has expired and is not removed yet."""
        people = map(self._rows.decrypt_person, self._store.find([self._rows.name_hash(name)]))
        return next(filter(is_expired, people), None)

    def samples(self, person: Person) -> list[FaceSample]:
        """The images of the person that `find` returned last."""
        row = self._last_row(person)
        return self.decrypt_samples(row, self.read_images([row]))

    def read_images(self, rows: Sequence[PersonRow]) -> dict[int, Blob]:
        """The images of several people, encrypted, by id."""
        return {blob.id: blob for blob in self._store.blobs(IMAGE, [row.id for row in rows])}

    def decrypt_samples(self, row: PersonRow, blobs: dict[int, Blob]) -> list[FaceSample]:
        """The images of a person from the result of `read_images`."""
        samples = self._rows.decrypt_samples(row, blobs)
        if samples is None:
            raise self._missing_image(row)
        return samples

    def valid_person(
        self, row: PersonRow, on_invalid: Callable[[InvalidPerson], None] = ignore_invalid
    ) -> Person | None:
        """The person of a row, or None after a call of `on_invalid` if the record is not valid."""
        try:
            return self._rows.decrypt_person(row)
        except InvalidRecordError as error:
            on_invalid(InvalidPerson(row.id, error.problem, error.name))
            return None

    def _missing_image(self, row: PersonRow) -> EdgefrError:
        """An image is missing because another client has changed the person since, or because it was deleted."""
        if self._store.get(row.id) == row:
            return damaged(f"the images of a person in {self._source}")
        return UnavailableError("", f"A person in {self._source} was changed by another client", "try again")

    def nearest(self, queries: Floats, top: int) -> list[list[Person | None]]:
        """As `GalleryStore.nearest`, decrypted; up to twice as many people while the transform changes. None
        for a person whose record is not valid."""
        found = self._store.nearest(self.transforms.present.apply(queries), top)
        if self.transforms.former is not None:
            former = self._store.nearest(self.transforms.former.apply(queries), top)
            merged = [{row.id: row for row in (*old, *new)} for old, new in zip(former, found, strict=True)]
            found = [list(rows.values()) for rows in merged]
        return [[self.valid_person(row) for row in rows] for rows in found]

    def add(self, person: Person, samples: Sequence[FaceSample]) -> None:
        """Enrol a new person under a new id with these images."""
        self._write(replace(person, id=new_id(), images=()), new_key(), samples)

    def update(self, person: Person, samples: Sequence[FaceSample]) -> None:
        """Replace the record of the person that `find` returned last, and add images."""
        self._write(person, self._rows.data_key(self._last_row(person)), samples)

    def remove(self, person: Person) -> None:
        """Delete the row of a person, and then the images."""
        self._store.begin(PendingWrite(person.id, person.id))
        self._store.delete_range(person.id, person.id)

    def remove_image(self, person: Person, image: int) -> None:
        """Replace the record of the person that `find` returned last, and then delete an image that it left out."""
        self.update(person, ())
        self._store.delete_blobs(IMAGE, [image])

    def log(self, events: Sequence[Event]) -> None:
        """Append events to the log."""
        self._store.put_blobs([self._rows.encrypt_event(event) for event in events])

    def forget(self, names: Sequence[str]) -> list[str]:
        """Replace the names of people who are about to be removed in the whole log; returns their pseudonyms."""
        pseudonyms = {name: new_pseudonym() for name in names}
        events = [(blob.id, self._rows.decrypt_event(blob)) for blob in self._events()]
        changed = [
            self._rows.encrypt_event_again(number, event) for number, event in without_names(events[::-1], pseudonyms)
        ]
        if changed:
            self._store.put_blobs(changed)
        return list(pseudonyms.values())

    def delete_events(self, before: float) -> None:
        """Delete the events from before a time, in seconds since 1970."""
        end = event_id(before)  # ids are times, so that nothing need be decrypted at every change
        old = [blob.id for blob in takewhile(lambda blob: blob.id < end, self._events())]
        if old:
            self._store.delete_blobs(EVENT, old)

    def events_before(self, number: int | None, limit: int) -> list[NumberedEvent]:
        """As `Gallery.events_before`. Stores give rows in the order of ids, so ever longer times back are read."""
        upper, span = MAX_ID if number is None else number, FIRST_SPAN
        lower = min(upper - 1, time.time_ns())
        found: list[Blob] = []
        while upper > 0 and len(found) < limit:
            page = self._store.blob_page(EVENT, lower, upper)
            if len(page) == PAGE_ROWS:  # it may end before the newest ones
                span = (upper - lower) // 4
                lower = upper - span
                continue
            found += page[::-1]
            upper, lower, span = lower + 1, max(lower - span, -1), 8 * span
        return [(blob.id, self._rows.decrypt_event(blob)) for blob in found[:limit]]

    def _events(self) -> Iterator[Blob]:
        """The whole log, oldest event first."""
        after = 0
        while page := self._store.blob_page(EVENT, after):
            yield from page
            after = page[-1].id

    def add_all(self, entries: Iterable[tuple[Person, Sequence[FaceSample]]], first: int) -> int:
        """Enrol new people in batches under ids from `first` on; returns their number. Expired people of the same names
        are removed.

        Raises:
            InvalidArgumentError: A name is enrolled already.
        """
        count, names, remaining = 0, set[str](), iter(entries)
        empty = self._store.count(0) == 0
        while batch := list(_next_batch(remaining)):
            hashes = [self._rows.name_hash(person.name) for person, _ in batch]
            rows_of_names = [] if empty else self._store.find(hashes)
            expired = [row for row in rows_of_names if is_expired(self._rows.decrypt_person(row))]
            taken = {row.name_hash for row in rows_of_names} - {row.name_hash for row in expired}
            self._remove_rows(expired)
            blobs: list[Blob] = []
            rows: list[PersonRow] = []
            for name_hash, (person, samples) in zip(hashes, batch, strict=True):
                if name_hash in taken or person.name in names:
                    raise name_taken(person.name, self._source)
                names.add(person.name)
                added, row = self._rows.encrypt_person(replace(person, id=first + count, images=()), new_key(), samples)
                blobs += added
                rows.append(row)
                count += 1
            self._store.put_blobs(blobs)
            self._put(rows, [person.template for person, _ in batch])
        return count

    def remove_expired(self, until: int) -> None:
        """Delete all people with an expiry date up to `until` in batches."""
        while rows := self._store.expired(until):
            self._remove_rows(rows)

    def _remove_rows(self, rows: Sequence[PersonRow]) -> None:
        """Delete expired people. The rows go last, so that an interrupted removal is continued."""
        if rows:
            pseudonyms = self.forget([person.name for row in rows if (person := self.valid_person(row)) is not None])
            self._store.delete_people([row.id for row in rows])
            self.log([Event.now("expired", pseudonym) for pseudonym in pseudonyms])

    def clock(self) -> Clock:
        """What the gallery knows about time."""
        blobs = self._store.blobs(CLOCK, [0])
        return self._rows.decrypt_clock(blobs[0]) if blobs else Clock()

    def observe_clock(self, now: float) -> Clock:
        """Store what the clock says, and a jump in the log; returns the clock after it."""
        before = self.clock()
        after = before.observe(now)
        if after is not before:
            if jump := before.jump(now):
                self.log([Event.now("clock", detail=jump)])
            self._store.put_blobs([self._rows.encrypt_clock(after)])
        return after

    def contract_record(self) -> bytes | None:
        """What `keep_contract` has stored; None if there is nothing, or it cannot be decrypted."""
        blobs = self._store.blobs(CONTRACT, [0])
        return self._rows.decrypt_contract(blobs[0]) if blobs else None

    def keep_contract(self, record: bytes) -> None:
        """Replace the record of the embedding contract."""
        self._store.put_blobs([self._rows.encrypt_contract(record)])

    def recover(self, pending: PendingWrite) -> None:
        """Delete what an interrupted change has left."""
        row = None if pending.whole else self._store.get(pending.first)
        if row is None:
            self._store.delete_range(pending.first, pending.last)
            return
        listed = set(self._rows.decrypt_person(row).images)
        orphans = [blob.id for blob in self._store.blobs(IMAGE, [row.id]) if blob.id not in listed]
        self._store.delete_blobs(IMAGE, orphans)

    def _write(self, person: Person, data_key: bytes, samples: Sequence[FaceSample]) -> None:
        blobs, row = self._rows.encrypt_person(person, data_key, samples)
        self._store.begin(PendingWrite(person.id, person.id))
        self._store.put_blobs(blobs)
        self._put([row], [person.template])

    def transform_all(self) -> None:
        """Write all templates again, with the present transform."""
        after = 0
        while rows := self._store.people_page(after):
            self._put(rows, [self._rows.decrypt_person(row).template for row in rows])
            after = rows[-1].id

    def _put(self, rows: Sequence[PersonRow], templates: Sequence[Floats]) -> None:
        self._store.put_people(rows, list(self.transforms.present.apply(np.stack(templates))))

    def _last_row(self, person: Person) -> PersonRow:
        assert self._found is not None, "the caller has found the person"
        assert self._found.id == person.id, "the caller has found another person since"
        return self._found
