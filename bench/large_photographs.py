"""How small faces may be in large photographs: `python -m bench.large_photographs [COUNT]`.

Photographs of training people are pasted into pictures of 48 megapixels, so that their faces have 100 or 45 pixels. The
false detections are counted on scenes without a face, 144 of them side by side in one picture.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from bench.lfw import data, select_names
from edgefr.data.collections import open_faces
from edgefr.detection.base import FileDetector
from edgefr.detection.detector_registry import open_detector
from edgefr.detection.orientation import UprightDetector
from edgefr.detection.tiles import detect_in_tiles
from edgefr.types import Image

SIZE = 6000, 8000
TOGETHER = 12
"""Scenes side by side and one above the other in a picture."""


def run(data: Path, count: int = 30) -> dict[str, object]:
    """Share of faces found as a whole and in tiles, false detections, and seconds of processor time for a picture."""
    detector = open_detector(Path("spot"))
    assert isinstance(detector, UprightDetector)
    scenes = open_faces(data / "scenes.zip")
    empty = [scenes.read(name) for name in scenes.names if "no-face" in name]
    found = {str(side): faces_found(detector.as_is, data, empty, side, count) for side in (100, 45)}
    seconds, false = [], 0
    for start in range(0, len(empty), TOGETHER**2):
        picture = side_by_side(empty[start : start + TOGETHER**2])
        before = time.process_time()
        false += len(detect_in_tiles(detector.as_is, picture))
        seconds.append(time.process_time() - before)
    return {"found": found, "scenes": len(empty), "false_in_tiles": false, "tiles_cpu_s": float(np.median(seconds))}


def faces_found(detector: FileDetector, data: Path, scenes: list[Image], side: int, count: int) -> dict[str, float]:
    """Shares of faces `side` pixels wide that are found in an enlarged scene."""
    folder = open_faces(data / "lfw-deepfunneled.zip")
    names = select_names(folder, data, held_out=False)
    rng, hits, seconds = np.random.default_rng(0), {"whole": 0, "tiles": 0}, []
    for index in rng.choice(len(names), count, replace=False):
        photo = folder.read(names[index])
        width = detector.detect(photo).boxes[0, 2]
        photo = np.asarray(cv2.resize(photo, None, fx=side / width, fy=side / width, interpolation=cv2.INTER_AREA))
        box = detector.detect(photo).boxes[0]
        height, across = photo.shape[:2]
        picture = np.asarray(cv2.resize(scenes[rng.integers(len(scenes))], SIZE[::-1], interpolation=cv2.INTER_CUBIC))
        y, x = rng.integers(0, SIZE[0] - height), rng.integers(0, SIZE[1] - across)
        picture[y : y + height, x : x + across] = photo
        centre = box[:2] + box[2:] / 2 + (x, y)
        before = time.process_time()
        views = {"whole": detector.detect(picture)}
        seconds.append(time.process_time() - before)
        views["tiles"] = detect_in_tiles(detector, picture)
        for name, faces in views.items():
            middles = faces.boxes[:, :2] + faces.boxes[:, 2:] / 2
            hits[name] += bool((np.abs(middles - centre).max(1) < side / 2).any())
    return {name: hit / count for name, hit in hits.items()} | {"whole_cpu_s": float(np.median(seconds))}


def side_by_side(scenes: list[Image]) -> Image:
    """Scenes of 320x240 pixels in one picture of 3840x2880, the first ones again where there are too few."""
    small = [np.asarray(cv2.resize(scene, (320, 240), interpolation=cv2.INTER_AREA), np.uint8) for scene in scenes]
    rows = [[small[(row * TOGETHER + column) % len(small)] for column in range(TOGETHER)] for row in range(TOGETHER)]
    return np.vstack([np.hstack(row) for row in rows])


if __name__ == "__main__":
    print(json.dumps(run(data(), *map(int, sys.argv[1:2])), indent=1))
