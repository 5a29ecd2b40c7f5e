"""Make a film from photographs, similar to that of a camera at a door: pans, zooms, gaps, several people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edgefr.io.photo import read_photograph
from edgefr.types import Image

WIDTH, HEIGHT, RATE = 1280, 720, 30


@dataclass(frozen=True)
class Shot:
    """Seconds of one photograph, or of an empty room if it is None. The view moves from `first` to `last`: x, y of the
    middle and width, as fractions of the width and height of the photograph."""

    photo: Path | None
    seconds: float
    first: tuple[float, float, float] = (0.5, 0.5, 1.0)
    last: tuple[float, float, float] = (0.5, 0.5, 1.0)


def frames(shots: Sequence[Shot], seed: int = 0) -> Iterator[Image]:
    """The frames, (720, 1280, 3) uint8 RGB, with noise as of a sensor."""
    random = np.random.default_rng(seed)
    noise = [random.normal(0, 3, (HEIGHT, WIDTH, 3)).astype(np.int16) for _ in range(8)]
    room = cv2.resize(random.integers(90, 150, (4, 6, 3), np.uint8), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    count = 0
    for shot in shots:
        photo = None if shot.photo is None else read_photograph(shot.photo)
        total = round(shot.seconds * RATE)
        for number in range(total):
            part = number / max(total - 1, 1)
            if photo is None:
                clean = room
            else:
                view = np.array(shot.first) * (1 - part) + np.array(shot.last) * part
                clean = _view(photo, *view.tolist())
            yield np.clip(clean + noise[count % len(noise)], 0, 255).astype(np.uint8)
            count += 1


def write(path: Path, shots: Sequence[Shot]) -> int:
    """Write the film as MP4; returns its number of frames."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), RATE, (WIDTH, HEIGHT))
    count = 0
    for frame in frames(shots):
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        count += 1
    writer.release()
    return count


def _view(photo: Image, x: float, y: float, width: float) -> Image:
    """The part of a photograph around (x, y) with a fraction `width` of its width, scaled to the film; grey outside."""
    high, wide = photo.shape[:2]
    scale = WIDTH / (width * wide)
    move = np.array([[scale, 0, WIDTH / 2 - scale * x * wide], [0, scale, HEIGHT / 2 - scale * y * high]])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.warpAffine(photo, move, (WIDTH, HEIGHT), flags=how, borderValue=(120, 120, 120)), np.uint8)
