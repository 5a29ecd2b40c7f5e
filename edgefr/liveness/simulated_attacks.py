"""Photographs of a print and of a screen, made from photographs of people.

They show whether a net sees anything of paper, halftone, edges and moire at all. They prove little: real attacks, with
real cameras, printers and screens, look different, and a net may fail on them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np

from edgefr.data.degradations import Rng, blur, jpeg, noise
from edgefr.detection.base import Face
from edgefr.types import Floats, Image

Instrument = Literal["print", "screen"]

AROUND = 2.6
"""Size of the shown part of a photograph, as a multiple of the face."""
SHEET = 0.06
"""Width of the border of a sheet or a screen, as a share of what is shown."""
ROOM = 1.5
"""Size of the picture, as a multiple of the sheet."""
MAX_SIDE = 960
"""Longest side of the picture in pixels."""


def simulate_attack(photo: Image, face: Face, instrument: Instrument, rng: Rng) -> Image:
    """Make a photograph of somebody who holds up a photograph.

    Args:
        photo: (H, W, 3) uint8 RGB.
        face: The face in it that is shown.
        instrument: A sheet of paper, or a telephone.
        rng: Random generator.

    Returns:
        (H', W', 3) uint8 RGB, at most MAX_SIDE pixels wide and high.
    """
    shown = INSTRUMENTS[instrument](_around(photo, face), rng)
    edge = max(2, round(SHEET * max(shown.shape[:2])))
    colour = (244, 242, 236) if instrument == "print" else (18, 18, 20)
    sheet = np.asarray(cv2.copyMakeBorder(shown, *(edge,) * 4, cv2.BORDER_CONSTANT, value=colour), np.uint8)
    room = _room(photo, sheet.shape, rng)
    picture = _held_before(sheet, room, rng)
    picture = noise(blur(picture, rng.uniform(0.4, 0.9)), rng.uniform(1, 4), rng)
    scale = min(1.0, MAX_SIDE / max(picture.shape[:2]))
    if scale < 1:
        picture = np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    return jpeg(picture, int(rng.integers(75, 95)))


def _around(photo: Image, face: Face) -> Image:
    """The part of a photograph around a face, as far as there is one."""
    x, y, width, height = face.box
    reach = AROUND * max(width, height) / 2
    left, top = (int(max(0, middle - reach)) for middle in (x + width / 2, y + height / 2))
    part = photo[top : int(y + height / 2 + reach), left : int(x + width / 2 + reach)]
    side = min(MAX_SIDE / ROOM, max(part.shape[:2]))
    scale = max(1.0, 320 / max(part.shape[:2])) if side < 320 else side / max(part.shape[:2])
    return np.asarray(cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def _print(shown: Image, rng: Rng) -> Image:
    """Ink on paper: no black, no full white, weaker colours, and dots on a grid for each ink."""
    ink = 1 - shown.astype(np.float32) / 255
    grey = ink.mean(2, keepdims=True)
    ink = grey + (ink - grey) * rng.uniform(0.7, 0.9)
    y, x = np.mgrid[: shown.shape[0], : shown.shape[1]].astype(np.float32)
    pitch, depth = rng.uniform(2.2, 3.5), rng.uniform(0.1, 0.25)
    for channel, angle in enumerate((15, 75, 0)):
        cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        dots = np.sin(2 * np.pi * (x * cos + y * sin) / pitch) * np.sin(2 * np.pi * (y * cos - x * sin) / pitch)
        ink[..., channel] *= 1 + depth * dots
    paper = np.array([244, 241, 232], np.float32) * rng.uniform(0.9, 1.0)
    return _to_image(paper * (1 - rng.uniform(0.82, 0.9) * np.clip(ink, 0, 1)))


def _screen(shown: Image, rng: Rng) -> Image:
    """A display in front of a camera: its gamma, a bluish white, lines that interfere with the sensor, a reflection."""
    light = (shown.astype(np.float32) / 255) ** rng.uniform(0.75, 0.95)
    y, x = np.mgrid[: shown.shape[0], : shown.shape[1]].astype(np.float32)
    for _ in range(2):
        period, angle = rng.uniform(4, 14), rng.uniform(0, np.pi)
        lines = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period)
        light *= 1 + rng.uniform(0.02, 0.08) * lines[..., None]
    light *= np.array([0.94, 0.98, 1.0], np.float32)
    reflection = rng.uniform(0, 0.15) * (x / x.max() + y / y.max())[..., None] / 2
    return _to_image(255 * (light * 0.95 + reflection))


INSTRUMENTS: dict[Instrument, Callable[[Image, Rng], Image]] = {"print": _print, "screen": _screen}


def _room(photo: Image, size: tuple[int, ...], rng: Rng) -> Image:
    """What is behind the sheet: the photograph, out of focus and darker."""
    height, width = (round(ROOM * length) for length in size[:2])
    room = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)
    return _to_image(blur(np.asarray(room, np.uint8), width / 20).astype(np.float32) * rng.uniform(0.5, 0.9))


def _held_before(sheet: Image, room: Image, rng: Rng) -> Image:
    """Paste the sheet into the middle of the room, seen a little from the side."""
    height, width = sheet.shape[:2]
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    margin = np.array([room.shape[1] - width, room.shape[0] - height], np.float32) / 2
    places = corners + margin + rng.uniform(-0.05, 0.05, (4, 2)) * np.array([width, height])
    matrix = cv2.getPerspectiveTransform(corners, places.astype(np.float32))
    extent = room.shape[1::-1]
    warped = cv2.warpPerspective(sheet, matrix, extent, flags=cv2.INTER_AREA)
    share = cv2.warpPerspective(np.ones((height, width, 1), np.float32), matrix, extent)[..., None]
    return _to_image(share * warped + (1 - share) * room)


def _to_image(values: Floats) -> Image:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
