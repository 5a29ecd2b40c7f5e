"""`edgefr calibrate` writes thresholds where `edgefr verify --fmr` finds them, and changes nothing else."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("onnx")

from edgefr.data.collections import open_faces
from edgefr.errors import EdgefrError
from edgefr.io.files import sha256_of
from edgefr.manifest import HeldOut, Manifest, Threshold, model_manifest, read_manifest, write_model_manifest
from edgefr.recognition.recogniser import open_recogniser
from edgefr.recognition.verifier import Verifier
from edgefr.runtimes import FAKE
from tests.evaluation.planted import write_zip
from tests.evaluation.test_calibration import faces, pairs  # noqa: F401
from tests.evaluation.test_face_provider import Centred, framed
from tests.gallery.people import StubDetector, photo
from tests.runtimes.conftest import make_model, model  # noqa: F401 - fixtures

OLD = Threshold(1e-2, 0.9, (0.8, 0.95), "before", "fp32")
KEPT = Threshold(1e-2, 0.8, (0.7, 0.9), "before", "bf16")


@pytest.fixture
def copied(model: Path, tmp_path: Path) -> Path:  # noqa: F811
    path = tmp_path / "model.onnx"
    path.write_bytes(model.read_bytes())
    return path


def test_thresholds_are_written_into_the_model_and_its_manifest_file(edgefr, copied: Path, faces: Path) -> None:  # noqa: F811
    write_model_manifest(copied, Manifest("onnx", "mine", trained_on="LFW", thresholds=(OLD, KEPT)))
    told = edgefr("calibrate", copied, faces, "--fmr", "1e-2", "--fmr", "0.003", "--runtime", "onnxruntime", "--json")
    assert told.code == 0
    assert [entry["fmr"] for entry in told.json["thresholds"]] == [1e-2, 3e-3]
    assert (told.json["images"], told.json["precision"]) == (180, "fp32")
    manifest = model_manifest(copied)
    assert manifest == read_manifest(copied)
    assert (manifest.name, manifest.trained_on) == ("mine", "LFW")
    assert [(entry.fmr, entry.precision) for entry in manifest.thresholds] == [
        (1e-2, "bf16"),
        (1e-2, "fp32"),
        (3e-3, "fp32"),
    ]
    assert manifest.thresholds[0] == KEPT
    assert "impostor pairs of 60 people in" in manifest.thresholds[1].measured_on
    lone = copied.with_name("lone.onnx")
    lone.write_bytes(copied.read_bytes())
    assert model_manifest(lone) == manifest
    again = edgefr("calibrate", copied, faces, "--fmr", "1e-2", "--fmr", "0.003", "--runtime", "onnxruntime", "--json")
    assert again.out == told.out
    assert model_manifest(copied) == manifest


def test_a_model_without_a_manifest_gets_one_and_a_table_is_printed(
    edgefr,
    copied: Path,
    faces: Path,  # noqa: F811
    pairs: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen = (copied, faces, "--fmr", "0.02", "--pairs", pairs, "--folds", "1", "--quality", "norm")
    assert "at least 3,000 faces" in edgefr("calibrate", *chosen).sentence, "a limit that all but 1 % reach"
    monkeypatch.setattr("edgefr.evaluation.calibration.DISCARD", 0.3)
    told = edgefr("calibrate", *chosen)
    assert (told.code, told.err) == (0, "")
    first, header, row, poor = told.out.splitlines()
    assert first.startswith("model.onnx on ")
    assert "of 40 people" in first
    assert header.split() == ["FMR", "threshold", "95", "%", "interval"]
    manifest = model_manifest(copied)
    assert (manifest.kind, manifest.name) == ("onnx", "model")
    assert row.split()[:2] == ["0.02", f"{manifest.thresholds[0].value:.4f}"]
    assert poor.startswith("Quality limit: norm of at least ")
    assert manifest.quality.signal == "norm"
    told = edgefr("calibrate", copied, faces, "--fmr", "0.05")
    assert model_manifest(copied).quality == manifest.quality, "what was measured before stays"


def test_thresholds_of_other_rates_are_kept_with_a_word_unless_they_contradict_the_new_ones(
    edgefr,
    copied: Path,
    faces: Path,  # noqa: F811
) -> None:
    """A threshold for one in 10,000 that is lower than that for one in 50 would pass more impostors, not fewer."""
    lax, strict = (
        Threshold(1e-4, -0.5, (-0.5, -0.5), "before", "fp32"),
        Threshold(1e-5, 0.999, (0.9, 1), "before", "fp32"),
    )
    write_model_manifest(copied, Manifest("onnx", "mine", thresholds=(lax, strict, KEPT)))
    told = edgefr("calibrate", copied, faces, "--fmr", "0.02")
    assert told.out.splitlines()[-2:] == [
        "Kept as measured before: the threshold at 1e-05 (0.9990). Name these rates with --fmr to measure them, too.",
        "Dropped, because they contradict these: the threshold at 0.0001 (-0.5000).",
    ]
    assert {(entry.fmr, entry.precision) for entry in model_manifest(copied).thresholds} == {
        (0.02, "fp32"),
        (1e-5, "fp32"),
        (1e-2, "bf16"),
    }


def test_a_conservative_threshold_is_the_upper_end_of_the_interval(edgefr, copied: Path, faces: Path) -> None:  # noqa: F811
    """At the measured value every second group of other people has more false matches than claimed."""
    rates = ("--fmr", "0.02", "--fmr", "0.05", "--json")
    plain = edgefr("calibrate", copied, faces, *rates).json["thresholds"]
    careful = edgefr("calibrate", copied, faces, *rates, "--conservative").json["thresholds"]
    assert [entry["value"] for entry in careful] == [entry["ci95"][1] for entry in plain]
    assert all(strict["value"] > entry["value"] for strict, entry in zip(careful, plain, strict=True))
    assert [entry.value for entry in model_manifest(copied).thresholds] == [entry["value"] for entry in careful]


def test_the_stricter_threshold_of_two_sources_is_kept(
    edgefr,
    copied: Path,
    faces: Path,  # noqa: F811
    pairs: Path,  # noqa: F811
) -> None:
    """A model that is right at one source's threshold may pass too many impostors of another."""
    rates = ("--fmr", "0.02", "--fmr", "0.05", "--runtime", "onnxruntime")
    first = edgefr("calibrate", copied, faces, *rates, "--pairs", pairs, "--folds", "1", "--json").json["thresholds"]
    second = edgefr("calibrate", copied, faces, *rates, "--pairs", pairs, "--folds", "2", "--json").json["thresholds"]
    both = edgefr("calibrate", copied, faces, *rates, "--pairs", pairs, "--folds", "1", "--keep-stricter", "--json")
    expected = [max(entries, key=lambda entry: entry["value"]) for entries in zip(first, second, strict=True)]
    assert both.json["thresholds"] == expected
    assert first != second
    assert [entry.value for entry in model_manifest(copied).thresholds] == [entry["value"] for entry in expected]
    least = edgefr("calibrate", copied, faces, *rates, "--pairs", pairs, "--folds", "1", "--json").json["thresholds"]
    assert least == first, "without the option the last measurement counts"


def test_a_rate_that_was_not_measured_before_is_measured_with_keep_stricter_too(
    edgefr,
    copied: Path,
    faces: Path,  # noqa: F811
) -> None:
    plain = edgefr("calibrate", copied, faces, "--fmr", "0.02", "--json").json["thresholds"]
    write_model_manifest(copied, Manifest("onnx", "mine", thresholds=(KEPT,)))
    assert edgefr("calibrate", copied, faces, "--fmr", "0.02", "--keep-stricter", "--json").json["thresholds"] == plain
    assert {entry.fmr for entry in model_manifest(copied).thresholds} == {0.02, KEPT.fmr}


@pytest.mark.parametrize("rates", [(0.02,), (0.05, 0.02)])
def test_a_threshold_below_one_of_the_first_source_at_a_higher_rate_is_not_written(
    edgefr,
    copied: Path,
    faces: Path,  # noqa: F811
    rates: tuple[float, ...],
) -> None:
    """At 0.02 the second source has a threshold at which already one in 20 impostors of the first one passes."""
    first = Threshold(0.05, 0.999, (0.9, 1), "the first source", "fp32")
    write_model_manifest(copied, Manifest("onnx", "mine", thresholds=(first,)))
    options = [word for rate in rates for word in ("--fmr", rate)]
    told = edgefr("calibrate", copied, faces, *options, "--keep-stricter", "--json").json
    assert [entry["fmr"] for entry in told["dropped"]] == [0.02]
    assert model_manifest(copied).thresholds == (first,)
    assert [entry["value"] for entry in (*told["thresholds"], *told["kept"])] == [first.value]
    text = edgefr("calibrate", copied, faces, *options, "--keep-stricter").out
    assert "Dropped, because they contradict these: the threshold at 0.02" in text


def test_a_limit_of_the_detector_score_needs_photographs_and_holds_for_this_detector(
    edgefr,
    copied: Path,
    faces: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = ("--fmr", "0.02", "--quality", "detector")
    assert "expected a detector" in edgefr("calibrate", copied, faces, *options).sentence
    monkeypatch.setattr("edgefr.evaluation.face_provider.open_detector", lambda _path: Centred())
    monkeypatch.setattr("edgefr.evaluation.calibration.DISCARD", 0.3)
    assert "found aligned faces" in edgefr("calibrate", copied, faces, *options, "-d", "stub.onnx").sentence
    known = open_faces(faces)
    photographs = {name: framed(known.read(name)) for name in known.names}
    folder = write_zip(tmp_path / "photographs.zip", photographs)
    assert edgefr("calibrate", copied, folder, *options, "-d", "stub.onnx").code == 0
    manifest = model_manifest(copied)
    scores = [photo.std() for photo in photographs.values()]
    assert manifest.quality.detector == "centred"
    assert sum(score < manifest.quality.limit for score in scores) == 0.3 * len(scores)
    ready: Future = Future()
    other = Verifier(SimpleNamespace(name="yunet"), ready, manifest, copied)  # type: ignore[arg-type]
    assert other.quality_warnings([]) is None, "not checked, which is not the same as good"
    assert other.unchecked_quality() == (
        "the quality of the faces is not checked: the limit of model.onnx is one of the score of the detector centred, "
        "and yunet is used"
    )


def test_a_gallery_stays_valid_when_its_model_is_calibrated_again(
    edgefr,
    copied: Path,
    faces: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgefr.recognition.verifier.open_detector", lambda *_: StubDetector())
    monkeypatch.setenv("EDGEFR_GALLERY", str(tmp_path / "people.gallery"))
    assert edgefr("calibrate", copied, faces, "--fmr", "1e-2").code == 0
    first = photo(tmp_path / "ada.png", 0)
    assert edgefr("gallery", "enroll", "ada", first, "--plain", "-m", copied).code == 0
    assert edgefr("calibrate", copied, faces, "--fmr", "1e-2", "--fmr", "0.003").code == 0
    told = edgefr("gallery", "identify", first, "-m", copied, "--json")
    assert (told.code, told.json["answers"][0]["name"]) == (0, "ada"), told.err


def test_calibrating_on_training_people_is_warned_of_and_recorded(
    edgefr,
    copied: Path,
    faces: Path,  # noqa: F811
    pairs: Path,  # noqa: F811
) -> None:
    ours = HeldOut(sha256_of(pairs), (2,), open_faces(faces).digest())
    write_model_manifest(copied, Manifest("onnx", "mine", held_out=ours))
    held_out = edgefr("calibrate", copied, faces, "--fmr", "0.1", "--pairs", pairs, "--folds", "2")
    assert (held_out.code, held_out.err) == (0, "")
    assert "also trained on" not in model_manifest(copied).thresholds[0].measured_on
    for options in ((), ("--pairs", pairs, "--folds", "1,2")):
        told = edgefr("calibrate", copied, faces, "--fmr", "0.1", *options)
        assert told.code == 0
        assert told.err.startswith("edgefr: model was trained on people of ")
        assert told.err.count("\n") == 1
        assert ", who were also trained on" in model_manifest(copied).thresholds[0].measured_on


def test_a_quality_limit_alone_leaves_the_thresholds(
    edgefr,
    copied: Path,
    faces: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgefr.evaluation.calibration.DISCARD", 0.3)
    write_model_manifest(copied, Manifest("onnx", "mine", thresholds=(OLD, KEPT)))
    told = edgefr("calibrate", copied, faces, "--quality", "norm", "--quality-only")
    assert told.code == 0
    assert told.out.startswith("Quality limit: norm of at least ")
    manifest = model_manifest(copied)
    assert manifest is not None
    assert manifest.thresholds == (OLD, KEPT)
    assert manifest.quality is not None
    assert edgefr("calibrate", copied, faces, "--quality", "norm", "--quality-only", "--json").json["thresholds"] == []
    assert "expected --quality with --quality-only" in edgefr("calibrate", copied, faces, "--quality-only").sentence


def test_a_failed_calibration_changes_nothing(edgefr, copied: Path, faces: Path, tmp_path: Path) -> None:  # noqa: F811
    before = copied.read_bytes()
    assert "at least 30,000,000" in edgefr("calibrate", copied, faces, "--fmr", "1e-6").sentence
    assert "such as 6-10 or 1,3" in edgefr("calibrate", copied, faces, "--folds", "one").sentence
    assert "--pairs and --folds" in edgefr("calibrate", copied, faces, "--folds", "1").sentence
    assert "found nothing" in edgefr("calibrate", copied, tmp_path / "none").sentence
    assert "model file" in edgefr("calibrate", "fake", faces).sentence
    assert "model file" in edgefr("calibrate", tmp_path, faces).sentence
    assert copied.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.onnx"]


def test_verify_uses_the_threshold_at_the_requested_rate() -> None:
    measured = tuple(Threshold(fmr, 1 - fmr, (0, 1), "x", "fp32") for fmr in (1e-2, 1e-3, 1e-4))
    ready: Future = Future()
    ready.set_result(open_recogniser(FAKE))
    verifier = Verifier(None, ready, Manifest("onnx", "x", thresholds=measured), Path("a.onnx"))
    assert verifier.threshold() == measured[1]
    assert verifier.threshold(fmr=1e-4) == measured[2]
    with pytest.raises(EdgefrError) as error:
        verifier.threshold(fmr=1e-6)
    assert "found 0.01 (fp32), 0.001 (fp32), 0.0001 (fp32)" in str(error.value)
    assert "`edgefr calibrate a.onnx FACES --fmr 1e-06 --precision fp32`" in str(error.value)


def test_a_rate_and_a_threshold_at_once_are_refused(edgefr) -> None:
    told = edgefr("verify", "a.jpg", "b.jpg", "--model", "fake", "--fmr", "1e-3", "--threshold", "0.3")
    assert "Give one of them" in told.sentence


@pytest.mark.shared
def test_verify_by_a_rate_on_photographs(edgefr, fused_onnx: Path, yunet: Path, shared: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(fused_onnx.read_bytes())
    measured = (Threshold(1e-3, 0.3, (0, 1), "x", "fp32"), Threshold(1e-5, 0.98, (0, 1), "x", "fp32"))
    write_model_manifest(path, model_manifest(path).with_thresholds(measured))
    photos = [shared / "photos" / name for name in ("obama.jpg", "obama2.jpg")]
    usual = edgefr("verify", *photos, "--model", path, "--detector", yunet)
    strict = edgefr("verify", *photos, "--model", path, "--detector", yunet, "--fmr", "1e-5")
    assert (usual.code, strict.code) == (0, 1)
    assert "about 1 in 1,000 pairs of strangers" in usual.out
    assert "about 1 in 100,000 pairs of strangers" in strict.out


def test_figures_of_a_model_that_has_changed_are_dropped(edgefr, copied: Path, faces: Path, caplog) -> None:  # noqa: F811
    import onnx
    from onnx import numpy_helper

    write_model_manifest(copied, Manifest("onnx", "mine", thresholds=(OLD, KEPT)))
    proto = onnx.load(copied)
    weight = next(tensor for tensor in proto.graph.initializer if tensor.name == "conv")
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 1.5, "conv"))
    onnx.save(proto, copied)
    told = edgefr("calibrate", copied, faces, "--fmr", "0.003", "--runtime", "onnxruntime")
    assert told.code == 0
    assert "has changed since its manifest was written" in caplog.text
    assert [(entry.fmr, entry.precision) for entry in model_manifest(copied).thresholds] == [(3e-3, "fp32")]
    assert not model_manifest(copied).is_outdated(copied)
