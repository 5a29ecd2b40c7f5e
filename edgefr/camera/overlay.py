"""What was seen, drawn into the frame."""

from __future__ import annotations

import cv2

from edgefr.camera.identity import State
from edgefr.camera.watcher import FrameResult, TrackedFace
from edgefr.detection.multiscale import resize_longest_side
from edgefr.types import Image

COLOURS: dict[State, tuple[int, int, int]] = {
    "known": (40, 170, 90),
    "unknown": (210, 70, 60),
    "looking": (150, 150, 150),
}
"""RGB: green, red, grey."""
LARGEST = 1280
"""Longest side in pixels of a picture to look at."""


def draw_faces(scene: FrameResult, side: int = LARGEST) -> Image:
    """The frame at `side` pixels or less with a box and a name for every face, (H, W, 3) uint8 RGB."""
    image = scene.frame.image
    longest = max(image.shape[:2])
    scale = min(1.0, side / longest)
    picture = image.copy() if scale == 1 else resize_longest_side(image, side)
    for seen in scene.seen:
        _label(picture, seen, scale)
    return picture


def encode_jpeg(image: Image, quality: int = 85) -> bytes:
    """A picture (H, W, 3) uint8 RGB as a JPEG."""
    good, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert good, "a picture of uint8 can be encoded"
    return data.tobytes()


def caption(seen: TrackedFace) -> str:
    """What is written at a face."""
    if seen.state == "looking":
        return "..."
    return f"{seen.name or 'unknown'} {seen.similarity:.2f}"


def _label(picture: Image, seen: TrackedFace, scale: float) -> None:
    colour = COLOURS[seen.state]
    x, y, width, height = (round(scale * value) for value in seen.face.box)
    cv2.rectangle(picture, (x, y), (x + width, y + height), colour, 2, cv2.LINE_AA)
    _write(picture, caption(seen), (max(x, 0), max(y, 24)), colour)


def _write(picture: Image, text: str, corner: tuple[int, int], colour: tuple[int, int, int]) -> None:
    """White letters on `colour`, above `corner`; OpenCV before 5 has Latin letters only and writes ? for others."""
    size, thick = 0.55, 1
    (wide, high), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, thick)
    x, y = max(0, min(corner[0], picture.shape[1] - wide - 6)), corner[1]
    cv2.rectangle(picture, (x, y - high - below - 4), (x + wide + 6, y), colour, cv2.FILLED)
    cv2.putText(picture, text, (x + 3, y - below), cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), thick, cv2.LINE_AA)
