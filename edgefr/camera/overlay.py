"""Draw tracked faces into a frame."""

from __future__ import annotations

import cv2

from edgefr.camera.identity import State
from edgefr.camera.watcher import FrameResult, TrackedFace
from edgefr.detection.multiscale import resize_longest_side
from edgefr.types import Image

COLOURS: dict[State, tuple[int, int, int]] = {
    "identified": (40, 170, 90),
    "unknown": (210, 70, 60),
    "pending": (150, 150, 150),
}
"""RGB: green, red, grey."""
MAX_SIDE = 1280
"""Longest side in pixels of a picture for people."""


def draw_faces(result: FrameResult, side: int = MAX_SIDE, similarities: bool = True) -> Image:
    """Draw a box and a name for every tracked face.

    Args:
        result: A frame and its faces; the frame is not changed.
        side: Longest side in pixels to which a larger frame is scaled down.
        similarities: Whether to write the similarity beside the name.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    image = result.frame.image
    scale = min(1.0, side / max(image.shape[:2]))
    picture = image.copy() if scale == 1 else resize_longest_side(image, side)
    for face in result.faces:
        _draw_face(picture, face, scale, similarities)
    return picture


def encode_jpeg(image: Image, quality: int = 85) -> bytes:
    """Encode a picture as JPEG.

    Args:
        image: (H, W, 3) uint8 RGB.
        quality: 0 to 100.

    Returns:
        The bytes of the file.
    """
    good, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert good, "OpenCV encodes every uint8 picture"
    return data.tobytes()


def _draw_face(picture: Image, face: TrackedFace, scale: float, similarities: bool) -> None:
    colour = COLOURS[face.state]
    caption = "..." if face.state == "pending" else face.name or "unknown"
    if similarities and face.state != "pending":
        caption += f" {face.similarity:.2f}"
    x, y, width, height = (round(scale * value) for value in face.face.box)
    cv2.rectangle(picture, (x, y), (x + width, y + height), colour, 2, cv2.LINE_AA)
    _draw_text(picture, caption, (max(x, 0), max(y, 24)), colour)


def _draw_text(picture: Image, text: str, corner: tuple[int, int], colour: tuple[int, int, int]) -> None:
    """White letters on `colour` above `corner`. OpenCV before 5 has Latin letters only and writes ? for others."""
    size, thickness = 0.55, 1
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, thickness)
    x, y = max(0, min(corner[0], picture.shape[1] - width - 6)), corner[1]
    cv2.rectangle(picture, (x, y - height - below - 4), (x + width + 6, y), colour, cv2.FILLED)
    white, position = (255, 255, 255), (x + 3, y - below)
    cv2.putText(picture, text, position, cv2.FONT_HERSHEY_SIMPLEX, size, white, thickness, cv2.LINE_AA)
