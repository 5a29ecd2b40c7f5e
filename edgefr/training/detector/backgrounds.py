"""What faces lie on, and what must not be taken for one: patterns, pictures of things, photographs' faceless parts."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from edgefr.data.degradations import Rng
from edgefr.errors import require_extra
from edgefr.training.detector.labelled_photographs import Photographs
from edgefr.types import Floats, Image

THINGS = ("brick", "cell", "chelsea", "clock", "coins", "grass", "gravel", "horse", "page", "retina")
"""Pictures without a face that scikit-image carries; the others (coffee, rocket, moon ...) are kept for tests."""

LARGEST_THING = 500
"""Longest side in pixels that they are brought to."""

GROWN = 1.9
"""Of a face's box, what is painted over: hair and chin, too."""

TRIES = 8
INSIDE = 0.1
"""Of a face's box, at most this share may reach into a part that counts as faceless."""


def background(photographs: Photographs, side: int, rng: Rng) -> Image:
    """A faceless picture (side, side, 3), flat or bent."""
    kind = rng.random()
    if kind < 0.4:
        picture = faceless_part(photographs, side, rng)
    elif kind < 0.5:
        picture = scrambled(photographs, side, rng)
    elif kind < 0.65:
        picture = thing(side, rng)
    else:
        picture = pattern(side, rng)
    return bent(picture, rng) if rng.random() < 0.3 else picture


def bent(picture: Image, rng: Rng) -> Image:
    """The picture (S, S, 3) as on cloth: folds make round shapes, which flat patterns have not."""
    side, waves = len(picture), int(rng.integers(3, 7))
    bends = rng.normal(0, side * rng.uniform(0.02, 0.1), (waves, waves, 2)).astype(np.float32)
    at = np.indices((side, side), np.float32)[::-1].transpose(1, 2, 0)  # x and y of each pixel
    where = at + cv2.resize(bends, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.remap(picture, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT), np.uint8)


def faceless_part(photographs: Photographs, side: int, rng: Rng) -> Image:
    """A window of a photograph that misses its faces: shoulders, hair, ears, whatever stood behind; or a pattern where
    no such window is found."""
    index = int(rng.integers(len(photographs)))
    picture, boxes = photographs.pictures[index], photographs.finds[index][:, :4]
    height, width = picture.shape[:2]
    for _ in range(TRIES):
        size = int(min(height, width) * rng.uniform(0.15, 0.6))
        left, top = int(rng.integers(width - size + 1)), int(rng.integers(height - size + 1))
        if _reaching(boxes, left, top, size) <= INSIDE:
            part = picture[top : top + size, left : left + size]
            if rng.random() < 0.2:
                part = part[::-1]
            return np.asarray(cv2.resize(part, (side, side), interpolation=cv2.INTER_LINEAR), np.uint8)
    return pattern(side, rng)


def _reaching(boxes: Floats, left: int, top: int, size: int) -> float:
    """The largest share of a box (F, 4) that lies in the window."""
    low = np.maximum(boxes[:, :2], (left, top))
    high = np.minimum(boxes[:, :2] + boxes[:, 2:], (left + size, top + size))
    common = np.prod(np.clip(high - low, 0, None), axis=1)
    return float((common / np.prod(boxes[:, 2:], axis=1)).max(initial=0))


def headless(photographs: Photographs, side: int, rng: Rng) -> Image:
    """A photograph (side, side, 3) whose heads are painted over with what is around them."""
    index = int(rng.integers(len(photographs)))
    picture, finds = photographs.pictures[index], photographs.finds[index]
    mask = np.zeros(picture.shape[:2], np.uint8)
    for x, y, width, height in finds[:, :4].tolist():
        reach = round(width * GROWN / 2), round(height * GROWN / 2)
        cv2.ellipse(mask, (round(x + width / 2), round(y + height / 2)), reach, 0, 0, 360, 255, -1)
    small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    hole = cv2.resize(mask, (side, side), interpolation=cv2.INTER_NEAREST)
    painted = cv2.inpaint(small, hole, 3, cv2.INPAINT_TELEA)
    return np.ascontiguousarray(painted[:, ::-1] if rng.random() < 0.5 else painted, np.uint8)


def scrambled(photographs: Photographs, side: int, rng: Rng) -> Image:
    """A photograph cut into tiles, each smaller than half a face, in another order."""
    picture = photographs.pictures[int(rng.integers(len(photographs)))]
    count = int(rng.integers(8, 14))
    tile = -(-side // count)
    whole = cv2.resize(picture, (count * tile, count * tile), interpolation=cv2.INTER_AREA)
    tiles = whole.reshape(count, tile, count, tile, 3).swapaxes(1, 2).reshape(-1, tile, tile, 3)
    mixed = rng.permutation(tiles).reshape(count, count, tile, tile, 3).swapaxes(1, 2)
    return np.ascontiguousarray(mixed.reshape(count * tile, count * tile, 3)[:side, :side])


def thing(side: int, rng: Rng) -> Image:
    """A part of a picture of something else, mirrored or turned by right angles."""
    picture = _thing(THINGS[rng.integers(len(THINGS))])
    size = int(min(picture.shape[:2]) * rng.uniform(0.2, 1))
    left, top = (int(rng.integers(length - size + 1)) for length in picture.shape[1::-1])
    part = cv2.resize(picture[top : top + size, left : left + size], (side, side), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(np.rot90(part, int(rng.integers(4))))


@cache
def _thing(name: str) -> Image:
    require_extra("skimage", "train")
    from skimage import color, data
    from skimage.util import img_as_ubyte

    picture = img_as_ubyte(getattr(data, name)())
    picture = color.gray2rgb(picture) if picture.ndim == 2 else picture[..., :3]
    scale = LARGEST_THING / max(picture.shape)
    return np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def pattern(side: int, rng: Rng) -> Image:
    """One colour or a gradient, with coloured noise of several scales, stripes or shapes on it, or nothing."""
    count = 1 if rng.random() < 0.3 else 2
    corners = rng.integers(0, 256, (count, count, 3)).astype(np.float32)
    picture = cv2.resize(corners, (side, side), interpolation=cv2.INTER_LINEAR)
    kind = rng.integers(4)
    if kind == 0:
        picture += _clouds(side, rng)
    elif kind == 1:
        y, x = np.mgrid[:side, :side] * rng.normal(0, 0.4, (2, 1, 1))
        picture += (rng.uniform(10, 100) * np.sin(x + y))[..., None]
    whole: Image = np.clip(picture, 0, 255).astype(np.uint8)
    if kind == 2:
        _draw_shapes(whole, rng)
    return whole


def _clouds(side: int, rng: Rng) -> Floats:
    total = np.zeros((side, side, 3), np.float32)
    for cells in (2, 5, 12, 30, 80):
        channels = 1 if rng.random() < 0.5 else 3
        coarse = rng.normal(0, rng.uniform(5, 45), (cells, cells, channels)).astype(np.float32)
        total += cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC).reshape(side, side, channels)
    return total


def _draw_shapes(picture: Image, rng: Rng) -> None:
    """Ellipses, rectangles and lines, as eyes, windows and edges have them."""
    side = len(picture)
    for _ in range(int(rng.integers(3, 30))):
        colour = rng.integers(0, 256, 3).tolist()
        a, b = rng.integers(0, side, (2, 2)).tolist()
        thickness = int(rng.integers(-1, 8)) or -1
        kind = rng.integers(3)
        if kind == 0:
            size = rng.integers(2, max(3, side // 4), 2).tolist()
            cv2.ellipse(picture, a, size, float(rng.uniform(0, 180)), 0, 360, colour, thickness)
        elif kind == 1:
            cv2.rectangle(picture, a, b, colour, thickness)
        else:
            cv2.line(picture, a, b, colour, max(1, thickness))
