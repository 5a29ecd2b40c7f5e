"""Compare the detector `spot` with YuNet, its teacher: on photographs of held-out people and harder versions of them,
pictures without faces and ordinary photographs, and by time on one core.

YuNet's detections of at least 0.7 in the original photograph are the ground truth. In a harder version it is the
largest of them, transformed like the photograph. A face is found if a box has an IoU of at least 0.5 with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bench.faceless import make_faceless_pictures
from bench.lfw import YUNET, select_names
from edgefr.cli.output import progress
from edgefr.data.collections import FaceFolder, open_faces, person_of
from edgefr.detection.base import Detections, Detector, Face
from edgefr.detection.detector_registry import open_detector
from edgefr.detection.geometry import box_iou, warp_detections
from edgefr.detection.spot import NMS_IOU, SCORE_THRESHOLD, VOTE_SCORE
from edgefr.errors import WrongModelError
from edgefr.evaluation.bootstrap import interval, resampled_sums, share
from edgefr.io.photo import read_photograph
from edgefr.types import INPUT_NAME, SPOT_OUTPUT, Floats, Image

MIN_IOU = 0.5
HARDER = 300
"""Number of evenly spread photographs that each harder version is made from."""
FACELESS = 200
ROUNDS = 200


@dataclass(frozen=True)
class ExpectedFace:
    """A face that should be found: its person, and its row of 15 in OpenCV's order."""

    person: str
    row: Floats


def turned(degrees: float) -> Callable[[Image], tuple[Image, np.ndarray]]:
    def turn(photo: Image) -> tuple[Image, np.ndarray]:
        height, width = photo.shape[:2]
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
        return cv2.warpAffine(photo, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE), matrix

    return turn


def scaled(scale: float) -> Callable[[Image], tuple[Image, np.ndarray]]:
    def resize(photo: Image) -> tuple[Image, np.ndarray]:
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        half = (scale - 1) / 2  # coordinates are relative to the centre of the first pixel
        matrix = np.array([[scale, 0, half], [0, scale, half]])
        return cv2.resize(photo, None, fx=scale, fy=scale, interpolation=how), matrix

    return resize


def small_in_a_large_picture(photo: Image) -> tuple[Image, np.ndarray]:
    """A face of about 20 pixels in a picture of 640 x 480."""
    small, matrix = scaled(0.2)(photo)
    canvas = np.full((480, 640, 3), 110, np.uint8)
    canvas[200 : 200 + small.shape[0], 300 : 300 + small.shape[1]] = small
    matrix[:, 2] += 300, 200
    return canvas, matrix


def cut_off(photo: Image) -> tuple[Image, np.ndarray]:
    """The right two thirds of LFW's centred face."""
    start = round(photo.shape[1] * 0.44)
    return np.ascontiguousarray(photo[:, start:]), np.array([[1.0, 0, -start], [0, 1, 0]])


def grey_and_blurred(photo: Image) -> Image:
    grey = cv2.cvtColor(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), 3), np.uint8)


def lit(change: Callable[[Image], Image]) -> Callable[[Image], tuple[Image, np.ndarray]]:
    return lambda photo: (change(photo), np.eye(3)[:2])


KINDS: dict[str, Callable[[Image], tuple[Image, np.ndarray]]] = {
    "turned by 20 degrees": turned(20),
    "turned by 40 degrees": turned(-40),
    "a tenth of the light": lit(lambda photo: np.asarray(cv2.convertScaleAbs(photo, alpha=0.1), np.uint8)),
    "grey and blurred": lit(grey_and_blurred),
    "cut off": cut_off,
    "20 pixels": small_in_a_large_picture,
    "300 pixels": scaled(3),
    "1000 pixels": scaled(10),
}


def match(expected: ExpectedFace, faces: Detections) -> tuple[bool, float]:
    """Whether a face was found, and the mean error of its landmarks as a share of the eyes' distance."""
    overlaps = box_iou([expected.row[:4]], faces.boxes)[0]
    if overlaps.max(initial=0) < MIN_IOU:
        return False, np.nan
    best = faces[int(overlaps.argmax())]
    points = expected.row[4:14].reshape(5, 2)
    away = np.linalg.norm(best.landmarks - points, axis=1).mean()
    return True, float(away / np.linalg.norm(points[0] - points[1]))


def summarise(expected: list[ExpectedFace], matches: list[tuple[bool, float]]) -> dict[str, Any]:
    """Recall and error of the landmarks in % with intervals over people, and YuNet's best score of a missed face."""
    found = np.array([hit for hit, _ in matches])
    error = np.nan_to_num([away for _, away in matches])
    people = np.array([[face.person] * 2 for face in expected])
    sums = resampled_sums(np.column_stack([found, error, np.ones(len(found))]), people)
    missed = [round(float(face.row[14]), 2) for face, hit in zip(expected, found, strict=True) if not hit]
    recall, points = share(sums[:, 0], sums[:, 2]), share(sums[:, 1], sums[:, 0])
    return {
        "faces": len(expected),
        "missed": len(missed),
        "missed_up_to": max(missed, default=None),
        "recall": percent(found.mean(), interval(recall)),
        "points": percent(error.sum() / max(1, found.sum()), interval(points)),
    }


def percent(value: float, ci95: tuple[float, float]) -> list[float]:
    return [round(100 * float(figure), 2) for figure in (value, *ci95)]


def expected_face(face: Face, name: str) -> ExpectedFace:
    return ExpectedFace(person_of(name), np.array([*face.box, *face.landmarks.ravel(), face.score], np.float32))


def on_photographs(
    folder: FaceFolder, names: list[str], detectors: dict[str, Detector], advance: Callable[[int], None]
) -> dict[str, Any]:
    """Rows of results: the original photographs for `spot`, harder versions for both detectors."""
    plain: list[tuple[ExpectedFace, tuple[bool, float]]] = []
    harder: dict[tuple[str, str], list[tuple[ExpectedFace, tuple[bool, float]]]] = {}
    every = max(1, len(names) // HARDER)
    for index, name in enumerate(names):
        photo = folder.read(name)
        known = detectors["yunet"].detect(photo)
        found = detectors["spot"].detect(photo)
        plain += [(expected, match(expected, found)) for expected in (expected_face(face, name) for face in known)]
        if index % every == 0 and known:
            largest = expected_face(max(known, key=lambda face: face.box[2] * face.box[3]), name)
            for kind, make in KINDS.items():
                picture, matrix = make(photo)
                warped = warp_detections(Detections.from_rows(largest.row[None]), matrix)
                expected = ExpectedFace(largest.person, warped.to_rows()[0])
                for which, detector in detectors.items():
                    matched = match(expected, detector.detect(picture))
                    harder.setdefault((kind, which), []).append((expected, matched))
        advance(1)
    rows = [{"kind": "as taken", "detector": "spot"} | summarise(*map(list, zip(*plain, strict=True)))]
    for (kind, which), results in harder.items():
        rows.append({"kind": kind, "detector": which} | summarise(*map(list, zip(*results, strict=True))))
    return {"photographs": len(names), "rows": rows}


def one_core(spot: Path, yunet: Path) -> dict[str, Any]:
    """Processor time in milliseconds at 320x320 on one thread, in turns: median and 95th percentile."""
    import onnxruntime
    from skimage import data

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(spot), options, providers=["CPUExecutionProvider"])
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    net = cv2.FaceDetectorYN.create(str(yunet), "", (320, 320), 0.7, 0.3)
    picture = cv2.resize(data.astronaut(), (320, 320), interpolation=cv2.INTER_AREA)

    def run_spot() -> int:
        rows = session.run(None, {INPUT_NAME: picture[None]})[0]
        rows = rows[rows[:, 14] >= VOTE_SCORE]
        return len(cv2.dnn.NMSBoxes(rows[:, :4].tolist(), rows[:, 14].tolist(), SCORE_THRESHOLD, NMS_IOU))

    calls: dict[str, Callable[[], Any]] = {"spot": run_spot, "yunet": lambda: net.detect(picture[..., ::-1].copy())}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(ROUNDS + 10):
        for name, call in calls.items():
            start = time.thread_time()
            call()
            if turn >= 10:
                times[name].append(1e3 * (time.thread_time() - start))
    cv2.setNumThreads(threads)
    assert session.get_outputs()[0].name == SPOT_OUTPUT
    return {name: np.percentile(spent, [50, 95]).round(2).tolist() for name, spent in times.items()}


def run(data: Path, spot: Path, limit: int | None = None) -> dict[str, Any]:
    """All results for the detector file `spot`. `limit`: use only that many photographs, evenly spread."""
    yunet = data / YUNET
    detectors = {"spot": open_detector(spot), "yunet": open_detector(yunet)}
    if detectors["spot"].name != "spot":
        raise WrongModelError(f"the detector spot in {spot}", detectors["spot"].name, "give another file")
    folder = open_faces(data / "lfw-deepfunneled.zip")
    names = select_names(folder, data, held_out=True)
    if limit is not None:
        names = [names[index] for index in np.linspace(0, len(names) - 1, limit).astype(int)]
    with progress("Finding faces", len(names)) as advance:
        found = on_photographs(folder, names, detectors, advance)
    pictures = make_faceless_pictures(folder, names, detectors["yunet"], FACELESS)
    false = {which: sum(len(each.detect(picture)) for picture in pictures) for which, each in detectors.items()}
    photos = {
        path.name: {which: len(each.detect(read_photograph(path))) for which, each in detectors.items()}
        for path in sorted((data / "photos").iterdir())
    }
    return found | {
        "false_faces": {"pictures": len(pictures)} | false,
        "photos": photos,
        "one_core_320_ms": one_core(spot, yunet),
    }
