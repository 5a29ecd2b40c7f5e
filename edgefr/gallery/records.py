"""What a gallery stores: people, their images and events, and their bytes before encryption.

The bytes are read after `encryption.decrypt` has authenticated them, so they are not validated again.
"""

from __future__ import annotations

import json
import time
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from edgefr.errors import InvalidArgumentError
from edgefr.recognition.template_fusion import fuse_by_confidence
from edgefr.types import Floats, Image

LONGEST_NAME = 200
MAX_IMAGES = 1000
"""Images of one person. More add little, and the record of a person lists all of them."""


@dataclass(frozen=True)
class FaceSample:
    """One image of a person.

    Attributes:
        source: Name of the photograph or camera.
        embedding: (K,) float32 of unit length.
        norm: Length of the embedding before it was normalised.
        uncertainty: Mean variance of the embedding, or None if the model gives none.
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
    def from_bytes(cls, record: bytes, crop: bytes) -> FaceSample:
        """Read the result of `to_bytes`."""
        meta, embedding = _unpack(record)
        return cls(embedding=embedding, crop=_decode_png(crop) if crop else None, **meta)


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
    def from_bytes(cls, number: int, record: bytes) -> Person:
        """Read the result of `to_bytes` as the person with the id `number`."""
        meta, template = _unpack(record)
        return cls(id=number, template=template, images=tuple(meta.pop("images")), **meta)


@dataclass(frozen=True)
class Event:
    """One event of the log.

    Attributes:
        at: Time in seconds since 1970.
        what: enrolled, extended, matched, removed, image removed, expired, renamed, imported, exported, rotated or
            rebuilt.
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
        return cls(**json.loads(record))


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


def _unpack(record: bytes) -> tuple[dict[str, Any], Floats]:
    line, _, raw = record.partition(b"\n")
    return json.loads(line), np.frombuffer(raw, "<f4").astype(np.float32)


def _encode_png(crop: Image) -> bytes:
    return bytes(cv2.imencode(".png", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))[1])


def _decode_png(data: bytes) -> Image:
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None, "the crop is authentic, so it is a PNG from _encode_png"
    rgb: Image = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    return rgb
