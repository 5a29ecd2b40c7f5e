"""Encrypt and decrypt the rows of a gallery in a database."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import replace

from edgefr.gallery.clock import Clock
from edgefr.gallery.crypto.encryption import Keys, SealContext, damaged
from edgefr.gallery.records import Event, FaceSample, Person
from edgefr.gallery.stores.base import CLOCK, CONTRACT, EVENT, IMAGE, Blob, PendingWrite, PersonRow
from edgefr.gallery.stores.row_codec import RowCodec

ID_BITS = 61
"""Random bits in the id of a person or an image. The ids of an import are consecutive and above all of these."""
IMPORT_BITS = 28
"""Bits of an id that number the people of one import; 34 random bits above them identify the import."""
EVENT_BITS = 12
"""Random bits at the end of the time stamp that is the id of an event."""

CLOCK_ID, CONTRACT_ID = 2, 3
"""Ids of the clock and of the embedding contract. The header has the id 1, and others are random."""


class RemoteRowCodec:
    """Encrypts and decrypts the rows of one gallery; `source` is its name in errors, and `dim` its K.

    Every method that decrypts raises like those of `RowCodec`.
    """

    def __init__(self, context: SealContext, keys: Keys, source: str, dim: int) -> None:
        self._keys = keys
        self._dim = dim
        self._source = source
        self._rows = RowCodec(context, keys, source)

    def name_hash(self, name: str) -> str:
        """The keyed digest of a name, by which the server finds a row without learning the name."""
        return self._keys.digest(b"name", name.encode()).hex()

    def decrypt_person(self, row: PersonRow) -> Person:
        """Raises DamagedError if the row, its name hash or its expiry date was changed."""
        person = self._rows.decrypt_person(row.id, self._dim, row.key, row.record)
        if (self.name_hash(person.name), _expiry_second(person)) != (row.name_hash, row.expires_at):
            raise damaged(f"a person of {self._source}")
        return person

    def data_key(self, row: PersonRow) -> bytes:
        return self._rows.unwrap_data_key(row.id, row.key)

    def decrypt_samples(self, row: PersonRow, blobs: dict[int, Blob]) -> list[FaceSample] | None:
        """The images that the record of a person lists, from images by id; None if one of them is missing."""
        listed, data_key = self.decrypt_person(row).images, self.data_key(row)
        if any(number not in blobs for number in listed):
            return None
        return [
            self._rows.decrypt_sample(number, self._dim, data_key, blobs[number].body, blobs[number].extra)
            for number in listed
        ]

    def encrypt_person(
        self, person: Person, data_key: bytes, samples: Sequence[FaceSample]
    ) -> tuple[list[Blob], PersonRow]:
        """The images to add, encrypted, and the row of the person, which lists the stored and the added images."""
        blobs = []
        for sample in samples:
            number = new_id()
            blobs.append(Blob(IMAGE, number, person.id, *self._rows.encrypt_sample(number, sample, data_key)))
        person = replace(person, images=(*person.images, *(blob.id for blob in blobs)))
        wrapped, record = self._rows.wrap_data_key(person.id, data_key), self._rows.encrypt_person(person, data_key)
        return blobs, PersonRow(person.id, self.name_hash(person.name), _expiry_second(person), wrapped, record)

    def decrypt_clock(self, blob: Blob) -> Clock:
        return self._rows.decrypt_clock(blob.body)

    def encrypt_clock(self, clock: Clock) -> Blob:
        return Blob(CLOCK, CLOCK_ID, 0, self._rows.encrypt_clock(clock))

    def decrypt_contract(self, blob: Blob) -> bytes | None:
        return self._rows.decrypt_contract(blob.body)

    def encrypt_contract(self, record: bytes) -> Blob:
        return Blob(CONTRACT, CONTRACT_ID, 0, self._rows.encrypt_contract(record))

    def decrypt_event(self, blob: Blob) -> Event:
        return self._rows.decrypt_event(blob.id, blob.body)

    def encrypt_event(self, event: Event) -> Blob:
        """Encrypt an event. Its id is the time, and random bits keep the ids of several clients apart."""
        mask = (1 << EVENT_BITS) - 1
        number = time.time_ns() & ~mask | secrets.randbits(EVENT_BITS)
        return self.encrypt_event_again(number, event)

    def encrypt_event_again(self, number: int, event: Event) -> Blob:
        """Encrypt an event that replaces the one with this id."""
        return Blob(EVENT, number, 0, self._rows.encrypt_event(number, event))


def event_id(at: float) -> int:
    """The lowest id of an event at this time, in seconds since 1970."""
    return int(at * 1e9) >> EVENT_BITS << EVENT_BITS


def new_id() -> int:
    """A random id for a person or an image."""
    return 1 + secrets.randbits(ID_BITS)


def new_import_range() -> PendingWrite:
    """A range of ids for the people of an import."""
    first = (1 << 34 | secrets.randbits(34)) << IMPORT_BITS
    return PendingWrite(first, first + (1 << IMPORT_BITS) - 1, whole=True)


def is_expired(person: Person) -> bool:
    """Whether a person has expired, in whole seconds like the expiry date in the database."""
    return person.expires is not None and int(person.expires) <= int(time.time())


def _expiry_second(person: Person) -> int:
    return 0 if person.expires is None else max(1, int(person.expires))


def read_outer_header(header: Blob, source: str) -> tuple[SealContext, object]:
    """The parts of a header that are not encrypted: the identity of the gallery and its lock.

    Raises:
        DamagedError: It is not a header.
    """
    try:
        outer = json.loads(header.extra)
        identity, lock = outer["place"], outer["lock"]
    except (ValueError, TypeError, KeyError, RecursionError):
        identity, lock = None, None
    if not isinstance(identity, str):
        raise damaged(f"the header of {source}")
    return SealContext(identity), lock


def write_outer_header(context: SealContext, lock: str, transforms: bytes = b"") -> bytes:
    """The bytes that `read_outer_header` and `encrypted_transforms` read."""
    outer = {"place": context.identity, "lock": lock}
    return json.dumps(outer | ({"transforms": transforms.hex()} if transforms else {})).encode()


def encrypted_transforms(header: Blob) -> bytes:
    """The transforms of templates, which `RowCodec.decrypt_transforms` reads; empty if there are none."""
    try:
        return bytes.fromhex(json.loads(header.extra)["transforms"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return b""
