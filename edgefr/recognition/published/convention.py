"""What a published recogniser expects of a face, and the conventions that are common in the field."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from edgefr.types import Faces, Floats

IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Mean and standard deviation of ImageNet's pixels, RGB, 0 to 255 (torchvision)."""

VGGFACE2_MEAN = (131.0912, 103.8827, 91.4953)
"""Mean of VGGFace2's pixels, RGB (ox-vgg/vgg_face2)."""

SMALLEST_DEVIATION = 1e-6
"""The least standard deviation of a picture that is scaled by its own; a picture of one colour has none."""


@dataclass(frozen=True)
class Convention:
    """How pixels become the numbers that a net was trained on: `(pixel - mean) / std`.

    Attributes:
        colour: Order of the channels.
        mean: One value for each channel in the order of `colour`, pixels 0 to 255.
        std: Likewise.
        per_image: Whether mean and deviation are those of each picture instead, as FaceNet does. `mean` and `std` are
            then applied to nothing.
    """

    colour: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, float, float] = (127.5, 127.5, 127.5)
    std: tuple[float, float, float] = (127.5, 127.5, 127.5)
    per_image: bool = False

    def __str__(self) -> str:
        if self.per_image:
            return f"{self.colour.upper()}, each picture standardised"
        return f"{self.colour.upper()}, (x - {_short(self.mean)}) / {_short(self.std)}"

    def to_dict(self) -> dict[str, Any]:
        """The convention as JSON values."""
        return asdict(self)

    def apply(self, faces: Faces) -> Floats:
        """Normalise faces.

        Args:
            faces: (N, H, W, 3) uint8 RGB.

        Returns:
            (N, H, W, 3) float32 with the channels in the order of `colour`.
        """
        pixels = (faces if self.colour == "rgb" else faces[..., ::-1]).astype(np.float32)
        if not self.per_image:
            mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
            return np.asarray((pixels - mean) / std, np.float32)
        deviation = pixels.std((1, 2, 3), keepdims=True)
        standardised = pixels - pixels.mean((1, 2, 3), keepdims=True)
        return np.asarray(standardised / np.maximum(deviation, SMALLEST_DEVIATION), np.float32)


def _short(values: tuple[float, ...]) -> str:
    """One number if all are equal, else all of them."""
    numbers = [f"{value:g}" for value in values]
    return numbers[0] if len(set(numbers)) == 1 else f"[{', '.join(numbers)}]"


def _grey(mean: float, std: float) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    return (mean,) * 3, (std,) * 3


SCALES = (
    _grey(127.5, 127.5),  # InsightFace, AdaFace, EdgeFace, CVLFace
    _grey(127.5, 128.0),  # InsightFace's older nets, facenet-pytorch
    _grey(127.0, 128.0),
    _grey(128.0, 128.0),
    _grey(0.0, 255.0),
    _grey(0.0, 1.0),  # OpenCV's SFace, and nets that normalise inside
    (IMAGENET_MEAN, IMAGENET_STD),
    (VGGFACE2_MEAN, (1.0, 1.0, 1.0)),
)
"""Mean and deviation, RGB, in the order in which equally good ones are preferred."""


def common_conventions(size: tuple[int, int]) -> tuple[Convention, ...]:
    """The conventions to try on a float net.

    Args:
        size: Height and width of its input. Only nets of another size than 112x112 standardise each picture.

    Returns:
        Each convention once, preferred ones first.
    """
    found = [Convention("rgb", mean, std) for mean, std in SCALES]
    found += [Convention("bgr", _reversed(mean), _reversed(std)) for mean, std in SCALES]
    if size != (112, 112):
        found += [Convention("rgb", per_image=True), Convention("bgr", per_image=True)]
    return tuple(found)


def _reversed(values: tuple[float, float, float]) -> tuple[float, float, float]:
    return values[2], values[1], values[0]
