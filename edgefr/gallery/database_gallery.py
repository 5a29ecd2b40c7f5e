"""A gallery in a database, which also searches it. No templates are kept in this process.

The database sees templates, because it compares them, in clear or transformed, and expiry dates. Names, times, images
and the log are encrypted as in a file, each person's with an own data key. The database could omit people from its
answers or return older rows, and no client would notice. It cannot change a name, an image or a similarity: every
answer is authenticated, and similarities are computed again from the encrypted templates.

Where the database has no transactions, the order of the writes makes sure that an interrupted change leaves the old
person or the new one: first the images, then in one write the row of the person, which lists the images. A removal
deletes the row first. Images that no row lists are deleted by the next change.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from typing import NoReturn

from edgefr.errors import EdgefrError, InvalidArgumentError
from edgefr.gallery.address import Address
from edgefr.gallery.base import Gallery, GalleryChange, Hit, ReEmbed, not_enrolled, removals_of_invalid
from edgefr.gallery.clock import clock_notice
from edgefr.gallery.crypto.encryption import Keys, SealContext, damaged, new_key
from edgefr.gallery.crypto.key_wrapping import Secret, lock_kind, unwrap_key, wrap_key
from edgefr.gallery.crypto.template_transform import TemplateTransform
from edgefr.gallery.database_header import VERSION, DatabaseHeader
from edgefr.gallery.database_people import BATCH, DatabasePeople
from edgefr.gallery.event_log import kept_since
from edgefr.gallery.model_binding import ModelBinding
from edgefr.gallery.pin import GalleryState, Pin
from edgefr.gallery.record_checks import InvalidPerson, InvalidRecordError, ignore_invalid
from edgefr.gallery.records import Entry, Event, FaceSample, NumberedEvent, Person, checked_entry
from edgefr.gallery.stores.base import (
    CALL_TIMEOUT_S,
    EVENT,
    IMAGE,
    LOCK_TIMEOUT_S,
    SEARCH_BATCH,
    Blob,
    GalleryStore,
    PersonRow,
)
from edgefr.gallery.stores.remote_row_codec import (
    RemoteRowCodec,
    is_expired,
    new_import_range,
    read_outer_header,
)
from edgefr.gallery.stores.row_codec import Header, RowCodec, TemplateTransforms
from edgefr.types import Floats

HEADER_CACHE_S = 30.0
"""How long a search relies on the header that was read last. Changes read it again."""
TRANSFORM_WAIT_S = HEADER_CACHE_S + CALL_TIMEOUT_S
"""After this time no search uses the header from before."""
COUNT_CACHE_S = 5.0
"""How long `len` may return an old number. The camera asks for every frame, and a server counts slowly."""
WIDER_SEARCH, WIDEST_SEARCH = 16, 16_384
"""By how much a search is widened if too many of the nearest people have expired, and the largest of Milvus."""
PURGE_TIMEOUT_S, PURGE_RETRY_S = 1.0, 60.0
"""A reader that removes expired people waits this long for other clients, and tries again after this time."""


class DatabaseGallery(Gallery):
    """An open gallery in a database."""

    def __init__(
        self,
        store: GalleryStore,
        context: SealContext,
        gallery_key: bytes,
        opened: DatabaseHeader,
        pin: Pin | None = None,
    ) -> None:
        super().__init__()
        self._pin = pin or Pin(store.address, None)
        self._store = store
        self._context = context
        self._gallery_key = gallery_key
        self._rows = RemoteRowCodec(
            context, Keys.of(gallery_key), str(store.address), opened.header.binding.embedding_dim
        )
        self._people = DatabasePeople(store, self._rows, opened.transforms)
        self._header = opened.header
        self._header_read = time.monotonic()
        self._count = (-math.inf, 0)
        """Time of the last count, and the number of people."""
        self._next_purge = -math.inf

    @classmethod
    def create(
        cls,
        store: GalleryStore,
        secret: Secret,
        binding: ModelBinding,
        pin: Pin | None = None,
        transform: bool = False,
    ) -> DatabaseGallery:
        """Create an empty gallery in a store, like `factory.create_gallery`."""
        context, gallery_key = SealContext.new(), new_key()
        header = DatabaseHeader(Header(VERSION, binding))
        if transform:
            header = header.changed(TemplateTransforms(TemplateTransform.new()))
        lock = wrap_key(gallery_key, secret, context)
        blob = header.to_blob(RowCodec(context, Keys.of(gallery_key), str(store.address)), context, lock)
        if pin is not None and not store.exists():
            pin.forget()
        store.create(binding.embedding_dim, blob)
        gallery = cls(store, context, gallery_key, header, pin)
        gallery._pin.check(gallery.state())
        return gallery

    @classmethod
    def open(cls, store: GalleryStore, secret: Secret, pin: Pin | None = None) -> DatabaseGallery:
        """Unlock the gallery of a store and remove expired people. Raises like `factory.open_gallery`."""
        source, blob = str(store.address), store.header()
        context, lock = read_outer_header(blob, source)
        gallery_key = unwrap_key(lock, secret, context, source)
        header = DatabaseHeader.from_blob(blob, RowCodec(context, Keys.of(gallery_key), source), source)
        gallery = cls(store, context, gallery_key, header, pin)
        gallery._pin.check(gallery.state())
        now = time.time()
        gallery.clock_notice = clock_notice(gallery._people.clock(), now, len(store.expired(int(now))))
        gallery.purge()
        return gallery

    def close(self) -> None:
        with self._lock:
            self._store.close()

    def state(self) -> GalleryState:
        with self._lock:
            _, lock = read_outer_header(self._store.header(), str(self.path))
            return GalleryState(self._context.identity, lock_kind(lock, str(self.path)), self._header.turn)

    def __len__(self) -> int:
        """Number of people, perhaps a few seconds old."""
        with self._lock:
            at, count = self._count
            if time.monotonic() - at > COUNT_CACHE_S:
                self.purge()
                count = self._store.count(int(time.time()))
                self._count = (time.monotonic(), count)
            return count

    @property
    def path(self) -> Address:
        return self._store.address

    @property
    def binding(self) -> ModelBinding:
        return self._header.binding

    def names(self) -> list[str]:
        return sorted(person.name for person in self.people())

    def people(self) -> Iterator[Person]:
        """All people in any order, perhaps with people who are enrolled during the iteration."""
        return (person for person in self._kept_people(ignore_invalid) if not is_expired(person))

    def invalid_people(self) -> list[InvalidPerson]:
        found: list[InvalidPerson] = []
        for _ in self._kept_people(found.append):
            pass
        return found

    def _kept_people(self, on_invalid: Callable[[InvalidPerson], None], after: int = 0) -> Iterator[Person]:
        """All people with ids above a number, also those who have expired and are not removed yet."""
        while True:
            with self._lock:
                rows = self._store.people_page(after)
            if not rows:
                return
            people = (self._people.valid_person(row, on_invalid) for row in rows)
            yield from (person for person in people if person is not None)
            after = rows[-1].id

    def people_after(self, number: int, limit: int) -> list[Person]:
        return list(
            islice((person for person in self._kept_people(ignore_invalid, number) if not is_expired(person)), limit)
        )

    def person_of_id(self, number: int) -> Person | None:
        with self._lock:
            row = self._store.get(number)
        person = None if row is None else self._people.valid_person(row)
        return None if person is None or is_expired(person) else person

    def entries(self, names: Iterable[str]) -> Iterator[Entry]:
        for row, samples in self._rows_with_samples(names):
            yield self._rows.decrypt_person(row), samples()

    def checked_entries(self, names: Iterable[str]) -> Iterator[Entry | InvalidPerson]:
        for row, samples in self._rows_with_samples(names):
            name = ""
            try:
                person = self._rows.decrypt_person(row)
                name = person.name
                yield checked_entry(person, samples(), self.binding.embedding_dim)
            except InvalidRecordError as error:
                yield InvalidPerson(row.id, error.problem, name or error.name)

    def remove_invalid(self, people: Sequence[InvalidPerson]) -> None:
        with self._lock:
            with self._changing() as change:
                self._store.delete_people([entry.id for entry in people])
                change.log(removals_of_invalid(change, people))
            self._erase()

    def _rows_with_samples(self, names: Iterable[str]) -> Iterator[tuple[PersonRow, Callable[[], list[FaceSample]]]]:
        """The rows of people, and functions that decrypt their images, which are read in batches."""
        remaining = iter(names)
        while batch := list(islice(remaining, BATCH)):
            hashes = [self._rows.name_hash(name) for name in batch]
            with self._lock:
                rows = {row.name_hash: row for row in self._store.find(hashes)}
                blobs = self._people.read_images(list(rows.values()))
            for name, name_hash in zip(batch, hashes, strict=True):
                if name_hash not in rows:
                    raise not_enrolled(name, self.path)
                yield rows[name_hash], partial(self._people.decrypt_samples, rows[name_hash], blobs)

    def events(self) -> list[Event]:
        with self._lock:
            return [self._rows.decrypt_event(blob) for blob in self._all_blobs(EVENT)]

    def events_before(self, number: int | None, limit: int) -> list[NumberedEvent]:
        with self._lock:
            return self._people.events_before(number, limit)

    def events_after(self, number: int, limit: int) -> list[NumberedEvent]:
        with self._lock:
            return [(blob.id, self._rows.decrypt_event(blob)) for blob in self._store.blob_page(EVENT, number)[:limit]]

    def orphan_images(self) -> int:
        with self._lock:
            listed = {number for person in self._kept_people(ignore_invalid) for number in person.images}
            return sum(blob.id not in listed for blob in self._all_blobs(IMAGE))

    def search_all(self, embeddings: Floats, top: int = 5) -> list[list[Hit]]:
        return [
            hits
            for start in range(0, len(embeddings), SEARCH_BATCH)
            for hits in self._search(embeddings[start : start + SEARCH_BATCH], top)
        ]

    def _search(self, embeddings: Floats, top: int) -> list[list[Hit]]:
        with self._lock:
            if time.monotonic() - self._header_read > HEADER_CACHE_S:
                self._read_header()
            found = self._people.nearest(embeddings, top)
            wanted = top
            while wanted < WIDEST_SEARCH and any(self._is_short(people, wanted, top) for people in found):
                wanted = min(wanted * WIDER_SEARCH, WIDEST_SEARCH)
                found = self._people.nearest(embeddings, wanted)
        hits = [
            [
                Hit(person.name, float(person.template @ embedding))
                for person in people
                if person is not None and not is_expired(person)
            ]
            for embedding, people in zip(embeddings, found, strict=True)
        ]
        return [sorted(several, key=lambda hit: -hit.similarity)[:top] for several in hits]

    @staticmethod
    def _is_short(people: Sequence[Person | None], wanted: int, top: int) -> bool:
        """Whether fewer than `top` of the `wanted` people can be returned, and a wider search could find more."""
        usable = sum(person is not None and not is_expired(person) for person in people)
        return len(people) >= wanted and usable < top

    def purge(self) -> None:
        """Observe the clock while people have expired, and remove those whose grace period is over (`clock`).

        If other clients are changing the gallery, or it cannot be written now, this is tried again later, so that
        readers need not wait. Expired people are never returned.
        """
        with self._lock:
            if time.monotonic() < self._next_purge:
                return
            self._next_purge = time.monotonic() + PURGE_RETRY_S
            now = time.time()
            if not self._store.expired(int(now)):
                return
            clock = self._people.clock()
            if clock.observe(now) is clock:
                return
            with suppress(EdgefrError):  # a reader may have no right to write
                with self._changing(PURGE_TIMEOUT_S):
                    pass  # every change begins with the removal of expired people
                self._store.vacuum()

    def log(self, events: Sequence[Event]) -> None:
        with self._lock:  # new rows need no lock of the gallery
            self._people.log(events)

    def rotate(self, secret: Secret) -> None:
        with self._changing() as change:
            self._write_header(wrap_key(self._gallery_key, secret, self._context), self._people.transforms)
            change.log([Event.now("rotated")])
        self._pin.replace(self.state())

    @property
    def has_transform(self) -> bool:
        """Whether stored templates are transformed."""
        return bool(self._people.transforms.present.seed)

    def transform_templates(self, on: bool, on_notice: Callable[[str], None]) -> None:
        """Give all stored templates a new random transform, or none, and finish a change that was interrupted.

        Searches go on and find everybody: until all templates are written again, they use the new and the former
        transform. Other clients need up to `HEADER_CACHE_S` to learn of the new one, which is waited for.

        Args:
            on: Whether the templates are transformed from now on.
            on_notice: Receives a sentence before the wait.
        """
        requested = self._start_transform(on)
        on_notice(f"waiting {TRANSFORM_WAIT_S:.0f} seconds until all clients know the new transform")
        time.sleep(TRANSFORM_WAIT_S)
        with self._changing() as change:
            if self._people.transforms.former is not None:
                self._people.transform_all()
                self._write_header(None, TemplateTransforms(self._people.transforms.present))
                change.log([Event.now("transformed")])
        self._store.vacuum()
        self._pin.advance(self.state())
        if not requested:
            self.transform_templates(on, on_notice)

    def _start_transform(self, on: bool) -> bool:
        """Record the transform that templates get. False if an interrupted change to another one must end first."""
        with self._changing():
            transforms = self._people.transforms
            if transforms.former is not None:
                return on is bool(transforms.present.seed)
            new = TemplateTransform.new() if on else TemplateTransform()
            self._write_header(None, TemplateTransforms(new, transforms.present))
            return True

    def _read_header(self) -> None:
        blob, source = self._store.header(), str(self.path)
        found = DatabaseHeader.from_blob(blob, RowCodec(self._context, Keys.of(self._gallery_key), source), source)
        if found.header.turn < self._header.turn:
            raise damaged(f"the header of {source}, which is older than before")
        self._header, self._people.transforms = found.header, found.transforms
        self._header_read = time.monotonic()

    def _write_header(self, lock: str | None, transforms: TemplateTransforms) -> None:
        """Replace the header within a change; None keeps the lock."""
        if lock is None:
            lock = str(read_outer_header(self._store.header(), str(self.path))[1])
        header = DatabaseHeader(self._header, self._people.transforms)
        if transforms != header.transforms:
            header = header.changed(transforms)
        codec = RowCodec(self._context, Keys.of(self._gallery_key), str(self.path))
        self._store.put_blobs([header.to_blob(codec, self._context, lock)])
        self._header, self._people.transforms = header.header, transforms

    def re_embed_all(self, binding: ModelBinding, re_embed: ReEmbed) -> NoReturn:
        """Not supported: a search during the change would compare templates of two models."""
        raise InvalidArgumentError(
            "a gallery in a file to rebuild",
            str(self.path),
            "copy it to a file with `edgefr gallery export` and `import`, rebuild it, and import it under a new name",
        )

    def _find(self, name: str) -> Person | None:
        return self._people.find(name)

    def _find_expired(self, name: str) -> Person | None:
        return self._people.find_expired(name)

    def _contract_record(self) -> bytes | None:
        return self._people.contract_record()

    def _samples(self, person: Person) -> list[FaceSample]:
        return self._people.samples(person)

    def _add_all(self, entries: Iterable[tuple[Person, Sequence[FaceSample]]], change: GalleryChange) -> int:
        pending = new_import_range()
        self._store.begin(pending)
        return self._people.add_all(entries, pending.first)

    def _erase(self) -> None:
        self._store.vacuum()

    def _all_blobs(self, kind: str) -> Iterator[Blob]:
        after = 0
        while blobs := self._store.blob_page(kind, after):
            yield from blobs
            after = blobs[-1].id

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock:
            yield

    @contextmanager
    def _changing(self, wait: float = LOCK_TIMEOUT_S) -> Iterator[DatabasePeople]:
        """Lock the gallery, observe the clock, and remove expired people whose grace period is over."""
        with self._lock, self._store.changing(self._people.recover, wait):
            self._read_header()
            before = self._header, self._people.transforms
            try:
                clock = self._people.observe_clock(time.time())
                self._people.remove_expired(int(clock.destroyed_until))
                if before_events := kept_since(self.log_days, clock):
                    self._people.delete_events(before_events)
                yield self._people
            except BaseException:  # the database has undone the change
                self._header, self._people.transforms = before
                raise
            self._count = (-math.inf, 0)
