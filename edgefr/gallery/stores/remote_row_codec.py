"""People, images and the header as rows of a shelf: sealed on the way in, proven on the way out."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import replace

from edgefr.gallery.crypto.encryption import Keys, SealContext, damaged
from edgefr.gallery.records import Event, FaceSample, Person
from edgefr.gallery.stores.base import EVENT, IMAGE, Blob, PendingWrite, PersonRow
from edgefr.gallery.stores.row_codec import RowCodec

SINGLE_BITS = 61
"""Random bits of a person's or an image's number. An import numbers its people in a row, beyond all of these."""
IMPORT_BITS = 28
"""Bits of a number that tell one of an import from the others; 34 random ones tell which import."""


class RemoteRowCodec:
    """Seals and opens rows with a gallery's keys; `source` is its name in refusals."""

    def __init__(self, place: SealContext, keys: Keys, source: str) -> None:
        self._keys = keys
        self._source = source
        self._rows = RowCodec(place, keys, source)

    def token(self, name: str) -> str:
        """What stands for a name at the server: the same for the same name, and nothing else can be learnt of it."""
        return self._keys.digest(b"name", name.encode()).hex()

    def person(self, row: PersonRow) -> Person:
        """Raises DamagedError where the row is not as it was written."""
        person = self._rows.person(row.id, row.key, row.record)
        if (self.token(person.name), due_of(person)) != (row.token, row.due):
            raise damaged(f"a person of {self._source}")
        return person

    def data_key(self, row: PersonRow) -> bytes:
        return self._rows.data_key(row.id, row.key)

    def samples(self, row: PersonRow, things: dict[int, Blob]) -> list[FaceSample] | None:
        """The images that a person's record names, or None where `things` lack one of them."""
        named, data_key = self.person(row).images, self.data_key(row)
        if any(number not in things for number in named):
            return None
        return [self._rows.sample(number, data_key, things[number].body, things[number].extra) for number in named]

    def sealed(self, person: Person, data_key: bytes, samples: Sequence[FaceSample]) -> tuple[list[Blob], PersonRow]:
        """A person's row, which names these further images beside those it named, and the images."""
        things = []
        for sample in samples:
            number = new_number()
            things.append(Blob(IMAGE, number, person.id, *self._rows.sealed_portrait(number, sample, data_key)))
        person = replace(person, images=(*person.images, *(thing.id for thing in things)))
        wrapped, record = self._rows.wrapped(person.id, data_key), self._rows.sealed_person(person, data_key)
        return things, PersonRow(person.id, self.token(person.name), due_of(person), wrapped, record)

    def event(self, thing: Blob) -> Event:
        return self._rows.event(thing.id, thing.body)

    def sealed_event(self, event: Event) -> Blob:
        """A line of the log, numbered by the time, with random digits at the end that no other client has."""
        number = time.time_ns() & ~0xFFF | secrets.randbits(12)
        return Blob(EVENT, number, 0, self._rows.sealed_event(number, event))


def new_number() -> int:
    """A number for a person or an image that no other has."""
    return 1 + secrets.randbits(SINGLE_BITS)


def new_range() -> PendingWrite:
    """Numbers for an import that nothing else has."""
    first = (1 << 34 | secrets.randbits(34)) << IMPORT_BITS
    return PendingWrite(first, first + (1 << IMPORT_BITS) - 1, whole=True)


def due_of(person: Person) -> int:
    """The second since 1970 in which a person is to be removed, 0: never."""
    return 0 if person.expires is None else max(1, int(person.expires))


def over(person: Person) -> bool:
    """Whether a person's time is over, to the second, as the database tells it by the date beside the row."""
    return person.expires is not None and int(person.expires) <= int(time.time())


def outside_of(header: Blob, source: str) -> tuple[SealContext, object]:
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
        raise damaged(f"the header of {source}")
    return SealContext(place), lock


def outside(place: SealContext, lock: str) -> bytes:
    """What `outside_of` reads."""
    return json.dumps({"place": place.identity, "lock": lock}).encode()
