"""What every detector gives, and the selection of one face of several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, overload

import numpy as np
import numpy.typing as npt

from edgefr.choices import FacePolicy
from edgefr.errors import NoFaceError, SeveralFacesError
from edgefr.types import Floats, Image


@dataclass(frozen=True)
class Face:
    """One detected face, in pixels of its picture; it may reach beyond the edge.

    Attributes:
        box: x and y of the top left corner, width, height.
        landmarks: (5, 2) as x, y in the order of `types.TEMPLATE`.
        score: Confidence of the detector, 0 to 1.
    """

    box: tuple[float, float, float, float]
    landmarks: Floats
    score: float


@dataclass(frozen=True, eq=False)
class Detections(Sequence[Face]):
    """The faces of one picture as arrays, best score first; also a sequence of `Face`.

    Attributes:
        boxes: (N, 4) float32 as x, y, width, height in pixels.
        landmarks: (N, 5, 2) float32 as x, y in pixels, in the order of `types.TEMPLATE`.
        scores: (N,) float32, 0 to 1.
    """

    boxes: Floats
    landmarks: Floats
    scores: Floats

    @classmethod
    def from_rows(cls, rows: Floats | None) -> Detections:
        """Split OpenCV's rows.

        Args:
            rows: (N, 15): box, five points as x, y, score (`cv2.FaceDetectorYN`); None for no face.

        Returns:
            The same faces in the same order.
        """
        rows = np.zeros((0, 15), np.float32) if rows is None else np.asarray(rows, np.float32)
        return cls(rows[:, :4], rows[:, 4:14].reshape(-1, 5, 2), rows[:, 14])

    def to_rows(self) -> Floats:
        """The inverse of `from_rows`: (N, 15) float32."""
        return np.hstack([self.boxes, self.landmarks.reshape(-1, 10), self.scores[:, None]]).astype(np.float32)

    @classmethod
    def from_faces(cls, faces: Sequence[Face]) -> Detections:
        """Stack faces in the same order."""
        boxes = np.array([face.box for face in faces], np.float32).reshape(-1, 4)
        landmarks = np.array([face.landmarks for face in faces], np.float32).reshape(-1, 5, 2)
        return cls(boxes, landmarks, np.array([face.score for face in faces], np.float32))

    @classmethod
    def concatenate(cls, parts: Sequence[Detections]) -> Detections:
        """Join at least one group of faces in the same order."""
        return cls(
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.landmarks for part in parts]),
            np.concatenate([part.scores for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.scores)

    @overload
    def __getitem__(self, index: int) -> Face: ...

    @overload
    def __getitem__(self, index: slice) -> Detections: ...

    def __getitem__(self, index: int | slice) -> Face | Detections:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        x, y, width, height = self.boxes[index].tolist()
        return Face((x, y, width, height), self.landmarks[index], float(self.scores[index]))

    def take(self, which: npt.NDArray[Any] | list[int]) -> Detections:
        """Select faces.

        Args:
            which: Indices, or a boolean array (N,).

        Returns:
            The selected faces in the order of the indices.
        """
        return Detections(self.boxes[which], self.landmarks[which], self.scores[which])

    def scaled(self, scale: tuple[float, float], shift: tuple[float, float] = (0.0, 0.0)) -> Detections:
        """The same faces in a picture of another size.

        Args:
            scale: Factors of x and y.
            shift: Added to x and y afterwards, in pixels of the new picture.

        Returns:
            The faces in pixels of the new picture.
        """
        factor, offset = np.array(scale, np.float32), np.array(shift, np.float32)
        boxes = np.hstack([self.boxes[:, :2] * factor + offset, self.boxes[:, 2:] * factor])
        return Detections(boxes, self.landmarks * factor + offset, self.scores)


class Detector(Protocol):
    """Finds faces. One object serves one thread at a time."""

    name: str

    def detect(self, image: Image) -> Detections:
        """Find all faces.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            The faces in pixels of `image`, best score first.

        Raises:
            EdgefrError: The runtime fails.
        """
        ...


class FileDetector(Detector, Protocol):
    """A detector that is opened from an .onnx file and identified by the outputs of its graph."""

    file: str
    """Description of the file to use, for messages."""
    upright_score: float
    """A score that faces reach only in an upright picture; most upright faces do."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        """Load the network.

        Args:
            path: The .onnx file.
            threads: Number of threads it may use; None for all cores.

        Raises:
            WrongModelError: The file does not hold this detector.
            EdgefrError: The runtime cannot open the file.
        """

    def detect_once(self, image: Image) -> Detections:
        """Find faces at the size that the picture has: quick for a small one, see `detect`."""
        ...

    @staticmethod
    def accepts(outputs: dict[str, int | None]) -> bool:
        """Whether a graph is this detector.

        Args:
            outputs: Name of each output -> length of its last axis, None if it is not fixed.
        """
        ...


FINEST_SIDE = 4096
"""Longest side in pixels at which a picture is searched for small faces; a larger one is reduced to it."""
MIN_SIDE = 20
"""Width and height in pixels of a face that counts when all faces of a photograph are wanted. Smaller ones are people
in the background, whose pixels do not suffice: with 14x14 pixels, `mini` errs twice as often (`assets/mini.md`)."""

CERTAIN = 0.85
"""Least score, as a share of the best one in the picture, of a face that counts then. Of the false detections of `spot`
beside a clear face, most are below it; so are a third of the faces whose middle is covered."""


def select_face(faces: Sequence[Face], shape: tuple[int, int], policy: FacePolicy, source: str) -> Face:
    """Select one face; among equals the one with the best score.

    Args:
        faces: The faces of a picture.
        shape: Height and width of the picture in pixels.
        policy: "largest" takes the largest box, weighted by the score because an uncertain detection may be a pattern
            in the background. "centre" takes the box nearest to the centre. "only" requires exactly one face.
        source: Name of the picture for messages.

    Returns:
        The selected face.

    Raises:
        NoFaceError: There is no face.
        SeveralFacesError: There are several, and the policy is "only".
    """
    if not faces:
        raise NoFaceError(
            f"a face in {source}",
            "none",
            "use a photograph of a face that is turned to the camera and at least "
            f"{smallest_face(max(shape))} pixels wide",
        )
    if policy == "only" and len(faces) > 1:
        raise SeveralFacesError(
            f"one face in {source}", str(len(faces)), "crop the photograph, or select the largest or the central face"
        )

    def nearness(face: Face) -> tuple[float, float]:
        x, y, width, height = face.box
        return -((x + width / 2 - shape[1] / 2) ** 2) - (y + height / 2 - shape[0] / 2) ** 2, face.score

    return max(faces, key=nearness if policy == "centre" else _prominence)


def select_faces(faces: Sequence[Face], shape: tuple[int, int], source: str) -> list[Face]:
    """Select all faces that are large and certain enough to be recognised.

    Args:
        faces: The faces of a picture.
        shape: Height and width of the picture in pixels.
        source: Name of the picture for messages.

    Returns:
        The faces of at least MIN_SIDE pixels whose score is near the best one, the most prominent first; if there are
        none, the most prominent face.

    Raises:
        NoFaceError: There is no face.
    """
    largest = select_face(faces, shape, "largest", source)
    large = [face for face in faces if min(face.box[2:]) >= MIN_SIDE]
    certain = CERTAIN * max((face.score for face in large), default=0.0)
    enough = [face for face in large if face.score >= certain]
    return sorted(enough, key=_prominence, reverse=True) or [largest]


def smallest_face(longest: int) -> int:
    """The width in pixels from which most faces are found, in a picture with this longest side."""
    return math.ceil(MIN_SIDE * max(1, longest / FINEST_SIDE))


def _prominence(face: Face) -> tuple[float, float]:
    return face.box[2] * face.box[3] * face.score, face.score
