"""A gallery that a database keeps, which also does the searching: nobody's template is held in this process.

The database sees templates in clear, for it compares them, and when somebody is to be removed; names, times, images and
the log are sealed as in a file, a person's each with a key of that person. It could leave people out of its answers or
give back older ones, which nothing here would notice; it cannot change a name, an image or a similarity, for all that
is answered is unsealed first, and similarities are computed anew from the sealed templates.

The order of the writes is such that a change cut short leaves the old person or the new one where the database has no
transactions: images first, then the row of the person, whose record names them, in one piece; and when somebody is
removed the row first. What is left over belongs to nobody, and the next writer clears it away.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import islice
from types import TracebackType
from typing import NoReturn

from edgefr.errors import EdgefrError
from edgefr.gallery.address import Address
from edgefr.gallery.base import Entry, Hit
from edgefr.gallery.crypto.encryption import Keys, SealContext, new_key
from edgefr.gallery.crypto.key_wrapping import Secret, unwrap_key, wrap_key
from edgefr.gallery.database_people import BATCH, DatabasePeople
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
from edgefr.gallery.stores.base import EVENT, HEADER, IMAGE, TOGETHER, WAIT_SECONDS, Blob, GalleryStore
from edgefr.gallery.stores.remote_row_codec import RemoteRowCodec, new_number, new_range, outside, outside_of, over
from edgefr.gallery.stores.row_codec import Header, RowCodec
from edgefr.types import Floats

VERSION = 1
COUNT_SECONDS = 5.0
"""How old an answer to `len` may be: the camera asks for every picture, and a server counts slowly."""
BEHIND = 128
"""How many are looked for where some of the found are no longer to be found."""
PURGE_WAIT, PURGE_AGAIN = 1.0, 60.0
"""Seconds that who reads waits for others' changes to remove people whose time is over, and until it tries again."""


class DatabaseGallery:
    """An open gallery in a database. Several threads may use one object; several clients may use one gallery.

    The methods are those of `gallery.Gallery`, except where said. Every one raises EdgefrError where the database
    cannot be reached, refuses, or gives what edgefr did not write.
    """

    def __init__(self, shelf: GalleryStore, place: SealContext, gallery_key: bytes, header: Header) -> None:
        self._shelf = shelf
        self._place = place
        self._gallery_key = gallery_key
        self._rows = RemoteRowCodec(place, Keys.of(gallery_key), str(shelf.address))
        self._people = DatabasePeople(shelf, self._rows)
        self._header = header
        self._lock = threading.RLock()
        self._counted = (-math.inf, 0)
        self._purging = -math.inf
        """From when on people whose time is over may be removed by who reads."""

    @classmethod
    def create(cls, shelf: GalleryStore, secret: Secret, binding: ModelBinding) -> DatabaseGallery:
        """Make an empty gallery.

        Raises:
            EdgefrError: there is one of this name, or something else.
        """
        place, gallery_key, header = SealContext.new(), new_key(), Header(VERSION, binding)
        body = RowCodec(place, Keys.of(gallery_key), str(shelf.address)).sealed_header(header)
        extra = outside(place, wrap_key(gallery_key, secret, place))
        shelf.create(binding.embedding_dim, Blob(HEADER, 1, 0, body, extra))
        return cls(shelf, place, gallery_key, header)

    @classmethod
    def open(cls, shelf: GalleryStore, secret: Secret) -> DatabaseGallery:
        """Unlock a gallery and remove those whose time is over.

        Raises:
            EdgefrError: there is none, the secret is wrong, or a newer edgefr made it.
        """
        source, thing = str(shelf.address), shelf.header()
        place, lock = outside_of(thing, source)
        gallery_key = unwrap_key(lock, secret, place, source)
        header = RowCodec(place, Keys.of(gallery_key), source).header(thing.body)
        if header.version > VERSION:
            raise EdgefrError(
                f"a gallery of version {VERSION} at {source}",
                str(header.version),
                "update edgefr (pip install --upgrade edgefr)",
            )
        gallery = cls(shelf, place, gallery_key, header)
        gallery.purge()
        return gallery

    def close(self) -> None:
        with self._lock:
            self._shelf.close()

    def __enter__(self) -> DatabaseGallery:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        """How many people there are; what other clients changed may be seen a few seconds later. Of those whose time is
        over while others keep the gallery from being written, a page at most is left out."""
        with self._lock:
            at, count = self._counted
            if time.monotonic() - at > COUNT_SECONDS:
                self.purge()
                count = self._shelf.count() - len(self._shelf.due(int(time.time())))
                self._counted = (time.monotonic(), count)
            return count

    def __contains__(self, name: str) -> bool:
        with self._lock:
            return is_name(name) and self._people.find(name) is not None

    @property
    def path(self) -> Address:
        return self._shelf.address

    @property
    def binding(self) -> ModelBinding:
        return self._header.binding

    def names(self) -> list[str]:
        return sorted(person.name for person in self.people())

    def people(self) -> Iterator[Person]:
        """Everybody in no order; who is enrolled meanwhile may be among them."""
        after = 0
        while True:
            with self._lock:
                rows = self._shelf.page(after)
            if not rows:
                return
            yield from (person for person in map(self._rows.person, rows) if not over(person))
            after = rows[-1].id

    def entries(self, names: Iterable[str]) -> Iterator[Entry]:
        """These people with their images.

        Raises:
            EdgefrError: nobody has one of the names.
        """
        remaining = iter(names)
        while batch := list(islice(remaining, BATCH)):
            with self._lock:
                rows = {row.token: row for row in self._shelf.named([self._rows.token(name) for name in batch])}
                found = self._people.samples(list(rows.values()))
            for name in batch:
                row = rows.get(self._rows.token(name))
                if row is None:
                    self._people.nobody(name)
                yield self._rows.person(row), found[row.id]

    def person(self, name: str) -> Person:
        with self._lock:
            return self._rows.person(self._people.row(name))

    def samples(self, name: str) -> list[FaceSample]:
        with self._lock:
            row = self._people.row(name)
            return self._people.samples([row])[row.id]

    def events(self) -> list[Event]:
        """The log by time."""
        events: list[Event] = []
        after = 0
        with self._lock:
            while things := self._shelf.thing_page(EVENT, after):
                events += map(self._rows.event, things)
                after = things[-1].id
        return events

    def orphan_images(self) -> int:
        """Images that no person's record names: what a change left that was cut short or is still under way."""
        with self._lock:
            named = {number for person in self.people() for number in person.images}
            stray, after = 0, 0
            while things := self._shelf.thing_page(IMAGE, after):
                stray += sum(thing.id not in named for thing in things)
                after = things[-1].id
            return stray

    def search(self, embedding: Floats, top: int = 5) -> list[Hit]:
        """The `top` people whom the database finds most similar, with similarities to their sealed templates."""
        return self.search_all(embedding[None], top)[0]

    def search_all(self, embeddings: Floats, top: int = 5) -> list[list[Hit]]:
        """What `search` finds for each of `embeddings` (N, K)."""
        return [
            hits
            for start in range(0, len(embeddings), TOGETHER)
            for hits in self._search(embeddings[start : start + TOGETHER], top)
        ]

    def _search(self, embeddings: Floats, top: int) -> list[list[Hit]]:
        with self._lock:
            found = self._people.nearest(embeddings, top)
            if any(over(person) for people in found for person in people):
                self.purge()  # which may leave them: so others are looked for behind them
                found = self._people.nearest(embeddings, max(BEHIND, top))
        hits = [
            [Hit(person.name, float(person.template @ embedding)) for person in people if not over(person)]
            for embedding, people in zip(embeddings, found, strict=True)
        ]
        return [sorted(several, key=lambda hit: -hit.similarity)[:top] for several in hits]

    def enrol(self, name: str, samples: Sequence[FaceSample], keep: float | None = None) -> None:
        name = check_name(name)
        until = None if keep is None else time.time() + keep
        with self._changing():
            row = self._people.find(name) if samples else self._people.row(name)
            if row is None:
                person = Person(new_number(), name, time.time(), until, fuse_template(samples), ())
                self._people.write(person, new_key(), samples)
            else:
                known, kept = self._rows.person(row), self._people.samples([row])[row.id]
                samples = without_duplicates(kept, samples)  # others may have enrolled one meanwhile
                together = [*kept, *samples]
                if len(together) > MOST_IMAGES:
                    raise EdgefrError(f"at most {MOST_IMAGES:,} images of {name}", f"{len(together):,}", "enrol fewer")
                expires = known.expires if until is None else until
                person = replace(known, template=fuse_template(together), expires=expires)
                self._people.write(person, self._rows.data_key(row), samples)
            what = "enrolled" if row is None else "extended"
            self._people.log([Event.now(what, name, f"{len(samples)} images")])

    def import_all(self, entries: Iterable[tuple[Person, Sequence[FaceSample]]], detail: str) -> int:
        """As `Gallery.import_all`. Where the database has no transactions, people are found while others are still
        written; they are taken out again if it fails, or, if this process dies, by the next writer."""
        intent = new_range()
        with self._changing():
            self._shelf.intend(intent)
            count = self._people.add(iter(entries), intent.first)
            self._people.log([Event.now("imported", detail=detail)])
            return count

    def rename(self, name: str, other: str) -> None:
        other = check_name(other)
        with self._changing():
            if self._people.find(other) is not None:
                raise EdgefrError(f"nobody of the name {other}", "one", "choose another name")
            row = self._people.row(name)
            person = self._rows.person(row)
            self._people.write(replace(person, name=other), self._rows.data_key(row), ())
            self._people.log([Event.now("renamed", other, f"from {person.name}")])

    def remove(self, name: str) -> None:
        """Delete a person's row, and with it the key, and all images; the log keeps that it happened. What is left in
        the server's files until it clears them away is said in docs/stores.md."""
        with self._changing():
            self._people.remove(self._people.row(name))
        with self._lock:
            self._shelf.forget()

    def purge(self) -> None:
        """Remove everybody whose time is over, unless others are changing the gallery or it cannot be written just
        now: then this is tried again later, for who reads should not have to wait, and finds nobody of them anyway."""
        with self._lock:
            if time.monotonic() < self._purging or not self._shelf.due(int(time.time())):
                return
            self._purging = time.monotonic() + PURGE_AGAIN
            with suppress(EdgefrError):
                with self._changing(wait=PURGE_WAIT):  # which removes them
                    pass
                self._purging = -math.inf
                self._shelf.forget()

    def log(self, events: Sequence[Event]) -> None:
        with self._lock:
            self._people.log(events)

    def rotate(self, secret: Secret) -> None:
        """Lock with a new secret. The gallery's key beneath stays: who copied the lock before and knows the former
        secret has that key."""
        with self._changing():
            thing = self._shelf.header()
            extra = outside(self._place, wrap_key(self._gallery_key, secret, self._place))
            self._shelf.put_things([replace(thing, extra=extra)])
            self._people.log([Event.now("rotated")])

    def re_embed_all(
        self, binding: ModelBinding, remade: Callable[[str, list[FaceSample]], list[FaceSample]]
    ) -> NoReturn:
        """Refused: while templates of two models are mixed no search means anything.

        Raises:
            EdgefrError: always.
        """
        raise EdgefrError(
            "a gallery in a file to rebuild",
            str(self.path),
            ("carry it there with `edgefr gallery export` and `import`, rebuild it, and import it under a new name"),
        )

    @contextmanager
    def _changing(self, wait: float = WAIT_SECONDS) -> Iterator[None]:
        """Hold the gallery for a change of who is left: a name whose time is over is free."""
        with self._lock, self._shelf.changing(self._people.mend, wait):
            self._people.expire(int(time.time()))
            yield
            self._counted = (-math.inf, 0)
