"""Degrades pictures as cameras and networks do: low resolution, blur, noise, JPEG, occlusion.

Training uses the degradations at random as augmentation; evaluation uses them fixed and seeded. All take and return
(H, W, 3) uint8 RGB. Sizes and widths are in pixels of a face of 112x112; `scale` is how much larger the picture's face
is.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import cv2
import numpy as np

from edgefr.types import FACE_SIZE, Image

Rng = np.random.Generator


def low_resolution(image: Image, size: float, scale: float = 1.0) -> Image:
    """Shrink the face to a width of `size` pixels (area), and enlarge it again (cubic)."""
    height, width = image.shape[:2]
    factor = size / (FACE_SIZE * scale)
    small = (max(1, round(width * factor)), max(1, round(height * factor)))
    shrunk = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def blur(image: Image, sigma: float, scale: float = 1.0) -> Image:
    """Blur with a Gaussian of `sigma` pixels."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma * scale), np.uint8)


def noise(image: Image, sigma: float, rng: Rng) -> Image:
    """Add Gaussian noise of `sigma` grey levels."""
    noisy = image + rng.normal(0, sigma, image.shape).astype(np.float32)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def jpeg(image: Image, quality: int) -> Image:
    """Encode as JPEG of this quality, and decode again."""
    _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))[..., ::-1])


def occlusion(image: Image, share: float, rng: Rng, scale: float = 1.0) -> Image:
    """Cover about `share` of the face with a rectangle of one colour, somewhere in the middle of the picture."""
    height, width = image.shape[:2]
    side = min(height, width, round(FACE_SIZE * scale))
    area, aspect = share * side * side, float(rng.uniform(0.5, 2.0))
    box_height = min(side, round((area * aspect) ** 0.5))
    box_width = min(side, round((area / aspect) ** 0.5))
    top = (height - side) // 2 + int(rng.integers(0, side - box_height + 1))
    left = (width - side) // 2 + int(rng.integers(0, side - box_width + 1))
    covered = image.copy()
    covered[top : top + box_height, left : left + box_width] = rng.integers(0, 256, 3)
    return covered


def random_degradation(image: Image, rng: Rng) -> Image:
    """Apply several degradations at random: augmentation for training."""
    steps: list[Callable[[Image], Image]] = []
    if rng.random() < 0.5:
        steps.append(lambda x: low_resolution(x, float(np.exp(rng.uniform(np.log(10), np.log(56))))))
    elif rng.random() < 0.5:
        steps.append(lambda x: blur(x, float(rng.uniform(0.8, 4.5))))
    if rng.random() < 0.3:
        steps.append(lambda x: occlusion(x, float(rng.uniform(0.05, 0.35)), rng))
    if rng.random() < 0.4:
        steps.append(lambda x: noise(x, float(rng.uniform(3, 28)), rng))
    if rng.random() < 0.3 or not steps:
        steps.append(lambda x: jpeg(x, int(rng.integers(8, 60))))
    for step in steps:
        image = step(image)
    return image


PROTOCOLS: dict[str, Callable[[Image, Rng, float], Image]] = {
    "clean": lambda x, _rng, _scale: x,
    "20x20 pixels": lambda x, _rng, scale: low_resolution(x, 20, scale),
    "14x14 pixels": lambda x, _rng, scale: low_resolution(x, 14, scale),
    "blur + noise": lambda x, rng, scale: noise(blur(x, 3.0, scale), 20, rng),
    "JPEG 8": lambda x, _rng, scale: jpeg(low_resolution(x, 56, scale), 8),
    "occlusion": lambda x, rng, scale: occlusion(x, 0.25, rng, scale),
}
"""Fixed degradations for evaluation. The randomness of each picture is seeded by its name."""


def degrade(image: Image, protocol: str, name: str, scale: float = 1.0) -> Image:
    """Degrade a picture for evaluation, the same way every time.

    Args:
        image: (H, W, 3) uint8 RGB.
        protocol: A key of `PROTOCOLS`.
        name: Name of the picture, which seeds the randomness.
        scale: Size of the face in relation to 112 pixels.

    Returns:
        The degraded picture, of the same shape.
    """
    rng = np.random.default_rng(zlib.crc32(f"{protocol}/{name}".encode()))
    return PROTOCOLS[protocol](image, rng, scale)
