"""A gallery in an encrypted file. An index in memory searches it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

from edgefr.errors import EdgefrError, UnavailableError
from edgefr.gallery.base import Gallery, GalleryChange, Hit, ReEmbed, name_taken, removals_of_invalid
from edgefr.gallery.clock import clock_notice
from edgefr.gallery.crypto.key_wrapping import Secret
from edgefr.gallery.event_log import kept_since
from edgefr.gallery.model_binding import ModelBinding
from edgefr.gallery.pin import GalleryState, Pin
from edgefr.gallery.record_checks import InvalidPerson, InvalidRecordError, ignore_invalid
from edgefr.gallery.records import (
    MAX_ID,
    Entry,
    Event,
    FaceSample,
    NumberedEvent,
    Person,
    checked_entry,
    fuse_template,
)
from edgefr.gallery.search.index_chunk import IndexChunk
from edgefr.gallery.search.index_snapshot import People, pack, read_people, save, update
from edgefr.gallery.search.memory_index import MemoryIndex
from edgefr.gallery.stores.row_codec import Header
from edgefr.gallery.stores.sqlite import SqliteStore, is_gallery
from edgefr.gallery.stores.sqlite_transaction import SqliteTransaction
from edgefr.types import Floats

PURGE_RETRY_S = 60.0
"""Time after which a removal of expired people that failed is tried again."""


class FileGallery(Gallery):
    """An open gallery in a file. Every change is on the disk before its method returns.

    Example:
        >>> gallery = FileGallery.open(Path("people.gallery"), Passphrase("correct horse battery"))
        >>> gallery.search(embedding, top=1)
        [Hit(name='Ada', similarity=0.81)]
    """

    def __init__(self, store: SqliteStore, pin: Pin | None = None) -> None:
        super().__init__()
        self._store = store
        self._pin = pin or Pin(store.path, None)
        self._next_attempt = -math.inf
        with store.reading():
            people = self._read()
        if save(store, people):
            self._erase()
        self._index = MemoryIndex(store, people)
        self._index.hide_expired()
        self.clock_notice = clock_notice(self._clock, time.time(), len(self._index.hidden))
        self.purge()

    @classmethod
    def create(cls, path: Path, secret: Secret, binding: ModelBinding, pin: Pin | None = None) -> FileGallery:
        """Create an empty gallery in a file with mode 0600. Raises like `factory.create_gallery`."""
        if pin is not None and not is_gallery(path):
            pin.forget()
        gallery = cls(SqliteStore.create(path, secret, binding), pin)
        gallery._pin.check(gallery.state())
        return gallery

    @classmethod
    def open(cls, path: Path, secret: Secret, pin: Pin | None = None) -> FileGallery:
        """Open a gallery, verify people and the latest events, and remove expired people.

        Raises like `factory.open_gallery`.
        """
        store = SqliteStore.open(path, secret) if pin is None else SqliteStore.open(path, secret, pin.check)
        try:
            gallery = cls(store, pin)
            gallery._store.check_log()
        except BaseException:
            store.close()
            raise
        return gallery

    def close(self) -> None:
        with suppress(EdgefrError):  # locked with a new secret, or closed already
            self._pin.advance(self._store.state())
        self._store.close()

    def state(self) -> GalleryState:
        with self._reading():
            return self._store.state()

    def __len__(self) -> int:
        with self._reading():
            return len(self._index.directory)

    @property
    def path(self) -> Path:
        return self._store.path

    @property
    def binding(self) -> ModelBinding:
        with self._reading():
            return self._binding

    def names(self) -> list[str]:
        with self._reading():
            return sorted(name for _, name in self._index.directory)

    def people(self) -> Iterator[Person]:
        with self._reading():
            return iter([person for person in self._store.people(ignore_invalid) if person.id in self._index.directory])

    def people_after(self, number: int, limit: int) -> list[Person]:
        with self._reading():
            rows = self._store.rows(number + 1, MAX_ID)
            known = (row.person.id for row in rows if row.person.id in self._index.directory)
            return [self._index.person(one) for one in islice(known, limit)]

    def person_of_id(self, number: int) -> Person | None:
        with self._reading():
            return self._index.person(number) if number in self._index.directory else None

    def entries(self, names: Iterable[str]) -> Iterator[Entry]:
        return ((self.person(name), self.samples(name)) for name in names)

    def events(self) -> list[Event]:
        with self._reading():
            return list(self._store.events())

    def events_before(self, number: int | None, limit: int) -> list[NumberedEvent]:
        with self._reading():
            return self._store.event_page("id < ? ORDER BY id DESC", MAX_ID if number is None else number, limit)

    def events_after(self, number: int, limit: int) -> list[NumberedEvent]:
        with self._reading():
            return self._store.event_page("id > ? ORDER BY id", number, limit)

    def orphan_images(self) -> int:
        with self._reading():
            self._store.check_structure()  # an opening from a snapshot does not
            return self._store.images() - sum(len(person.images) for person in self._store.people(ignore_invalid))

    def invalid_people(self) -> list[InvalidPerson]:
        with self._reading():
            return list(self._index.invalid)

    def checked_entries(self, names: Iterable[str]) -> Iterator[Entry | InvalidPerson]:
        for name in names:
            person = self.person(name)
            try:
                yield checked_entry(person, self.samples(name), self.binding.embedding_dim)
            except InvalidRecordError as error:
                yield InvalidPerson(person.id, error.problem, person.name)

    def remove_invalid(self, people: Sequence[InvalidPerson]) -> None:
        with self._lock:
            with self._changing() as change:
                ids = {entry.id for entry in people}
                valid = (person for person in self._store.people(ignore_invalid) if person.id not in ids)
                change.remove_invalid(ids, {number for person in valid for number in person.images})
                change.log(removals_of_invalid(change, people))
            self._load()
            self._erase()

    def search_all(self, embeddings: Floats, top: int = 5) -> list[list[Hit]]:
        with self._reading():
            return [
                [
                    Hit(self._index.directory.name(match.id), match.similarity)
                    for match in self._index.search(embedding, top)
                ]
                for embedding in embeddings
            ]

    def purge(self) -> None:
        """Observe the clock while people have expired, remove those whose grace period is over (`clock`), and erase the
        traces of earlier removals.

        If the file cannot be written now, this is tried again later. Expired people are never returned.
        """
        with self._lock:
            self._hide_expired()
            if not (self._is_observation_due() or self.traces) or time.monotonic() < self._next_attempt:
                return
            self._next_attempt = time.monotonic() + PURGE_RETRY_S
            with suppress(UnavailableError):
                if self._is_observation_due():
                    with self._changing():
                        pass  # every change begins with the removal of expired people
                self._erase()
            if not (self._is_observation_due() or self.traces):
                self._next_attempt = -math.inf

    def _hide_expired(self) -> None:
        """Hide the people who have expired. A clock that was set back shows those again who are still there: another
        process may have removed some."""
        if not self._index.hidden:
            self._index.hide_expired()
            return
        with self._store.reading():
            self._read_changes()
            self._index.hide_expired()

    def _is_observation_due(self) -> bool:
        """Whether somebody has expired, and the clock has something new to say about it."""
        return bool(self._index.hidden) and self._clock.observe(time.time()) is not self._clock

    def rotate(self, secret: Secret) -> None:
        with self._lock:
            self._store.rotate(secret)
            self._load()
            self._pin.replace(self._store.state())
            self._erase()

    def re_embed_all(self, binding: ModelBinding, re_embed: ReEmbed) -> None:
        with self._lock:
            with self._changing() as change:
                hidden = [(number, name) for number, (name, _) in self._index.hidden.items()]
                for number, name in [*self._index.directory, *hidden]:
                    person = self._index.person(number)
                    samples = re_embed(name, self._store.samples(person))
                    change.replace_samples(replace(person, template=fuse_template(samples)), samples)
                change.header = replace(change.header, binding=binding)
                change.log([Event.now("rebuilt", detail=binding.model)])
            self._erase()

    def _find(self, name: str) -> Person | None:
        number = self._index.directory.find(name)
        return None if number is None else self._index.person(number)

    def _find_expired(self, name: str) -> Person | None:
        number = self._index.find_hidden(name)
        return None if number is None else self._index.person(number)

    def _contract_record(self) -> bytes | None:
        return self._store.contract_record()

    def _samples(self, person: Person) -> list[FaceSample]:
        return self._store.samples(person)

    def _add_all(self, entries: Iterable[tuple[Person, Sequence[FaceSample]]], change: GalleryChange) -> int:
        assert isinstance(change, SqliteTransaction), "this gallery makes no other changes"
        names = {name for _, name in self._index.directory}
        before = len(names)
        for person, samples in entries:
            if person.name in names:
                raise name_taken(person.name, self.path)
            names.add(person.name)
            self._remove_expired(person.name, change)
            change.add(person, samples)
            self._packed += pack(change)
        return len(names) - before

    def _erase(self) -> None:
        self.traces = self._store.erase()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Lock this object after it has read the changes of other processes and removed expired people."""
        with self._lock:
            self.purge()
            with self._store.reading():
                self._read_changes()
                yield

    @contextmanager
    def _changing(self) -> Iterator[SqliteTransaction]:
        """Lock this object and the file after reading the changes of other processes, observe the clock, and remove
        expired people whose grace period is over."""
        with self._lock:
            with self._store.change() as change:
                if change.header.turn != self._turn:
                    self._refresh()
                self._index.hide_expired()
                clock = change.observe_clock(time.time())
                expired = [self._index.person(n) for n in self._index.expired_until(clock.destroyed_until)]
                pseudonyms = change.forget([person.name for person in expired]) if expired else []
                for person in expired:
                    change.remove(person)
                change.log([Event.now("expired", pseudonym) for pseudonym in pseudonyms])
                if before := kept_since(self.log_days, clock):
                    change.delete_events(before)
                self._packed: list[IndexChunk] = []
                yield change
                update(change)
            self._note(change.header)
            is_pinned = bool(change.removed) or any(number in self._index.directory for number in change.written)
            self._index.add_chunks(self._packed)
            self._index.remove({*change.removed, *change.written})
            self._index.add(change.written.values())
            if is_pinned:  # additions are pinned when closed
                self._pin.advance(self._store.state())

    def _read_changes(self) -> None:
        if self._store.data_version() != self._version:
            self._refresh()

    def _refresh(self) -> None:
        """Read what another process has changed. Often it has only logged a match, and no person has to be read."""
        known = self._people
        self._version = self._store.data_version()
        self._note(self._store.header())
        if self._people != known:
            self._load()

    def _load(self) -> None:
        self._index = MemoryIndex(self._store, self._read())

    def _read(self) -> People:
        self._version = self._store.data_version()
        people = read_people(self._store)
        self._note(people.header)
        return people

    def _note(self, header: Header) -> None:
        self._turn, self._binding, self._clock = header.turn, header.binding, header.clock
        self._people = header.people, header.rows
