"""Faces in a photograph: what a detector gives, which file is which detector, which face is meant."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from edgefr.errors import EdgefrError
from edgefr.face.onnx_file import graph_outputs
from edgefr.shipped import SPOT, shipped
from edgefr.spec import SPOT_OUTPUT, Floats, Image

Policy = Literal["largest", "centre", "only"]

DETECTOR_VARIABLE = "EDGEFR_DETECTOR"


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


def open_detector(path: Path | None, threads: int | None = None) -> Detector:
    """Open the detector in `path`, else in $EDGEFR_DETECTOR, else the first in the user's data folder, else `spot`,
    which comes with edgefr. `threads` is how many of this processor it may keep busy; YuNet takes OpenCV's.

    edgefr's own, OpenCV's YuNet and insightface's SCRFD with landmarks are told apart by the outputs of the file.

    Raises:
        EdgefrError: there is no file, or it holds no detector with five landmarks.
    """
    path = path or _installed_detector()
    if path == SPOT:
        path = shipped(SPOT)
    outputs = graph_outputs(path)
    if set(outputs) == {f"{part}_{n}" for part in ("cls", "obj", "bbox", "kps") for n in (8, 16, 32)}:
        from edgefr.face.yunet import YuNet

        return YuNet(path)
    if outputs == {SPOT_OUTPUT: 15}:
        from edgefr.face.spot import Spot

        return Spot(path, threads)
    widths = sorted(outputs.values(), key=lambda width: width or 0)
    if widths == [1, 1, 1, 4, 4, 4, 10, 10, 10]:
        from edgefr.face.scrfd import Scrfd

        return Scrfd(path, threads)
    if widths == [1, 1, 1, 4, 4, 4]:
        found = "SCRFD without landmarks, which cannot align"
        mend = "give the file of SCRFD whose name has 'kps'"
    else:
        found = f"a network of {len(outputs)} other outputs, as a recogniser has"
        mend = "give the .onnx file of YuNet (2023mar) or of SCRFD with landmarks"
    raise EdgefrError(f"expected a face detector with five landmarks in {path}, found {found}: {mend}")


def _installed_detector() -> Path:
    if named := os.environ.get(DETECTOR_VARIABLE):
        return Path(named)
    import platformdirs

    folder = Path(platformdirs.user_data_dir("edgefr")) / "detectors"
    return next(iter(sorted(folder.glob("*.onnx"))), SPOT)


def choose_face(faces: list[Face], shape: tuple[int, int], policy: Policy, source: str) -> Face:
    """The face that is meant in a photograph of `shape` (height, width); among equals the best score.

    `largest` takes the largest box, its area counted by its score, for a doubtful find may be a pattern behind a face;
    `centre` the box whose centre is nearest to the picture's; `only` insists that there is a single face.

    Raises:
        EdgefrError: there is no face, or more than one where `only` one may be.
    """
    if not faces:
        raise EdgefrError(
            f"expected a face in {source}, found none: give a photograph with a face turned to the camera, "
            "about 20 pixels wide or more"
        )
    if policy == "only" and len(faces) > 1:
        raise EdgefrError(
            f"expected only one face in {source}, found {len(faces)}: crop the photograph, or choose the "
            "largest or the most central face"
        )

    def sure_area(face: Face) -> float:
        return face.box[2] * face.box[3] * face.score

    def nearness(face: Face) -> float:
        x, y, width, height = face.box
        return -((x + width / 2 - shape[1] / 2) ** 2) - (y + height / 2 - shape[0] / 2) ** 2

    merit: Callable[[Face], float] = nearness if policy == "centre" else sure_area
    return max(faces, key=lambda face: (merit(face), face.score))
