"""Pictures of patterns instead of faces, as files and as parts of requests."""

from __future__ import annotations

from typing import Any

import cv2

from tests.camera.people import frame

ADA, GRACE, STRANGER = 1, 2, 77
"""The first two are enrolled in the gallery of the tests."""


def png(*people: tuple[int, int, int], at: float = 0) -> bytes:
    """A picture of people, each given as (person, x, y)."""
    return cv2.imencode(".png", cv2.cvtColor(frame(at, *people).image, cv2.COLOR_RGB2BGR))[1].tobytes()


def face_of(person: int, at: float = 0) -> bytes:
    """A picture of one person."""
    return png((person, 40, 60), at=at)


def photo(data: bytes, name: str = "photo") -> dict[str, Any]:
    """The argument `files` of a request with one photograph."""
    return {name: ("a.png", data)}


def pair(first: bytes, second: bytes) -> dict[str, Any]:
    """The argument `files` of a verification."""
    return {"first": ("a.png", first), "second": ("b.png", second)}
