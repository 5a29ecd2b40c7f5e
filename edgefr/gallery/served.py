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

import json
import math
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from types import TracebackType
from typing import NoReturn

from edgefr.errors import EdgefrError
from edgefr.gallery.address import Address
from edgefr.gallery.binding import Binding
from edgefr.gallery.contract import Entry, Hit
from edgefr.gallery.lock import Secret, locked, unlocked
from edgefr.gallery.records import MOST_IMAGES, Event, Person, Portrait, checked_name, fused, is_name
from edgefr.gallery.rows import Header, Rows
from edgefr.gallery.seal import DamagedError, Keys, Place, new_key
from edgefr.gallery.shelf import EVENT, HEADER, IMAGE, Intent, PersonRow, Shelf, Thing
from edgefr.spec import Floats

VERSION = 1
SINGLE_BITS = 62
"""Random bits of a person's or an image's number. An import numbers its people in a row, with this bit set, so that
they are told from all others: 34 random bits say which import, the rest who."""
COUNT_SECONDS = 5.0
"""How old an answer to `len` may be: the camera asks for every picture, and a server counts slowly."""
BATCH = 200
"""People that are read with all their images at a time: some 100 MB if each had twenty, with crops."""


class ServedGallery:
    """An open gallery in a database. Several threads may use one object; several clients may use one gallery.

    The methods are those of `gallery.Gallery`, except where said. Every one raises EdgefrError where the database
    cannot be reached, refuses, or gives what edgefr did not write.
    """

    def __init__(self, shelf: Shelf, place: Place, gallery_key: bytes, header: Header) -> None:
        self._shelf = shelf
        self._place = place
        self._gallery_key = gallery_key
        self._keys = Keys.of(gallery_key)
        self._rows = Rows(place, self._keys, str(shelf.address))
        self._header = header
        self._lock = threading.RLock()
        self._counted = (-math.inf, 0)

    @classmethod
    def create(cls, shelf: Shelf, secret: Secret, binding: Binding) -> ServedGallery:
        """Make an empty gallery.

        Raises:
            EdgefrError: there is one of this name, or something else.
        """
        place, gallery_key, header = Place.new(), new_key(), Header(VERSION, binding)
        body = Rows(place, Keys.of(gallery_key), str(shelf.address)).sealed_header(header)
        outside = _outside(place, locked(gallery_key, secret, place))
        shelf.create(binding.embedding_dim, Thing(HEADER, 1, 0, body, outside))
        return cls(shelf, place, gallery_key, header)

    @classmethod
    def open(cls, shelf: Shelf, secret: Secret) -> ServedGallery:
        """Unlock a gallery and remove those whose time is over.

        Raises:
            EdgefrError: there is none, the secret is wrong, or a newer edgefr made it.
        """
        source, thing = str(shelf.address), shelf.header()
        place, lock = outside_of(thing, source)
        gallery_key = unlocked(lock, secret, place, source)
        header = Rows(place, Keys.of(gallery_key), source).header(thing.body)
        if header.version > VERSION:
            raise EdgefrError(
                f"expected a gallery of version {VERSION} at {source}, found {header.version}: update edgefr "
                "(pip install --upgrade edgefr)"
            )
        gallery = cls(shelf, place, gallery_key, header)
        gallery.purge()
        return gallery

    def close(self) -> None:
        with self._lock:
            self._shelf.close()

    def __enter__(self) -> ServedGallery:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        """How many people there are; what other clients changed may be seen a few seconds later."""
        with self._lock:
            at, count = self._counted
            if time.monotonic() - at > COUNT_SECONDS:
                self.purge()
                count = self._shelf.count()
                self._counted = (time.monotonic(), count)
            return count

    def __contains__(self, name: str) -> bool:
        with self._lock:
            return is_name(name) and self._find(name) is not None

    @property
    def path(self) -> Address:
        return self._shelf.address

    @property
    def binding(self) -> Binding:
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
            yield from (person for person in map(self._opened, rows) if not _over(person))
            after = rows[-1].id

    def entries(self, names: Iterable[str]) -> Iterator[Entry]:
        """These people with their images.

        Raises:
            EdgefrError: nobody has one of the names.
        """
        remaining = iter(names)
        while batch := list(islice(remaining, BATCH)):
            with self._lock:
                rows = {row.token: row for row in self._shelf.named([self._token(name) for name in batch])}
                found = self._portraits(list(rows.values()))
            for name in batch:
                row = rows.get(self._token(name))
                if row is None:
                    self._nobody(name)
                yield self._opened(row), found[row.id]

    def person(self, name: str) -> Person:
        with self._lock:
            return self._opened(self._row(name))

    def portraits(self, name: str) -> list[Portrait]:
        with self._lock:
            row = self._row(name)
            return self._portraits([row])[row.id]

    def events(self) -> list[Event]:
        """The log by time."""
        events: list[Event] = []
        after = 0
        with self._lock:
            while things := self._shelf.thing_page(EVENT, after):
                events += [self._rows.event(thing.id, thing.body) for thing in things]
                after = things[-1].id
        return events

    def stray_images(self) -> int:
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
        with self._lock:
            people = [self._opened(row) for row in self._shelf.nearest(embedding, top)]
            if any(map(_over, people)):
                self.purge()
                people = [self._opened(row) for row in self._shelf.nearest(embedding, top)]
        hits = [Hit(person.name, float(person.template @ embedding)) for person in people if not _over(person)]
        return sorted(hits, key=lambda hit: -hit.similarity)

    def enrol(self, name: str, portraits: Sequence[Portrait], keep: float | None = None) -> None:
        name = checked_name(name)
        until = None if keep is None else time.time() + keep
        with self._changing():
            row = self._find(name) if portraits else self._row(name)
            if row is None:
                person = Person(_number(), name, time.time(), until, fused(portraits), ())
                self._write(person, new_key(), portraits)
            else:
                known = self._opened(row)
                together = [*self._portraits([row])[row.id], *portraits]
                if len(together) > MOST_IMAGES:
                    raise EdgefrError(
                        f"expected at most {MOST_IMAGES:,} images of {name}, found {len(together):,}: enrol fewer"
                    )
                expires = known.expires if until is None else until
                person = replace(known, template=fused(together), expires=expires)
                self._write(person, self._rows.data_key(row.id, row.key), portraits)
            what = "enrolled" if row is None else "extended"
            self.log([Event.now(what, name, f"{len(portraits)} images")])

    def add_all(self, entries: Iterable[tuple[Person, Sequence[Portrait]]], detail: str) -> int:
        """As `Gallery.add_all`. Where the database has no transactions, people are found while others are still
        written; they are taken out again if it fails, or, if this process dies, by the next writer."""
        first = 1 << SINGLE_BITS | secrets.randbits(34) << 28
        with self._changing(bulk=True):
            self._shelf.intend(Intent(first, first + (1 << 28) - 1, whole=True))
            count = self._add(iter(entries), first)
            self.log([Event.now("imported", detail=detail)])
            return count

    def rename(self, name: str, other: str) -> None:
        other = checked_name(other)
        with self._changing():
            if self._find(other) is not None:
                raise EdgefrError(f"expected nobody of the name {other}, found one: choose another name")
            row = self._row(name)
            person = self._opened(row)
            self._write(replace(person, name=other), self._rows.data_key(row.id, row.key), ())
            self.log([Event.now("renamed", other, f"from {person.name}")])

    def remove(self, name: str) -> None:
        """Delete a person's row, and with it the key, and all images; the log keeps that it happened. What is left in
        the server's files until it clears them away is said in docs/stores.md."""
        with self._changing():
            self._remove(self._row(name), "removed")
        with self._lock:
            self._shelf.forget()

    def purge(self) -> None:
        """Remove everybody whose time is over."""
        with self._lock:
            if self._shelf.due(int(time.time())):
                with self._changing():  # which removes them
                    pass
                self._shelf.forget()

    def log(self, events: Sequence[Event]) -> None:
        things = []
        for event in events:
            number = time.time_ns() & ~0xFFF | secrets.randbits(12)  # in order, and no two clients' the same
            things.append(Thing(EVENT, number, 0, self._rows.sealed_event(number, event)))
        with self._lock:
            self._shelf.put_things(things)

    def rotate(self, secret: Secret) -> None:
        """Lock with a new secret. The gallery's key beneath stays: who copied the lock before and knows the former
        secret has that key."""
        with self._changing():
            thing = self._shelf.header()
            outside = _outside(self._place, locked(self._gallery_key, secret, self._place))
            self._shelf.put_things([replace(thing, extra=outside)])
            self.log([Event.now("rotated")])

    def exchange(self, binding: Binding, remade: Callable[[str, list[Portrait]], list[Portrait]]) -> NoReturn:
        """Refused: while templates of two models are mixed no search means anything.

        Raises:
            EdgefrError: always.
        """
        raise EdgefrError(
            f"expected a gallery in a file to rebuild, found {self.path}: carry it there with `edgefr gallery export` "
            "and `import`, rebuild it, and import it under a new name"
        )

    def _add(self, entries: Iterator[tuple[Person, Sequence[Portrait]]], first: int) -> int:
        count, names = 0, set[str]()
        empty = self._shelf.count() == 0
        while batch := list(islice(entries, BATCH)):
            tokens = [self._token(person.name) for person, _ in batch]
            taken = {} if empty else {row.token: row for row in self._shelf.named(tokens)}
            things: list[Thing] = []
            rows: list[PersonRow] = []
            for token, (person, portraits) in zip(tokens, batch, strict=True):
                if token in taken or person.name in names:
                    raise EdgefrError(
                        f"expected nobody of the name {person.name} in {self.path}, found one: rename or remove that "
                        "person with `edgefr gallery rename` or `remove`; nothing was imported"
                    )
                names.add(person.name)
                added, row = self._sealed(replace(person, id=first + count, images=()), new_key(), portraits)
                things += added
                rows.append(row)
                count += 1
            self._shelf.put_things(things)
            self._shelf.put(rows, [person.template for person, _ in batch])
            self._counted = (-math.inf, 0)
        return count

    def _write(self, person: Person, data_key: bytes, portraits: Sequence[Portrait]) -> None:
        """Write a person's row, and before it further images beside the named."""
        things, row = self._sealed(person, data_key, portraits)
        self._shelf.intend(Intent(person.id, person.id))
        self._shelf.put_things(things)
        self._shelf.put([row], [person.template])
        self._counted = (-math.inf, 0)

    def _sealed(self, person: Person, data_key: bytes, portraits: Sequence[Portrait]) -> tuple[list[Thing], PersonRow]:
        things = []
        for portrait in portraits:
            number = _number()
            things.append(Thing(IMAGE, number, person.id, *self._rows.sealed_portrait(number, portrait, data_key)))
        person = replace(person, images=(*person.images, *(thing.id for thing in things)))
        due = 0 if person.expires is None else max(1, int(person.expires))
        wrapped, record = self._rows.wrapped(person.id, data_key), self._rows.sealed_person(person, data_key)
        return things, PersonRow(person.id, self._token(person.name), due, wrapped, record)

    def _remove(self, row: PersonRow, what: str) -> None:
        name = self._opened(row).name
        self._shelf.intend(Intent(row.id, row.id))
        self._shelf.drop(row.id, row.id)
        self._counted = (-math.inf, 0)
        self.log([Event.now(what, name)])

    def _mend(self, intent: Intent) -> None:
        """Clear away what a change left that was cut short."""
        row = None if intent.whole else self._shelf.numbered(intent.first)
        if row is None:
            self._shelf.drop(intent.first, intent.last)
            return
        named = set(self._opened(row).images)
        left = [thing.id for thing in self._shelf.things(IMAGE, [row.id]) if thing.id not in named]
        self._shelf.drop_things(IMAGE, left)

    def _portraits(self, rows: Sequence[PersonRow]) -> dict[int, list[Portrait]]:
        """The images of these people by number, each as the person's record names it."""
        things = {thing.id: thing for thing in self._shelf.things(IMAGE, [row.id for row in rows])}
        found = {}
        for row in rows:
            named, data_key = self._opened(row).images, self._rows.data_key(row.id, row.key)
            if any(number not in things for number in named):
                self._insist_on_same(row)
            found[row.id] = [
                self._rows.portrait(number, data_key, things[number].body, things[number].extra) for number in named
            ]
        return found

    def _insist_on_same(self, row: PersonRow) -> NoReturn:
        """Images are missing that a person's row names: because somebody changed the person since, or took them."""
        if self._shelf.numbered(row.id) == row:
            raise DamagedError(f"the images of a person in {self.path}")
        raise EdgefrError(f"expected nobody to change a person of {self.path} just now, found a change: try again")

    def _opened(self, row: PersonRow) -> Person:
        person = self._rows.person(row.id, row.key, row.record)
        if self._token(person.name) != row.token:
            raise DamagedError(f"a person of {self.path}")
        return person

    def _find(self, name: str) -> PersonRow | None:
        """The row of who has this name, if anybody has."""
        rows = self._shelf.named([self._token(checked_name(name))])
        return rows[0] if rows and not _over(self._opened(rows[0])) else None

    def _row(self, name: str) -> PersonRow:
        row = self._find(name)
        return self._nobody(name) if row is None else row

    def _nobody(self, name: str) -> NoReturn:
        raise EdgefrError(f"expected {name} in {self.path}, found nobody of that name: see `edgefr gallery list`")

    def _token(self, name: str) -> str:
        """What stands for a name at the server: the same for the same name, and nothing else can be learnt of it."""
        return self._keys.digest(b"name", name.encode()).hex()

    @contextmanager
    def _changing(self, bulk: bool = False) -> Iterator[None]:
        """Hold the gallery for a change of who is left: a name whose time is over is free."""
        with self._lock, self._shelf.changing(self._mend, bulk):
            for row in self._shelf.due(int(time.time())):
                self._remove(row, "expired")
            yield


def outside_of(header: Thing, source: str) -> tuple[Place, object]:
    """What is not sealed of a header: the gallery's identity and the lock.

    Raises:
        DamagedError: it is not as edgefr wrote it.
    """
    try:
        outside = json.loads(header.extra)
        place, lock = outside["place"], outside["lock"]
    except (ValueError, TypeError, KeyError, RecursionError):
        place, lock = None, None
    if not isinstance(place, str):
        raise DamagedError(f"the header of {source}")
    return Place(place), lock


def _outside(place: Place, lock: str) -> bytes:
    return json.dumps({"place": place.identity, "lock": lock}).encode()


def _number() -> int:
    return 1 + secrets.randbits(SINGLE_BITS - 1)


def _over(person: Person) -> bool:
    """Whether a person's time is over, to the second, as the database tells it by the date beside the row."""
    return person.expires is not None and int(person.expires) <= int(time.time())
