"""`edgefr eval` as scripts and people use it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefr.data.degradations import PROTOCOLS
from edgefr.io.files import sha256_of
from edgefr.manifest import HeldOut, Manifest, write_manifest
from edgefr.models import MINI, shipped_model
from tests.evaluation.planted import collection, named_pairs, write_pairs, write_zip
from tests.evaluation.test_face_provider import Centred, framed


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    return write_zip(tmp_path / "faces.zip", collection(12, 2, noise=90))


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return write_pairs(tmp_path / "pairs.txt", named_pairs(12))


def test_one_command_evaluates_all_protocols_and_writes_a_report(edgefr, faces: Path, pairs: Path) -> None:
    pytest.importorskip("matplotlib")
    report, det = faces.with_name("report.html"), faces.with_name("det.png")
    told = edgefr("eval", "fake", faces, "--pairs", pairs, "--html", report, "--det", det, "--json")
    assert (told.code, told.err) == (0, "")
    trials = told.json["trials"]
    assert [trial["protocol"] for trial in trials][:3] == ["clean", "20x20 pixels", "mixed, 20x20 pixels"]
    assert len(trials) == 2 * len(PROTOCOLS) - 1
    assert (trials[0]["genuine"], trials[0]["impostors"], trials[0]["people"]) == (12, 12, 12)
    accuracy = trials[0]["systems"][0]["accuracy"]
    assert accuracy["ci95"][0] <= accuracy["value"] <= accuracy["ci95"][1]
    assert told.json["pooled"][0]["decisions"] == 24 * (len(trials) - 1)
    assert "error_ratio" not in told.json["pooled"][0]  # one model has no backbones to beat
    assert told.json["models"] == [{"name": "fake", "sha256": None, "runtime": "fake", "precision": "fp32"}]
    assert {"machine", "versions", "model fake"} <= told.json["origin"].keys()
    assert f"{100 * accuracy['value']:.2f} [" in report.read_text(encoding="utf-8")
    assert cv2.imread(str(det)).std() > 0


def test_a_shipped_model_can_be_given_by_name(edgefr, faces: Path, pairs: Path) -> None:
    told = edgefr("eval", "mini", faces, "--pairs", pairs, "--protocol", "clean", "--runtime", "onnxruntime", "--json")
    assert told.code == 0
    assert [entry["sha256"] for entry in told.json["models"]] == [sha256_of(shipped_model(MINI))]


def test_without_json_tables_are_printed(edgefr, faces: Path, pairs: Path) -> None:
    told = edgefr("eval", "fake", faces, "--pairs", pairs, "--protocol", "clean", "--protocol", "mixed, JPEG 8")
    assert told.code == 0
    assert "Pooled over all degraded and mixed protocols" in told.out
    assert "faces.zip: mixed, JPEG 8" in told.out
    assert "24 comparisons (12 genuine, 12 impostor), 12 people, 24 pictures, FTA 0 (0.00%)" in told.out
    assert "1e-2 needs 3,000" in told.out
    assert "\nversions: edgefr " in told.out


def test_folds_and_a_limit_select_pairs(edgefr, faces: Path, pairs: Path) -> None:
    options = ("--pairs", pairs, "--protocol", "clean", "--json")
    for folds, count in (("1,3", 16), ("2-3", 16), ("1-3", 24)):
        (trial,) = edgefr("eval", "fake", faces, *options, "--folds", folds).json["trials"]
        assert trial["genuine"] + trial["impostors"] == count, folds
    drawn = edgefr("eval", "fake", faces, *options, "--limit", 20).json["trials"][0]
    assert drawn["genuine"] + drawn["impostors"] == 20


def test_without_pairs_all_pictures_are_compared_with_all(edgefr, faces: Path) -> None:
    (trial,) = edgefr("eval", "fake", faces, "--protocol", "clean", "--json").json["trials"]
    assert (trial["genuine"], trial["impostors"]) == (12, 24 * 23 // 2 - 12)
    assert trial["systems"][0]["accuracy"] is None
    assert "rank 1" in trial["systems"][0]["others"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--folds", "2-9"], "expected folds of 1 to 3"),
        (["--folds", "two"], "expected folds such as 6-10 or 1,3, found --folds two"),
        (["--folds", "3-2"], "expected an ascending range such as 6-10"),
        (["--folds", "1-99999999999"], "expected folds such as"),
        (["--folds", "2"], "expected at least two folds, found 1"),
        (["--protocol", "fog"], "found 'fog'"),
        (["--beside", "fake"], "expected every model once"),
        (["--beside", "none.onnx"], "none.onnx"),
        (["--det", "det.txt"], "ends in .png, .svg or .pdf"),
        (["--precision", "int3"], "found int3"),
    ],
)
def test_invalid_options_are_refused(edgefr, faces: Path, pairs: Path, options: list[str], sentence: str) -> None:
    assert sentence in edgefr("eval", "fake", faces, "--pairs", pairs, *options).sentence


def held_out(path: Path, folds: tuple[int, ...], faces: Path, pairs: Path) -> None:
    """Write a manifest for the model `fake` into the current folder."""
    told = HeldOut(sha256_of(pairs), folds, sha256_of(faces))
    write_manifest(path / "fake", Manifest("onnx", "fake", held_out=told))


def test_a_model_is_evaluated_on_people_it_was_not_trained_on(
    edgefr, faces: Path, pairs: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    held_out(tmp_path, (2, 3), faces, pairs)
    options = (faces, "--pairs", pairs, "--protocol", "clean", "--json")
    told = edgefr("eval", "fake", *options)
    (trial,) = told.json["trials"]
    assert trial["genuine"] + trial["impostors"] == 16, "the two folds that were held out"
    assert told.err == "edgefr: using only folds 2-3, which training held out. Choose others with --folds\n"
    assert (told.json["doubts"], told.json["origin"]["pairs"]) == ([], "pairs.txt, folds 2-3")


def test_a_model_that_was_trained_on_the_people_is_warned_of_everywhere(
    edgefr, faces: Path, pairs: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    held_out(tmp_path, (2, 3), faces, pairs)
    options = (faces, "--protocol", "clean")
    named = edgefr("eval", "fake", *options, "--pairs", pairs, "--folds", "1-3", "--html", "page.html", "--json")
    (doubt,) = named.json["doubts"]
    assert doubt.startswith("fake was trained on people of folds 1,")
    assert "--folds 2-3" in doubt
    assert f"edgefr: {doubt}\n" == named.err
    assert doubt in Path("page.html").read_text(encoding="utf-8")
    everyone = edgefr("eval", "fake", *options)
    assert "fake was trained on people of faces.zip" in everyone.err
    assert everyone.err.removeprefix("edgefr: ") in everyone.out


def test_data_sets_of_one_name_are_shown_by_path_and_none_is_counted_twice(edgefr, faces: Path, pairs: Path) -> None:
    (faces.parent / "more").mkdir()
    other = write_zip(faces.parent / "more/faces.zip", collection(12, 2, noise=60))
    told = edgefr("eval", "fake", faces, other, "--pairs", pairs, "--protocol", "JPEG 8", "--json")
    assert [trial["dataset"] for trial in told.json["trials"]] == [str(faces), str(other)]
    assert told.json["pooled"][0]["decisions"] == 48
    assert f"found {faces} 2 times" in edgefr("eval", "fake", faces, faces).sentence


@pytest.mark.parametrize("detected", [False, True], ids=["aligned", "photographs"])
def test_available_signals_are_measured_against_errors(
    edgefr, faces: Path, pairs: Path, monkeypatch, detected: bool
) -> None:
    if detected:
        monkeypatch.setattr("edgefr.evaluation.face_provider.open_detector", lambda _path: Centred())
        pictures = {key: framed(picture) for key, picture in collection(12, 2, noise=90).items()}
        faces = write_zip(faces.with_name("photographs.zip"), pictures)
    more = ["-d", "stub.onnx"] if detected else []
    told = edgefr("eval", "fake", faces, "--pairs", pairs, "--protocol", "degraded", "--json", *more)
    signals = {entry["signal"] for entry in told.json["discard"]}
    assert signals == {"norm", "certainty", "sharpness"} | ({"detector"} if detected else set())


def test_unsuitable_data_are_refused_in_one_sentence(edgefr, faces: Path, pairs: Path, tmp_path: Path) -> None:
    assert "expected --pairs with --folds 1" in edgefr("eval", "fake", faces, "--folds", "1").sentence
    assert "gone.zip" in edgefr("eval", "fake", tmp_path / "gone.zip").sentence
    (tmp_path / "x.bin").write_text("no pickle")
    assert "x.bin" in edgefr("eval", "fake", tmp_path / "x.bin").sentence
    assert "Leave these options out" in edgefr("eval", "fake", tmp_path / "x.bin", "--limit", "5").sentence
    few = write_zip(tmp_path / "few.zip", collection(3, 2))
    assert "found 18 missing (P10/P10_0001.jpg)" in edgefr("eval", "fake", few, "--pairs", pairs).sentence
    names = ("A/a.jpg", "A/b.jpg", "B/a.jpg")
    large = write_zip(tmp_path / "large.zip", {name: np.zeros((200, 150, 3), np.uint8) for name in names})
    fix = "Give a detector for photographs, for example -d spot, or align them first with `edgefr data align`."
    assert fix in edgefr("eval", "fake", large).sentence
    (tmp_path / "a.jpg").write_bytes(b"a photograph")
    refused = edgefr("eval", "fake", tmp_path / "a.jpg")
    assert refused.code == 2
    assert "a.jpg is not a face collection. Give a folder, .zip, .rec or .csv" in refused.err


@pytest.mark.shared
def test_photographs_are_found_and_aligned_and_a_missing_face_counts(
    edgefr, shared: Path, yunet: Path, tmp_path: Path
) -> None:
    """Two people, and a picture of neither under a third name's folder and under one of theirs."""
    people = {"obama": ("obama.jpg", "obama1.jpg", "obama2.jpg"), "biden": ("biden.jpg", "biden2.jpg")}
    pictures = {
        f"{person}/{photo}": cv2.imread(str(shared / "photos" / photo))[..., ::-1]
        for person, photos in people.items()
        for photo in photos
    }
    pictures["biden/wall.jpg"] = np.full((200, 200, 3), 128, np.uint8)
    folder = write_zip(tmp_path / "photos.zip", pictures)
    told = edgefr("eval", "fake", folder, "-d", yunet, "--protocol", "clean", "--json").json["trials"][0]
    assert (told["pictures"], told["failures_to_acquire"]) == (6, 1)
    assert told["fta"] == pytest.approx(1 / 6)
    assert (told["genuine"], told["impostors"]) == (6, 9)
    assert told["systems"][0]["eer"]["value"] > 0  # two genuine comparisons cannot be accepted
