"""Every face that a verifier finds is checked for presentation attacks, and one attack is enough for a no."""

from __future__ import annotations

import numpy as np
import pytest

from edgefr.detection.base import Face
from edgefr.detection.detector_registry import open_detector
from edgefr.liveness.liveness_check import Liveness
from edgefr.manifest import Manifest
from edgefr.models import SPOT, shipped_model
from edgefr.recognition.recogniser import open_recogniser
from edgefr.recognition.verifier import FoundFace, Verifier
from edgefr.runtimes import FAKE
from edgefr.types import TEMPLATE, Image
from tests.gallery.people import thresholds

FACE = Face((20, 20, 40, 40), TEMPLATE, 0.9)


class Paper:
    """Takes every face for one on paper."""

    def check(self, _image: Image, _face: Face) -> Liveness:
        return Liveness(0.1, 0.5)


@pytest.fixture
def verifier() -> Verifier:
    manifest = Manifest("onnx", "fake", thresholds=thresholds((1e-2, 0.6), (1e-3, 0.7)))
    recogniser = open_recogniser(FAKE, "fake", "auto", None)
    return Verifier(open_detector(shipped_model(SPOT)), recogniser, manifest, liveness=Paper())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scores", "same"), [((0.9, 0.9), True), ((0.1, 0.9), False), ((0.9, 0.1), False), ((None, None), True)]
)
def test_one_attack_is_enough(verifier: Verifier, scores: tuple[float | None, ...], same: bool) -> None:
    crop = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
    first, second = (
        FoundFace(name, FACE, crop, 1, None if score is None else Liveness(score, 0.5))
        for name, score in zip(("a.jpg", "b.jpg"), scores, strict=True)
    )
    result = verifier.decide(first, second)
    assert result.similarity == pytest.approx(1, abs=1e-5)
    assert result.same is same
    attacks = [name for name, score in zip(("a.jpg", "b.jpg"), scores, strict=True) if score == 0.1]
    assert [text.split()[0] for text in result.attacks] == attacks


def test_a_detector_for_another_thread_checks_faces_as_well(verifier: Verifier) -> None:
    """`gallery identify` finds the faces of many photographs with such detectors."""
    copy = verifier.with_other_detector(threads=1)
    assert copy is not None
    liveness = copy.found_in(np.zeros((100, 100, 3), np.uint8), FACE, "a.jpg").liveness
    assert liveness is not None
    assert not liveness.live
