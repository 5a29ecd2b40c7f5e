"""What a detector gives, and which of several faces is meant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from edgefr.errors import NoFaceError, SeveralFacesError
from edgefr.types import Floats, Image

FacePolicy = Literal["largest", "centre", "only"]


@dataclass(frozen=True)
class Face:
    """A face in a photograph, in pixels of that photograph; it may reach beyond the picture's edge.

    `box`: x, y of the top left corner, width, height. `landmarks`: (5, 2) as x, y in the order of
    `spec.TEMPLATE`.
    """

    box: tuple[float, float, float, float]
    landmarks: Floats
    score: float


class Detector(Protocol):
    """Finds faces. One object serves one thread."""

    name: str

    def detect(self, image: Image) -> list[Face]:
        """All faces in `image`, (H, W, 3) uint8 RGB, best score first."""
        ...


def select_face(faces: list[Face], shape: tuple[int, int], policy: FacePolicy, source: str) -> Face:
    """The face that is meant in a photograph of `shape` (height, width); among equals the best score.

    `largest` takes the largest box, its area counted by its score, for a doubtful find may be a pattern behind a face;
    `centre` the box whose centre is nearest to the picture's; `only` insists that there is a single face.

    Raises:
        EdgefrError: there is no face, or more than one where `only` one may be.
    """
    if not faces:
        raise NoFaceError(
            f"a face in {source}",
            "none",
            "give a photograph with a face turned to the camera, about 20 pixels wide or more",
        )
    if policy == "only" and len(faces) > 1:
        raise SeveralFacesError(
            f"only one face in {source}",
            str(len(faces)),
            "crop the photograph, or choose the largest or the most central face",
        )

    def sure_area(face: Face) -> float:
        return face.box[2] * face.box[3] * face.score

    def nearness(face: Face) -> float:
        x, y, width, height = face.box
        return -((x + width / 2 - shape[1] / 2) ** 2) - (y + height / 2 - shape[0] / 2) ** 2

    merit: Callable[[Face], float] = nearness if policy == "centre" else sure_area
    return max(faces, key=lambda face: (merit(face), face.score))
