"""Opens the detector in a file. A new detector needs one class (`base.FileDetector`) and one entry in `DETECTORS`."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from edgefr.detection.base import Detector, FileDetector
from edgefr.detection.orientation import UprightDetector
from edgefr.detection.scrfd import Scrfd
from edgefr.detection.spot import Spot
from edgefr.detection.yunet import YuNet
from edgefr.errors import WrongModelError
from edgefr.io.onnx_file import graph_outputs
from edgefr.io.user_folders import user_folder
from edgefr.models import SPOT, find_model, shipped_model

DETECTOR_VARIABLE = "EDGEFR_DETECTOR"

DETECTORS: tuple[type[FileDetector], ...] = (Spot, YuNet, Scrfd)
"""The first class that accepts the outputs of a file opens it."""


def open_detector(path: Path | None, threads: int | None = None) -> Detector:
    """Open a face detector.

    Args:
        path: Name of a shipped detector or one that `edgefr models` lists, or an .onnx file, whose kind follows from
            its outputs. None takes $EDGEFR_DETECTOR, then the first file in the user's folder of detectors, then
            `spot`.
        threads: Number of threads it may use; None for all cores. YuNet always uses the threads of OpenCV.

    Returns:
        The detector.

    Raises:
        WrongModelError: The file is not a detector with five landmarks.
        EdgefrError: The file cannot be read.
    """
    path = find_model(path or _default_detector())
    outputs = graph_outputs(path)
    for kind in DETECTORS:
        if kind.accepts(outputs):
            return UprightDetector(kind(path, threads), partial(kind, path))
    files = ", or ".join(kind.file for kind in DETECTORS)
    widths = sorted(outputs.values(), key=lambda width: width or 0)
    if widths == [1, 1, 1, 4, 4, 4]:
        found = "SCRFD without landmarks, which cannot align faces"
    else:
        found = f"a network with {len(outputs)} other outputs, as a recogniser has"
    raise WrongModelError(f"a face detector with five landmarks in {path}", found, f"use {files}")


def _default_detector() -> Path:
    if path := os.environ.get(DETECTOR_VARIABLE):
        return Path(path)
    folder = user_folder("data")
    own = () if folder is None else sorted((folder / "detectors").glob("*.onnx"))
    return next(iter(own), shipped_model(SPOT))
