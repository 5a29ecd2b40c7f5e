"""Faces in a photograph: what a detector gives, which file is which detector, which face is meant."""

from __future__ import annotations

import os
from pathlib import Path

from edgefr.detection.base import Detector
from edgefr.errors import EdgefrError
from edgefr.io.onnx_outputs import graph_outputs
from edgefr.models import SPOT, find_model, shipped_model
from edgefr.types import SPOT_OUTPUT

DETECTOR_VARIABLE = "EDGEFR_DETECTOR"


def open_detector(path: Path | None, threads: int | None = None) -> Detector:
    """Open the detector in `path`, else in $EDGEFR_DETECTOR, else the first in the user's data folder, else `spot`,
    which comes with edgefr. `threads` is how many of this processor it may keep busy; YuNet takes OpenCV's.

    edgefr's own, OpenCV's YuNet and insightface's SCRFD with landmarks are told apart by the outputs of the file.

    Raises:
        EdgefrError: there is no file, or it holds no detector with five landmarks.
    """
    path = find_model(path or _installed_detector())
    outputs = graph_outputs(path)
    if set(outputs) == {f"{part}_{n}" for part in ("cls", "obj", "bbox", "kps") for n in (8, 16, 32)}:
        from edgefr.detection.yunet import YuNet

        return YuNet(path)
    if outputs == {SPOT_OUTPUT: 15}:
        from edgefr.detection.spot import Spot

        return Spot(path, threads)
    widths = sorted(outputs.values(), key=lambda width: width or 0)
    if widths == [1, 1, 1, 4, 4, 4, 10, 10, 10]:
        from edgefr.detection.scrfd import Scrfd

        return Scrfd(path, threads)
    if widths == [1, 1, 1, 4, 4, 4]:
        found = "SCRFD without landmarks, which cannot align"
        mend = "give the file of SCRFD whose name has 'kps'"
    else:
        found = f"a network of {len(outputs)} other outputs, as a recogniser has"
        mend = "give the .onnx file of YuNet (2023mar) or of SCRFD with landmarks"
    raise EdgefrError(f"a face detector with five landmarks in {path}", found, mend)


def _installed_detector() -> Path:
    if named := os.environ.get(DETECTOR_VARIABLE):
        return Path(named)
    import platformdirs

    folder = Path(platformdirs.user_data_dir("edgefr")) / "detectors"
    return next(iter(sorted(folder.glob("*.onnx"))), shipped_model(SPOT))
