"""A gallery in use: who is enrolled, kept in memory, and every change of it on the disk before it counts here.

gallery = Gallery.open(Path("people.gallery"), Passphrase("correct horse battery"))
print(gallery.search(embedding, top=1))
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from edgefr.errors import EdgefrError
from edgefr.gallery.base import Entry, Hit
from edgefr.gallery.crypto.key_wrapping import Secret
from edgefr.gallery.model_binding import ModelBinding
from edgefr.gallery.records import (
    MOST_IMAGES,
    Event,
    FaceSample,
    Person,
    check_name,
    fuse_template,
    is_name,
    without_duplicates,
)
from edgefr.gallery.search.memory_index import MemoryIndex
from edgefr.gallery.stores.sqlite import SqliteStore
from edgefr.gallery.stores.sqlite_transaction import SqliteTransaction
from edgefr.types import Floats


class FileGallery:
    """An open gallery. Several threads may use one object; several processes may use one file.

    Every method raises EdgefrError where the file is damaged, kept locked by another process, or cannot be written.
    """

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._lock = threading.RLock()
        with store.reading():
            self._load()
        self.purge()

    @classmethod
    def create(cls, path: Path, secret: Secret, binding: ModelBinding) -> FileGallery:
        """Make an empty gallery for what `binding` says.

        Raises:
            EdgefrError: there is one already, or it cannot be written.
        """
        return cls(SqliteStore.create(path, secret, binding))

    @classmethod
    def open(cls, path: Path, secret: Secret) -> FileGallery:
        """Open a gallery, prove all its people and its log, and remove those whose time is over.

        Raises:
            EdgefrError: there is none, the secret is wrong, or the file is damaged.
        """
        store = SqliteStore.open(path, secret)
        try:
            gallery = cls(store)
            gallery.events()
        except BaseException:
            store.close()
            raise
        return gallery

    def close(self) -> None:
        self._store.close()

    def __enter__(self) -> FileGallery:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        with self._fresh():
            return len(self._roster.name_of)

    def __contains__(self, name: str) -> bool:
        """Whether somebody of this name is enrolled."""
        with self._fresh():
            return is_name(name) and check_name(name) in self._roster.number_of

    @property
    def path(self) -> Path:
        return self._store.path

    @property
    def binding(self) -> ModelBinding:
        """What made the templates."""
        with self._fresh():
            return self._binding

    def names(self) -> list[str]:
        """Everybody's names, sorted."""
        with self._fresh():
            return sorted(self._roster.number_of)

    def people(self) -> Iterator[Person]:
        """Everybody, in the order of enrolment."""
        with self._fresh():
            return iter(list(self._store.people()))

    def entries(self, names: Iterable[str]) -> Iterator[Entry]:
        """These people with their images.

        Raises:
            EdgefrError: nobody has one of the names.
        """
        return ((self.person(name), self.samples(name)) for name in names)

    def person(self, name: str) -> Person:
        """One person.

        Raises:
            EdgefrError: nobody of this name is enrolled.
        """
        with self._fresh():
            return self._store.person(self._number(name))

    def samples(self, name: str) -> list[FaceSample]:
        """A person's images.

        Raises:
            EdgefrError: nobody of this name is enrolled.
        """
        with self._fresh():
            return self._store.samples(self._store.person(self._number(name)))

    def events(self) -> list[Event]:
        """The log from its beginning."""
        with self._fresh():
            return list(self._store.events())

    def orphan_images(self) -> int:
        """Images that belong to nobody: 0, unless somebody else wrote the file."""
        with self._fresh():
            return self._store.images() - sum(len(person.images) for person in self._store.people())

    def search(self, embedding: Floats, top: int = 5) -> list[Hit]:
        """The `top` people most similar to `embedding` (K,) of unit length, best first, whoever they are: it is for
        `edgefr.gallery.threshold` to say from which similarity on somebody is known."""
        return self.search_all(embedding[None], top)[0]

    def search_all(self, embeddings: Floats, top: int = 5) -> list[list[Hit]]:
        """What `search` finds for each of `embeddings` (N, K)."""
        with self._fresh():
            found = (self._roster.index.search(embedding, top) for embedding in embeddings)
            return [[Hit(self._roster.name_of[match.id], match.similarity) for match in matches] for matches in found]

    def enrol(self, name: str, samples: Sequence[FaceSample], keep: float | None = None) -> None:
        """Enrol somebody, or add images to who is enrolled; it is on the disk when this returns.

        `keep` is how many seconds from now on the person stays; None leaves it as it is, at first for good. Without
        images nothing else changes of who is enrolled.

        Raises:
            EdgefrError: the name is none, or the images are too many or cancel.
        """
        name = check_name(name)
        until = None if keep is None else time.time() + keep
        with self._changing() as change:
            number = self._roster.number_of.get(name) if samples else self._number(name)
            if number is None:
                change.add(Person(0, name, time.time(), until, fuse_template(samples), ()), samples)
            else:
                known = self._store.person(number)
                kept = self._store.samples(known)
                samples = without_duplicates(kept, samples)  # others may have enrolled one meanwhile
                together = [*kept, *samples]
                if len(together) > MOST_IMAGES:
                    raise EdgefrError(f"at most {MOST_IMAGES:,} images of {name}", f"{len(together):,}", "enrol fewer")
                expires = known.expires if until is None else until
                change.extend(replace(known, template=fuse_template(together), expires=expires), samples)
            what = "enrolled" if number is None else "extended"
            change.log([Event.now(what, name, f"{len(samples)} images")])

    def import_all(self, entries: Iterable[tuple[Person, Sequence[FaceSample]]], detail: str) -> int:
        """Enrol people as they were enrolled elsewhere, all or none; how many they were.

        Raises:
            EdgefrError: one of the names is taken.
        """
        with self._changing() as change:
            names = set(self._roster.number_of)
            for person, samples in entries:
                if person.name in names:
                    raise EdgefrError(
                        f"nobody of the name {person.name} in {self.path}",
                        "one",
                        ("rename or remove that person with `edgefr gallery rename` or `remove`; nothing was imported"),
                    )
                names.add(person.name)
                change.add(person, samples)
            change.log([Event.now("imported", detail=detail)])
            return len(change.written)

    def rename(self, name: str, other: str) -> None:
        """Give a person another name.

        Raises:
            EdgefrError: nobody has the one, somebody has the other, or it is no name.
        """
        other = check_name(other)
        with self._changing() as change:
            if other in self._roster.number_of:
                raise EdgefrError(f"nobody of the name {other}", "one", "choose another name")
            person = self._store.person(self._number(name))
            change.extend(replace(person, name=other), ())
            change.log([Event.now("renamed", other, f"from {person.name}")])

    def remove(self, name: str) -> None:
        """Destroy a person's key, and with it record, template and images; the log keeps that it happened.

        Raises:
            EdgefrError: nobody of this name is enrolled.
        """
        with self._lock:
            with self._changing() as change:
                self._remove(change, self._number(name), "removed")
            self._store.forget()

    def purge(self) -> None:
        """Remove everybody whose time is over."""
        with self._lock:
            if self._roster.due():
                with self._changing() as change:
                    for number in self._roster.due():
                        self._remove(change, number, "expired")
                self._store.forget()

    def log(self, events: Sequence[Event]) -> None:
        """Add lines to the log."""
        with self._changing() as change:
            change.log(events)

    def rotate(self, secret: Secret) -> None:
        """Lock with a new secret and a new key; the former opens this file no more."""
        with self._lock:
            self._store.rotate(secret)
            self._turn = self._store.header().turn

    def re_embed_all(self, binding: ModelBinding, remade: Callable[[str, list[FaceSample]], list[FaceSample]]) -> None:
        """Everybody's images as `remade(name, samples)` gives them, and what they are bound to from now on.

        All of it is one change, in which nobody else writes.
        """
        with self._lock:
            with self._changing() as change:
                for number, name in self._roster.name_of.items():
                    person = self._store.person(number)
                    samples = remade(name, self._store.samples(person))
                    change.re_embed_all(replace(person, template=fuse_template(samples)), samples)
                change.header = replace(change.header, binding=binding)
                change.log([Event.now("rebuilt", detail=binding.model)])
            self._store.forget()

    def _number(self, name: str) -> int:
        found = self._roster.number_of.get(check_name(name))
        if found is None:
            raise EdgefrError(f"{name} in {self.path}", "nobody of that name", "see `edgefr gallery list`")
        return found

    def _remove(self, change: SqliteTransaction, number: int, what: str) -> None:
        person = self._store.person(number)
        change.remove(person)
        change.log([Event.now(what, person.name)])

    @contextmanager
    def _fresh(self) -> Iterator[None]:
        """Hold this object, in step with what other processes have written and without who has expired."""
        with self._lock:
            self.purge()
            with self._store.reading():
                if self._store.data_version() != self._version:
                    self._load()
                yield

    @contextmanager
    def _changing(self) -> Iterator[SqliteTransaction]:
        """Hold this object and the file for a change, in step with what other processes have written."""
        with self._lock:
            with self._store.change() as change:
                if change.header.turn != self._turn:
                    self._load()
                yield change
            self._turn, self._binding = change.header.turn, change.header.binding
            self._roster.leave_out({*change.gone, *change.written})
            self._roster.take_in(change.written.values())

    def _load(self) -> None:
        self._version = self._store.data_version()
        header = self._store.header()
        self._turn, self._binding = header.turn, header.binding
        self._roster = MemoryIndex(self._store)
