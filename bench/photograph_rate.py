"""Photographs a second of `edgefr embed`, in turns with the version before and with insightface.

All use the same nets: a detector, and MobileFaceNet as another project publishes it. insightface searches one view of
320 pixels. Startup is part of the time. Faces and embeddings are compared with those of the version before."""

from __future__ import annotations

import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from bench.lfw import YUNET, select_names
from bench.turns import REPOSITORY, Command, checkout_before, compare, edgefr_of, in_turns
from edgefr.data.collections import open_faces
from edgefr.models import SPOT

ROUNDS = 5
COUNT = 400
ANOTHER_FACE = 0.5
"""Cosine below which a photograph of several faces has another one as its largest than before."""
RECOGNISER = "weights/mobilefacenet-512/fr_feature.onnx"
SCRFD = "detectors/scrfd_2.5g_bnkps.onnx"


def run(data: Path, count: int = COUNT, rounds: int = ROUNDS) -> dict[str, Any]:
    """A row for each detector: medians of the rounds, and what has changed in the answers."""
    with tempfile.TemporaryDirectory(prefix="edgefr-rate-") as name:
        folder = Path(name)
        photographs, model = folder / "photographs", folder / "mobilefacenet.onnx"
        _unpack(data, photographs, count)
        in_turns({"adopt": edgefr_of(REPOSITORY, "adopt", data / RECOGNISER, "-o", model)}, 0)
        return {
            Path(detector).stem: _row(folder, photographs, model, detector, data, rounds)
            for detector in (data / SCRFD, data / YUNET, SPOT)
        }


def _unpack(data: Path, photographs: Path, count: int) -> None:
    """Photographs of 250x250 pixels of people who are in no test fold."""
    archive = data / "lfw-deepfunneled.zip"
    names = select_names(open_faces(archive), data, held_out=False)
    photographs.mkdir()
    with zipfile.ZipFile(archive) as opened:
        members = {Path(member).name: member for member in opened.namelist()}
        for name in names[:: max(1, len(names) // count)][:count]:
            (photographs / Path(name).name).write_bytes(opened.read(members[Path(name).name]))


def _row(folder: Path, photographs: Path, model: Path, detector: Path | str, data: Path, rounds: int) -> dict[str, Any]:
    before = checkout_before()
    versions = {"edgefr": REPOSITORY} | ({} if before is None else {"before": before})
    commands = {
        name: edgefr_of(checkout, "embed", photographs, "-o", folder / f"{name}.npz", "-m", model, "-d", Path(detector))
        for name, checkout in versions.items()
    }
    if detector == data / SCRFD and find_spec("insightface") is not None:
        script = Path(__file__).with_name("bare_insightface.py")
        arguments = [sys.executable, script, photographs, detector, data / RECOGNISER]
        commands["insightface"] = Command([str(argument) for argument in arguments])
    runs = in_turns(commands, rounds)
    row: dict[str, Any] = {f"of {name}": compare(runs, "edgefr", name) for name in commands if name != "edgefr"}
    if before is not None:
        row |= _changes(folder / "edgefr.npz", folder / "before.npz")
    count = len(list(photographs.iterdir()))
    return row | {"photographs": count, "photographs_per_second": count / min(run.seconds for run in runs["edgefr"])}


def _changes(now: Path, before: Path) -> dict[str, Any]:
    """How many faces there are, and how alike the embeddings of the same photograph are."""
    faces = [dict(zip(found["path"], found["embedding"], strict=True)) for found in map(np.load, (now, before))]
    common = faces[0].keys() & faces[1].keys()
    cosines = np.array([faces[0][path] @ faces[1][path] for path in common])
    return {
        "faces": len(faces[0]),
        "faces_before": len(faces[1]),
        "of_another_face": int((cosines < ANOTHER_FACE).sum()),
        "least_cosine_of_the_same": float(cosines[cosines >= ANOTHER_FACE].min()),
        "median_cosine": float(np.median(cosines)),
    }
