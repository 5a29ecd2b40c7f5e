"""Faceless pictures: backgrounds for faces, and negatives for the detector."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from edgefr.data.degradations import Rng
from edgefr.detection.geometry import covered_share
from edgefr.errors import require_extra
from edgefr.training.detector.labelled_photographs import LabelledPhotographs
from edgefr.types import Floats, Image

OBJECT_PICTURES = ("brick", "cell", "chelsea", "clock", "coins", "grass", "gravel", "horse", "page", "retina")
"""Faceless pictures of scikit-image; its others (coffee, rocket, moon ...) are reserved for tests."""

OBJECT_PICTURE_SIDE = 500
"""Longest side in pixels that they are resized to."""

HEAD_SCALE = 1.9
"""Size of the ellipse that hides a head, relative to the box of the face: hair and chin, too."""

SCENE_SHARE = 0.4
"""Share of scenes among the backgrounds, if there are any."""

WINDOW_TRIES = 8
MAX_COVERED_SHARE = 0.1
"""Largest share of a face's box that may lie in a faceless window."""


def random_background(photographs: LabelledPhotographs, side: int, rng: Rng) -> Image:
    """A random faceless picture (side, side, 3), flat or bent."""
    if photographs.scenes and rng.random() < SCENE_SHARE:
        return scene_window(photographs, side, rng)
    kind = rng.random()
    if kind < 0.4:
        picture = faceless_window(photographs, side, rng)
    elif kind < 0.5:
        picture = scrambled_photograph(photographs, side, rng)
    elif kind < 0.65:
        picture = object_picture(side, rng)
    else:
        picture = random_pattern(side, rng)
    return bend(picture, rng) if rng.random() < 0.3 else picture


def scene_window(photographs: LabelledPhotographs, side: int, rng: Rng) -> Image:
    """A square of a scene (side, side, 3), mirrored or not."""
    scene = photographs.scenes[int(rng.integers(len(photographs.scenes)))]
    height, width = scene.shape[:2]
    size = int(min(height, width) * rng.uniform(0.3, 1))
    left, top = int(rng.integers(width - size + 1)), int(rng.integers(height - size + 1))
    part = scene[top : top + size, left : left + size]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    return np.asarray(cv2.resize(part, (side, side), interpolation=cv2.INTER_LINEAR), np.uint8)


def bend(picture: Image, rng: Rng) -> Image:
    """Bend a picture (S, S, 3) like cloth, because folds make round shapes, which flat patterns lack."""
    side, waves = len(picture), int(rng.integers(3, 7))
    bends = rng.normal(0, side * rng.uniform(0.02, 0.1), (waves, waves, 2)).astype(np.float32)
    pixels = np.indices((side, side), np.float32)[::-1].transpose(1, 2, 0)  # x and y of each pixel
    source = pixels + cv2.resize(bends, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.remap(picture, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT), np.uint8)


def faceless_window(photographs: LabelledPhotographs, side: int, rng: Rng) -> Image:
    """A window (side, side, 3) of a photograph outside its faces: shoulders, hair, ears, background. If no such window
    is found, it is a pattern."""
    index = int(rng.integers(len(photographs)))
    picture, boxes = photographs.pictures[index], photographs.labels[index].boxes
    height, width = picture.shape[:2]
    for _ in range(WINDOW_TRIES):
        size = int(min(height, width) * rng.uniform(0.15, 0.6))
        left, top = int(rng.integers(width - size + 1)), int(rng.integers(height - size + 1))
        if covered_share(boxes, [(left, top, size, size)]).max(initial=0) <= MAX_COVERED_SHARE:
            part = picture[top : top + size, left : left + size]
            if rng.random() < 0.2:
                part = part[::-1]
            return np.asarray(cv2.resize(part, (side, side), interpolation=cv2.INTER_LINEAR), np.uint8)
    return random_pattern(side, rng)


def photograph_without_heads(photographs: LabelledPhotographs, side: int, rng: Rng) -> Image:
    """A photograph (side, side, 3) whose heads are inpainted from their surroundings."""
    index = int(rng.integers(len(photographs)))
    picture, labels = photographs.pictures[index], photographs.labels[index]
    mask = np.zeros(picture.shape[:2], np.uint8)
    for x, y, width, height in labels.boxes.tolist():
        reach = round(width * HEAD_SCALE / 2), round(height * HEAD_SCALE / 2)
        cv2.ellipse(mask, (round(x + width / 2), round(y + height / 2)), reach, 0, 0, 360, 255, -1)
    small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    hole = cv2.resize(mask, (side, side), interpolation=cv2.INTER_NEAREST)
    painted = cv2.inpaint(small, hole, 3, cv2.INPAINT_TELEA)
    return np.ascontiguousarray(painted[:, ::-1] if rng.random() < 0.5 else painted, np.uint8)


def scrambled_photograph(photographs: LabelledPhotographs, side: int, rng: Rng) -> Image:
    """A photograph (side, side, 3) cut into tiles, each smaller than half a face, and shuffled."""
    picture = photographs.pictures[int(rng.integers(len(photographs)))]
    count = int(rng.integers(8, 14))
    tile = -(-side // count)
    whole = cv2.resize(picture, (count * tile, count * tile), interpolation=cv2.INTER_AREA)
    tiles = whole.reshape(count, tile, count, tile, 3).swapaxes(1, 2).reshape(-1, tile, tile, 3)
    mixed = rng.permutation(tiles).reshape(count, count, tile, tile, 3).swapaxes(1, 2)
    return np.ascontiguousarray(mixed.reshape(count * tile, count * tile, 3)[:side, :side])


def object_picture(side: int, rng: Rng) -> Image:
    """A part (side, side, 3) of a picture of an object, rotated by right angles."""
    picture = _load_object_picture(OBJECT_PICTURES[rng.integers(len(OBJECT_PICTURES))])
    size = int(min(picture.shape[:2]) * rng.uniform(0.2, 1))
    left, top = (int(rng.integers(length - size + 1)) for length in picture.shape[1::-1])
    part = cv2.resize(picture[top : top + size, left : left + size], (side, side), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(np.rot90(part, int(rng.integers(4))))


@cache
def _load_object_picture(name: str) -> Image:
    require_extra("skimage", "train")
    from skimage import color, data
    from skimage.util import img_as_ubyte

    picture = img_as_ubyte(getattr(data, name)())
    picture = color.gray2rgb(picture) if picture.ndim == 2 else picture[..., :3]
    scale = OBJECT_PICTURE_SIDE / max(picture.shape)
    return np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def random_pattern(side: int, rng: Rng) -> Image:
    """A colour or a gradient (side, side, 3), plain or with coloured noise of several scales, stripes or shapes."""
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
    """Draw ellipses, rectangles and lines, the shapes of eyes, windows and edges."""
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
