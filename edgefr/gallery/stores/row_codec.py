"""Encrypt and decrypt the records of a gallery, and compute the digests in its header.

Each person has a random data key, wrapped by the gallery key, and record and images are encrypted with it. Removing a
person deletes the data key. What remains of the ciphertexts, for example in worn-out flash cells, cannot be decrypted
without a copy of that key.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from edgefr.gallery.clock import Clock
from edgefr.gallery.crypto.encryption import DamagedError, Keys, SealContext, decrypt, encrypt, new_key
from edgefr.gallery.crypto.template_transform import NO_TRANSFORM, TemplateTransform
from edgefr.gallery.model_binding import ModelBinding
from edgefr.gallery.record_checks import InvalidPerson, InvalidRecordError
from edgefr.gallery.records import Event, FaceSample, Person, template_of
from edgefr.types import Floats

MODULUS = 1 << 256
"""Digests of rows are added modulo this number."""


@dataclass(frozen=True)
class Header:
    """What the rows of a file must match.

    Attributes:
        version: Version of the schema.
        binding: The models that the templates come from.
        people: Number of people.
        rows: Sum of the digests of all people.
        events: Number of events so far, which is the id of the last one.
        link: Digest of the log, see `RowCodec.link`.
        turn: Number of changes so far.
        next_row: Next id of a person or an image. Ids are never reused.
        clock: What the gallery knows about time.
        first_event: Id of the first event that is kept.
        link_before: Digest of the log before it.
        checked_event: Id of an event near the end. The events after it are verified when the gallery is opened.
        checked_link: Digest of the log up to that event.
    """

    version: int
    binding: ModelBinding
    people: int = 0
    rows: int = 0
    events: int = 0
    link: str = ""
    turn: int = 0
    next_row: int = 1
    clock: Clock = field(default_factory=Clock)
    first_event: int = 1
    link_before: str = ""
    checked_event: int = 0
    checked_link: str = ""


class Row(NamedTuple):
    """A row of people in a file: the person, or what is wrong with the record, and the digest of the row."""

    person: Person | InvalidPerson
    digest: bytes


@dataclass(frozen=True)
class TemplateTransforms:
    """How a database stores templates.

    Attributes:
        present: The transform of all templates that are written.
        former: The transform of templates that are not written again yet, while the transform changes; else None.
    """

    present: TemplateTransform = NO_TRANSFORM
    former: TemplateTransform | None = None


NOT_TRANSFORMED = TemplateTransforms()


class RowCodec:
    """Encrypts and decrypts the records of one gallery; `source` is its name in errors.

    Every method that decrypts raises `DamagedError` if the data was not encrypted for this id, and `InvalidRecordError`
    if it was but claims what cannot be true.
    """

    def __init__(self, context: SealContext, keys: Keys, source: str) -> None:
        self._context = context
        self._keys = keys
        self._source = source

    def decrypt_header(self, body: object) -> Header:
        raw = json.loads(self._decrypt(self._keys.header, body, "the header", "header"))
        binding, clock = ModelBinding.from_dict(raw.pop("binding")), raw.pop("clock", None)  # since version 2
        return Header(binding=binding, clock=Clock() if clock is None else Clock.from_dict(clock), **raw)

    def encrypt_header(self, header: Header) -> bytes:
        raw = asdict(header)
        if header.clock == Clock():
            del raw["clock"]  # in a database the clock is not in the header, which clients of version 0.2 read, too
        if not header.events:  # as in a database, whose log is not part of the header either
            for name in ("first_event", "link_before", "checked_event", "checked_link"):
                del raw[name]
        return self._encrypt(self._keys.header, json.dumps(raw).encode(), "header")

    def decrypt_clock(self, encrypted: object) -> Clock:
        """Read the clock of a gallery in a database, which is not in the header: older clients read that, too."""
        return Clock.from_dict(json.loads(self._decrypt(self._keys.header, encrypted, "the clock", "clock")))

    def encrypt_clock(self, clock: Clock) -> bytes:
        return self._encrypt(self._keys.header, json.dumps(clock.to_dict()).encode(), "clock")

    def decrypt_contract(self, encrypted: object) -> bytes | None:
        """The record of the embedding contract. None if it does not belong to this gallery, as after an older version
        has locked it with a new key: without a contract only the model of the gallery is accepted."""
        try:
            return self._decrypt(self._keys.header, encrypted, "the embedding contract", "contract")
        except DamagedError:
            return None

    def encrypt_contract(self, record: bytes) -> bytes:
        return self._encrypt(self._keys.header, record, "contract")

    def decrypt_transforms(self, encrypted: bytes, turn: int) -> TemplateTransforms:
        """The transforms of templates of a header with this number of changes."""
        raw = json.loads(self._decrypt(self._keys.header, encrypted, "the header", "transforms", turn))
        former = None if raw["former"] is None else TemplateTransform(bytes.fromhex(raw["former"]))
        return TemplateTransforms(TemplateTransform(bytes.fromhex(raw["present"])), former)

    def encrypt_transforms(self, transforms: TemplateTransforms, turn: int) -> bytes:
        former = None if transforms.former is None else transforms.former.seed.hex()
        raw = {"present": transforms.present.seed.hex(), "former": former}
        return self._encrypt(self._keys.header, json.dumps(raw).encode(), "transforms", turn)

    def unwrap_data_key(self, number: int, wrapped: object) -> bytes:
        return self._decrypt(self._keys.people, wrapped, "a key", "key", number)

    def wrap_data_key(self, number: int, data_key: bytes) -> bytes:
        return self._encrypt(self._keys.people, data_key, "key", number)

    def decrypt_person(self, number: int, dim: int, wrapped: object, record: object) -> Person:
        data_key = self.unwrap_data_key(number, wrapped)
        return Person.from_bytes(number, self._decrypt(data_key, record, "a person", "person", number), dim)

    def decrypt_template(self, number: int, dim: int, wrapped: object, record: object) -> Floats:
        """Only the template (K,) of a record that was checked before."""
        data_key = self.unwrap_data_key(number, wrapped)
        return template_of(self._decrypt(data_key, record, "a person", "person", number), dim)

    def decrypt_row(self, number: int, dim: int, wrapped: bytes, record: bytes) -> Row:
        """Like `decrypt_person`, but a record that is not valid is no error."""
        person: Person | InvalidPerson
        try:
            person = self.decrypt_person(number, dim, wrapped, record)
        except InvalidRecordError as error:
            person = InvalidPerson(number, error.problem, error.name)
        return Row(person, self.digest(number, wrapped, record))

    def encrypt_person(self, person: Person, data_key: bytes) -> bytes:
        return self._encrypt(data_key, person.to_bytes(), "person", person.id)

    def digest(self, number: int, wrapped: bytes, record: bytes) -> bytes:
        """The digest of a person's row, which the header sums up."""
        return self._keys.digest(b"person", number.to_bytes(8, "big", signed=True), wrapped, record)

    def decrypt_part(self, first: int, last: int, wrapped: object, body: object) -> bytes:
        """The part of a snapshot that stands for the people with ids from `first` to `last`."""
        key = self._decrypt(self._keys.people, wrapped, "a snapshot", "snapshot key", first, last)
        return self._decrypt(key, body, "a snapshot", "snapshot", first, last)

    def encrypt_part(self, first: int, last: int, data: bytes) -> tuple[bytes, bytes]:
        """The new key of a part of a snapshot, wrapped, and the part, encrypted with it."""
        key = new_key()
        wrapped = self._encrypt(self._keys.people, key, "snapshot key", first, last)
        return wrapped, self._encrypt(key, data, "snapshot", first, last)

    def decrypt_sample(self, number: int, dim: int, data_key: bytes, record: object, crop: object) -> FaceSample:
        return FaceSample.from_bytes(
            self._decrypt(data_key, record, "an image", "image", number),
            self._decrypt(data_key, crop, "an image", "crop", number),
            dim,
        )

    def encrypt_sample(self, number: int, sample: FaceSample, data_key: bytes) -> tuple[bytes, bytes]:
        record, crop = sample.to_bytes()
        return self._encrypt(data_key, record, "image", number), self._encrypt(data_key, crop, "crop", number)

    def decrypt_event(self, number: int, encrypted: object) -> Event:
        return Event.from_bytes(self._decrypt(self._keys.log, encrypted, "the log", "event", number))

    def encrypt_event(self, number: int, event: Event) -> bytes:
        return self._encrypt(self._keys.log, event.to_bytes(), "event", number)

    def link(self, before: str, number: int, encrypted: bytes) -> str:
        """The link of an event in the hash chain of the log. It covers all events up to this one."""
        return self._keys.digest(b"event", before.encode(), number.to_bytes(8, "big"), encrypted).hex()

    def _encrypt(self, key: bytes, plaintext: bytes, kind: str, *number: int) -> bytes:
        return encrypt(key, plaintext, self._context.associated_data(kind, *number))

    def _decrypt(self, key: bytes, encrypted: object, what: str, kind: str, *number: int) -> bytes:
        return decrypt(key, encrypted, self._context.associated_data(kind, *number), f"{what} of {self._source}")
