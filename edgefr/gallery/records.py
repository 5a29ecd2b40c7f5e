"""What a gallery stores: people, their images and events, and their bytes before encryption.

`encryption.decrypt` proves that bytes were written with the right key, not that they make sense: an export is written
by whoever knows its passphrase. Every record is therefore checked when it is read and before it is written.
"""

from __future__ import annotations

import json
import time
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import cv2
import numpy as np

from edgefr.errors import InvalidArgumentError
from edgefr.gallery.record_checks import (
    MAX_DIM,
    InvalidRecordError,
    check_crop_file,
    check_integer,
    check_number,
    check_text,
    check_time,
    check_unit,
    parse_json,
)
from edgefr.recognition.template_fusion import fuse_by_confidence
from edgefr.types import FACE_SIZE, Floats, Image

LONGEST_NAME = 200
LONGEST_SOURCE = 1024
"""Characters of the source of an image. Names of files have up to 255."""
LONGEST_DETAIL = 4096
MAX_ID = (1 << 63) - 1
"""Largest id of a row in SQLite and PostgreSQL."""
MAX_NORM, MAX_SHARPNESS = 1e9, 1e9
MAX_UNCERTAINTY = 1e3
"""Largest magnitude of a log-variance. Nets give -10 to 10."""
SAME_TEMPLATE = 0.999
"""Cosine similarity from which a template counts as the one that is fused from the images. Rounding leaves 0.999999."""
MAX_EXPIRY_DAYS = 36_525
"""Days until a person expires: a hundred years."""
SECONDS_PER_DAY = 86_400.0
MAX_IMAGES = 1000
"""Images of one person. More add little, and the record of a person lists all of them."""


@dataclass(frozen=True)
class FaceSample:
    """One image of a person.

    Attributes:
        source: Name of the photograph or camera.
        embedding: (K,) float32 of unit length.
        norm: Length of the embedding before it was normalised.
        uncertainty: That of the model's output (`recogniser.Embeddings`), or None if the model gives none.
        sharpness: Sharpness of the crop, see `quality.sharpness`.
        crop: The aligned face, (112, 112, 3) uint8 RGB, or None if crops are not kept.
    """

    source: str
    embedding: Floats
    norm: float
    uncertainty: float | None
    sharpness: float
    crop: Image | None = None

    def to_bytes(self) -> tuple[bytes, bytes]:
        """The record, and the crop as PNG; the latter is empty if there is none."""
        meta = {
            "source": self.source,
            "norm": self.norm,
            "uncertainty": self.uncertainty,
            "sharpness": self.sharpness,
        }
        return _pack(meta, self.embedding), b"" if self.crop is None else _encode_png(self.crop)

    @classmethod
    def from_bytes(cls, record: bytes, crop: bytes, dim: int | None = None) -> FaceSample:
        """Read the result of `to_bytes`. Raises like `checked`."""
        meta, embedding = _unpack(record, ("source", "norm", "uncertainty", "sharpness"))
        return cls(embedding=embedding, crop=_decode_png(crop) if crop else None, **meta).checked(dim)

    def checked(self, dim: int | None = None) -> FaceSample:
        """The image after a check of everything that it claims, with a source that can be printed.

        Args:
            dim: K, if it is known.

        Raises:
            InvalidRecordError: A value has another type or is out of range.
        """
        check_unit(self.embedding, "the embedding of an image", dim)
        uncertainty = self.uncertainty
        if uncertainty is not None:
            uncertainty = check_number(uncertainty, "the uncertainty of an image", -MAX_UNCERTAINTY, MAX_UNCERTAINTY)
        if self.crop is not None and (self.crop.shape != (FACE_SIZE, FACE_SIZE, 3) or self.crop.dtype != np.uint8):
            raise InvalidRecordError.of(f"a crop of {FACE_SIZE}x{FACE_SIZE} pixels in colour", str(self.crop.shape))
        return replace(
            self,
            source=check_text(self.source, "the source of an image", LONGEST_SOURCE),
            norm=check_number(self.norm, "the norm of an image", 0, MAX_NORM),
            uncertainty=uncertainty,
            sharpness=check_number(self.sharpness, "the sharpness of an image", 0, MAX_SHARPNESS),
        )


@dataclass(frozen=True)
class Person:
    """An enrolled person.

    Attributes:
        id: Number of the person in the store.
        name: Name, see `check_name`.
        enrolled: Time of the first enrolment, in seconds since 1970.
        expires: Time of the removal, in seconds since 1970, or None.
        template: (K,) float32 of unit length, fused from all images.
        images: Ids of the images in the store.
    """

    id: int
    name: str
    enrolled: float
    expires: float | None
    template: Floats
    images: tuple[int, ...]

    def to_bytes(self) -> bytes:
        """The record without the id."""
        meta = {"name": self.name, "enrolled": self.enrolled, "expires": self.expires, "images": self.images}
        return _pack(meta, self.template)

    @classmethod
    def from_bytes(cls, number: int, record: bytes, dim: int | None = None) -> Person:
        """Read the result of `to_bytes` as the person with the id `number`. Raises like `checked`."""
        name: object = ""
        try:
            meta, template = _unpack(record, ("name", "enrolled", "expires", "images"))
            name, images = meta["name"], meta.pop("images")
            if not isinstance(images, list):
                raise InvalidRecordError.of("a list of images", images)
            return cls(id=number, template=template, images=tuple(images), **meta).checked(dim)
        except InvalidRecordError as error:
            error.name = name if isinstance(name, str) and is_name(name) else ""
            raise

    def checked(self, dim: int | None = None) -> Person:
        """The person after a check of everything that the record claims.

        Args:
            dim: K, if it is known.

        Raises:
            InvalidRecordError: A value has another type or is out of range.
        """
        if not isinstance(self.name, str) or not is_name(self.name) or _normalise(self.name) != self.name:
            raise InvalidRecordError.of(f"a name of 1 to {LONGEST_NAME} printable characters", self.name)
        check_unit(self.template, f"the template of {self.name}", dim)
        if len(self.images) > MAX_IMAGES:
            raise InvalidRecordError.of(f"at most {MAX_IMAGES:,} images of {self.name}", f"{len(self.images):,}")
        images = [check_integer(number, f"an image of {self.name}", 0, MAX_ID) for number in self.images]
        if len(set(images)) < len(images):
            raise InvalidRecordError.of(f"each image of {self.name} once", "one of them twice")
        expires = None if self.expires is None else check_time(self.expires, f"the expiry date of {self.name}")
        enrolled = check_time(self.enrolled, f"the date of the enrolment of {self.name}")
        if (type(self.enrolled), type(self.expires)) == (float, type(expires)):
            return self  # a copy takes longer than all checks, and galleries have many people
        return replace(self, enrolled=enrolled, expires=expires)


@dataclass(frozen=True)
class Event:
    """One event of the log.

    Attributes:
        at: Time in seconds since 1970.
        what: enrolled, extended, matched, removed, image removed, expired, renamed, imported, exported, rotated,
            rebuilt, accepted (another file of the model) or clock; opened, refused and failed of a door.
        name: The person; empty if the event concerns all people.
        detail: More about the event.
    """

    at: float
    what: str
    name: str = ""
    detail: str = ""

    @classmethod
    def now(cls, what: str, name: str = "", detail: str = "") -> Event:
        return cls(time.time(), what, name, detail)

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, record: bytes) -> Event:
        """Read the result of `to_bytes`."""
        meta = parse_json(record, ("at", "what", "name", "detail"))
        texts = {key: check_text(meta[key], f"the {key} of an event", LONGEST_DETAIL) for key in meta if key != "at"}
        return cls(check_time(meta["at"], "the time of an event"), **texts)


NumberedEvent = tuple[int, Event]
"""Id and event. Ids increase with time; a removal of old events does not change them."""
Entry = tuple[Person, list[FaceSample]]
"""A person with all images."""


def checked_entry(person: Person, samples: Sequence[FaceSample], dim: int) -> Entry:
    """A person with all images, after a check of everything that they claim and of how they belong together.

    Args:
        person: The person.
        samples: All images.
        dim: K of the gallery.

    Raises:
        InvalidRecordError: A value has another type or is out of range, there are no images or too many, or the
            template is not the one that is fused from the images.
    """
    person, samples = person.checked(dim), [entry.checked(dim) for entry in samples]
    if not 1 <= len(samples) <= MAX_IMAGES:
        raise InvalidRecordError.of(f"1 to {MAX_IMAGES:,} images of {person.name}", f"{len(samples):,}")
    if len(samples) == 1 and np.array_equal(samples[0].embedding, person.template):
        return person, samples  # the usual case needs no fusion
    try:
        similarity = float(fuse_template(samples) @ person.template)
    except InvalidArgumentError as error:
        raise InvalidRecordError.of(f"images of {person.name} that can be fused", error.problem) from error
    if not similarity >= SAME_TEMPLATE:
        raise InvalidRecordError.of(
            f"a template of {person.name} that is fused from the images", f"one with a similarity of {similarity:.3f}"
        )
    return person, samples


def expiry_date(now: float, expires_in_s: float | None) -> float | None:
    """When a person who is enrolled now expires.

    Args:
        now: Seconds since 1970.
        expires_in_s: Seconds until then, or None for never.

    Returns:
        Seconds since 1970, or None.

    Raises:
        InvalidArgumentError: It is not a positive number of seconds, or more than a hundred years.
    """
    if expires_in_s is None:
        return None
    if not 0 < expires_in_s <= MAX_EXPIRY_DAYS * SECONDS_PER_DAY:
        raise InvalidArgumentError(
            f"more than 0 and at most {MAX_EXPIRY_DAYS:,} days until a person expires",
            f"{expires_in_s / SECONDS_PER_DAY:g}",
            "give another number of days, or none if the person is to stay",
        )
    return now + expires_in_s


def check_name(name: str) -> str:
    """Validate a name.

    Args:
        name: Any text.

    Returns:
        The name as it is stored: in Unicode form NFC, without spaces around it.

    Raises:
        InvalidArgumentError: It is empty, too long, or not printable.
    """
    if not is_name(name):
        raise InvalidArgumentError(
            f"a name of 1 to {LONGEST_NAME} printable characters", f"{name[:LONGEST_NAME]!r}", "choose another name"
        )
    return _normalise(name)


def is_name(text: str) -> bool:
    """Whether a person can have this name."""
    name = _normalise(text)
    return 0 < len(name) <= LONGEST_NAME and name.isprintable()


def _normalise(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip()


def without_duplicates(existing: Sequence[FaceSample], samples: Sequence[FaceSample]) -> list[FaceSample]:
    """The samples with embeddings that are not among the existing ones, each once. Others would weigh twice."""
    enrolled = {entry.embedding.tobytes() for entry in existing}
    new: dict[bytes, FaceSample] = {}
    for entry in samples:
        if (embedding := entry.embedding.tobytes()) not in enrolled:
            new.setdefault(embedding, entry)
    return list(new.values())


def fuse_template(samples: Sequence[FaceSample]) -> Floats:
    """Fuse the images of a person, by inverse variance if the model gives one for all of them, else by norm.

    Args:
        samples: At least one image.

    Returns:
        The template, (K,) float32 of unit length.

    Raises:
        InvalidArgumentError: There is no image.
        EdgefrError: The embeddings cancel each other out.
    """
    if not samples:
        raise InvalidArgumentError("images of a person", "none", "enrol a person with at least one image")
    return fuse_by_confidence(
        [entry.embedding for entry in samples],
        [entry.norm for entry in samples],
        [entry.uncertainty for entry in samples],
    )


def _pack(meta: dict[str, Any], embedding: Floats) -> bytes:
    """A line of JSON and the embedding as little-endian float32."""
    return json.dumps(meta).encode() + b"\n" + embedding.astype("<f4").tobytes()


def _unpack(record: bytes, keys: Collection[str]) -> tuple[dict[str, Any], Floats]:
    line, _, raw = record.partition(b"\n")
    if len(raw) % 4 or len(raw) > 4 * MAX_DIM:
        raise InvalidRecordError.of(f"up to {MAX_DIM:,} numbers of 32 bits", f"{len(raw):,} bytes")
    return parse_json(line, keys), np.frombuffer(raw, "<f4").astype(np.float32)


def template_of(record: bytes, dim: int) -> Floats:
    """The template (K,) at the end of a valid record of a person."""
    return np.frombuffer(record[len(record) - 4 * dim :], "<f4").astype(np.float32)


def _encode_png(crop: Image) -> bytes:
    return bytes(cv2.imencode(".png", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))[1])


def _decode_png(data: bytes) -> Image:
    try:
        bgr = cv2.imdecode(np.frombuffer(check_crop_file(data), np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        bgr = None
    if bgr is None:
        raise InvalidRecordError.of("a crop that can be decoded", "damaged pixels")
    rgb: Image = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    return rgb
