"""The face in a photograph as the systems see it: a poor photograph is made before the detector looks at it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from edgefr.data.collections import open_faces
from edgefr.data.degradations import PROTOCOLS, degrade
from edgefr.detection.base import Detections, Face
from edgefr.evaluation.face_provider import FaceProvider
from edgefr.evaluation.protocols import CropReader, FaceCrop
from edgefr.recognition.quality import sharpness
from edgefr.types import TEMPLATE, Image
from tests.evaluation.planted import face, write_zip

EDGE, SCALE = 44, 2


def framed(picture: Image) -> Image:
    """A photograph of a face twice as large as an aligned one, amid grey."""
    large = picture.repeat(SCALE, 0).repeat(SCALE, 1)
    return np.pad(large, ((EDGE, EDGE), (EDGE, EDGE), (0, 0)), constant_values=128)


class Centred:
    """Finds the face of such a photograph, the surer the more it varies; none in an even one."""

    name = "centred"

    def detect(self, image: Image) -> Detections:
        spread = float(image.std())
        box = (EDGE, EDGE, 112 * SCALE, 112 * SCALE)
        return Detections.from_faces([Face(box, TEMPLATE * SCALE + EDGE + 0.5, spread)] if spread > 1 else [])


@pytest.fixture
def find(tmp_path: Path) -> CropReader:
    pictures = {
        "P/a.png": framed(face(1, 1)),
        "P/even.png": np.full((200, 210, 3), 90, np.uint8),
        "P/b.png": face(2, 1),
    }
    return FaceProvider(Centred(), "largest").crops_of(open_faces(write_zip(tmp_path / "photographs.zip", pictures)))


def seen(find: CropReader, name: str, wanted: Sequence[str]) -> list[FaceCrop]:
    sights = [sight for sight in find(name, wanted) if sight is not None]
    assert len(sights) == len(wanted)
    return sights


def test_a_photograph_is_degraded_before_detection_in_proportion_to_its_face(find: CropReader) -> None:
    photo = framed(face(1, 1))
    for rendering, sight in zip(PROTOCOLS, seen(find, "P/a.png", list(PROTOCOLS)), strict=True):
        poor = degrade(photo, rendering, "P/a.png", SCALE)
        assert sight.signals["detector"] == pytest.approx(poor.std()), rendering
        assert sight.signals["sharpness"] == sharpness(sight.face)
        inside = poor[EDGE:-EDGE, EDGE:-EDGE].reshape(112, SCALE, 112, SCALE, 3).mean((1, 3))
        assert np.abs(sight.face.astype(float) - inside).mean() < 4, rendering


def test_an_aligned_face_is_unchanged_and_has_no_detector_score(find: CropReader) -> None:
    clean, poor = seen(find, "P/b.png", ["clean", "JPEG 8"])
    assert np.array_equal(clean.face, face(2, 1))
    assert np.array_equal(poor.face, degrade(face(2, 1), "JPEG 8", "P/b.png"))
    assert set(clean.signals) == {"sharpness"}


def test_a_photograph_without_a_face_is_none_in_every_rendering(find: CropReader) -> None:
    assert find("P/even.png", ["clean", "occlusion"]) == [None, None]


def test_a_face_that_is_not_found_in_one_rendering_is_missing_there(tmp_path: Path) -> None:
    class Picky(Centred):
        def detect(self, image: Image) -> Detections:
            return super().detect(image)[: 1 if len(np.unique(image)) > 250 else 0]

    rng = np.random.default_rng(0)
    photo = framed(rng.integers(0, 256, (112, 112, 3)).astype(np.uint8))
    folder = open_faces(write_zip(tmp_path / "one.zip", {"P/a.png": photo}))
    clean, poor = FaceProvider(Picky(), "largest").crops_of(folder)("P/a.png", ["clean", "14x14 pixels"])
    assert clean is not None
    assert poor is None
