"""What is sealed in a gallery: people, their images, what made them, and what happened.

Their bytes are opened by `seal.unseal` only, which refuses what edgefr did not write: nothing is checked here again.
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

from edgefr.errors import EdgefrError
from edgefr.recognition.template_fusion import fuse_by_confidence
from edgefr.types import Floats, Image

LONGEST_NAME = 200
MOST_IMAGES = 1000
"""Images of one person: more teach nothing, and a person's record names each of them."""


@dataclass(frozen=True)
class FaceSample:
    """One image of a person: where it came from, its unit embedding (K,), what tells of its quality, and its aligned
    crop (112, 112, 3) uint8 RGB where crops are kept."""

    source: str
    embedding: Floats
    norm: float
    uncertainty: float | None
    sharpness: float
    crop: Image | None = None

    def parts(self) -> tuple[bytes, bytes]:
        """The record and the crop (PNG; empty where none is kept) as bytes to be sealed."""
        meta = {
            "source": self.source,
            "norm": self.norm,
            "uncertainty": self.uncertainty,
            "sharpness": self.sharpness,
        }
        return packed(meta, self.embedding), b"" if self.crop is None else _png(self.crop)

    @classmethod
    def from_parts(cls, record: bytes, crop: bytes) -> FaceSample:
        """What `parts` gave."""
        meta, embedding = unpacked(record)
        return cls(embedding=embedding, crop=_from_png(crop) if crop else None, **meta)


@dataclass(frozen=True)
class Person:
    """An enrolled person: the fused template (K,) of unit length, and the row of each of the images.

    Times are seconds since 1970; `expires` is None where the person stays until removed.
    """

    id: int
    name: str
    enrolled: float
    expires: float | None
    template: Floats
    images: tuple[int, ...]

    def part(self) -> bytes:
        meta = {"name": self.name, "enrolled": self.enrolled, "expires": self.expires, "images": self.images}
        return packed(meta, self.template)

    @classmethod
    def from_part(cls, number: int, record: bytes) -> Person:
        """What `part` gave."""
        meta, fuse_template = unpacked(record)
        return cls(id=number, template=fuse_template, images=tuple(meta.pop("images")), **meta)


@dataclass(frozen=True)
class Event:
    """What happened to whom: `at` in seconds since 1970, `what` as one of enrolled, extended, matched, removed,
    expired, renamed, imported, exported, rotated, rebuilt; `name` is empty where all are meant."""

    at: float
    what: str
    name: str = ""
    detail: str = ""

    @classmethod
    def now(cls, what: str, name: str = "", detail: str = "") -> Event:
        return cls(time.time(), what, name, detail)

    def part(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_part(cls, record: bytes) -> Event:
        return cls(**json.loads(record))


def check_name(name: str) -> str:
    """The name as it is kept: composed (NFC), without spaces around it.

    Raises:
        EdgefrError: it is empty, too long, or holds what no terminal should be sent.
    """
    if not is_name(name):
        raise EdgefrError(
            f"a name of 1 to {LONGEST_NAME} printable characters", f"{name[:LONGEST_NAME]!r}", "choose another name"
        )
    return _composed(name)


def is_name(text: str) -> bool:
    """Whether somebody can have this name."""
    name = _composed(text)
    return 0 < len(name) <= LONGEST_NAME and name.isprintable()


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip()


def without_duplicates(kept: Sequence[FaceSample], samples: Sequence[FaceSample]) -> list[FaceSample]:
    """Those of `samples` whose embedding is none of the `kept` ones, each once: another would weigh twice."""
    seen = {entry.embedding.tobytes() for entry in kept}
    fresh: dict[bytes, FaceSample] = {}
    for entry in samples:
        if (embedding := entry.embedding.tobytes()) not in seen:
            fresh.setdefault(embedding, entry)
    return list(fresh.values())


def fuse_template(samples: Sequence[FaceSample]) -> Floats:
    """One template (K,) of a person's samples, by inverse variance where the model tells it, else by norm.

    Raises:
        EdgefrError: there is none, or they cancel.
    """
    if not samples:
        raise EdgefrError("images of a person", "none", "enrol a person with at least one image")
    return fuse_by_confidence(
        [entry.embedding for entry in samples],
        [entry.norm for entry in samples],
        [entry.uncertainty for entry in samples],
    )


def packed(meta: dict[str, Any], embedding: Floats) -> bytes:
    """A line of JSON and the embedding as little-endian float32."""
    return json.dumps(meta).encode() + b"\n" + embedding.astype("<f4").tobytes()


def unpacked(record: bytes) -> tuple[dict[str, Any], Floats]:
    """What `packed` gave."""
    line, _, raw = record.partition(b"\n")
    return json.loads(line), np.frombuffer(raw, "<f4").astype(np.float32)


def _png(crop: Image) -> bytes:
    return bytes(cv2.imencode(".png", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))[1])


def _from_png(data: bytes) -> Image:
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None, "it was sealed as `_png` made it"
    rgb: Image = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    return rgb
