"""Checks of values that a record claims: types, ranges, unit length, and the header of a kept crop.

Records come from enrolment, from exports, whose author may be anybody who knows their passphrase, and from stores, into
which an older version may have let something. All take the same checks.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgefr.errors import EdgefrError, UnreadableImageError
from edgefr.io.picture_header import read_header
from edgefr.types import FACE_SIZE, Floats

MAX_TIME = 253_402_300_799
"""The last second of the year 9999, in seconds since 1970. Later times have no date in Python."""
MAX_DIM = 16_384
"""Longest embedding. Nets give 128 to 1,024 numbers."""
LENGTH_TOLERANCE = 1e-3
"""How far the length of an embedding may be from 1. Rounding to float32 or bf16 changes it by less."""
LARGEST_CROP = 1 << 16
"""Bytes. The pixels of an aligned face have 37,632."""
LARGEST_META = 1 << 16
"""Bytes of the part of a record that is JSON: a person with 1,000 images has 21,000."""


class InvalidRecordError(EdgefrError):
    """A record was encrypted by the right key, but what it claims cannot be true.

    Attributes:
        name: The name in the record of a person, if it is one.
    """

    name = ""

    @classmethod
    def of(cls, expected: str, found: object) -> InvalidRecordError:
        """The error for a record in a gallery."""
        text = found if isinstance(found, str) else repr(found)
        return cls(expected, text[:100], "remove it with `edgefr gallery audit --repair`, and enrol the person again")


def parse_json(data: bytes, keys: Collection[str]) -> dict[str, Any]:
    """Parse a JSON object with exactly these keys.

    Raises:
        InvalidRecordError: It is something else.
    """
    try:
        parsed = json.loads(data) if len(data) <= LARGEST_META else None
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict) or set(parsed) != set(keys):
        found = f"{len(data):,} bytes of something else"
        raise InvalidRecordError.of(f"a record with {', '.join(sorted(keys))}", found)
    return parsed


def check_number(value: object, what: str, low: float, high: float) -> float:
    """A number from `low` to `high`; NaN is none.

    Raises:
        InvalidRecordError: It is another number, or none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InvalidRecordError.of(f"a number from {low:g} to {high:g} as {what}", value)
    return float(value)


def check_time(value: object, what: str) -> float:
    """A time in seconds since 1970, up to the year 9999. Raises like `check_number`."""
    return check_number(value, what, 0, MAX_TIME)


def check_integer(value: object, what: str, low: int, high: int) -> int:
    """An integer from `low` to `high`. Raises like `check_number`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidRecordError.of(f"an integer from {low} to {high} as {what}", value)
    return value


def check_text(value: object, what: str, longest: int) -> str:
    """A text of at most `longest` characters.

    Returns:
        The text with U+FFFD for characters that are not printable, such as the control characters of a terminal.

    Raises:
        InvalidRecordError: It is longer, or no text.
    """
    if not isinstance(value, str) or len(value) > longest:
        raise InvalidRecordError.of(f"a text of at most {longest} characters as {what}", value)
    return value if value.isprintable() else "".join(one if one.isprintable() else "\ufffd" for one in value)


def check_unit(vector: object, what: str, dim: int | None = None) -> Floats:
    """An embedding (K,) float32 of unit length.

    Args:
        vector: Any object.
        what: Its name in errors.
        dim: K, if it is known.

    Raises:
        InvalidRecordError: It has another shape or type, another length, or numbers that are not finite.
    """
    if not isinstance(vector, np.ndarray) or vector.dtype != np.float32 or vector.ndim != 1:
        raise InvalidRecordError.of(f"numbers of 32 bits as {what}", type(vector).__name__)
    if not 1 <= vector.size <= MAX_DIM or (dim is not None and vector.size != dim):
        raise InvalidRecordError.of(f"{dim or f'up to {MAX_DIM:,}'} numbers as {what}", f"{vector.size:,}")
    length = float(np.linalg.norm(vector.astype(np.float64)))
    if not math.isfinite(length) or abs(length - 1) > LENGTH_TOLERANCE:  # NaN in a number makes the length NaN
        raise InvalidRecordError.of(f"a vector of length 1 as {what}", f"{length:g}")
    return vector


def check_crop_file(data: bytes) -> bytes:
    """The PNG file of an aligned face, by its header alone: a few bytes can claim a picture of gigabytes.

    Raises:
        InvalidRecordError: It is another file, or a picture of another size.
    """
    expected = f"a PNG of {FACE_SIZE}x{FACE_SIZE} pixels in colour as crop"
    if len(data) > LARGEST_CROP:
        raise InvalidRecordError.of(expected, f"{len(data):,} bytes")
    try:
        header = read_header(data, "the crop")
    except UnreadableImageError as error:
        raise InvalidRecordError.of(expected, error.problem) from error
    found = (header.format, header.width, header.height, header.bits, header.channels, header.frames)
    if found != ("PNG", FACE_SIZE, FACE_SIZE, 8, 3, 1):
        raise InvalidRecordError.of(expected, f"{header.format} of {header.width}x{header.height} pixels")
    return data


@dataclass(frozen=True)
class InvalidPerson:
    """A person in a gallery whose record or images claim what cannot be true.

    Attributes:
        id: Id of the person in the store.
        problem: What is wrong, in words.
        name: The name in the record, empty if it is none.
    """

    id: int
    problem: str
    name: str = ""


def ignore_invalid(_invalid: InvalidPerson) -> None:
    """Leave out people with records that are not valid; `Gallery.invalid_people` returns them."""
