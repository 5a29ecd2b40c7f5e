"""The shipped models, which need no download."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefr.data.sample_faces import ASTRONAUT_LANDMARKS
from edgefr.manifest import model_digest, model_manifest
from edgefr.models import MINI, SPOT, shipped_model
from edgefr.recognition.verifier import Verifier
from edgefr.types import Image
from tests.conftest import REPOSITORY
from tests.gallery.people import StubDetector, photo

CARDS = REPOSITORY / "edgefr/assets"


@pytest.mark.parametrize(("name", "megabytes"), [(MINI, 10), (SPOT, 2)])
def test_a_model_is_small_and_has_a_manifest_and_a_card(name: str, megabytes: int) -> None:
    path = shipped_model(name)
    assert path.stat().st_size < megabytes * 1e6
    manifest = model_manifest(path)
    assert manifest is not None
    assert manifest.trained_on
    card = (CARDS / f"{name}.md").read_text(encoding="utf-8")
    for part in ("Data", "Accuracy", "fail", "Not evaluated for demographic fairness", "Intended", "Not intended"):
        assert part in card, f"the card of {name} lacks {part}"


def test_mini_has_calibrated_thresholds_and_names_the_held_out_people() -> None:
    manifest = model_manifest(shipped_model(MINI))
    assert manifest is not None
    assert {entry.fmr for entry in manifest.thresholds} >= {1e-2, 1e-3}
    assert manifest.held_out is not None


def test_mini_names_its_rates_on_people_it_never_saw() -> None:
    manifest = model_manifest(shipped_model(MINI))
    assert manifest is not None
    for entry in manifest.thresholds:
        assert entry.fmr is not None
        assert entry.unseen_fmr is not None
        assert 0 < entry.unseen_fmr < 1.5 * entry.fmr, "a claim that holds for other people"


def test_the_digest_of_mini_is_that_of_the_model_without_its_manifest() -> None:
    """Galleries and engines are bound to it."""
    assert model_digest(shipped_model(MINI)) == "86d0b1374e04212916511a21842264d298be68feb45eb7edc04a46724e3c697c"


def blurred(picture: Image) -> Image:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 7), np.uint8)


def dark(picture: Image) -> Image:
    """A twentieth of the light."""
    return np.asarray(picture * 0.05, np.uint8)


@pytest.mark.parametrize("spoil", [blurred, dark])
def test_a_poor_photograph_is_warned_of_by_default(edgefr, tmp_path: Path, spoil: Callable[[Image], Image]) -> None:
    astronaut = pytest.importorskip("skimage.data").astronaut()
    cv2.imwrite(str(tmp_path / "good.png"), astronaut[..., ::-1])
    cv2.imwrite(str(tmp_path / "poor.png"), spoil(astronaut)[..., ::-1])
    good = edgefr("verify", tmp_path / "good.png", tmp_path / "good.png", "--json")
    assert (good.json["reliable"], good.err) == (True, "")
    poor = edgefr("verify", tmp_path / "good.png", tmp_path / "poor.png", "--json")
    assert poor.json["reliable"] is False
    assert "poor.png is of poor quality: the score of the detector is 0." in poor.err
    assert "good.png" not in poor.err
    assert edgefr("verify", tmp_path / "good.png", tmp_path / "poor.png", "--refuse-poor").code == 2


def test_another_detector_than_spot_is_used_without_a_check_and_says_so(
    edgefr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgefr.recognition.verifier.open_detector", lambda *_: StubDetector())
    path = photo(tmp_path / "a.png", 0)
    told = edgefr("verify", path, path, "--json")
    assert (told.code, told.json["reliable"]) == (0, None)
    assert told.err == (
        "edgefr: the quality of the faces is not checked: the limit of mini.onnx is one of the score of the detector "
        "spot, and stub is used\n"
    )
    enrolled = edgefr("gallery", "enroll", "Ada", path, "--plain", "--gallery", tmp_path / "people.gallery")
    assert enrolled.err == told.err
    assert "found one for the detector spot" in edgefr("verify", path, path, "--refuse-poor").sentence


def test_the_demonstration_needs_no_file_and_is_right(edgefr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("skimage")
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    told = edgefr("demo", "--json")
    assert told.code == 0, told.out + told.err
    assert [answer["same"] for answer in told.json["answers"]] == [True, False]
    assert cv2.imread("demo.png") is not None


def test_a_matplotlib_without_its_photographs_is_an_error(edgefr, tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("skimage")
    cbook = pytest.importorskip("matplotlib.cbook")
    monkeypatch.setattr(cbook, "get_sample_data", lambda name, asfileobj: tmp_path / name)
    sentence = edgefr("demo", "-o", tmp_path / "demo.png").sentence
    assert "expected the sample photograph" in sentence
    assert "found none. Install the matplotlib of the Python Package Index" in sentence


def test_verify_works_without_a_named_model_or_detector(edgefr, tmp_path: Path) -> None:
    data = pytest.importorskip("skimage.data")
    photo = tmp_path / "astronaut.png"
    cv2.imwrite(str(photo), data.astronaut()[..., ::-1])
    told = edgefr("verify", photo, photo, "--json")
    assert told.code == 0
    assert Verifier.open().verify(photo, photo).similarity == pytest.approx(told.json["similarity"], abs=1e-5)
    assert told.json["similarity"] == pytest.approx(1, abs=1e-3)
    assert (told.json["model"], told.json["detector"]) == ("mini.onnx", "spot")


def test_the_shipped_detector_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pytest.importorskip("skimage.data")
    monkeypatch.delenv("EDGEFR_DETECTOR", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "/nonexistent")
    faces = Verifier.open().detector.detect(data.astronaut())
    assert len(faces) == 1
    assert abs(faces[0].landmarks - ASTRONAUT_LANDMARKS).max() < 12
