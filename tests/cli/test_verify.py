"""`edgefr verify` on ordinary photographs and on bad input."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefr.errors import WrongModelError
from edgefr.manifest import Manifest, QualityLimit, Threshold, model_digest, model_manifest, write_manifest
from tests.detection.pictures import png_claiming
from tests.gallery.people import TWO, StubDetector, photo

PEOPLE = {
    "obama.jpg": "obama",
    "obama1.jpg": "obama",
    "obama2.jpg": "obama",
    "obama3.jpg": "obama",
    "biden.jpg": "biden",
    "biden2.jpg": "biden",
    "astronaut.png": "astronaut",
}


@pytest.fixture
def verify(edgefr, fused_onnx: Path, yunet: Path):
    return lambda *arguments: edgefr("verify", *arguments, "--model", fused_onnx, "--detector", yunet)


@pytest.mark.shared
def test_every_pair_of_photographs_is_decided_correctly(fused_onnx: Path, yunet: Path, shared: Path) -> None:
    from edgefr.recognition.verifier import Verifier

    verifier = Verifier.open(fused_onnx, yunet, images=7)
    faces = dict(zip(PEOPLE, verifier.embed([verifier.find(shared / "photos" / name) for name in PEOPLE]), strict=True))
    for first, second in combinations(PEOPLE, 2):
        similarity = faces[first].embedding @ faces[second].embedding
        assert (similarity >= verifier.threshold().value) == (PEOPLE[first] == PEOPLE[second]), (first, second)


@pytest.mark.shared
def test_the_exit_code_and_the_sentence_give_the_answer(verify, shared: Path) -> None:
    photos = shared / "photos"
    same = verify(photos / "obama.jpg", photos / "obama2.jpg")
    assert (same.code, same.err) == (0, "")
    assert same.out.startswith("The same person: similarity 0.")
    assert "(about 1 in 1,000 pairs of strangers reach it; measured on a test)" in same.out
    different = verify(photos / "obama.jpg", photos / "biden.jpg")
    assert different.code == 1
    assert different.out.startswith("Different people")


@pytest.mark.shared
def test_the_json_document(verify, shared: Path, fused_onnx: Path) -> None:
    photos = shared / "photos"
    answer = verify(photos / "obama.jpg", photos / "obama1.jpg", "--json").json
    assert answer["same"] is True
    assert answer["similarity"] > answer["threshold"] == 0.3
    assert answer["fmr_at_threshold"] == 1e-3
    assert answer["model_sha256"] == model_digest(fused_onnx)
    manifest = model_manifest(fused_onnx)
    assert manifest is not None
    assert answer["made_from_sha256"]["checkpoint"] == manifest.made_from["checkpoint"]["sha256"]
    assert answer["runtime"] == "onnxruntime"
    assert answer["precision"] == "fp32"
    assert answer["time_ms"] > 0
    height, width = cv2.imread(str(photos / "obama.jpg")).shape[:2]
    face = answer["faces"][0]
    x, y, w, h = face["box"]
    assert -w / 4 < x < width
    assert -h / 4 < y < height
    assert len(face["landmarks"]) == 5
    assert 0.7 < face["score"] <= 1
    assert -12 <= face["uncertainty"] <= 8


@pytest.mark.shared
def test_a_threshold_can_be_given(verify, shared: Path) -> None:
    photos = shared / "photos"
    answer = verify(photos / "obama.jpg", photos / "obama1.jpg", "--threshold", "0.99", "--json")
    assert answer.code == 1
    assert answer.json["threshold"] == 0.99
    assert answer.json["fmr_at_threshold"] is None


@pytest.mark.shared
def test_the_policy_decides_among_several_faces(verify, shared: Path) -> None:
    both, biden = shared / "photos/obama_and_biden.jpg", shared / "photos/biden.jpg"
    assert "found 3" in verify(both, biden, "--face", "only").sentence
    assert verify(both, biden, "--face", "largest").code in (0, 1)


@pytest.fixture
def verify_stub(edgefr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Compares a photograph of two people with one of one of them, by the fake model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edgefr.recognition.verifier.open_detector", lambda *_: StubDetector())
    photo(Path("two.png"), 0, kind=TWO)
    photo(Path("one.png"), 0, 1)
    known = (Threshold(1e-2, 0.3, (0.3, 0.3), "a test"), Threshold(1e-3, 0.4, (0.4, 0.4), "a test", unseen_fmr=1.39e-3))
    write_manifest(Path("fake"), Manifest("onnx", "fake", thresholds=known))
    return lambda *options: edgefr("verify", "two.png", "one.png", "--model", "fake", *options)


def test_the_answer_names_the_compared_face_of_several(verify_stub) -> None:
    answer = verify_stub("--json").json
    assert answer["faces_found"] == [2, 1]
    assert answer["faces"][0]["box"] == [30, 20, 112, 112]
    lines = verify_stub().out.splitlines()
    assert lines[1] == "two.png shows 2 faces; the largest was compared, 112x112 pixels at 30,20."
    assert len(lines) == 3, "nothing of the photograph with one face"
    assert "two.png shows 2 faces; the one nearest to the centre was compared" in verify_stub("--face", "centre").out


def test_a_warning_names_the_poor_face_of_several(verify_stub) -> None:
    limit = QualityLimit("detector", 0.95, "a test", "stub")
    write_manifest(
        Path("fake"), Manifest("onnx", "fake", thresholds=(Threshold(1e-3, 0.4, (0.4, 0.4), "x"),), quality=limit)
    )
    first, second = verify_stub("--json").json["reasons"]
    assert first.startswith("two.png, face at 30,20, is of poor quality: the score of the detector is 0.90")
    assert second.startswith("one.png is of poor quality")


def test_the_sentence_uses_the_rate_that_was_measured_on_people_the_model_never_saw(verify_stub) -> None:
    assert (
        "(about 1 in 720 pairs of strangers whom the model was not trained on reach it; calibrated on a test)"
        in verify_stub().out
    )
    answer = verify_stub("--json").json
    assert (answer["fmr"], answer["fmr_at_threshold"], answer["unseen_fmr"]) == (1e-3, 1e-3, 1.39e-3)


def test_a_rate_between_calibrated_ones_interpolates(verify_stub) -> None:
    answer = verify_stub("--fmr", "0.005", "--json").json
    assert answer["threshold"] == pytest.approx(0.3 + 0.1 * np.log10(2))
    assert answer["threshold_from"] == "a test, interpolated between the calibrated false match rates 0.01 and 0.001"
    assert answer["fmr"] == 0.005
    assert "(about 1 in 200 pairs of strangers reach it; measured on a test, interpolated" in verify_stub(
        "--fmr", "0.005"
    ).out.replace("\n", " ")
    assert "expected a threshold at an FMR of 0.0005" in verify_stub("--fmr", "0.0005").sentence


def animated(path: Path) -> None:
    from PIL import Image

    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def cmyk(path: Path) -> None:
    from PIL import Image

    Image.new("CMYK", (64, 64)).save(path)


def picture(path: Path, shape: tuple[int, ...] = (200, 200, 3), dtype: str = "uint8") -> None:
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, shape).astype(dtype))


def truncated(path: Path) -> None:
    picture(path)
    path.write_bytes(path.read_bytes()[:-2000])


BAD = {
    "no picture": ("a.jpg", lambda path: path.write_text("hello")),
    "zero bytes": ("a.jpg", lambda path: path.write_bytes(b"")),
    "truncated JPEG": ("a.jpg", truncated),
    "truncated PNG": ("a.png", truncated),
    "1x1": ("a.png", lambda path: picture(path, (1, 1, 3))),
    "16 bits": ("a.png", lambda path: picture(path, dtype="uint16")),
    "CMYK": ("a.jpg", cmyk),
    "animated GIF": ("a.gif", animated),
    "animated WebP": ("a.webp", animated),
    "200 megapixels": ("a.png", lambda path: path.write_bytes(png_claiming(20_000, 10_000))),
    "a folder": ("a.jpg", lambda path: path.mkdir()),
    "missing": ("a.jpg", lambda path: None),
    "no face": ("a.png", lambda path: picture(path, (300, 300, 3))),
}


@pytest.mark.shared
@pytest.mark.parametrize("kind", BAD)
def test_a_bad_photograph_is_an_error_that_names_it(kind: str, edgefr, yunet: Path, tmp_path: Path) -> None:
    name, make = BAD[kind]
    make(tmp_path / name)
    answer = edgefr(
        "verify", tmp_path / name, tmp_path / name, "--model", "fake", "--detector", yunet, "--threshold", "0"
    )
    assert name in answer.sentence


@pytest.mark.parametrize("content", [b"hello, I am text\n", b"", b"\x08\x07\x12\x04text"])
def test_a_text_file_named_onnx_is_an_error(content: bytes, edgefr, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(content)
    assert "model.onnx" in edgefr("verify", "a.jpg", "b.jpg", "--model", model, "--detector", model).sentence


@pytest.mark.shared
def test_a_detector_as_model_and_a_model_as_detector_are_rejected(
    edgefr, yunet: Path, fused_onnx: Path, shared: Path
) -> None:
    photo = shared / "photos/obama.jpg"
    answer = edgefr("verify", photo, photo, "--model", yunet, "--detector", yunet)
    assert "expected input image uint8" in answer.sentence
    assert "landmarks" in edgefr("verify", "a", "b", "--model", fused_onnx, "--detector", fused_onnx).sentence


def test_the_fake_runtime_rejects_a_real_model(edgefr, tmp_path: Path) -> None:
    answer = edgefr("parity", "x.onnx@fake", "fake", "--faces", tmp_path)
    assert "the model 'fake' together with the runtime fake" in answer.sentence


@pytest.mark.shared
def test_a_missing_threshold_is_an_error_that_names_the_option(edgefr, yunet: Path, shared: Path) -> None:
    photo = shared / "photos/obama.jpg"
    assert "--threshold" in edgefr("verify", photo, photo, "--model", "fake", "--detector", yunet).sentence


@pytest.mark.shared
def test_the_command_loads_no_torch(fused_onnx: Path, yunet: Path, shared: Path) -> None:
    """The real command with an importer that rejects torch."""
    code = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, *rest):\n"
        "        assert name.split('.')[0] not in ('torch', 'onnx', 'openvino', 'rich'), name\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "from edgefr.cli import main\n"
        "main()\n"
    )
    photos = [str(shared / "photos" / name) for name in ("obama.jpg", "obama2.jpg")]
    environment = os.environ | {"EDGEFR_MODEL": str(fused_onnx), "EDGEFR_DETECTOR": str(yunet)}
    answer = subprocess.run(
        [sys.executable, "-c", code, "verify", *photos], env=environment, capture_output=True, text=True, check=False
    )
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.startswith("The same person")


def fake_model(folder: Path, quality: QualityLimit | None) -> None:
    """Write a manifest for the model `fake`, which belongs into the current folder."""
    threshold = Threshold(1e-3, 0.5, (0.4, 0.6), "a test", "fp32")
    write_manifest(folder / "fake", Manifest("onnx", "fake", thresholds=(threshold,), quality=quality))


@pytest.fixture
def blurred(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A photograph out of focus, in the current folder."""
    monkeypatch.chdir(tmp_path)
    photo = cv2.imread(str(shared / "photos/obama2.jpg"))
    cv2.imwrite("blurred.png", cv2.GaussianBlur(photo, (0, 0), 12))
    return Path("blurred.png")


@pytest.fixture
def verify_fake(edgefr, yunet: Path, shared: Path):
    """Compares with a sharp photograph."""
    return lambda photo, *more: edgefr(
        "verify", shared / "photos/obama.jpg", photo, "--model", "fake", "--detector", yunet, *more
    )


SHARP_ENOUGH = QualityLimit("sharpness", 1.0, "99 % of clean faces reach it")


@pytest.mark.shared
def test_a_poor_photograph_causes_a_warning_that_names_it(verify_fake, blurred: Path) -> None:
    fake_model(Path(), SHARP_ENOUGH)
    answer = verify_fake(blurred, "--json")
    assert answer.code in (0, 1)
    assert answer.json["reliable"] is False
    (reason,) = answer.json["reasons"]
    assert reason.startswith("blurred.png is of poor quality: the sharpness of the face is 0.")
    assert "below the limit 1.00 (99 % of clean faces reach it)" in reason
    assert answer.err == f"edgefr: do not rely on this answer: {reason}\n"
    sharp, soft = (face["sharpness"] for face in answer.json["faces"])
    assert soft < 1 < sharp


@pytest.mark.shared
def test_refuse_poor_rejects_poor_photographs(verify_fake, blurred: Path, shared: Path) -> None:
    fake_model(Path(), SHARP_ENOUGH)
    poor = verify_fake(blurred, "--refuse-poor")
    assert (poor.code, poor.out) == (2, "")
    assert poor.err.startswith("edgefr: blurred.png is of poor quality: the sharpness of the face is 0.")
    assert poor.err.endswith(". Use clearer photographs, or leave out --refuse-poor.\n")
    good = verify_fake(shared / "photos/obama.jpg", "--refuse-poor", "--json")
    assert (good.code, good.err) == (0, "")
    assert (good.json["reliable"], good.json["reasons"]) == (True, [])


@pytest.mark.shared
def test_without_a_quality_limit_reliability_is_unknown_and_refuse_poor_is_an_error(verify_fake, blurred: Path) -> None:
    fake_model(Path(), None)
    answer = verify_fake(blurred, "--json")
    assert (answer.json["reliable"], answer.json["reasons"], answer.err) == (None, [], "")
    assert "edgefr calibrate" in verify_fake(blurred, "--refuse-poor").sentence


@pytest.mark.shared
@pytest.mark.parametrize("signal", ["certainty", "norm", "detector", "sharpness"])
def test_every_signal_can_have_a_limit(signal: str, verify_fake, blurred: Path) -> None:
    """The limit is the value of the better face, so that only the poorer one is below it."""
    fake_model(Path(), None)
    faces = verify_fake(blurred, "--json").json["faces"]
    key, sign = {"certainty": ("uncertainty", -1), "detector": ("score", 1)}.get(signal, (signal, 1))
    values = [sign * face[key] for face in faces]
    fake_model(Path(), QualityLimit(signal, max(values), "a test"))  # type: ignore[arg-type]
    (reason,) = verify_fake(blurred, "--json").json["reasons"]
    assert Path(faces[int(np.argmin(values))]["path"]).name in reason


def test_the_certainty_of_a_model_without_uncertainty_is_an_error() -> None:
    from edgefr.detection.base import Face
    from edgefr.recognition.verifier import EmbeddedFace

    found = Face((0, 0, 9, 9), np.zeros((5, 2), np.float32), 0.9)
    face = EmbeddedFace("a.jpg", found, np.float32([1, 0]), 1.0, None, 2.0)
    assert face.quality("sharpness") == 2
    with pytest.raises(WrongModelError, match="expected a model with an uncertainty output"):
        face.quality("certainty")
