"""Rows of the gallery's tables: sealed, opened, and digested for the header.

Each person has a random data key, wrapped by the gallery's. Record and images are sealed with it, so that what is left
of a removed person anywhere, in a copy of the file or in worn-out flash, opens only for who has that copy's key.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace

from edgefr.gallery.crypto.encryption import Keys, SealContext, decrypt, encrypt
from edgefr.gallery.model_binding import ModelBinding
from edgefr.gallery.records import Event, FaceSample, Person

MODULUS = 1 << 256


@dataclass(frozen=True)
class Header:
    """What the rows must be: how many people and the sum of their digests, how many lines of log and the last link.

    `turn` counts the changes; `next_row` numbers people and images, none ever twice; `version` is the schema's.
    """

    version: int
    binding: ModelBinding
    people: int = 0
    rows: int = 0
    events: int = 0
    link: str = ""
    turn: int = 0
    next_row: int = 1

    def with_row(self, digest: int) -> Header:
        """With one more row of people."""
        return replace(self, people=self.people + 1, rows=(self.rows + digest) % MODULUS)

    def without_row(self, digest: int) -> Header:
        """With one row of people less."""
        return replace(self, people=self.people - 1, rows=(self.rows - digest) % MODULUS)


class RowCodec:
    """Seals and opens the rows of the gallery at `place`; `source` is its name in refusals.

    Every method that opens raises DamagedError where a row is not what was sealed for this number.
    """

    def __init__(self, place: SealContext, keys: Keys, source: str) -> None:
        self._place = place
        self._keys = keys
        self._source = source

    def header(self, body: object) -> Header:
        raw = json.loads(decrypt(self._keys.header, body, self._place.of("header"), f"the header of {self._source}"))
        return Header(binding=ModelBinding(**raw.pop("binding")), **raw)

    def sealed_header(self, header: Header) -> bytes:
        return encrypt(self._keys.header, json.dumps(asdict(header)).encode(), self._place.of("header"))

    def data_key(self, number: int, wrapped: object) -> bytes:
        return decrypt(self._keys.people, wrapped, self._place.of("key", number), f"a key of {self._source}")

    def wrapped(self, number: int, data_key: bytes) -> bytes:
        return encrypt(self._keys.people, data_key, self._place.of("key", number))

    def person(self, number: int, wrapped: object, record: object) -> Person:
        data_key = self.data_key(number, wrapped)
        opened = decrypt(data_key, record, self._place.of("person", number), f"a person of {self._source}")
        return Person.from_part(number, opened)

    def sealed_person(self, person: Person, data_key: bytes) -> bytes:
        return encrypt(data_key, person.part(), self._place.of("person", person.id))

    def digest(self, number: int, wrapped: bytes, record: bytes) -> int:
        """What this row adds to the header's sum."""
        return int.from_bytes(self._keys.digest(b"person", number.to_bytes(8, "big"), wrapped, record), "big")

    def sample(self, number: int, data_key: bytes, record: object, crop: object) -> FaceSample:
        what = f"an image of {self._source}"
        return FaceSample.from_parts(
            decrypt(data_key, record, self._place.of("image", number), what),
            decrypt(data_key, crop, self._place.of("crop", number), what),
        )

    def sealed_portrait(self, number: int, sample: FaceSample, data_key: bytes) -> tuple[bytes, bytes]:
        record, crop = sample.parts()
        return (
            encrypt(data_key, record, self._place.of("image", number)),
            encrypt(data_key, crop, self._place.of("crop", number)),
        )

    def event(self, number: int, sealed: object) -> Event:
        return Event.from_part(
            decrypt(self._keys.log, sealed, self._place.of("event", number), f"the log of {self._source}")
        )

    def sealed_event(self, number: int, event: Event) -> bytes:
        return encrypt(self._keys.log, event.part(), self._place.of("event", number))

    def link(self, before: str, number: int, sealed: bytes) -> str:
        """The link of a line of the log, which stands for all lines up to it."""
        return self._keys.digest(b"event", before.encode(), number.to_bytes(8, "big"), sealed).hex()
