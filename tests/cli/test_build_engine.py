"""edgefr build-engine as scripts use it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgefr.cli.build_engine import _read_faces
from edgefr.data.sample_faces import astronaut_faces
from edgefr.manifest import model_digest
from edgefr.models import MINI, shipped_model
from tests.runtimes.conftest import make_model, model  # noqa: F401

onnx = pytest.importorskip("onnx")


def aligned(folder: Path) -> Path:
    import cv2

    (folder / "astronaut").mkdir(parents=True)
    for index, face in enumerate(astronaut_faces(12)):
        cv2.imwrite(str(folder / "astronaut" / f"{index}.png"), face[..., ::-1])
    return folder


def test_an_engine_is_built_once_and_can_be_compared(edgefr, model: Path, tmp_path: Path) -> None:  # noqa: F811
    faces = aligned(tmp_path / "faces")
    options = ("--int8", "--runtime", "onnxruntime", "--faces", faces, "--cache", tmp_path / "cache", "--json")
    told = edgefr("build-engine", model, *options)
    assert told.code == 0
    assert (told.json["found"], told.json["layers"]["int8"], told.json["parity"]["images"]) == (False, 1, 12)
    again = edgefr("build-engine", model, *options).json
    assert (again["found"], again["engine"]) == (True, told.json["engine"])
    compared = edgefr("parity", f"{model}@onnxruntime", told.json["engine"], "--faces", faces, "--json")
    assert compared.code == 0
    assert 0.98 < compared.json["cosine_min"] < 0.99999


def test_an_engine_of_the_shipped_model(edgefr, tmp_path: Path) -> None:
    told = edgefr("build-engine", "mini", "--fp32", "--runtime", "onnxruntime", "--cache", tmp_path, "--json")
    assert told.code == 0, told.err
    assert told.json["key"]["onnx"] == model_digest(shipped_model(MINI))


def test_an_engine_that_decides_differently_is_exit_code_one(edgefr, model: Path, tmp_path: Path, monkeypatch) -> None:  # noqa: F811
    from edgefr.engines import parity_gate as parity

    monkeypatch.setitem(parity.BOUNDS, "fp32", parity.Bound(1.5, 0, 0.0))  # impossible
    told = edgefr("build-engine", model, "--fp32", "--runtime", "onnxruntime", "--cache", tmp_path / "cache")
    assert told.code == 1
    assert "Nothing was written" in told.err
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_profile_chooses_the_precision(edgefr, model: Path, tmp_path: Path) -> None:  # noqa: F811
    profile = tmp_path / "mine.toml"
    profile.write_text('name = "mine"\nruntime = "onnxruntime"\nprecisions = ["fp32"]\n')
    told = edgefr("build-engine", model, "--device-profile", profile, "--cache", tmp_path / "cache", "--json")
    assert (told.code, told.json["key"]["precision"]) == (0, "fp32")


@pytest.mark.parametrize(
    ("count", "paired", "warned"),
    [(6, True, ""), (4, True, "because every face is in a pair"), (6, False, "because there are no --pairs")],
)
def test_a_comparison_on_the_faces_of_the_calibration_prints_a_warning(
    count: int, paired: bool, warned: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import cv2

    (tmp_path / "faces" / "A").mkdir(parents=True)
    for number, face in enumerate(astronaut_faces(count), 1):
        cv2.imwrite(str(tmp_path / "faces" / "A" / f"A_{number:04d}.jpg"), face[..., ::-1])
    pairs = tmp_path / "pairs.txt"
    pairs.write_text("1 1\nA\t1\t2\nA\t3\tA\t4\n")
    faces = _read_faces(tmp_path / "faces", pairs if paired else None, None, calibrate=True)
    assert len(faces.calibration) == (count if warned else 2)
    printed = capsys.readouterr().err
    assert warned in printed
    assert bool(printed) == bool(warned)


def test_exactly_one_precision_is_allowed(edgefr, model: Path, tmp_path: Path) -> None:  # noqa: F811
    assert "found none. Choose one" in edgefr("build-engine", model).sentence
    assert "found fp16 and int8" in edgefr("build-engine", model, "--fp16", "--int8").sentence
    assert "Choose one of cpu-arm" in edgefr("build-engine", model, "--fp16", "--device-profile", "none").sentence
    assert "Give them with --faces" in edgefr("build-engine", model, "--fp16", "--pairs", tmp_path / "p.txt").sentence


def test_the_error_for_a_missing_runtime_says_how_to_get_it(edgefr, model: Path, tmp_path: Path, monkeypatch) -> None:  # noqa: F811
    import sys

    monkeypatch.setitem(sys.modules, "tensorrt", None)
    told = edgefr("build-engine", model, "--fp16", "--device-profile", "orin-nano", "--cache", tmp_path / "cache")
    assert "JetPack" in told.sentence


def test_without_a_runtime_the_fastest_is_measured_and_told(
    edgefr,
    model: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr("edgefr.runtimes.measured_choice.user_folder", lambda kind: tmp_path / "user cache")
    monkeypatch.setattr("edgefr.engines.fastest_engine.ROUND_SECONDS", 0.01)
    options = ("build-engine", model, "--fp32", "--cache", tmp_path / "cache")
    told = edgefr(*options, "--json").json
    times = told["measured_ms"]
    assert {"onnxruntime", "openvino"} <= set(times)
    assert told["key"]["place"]["runtime"] == min(times, key=times.get)
    again = edgefr(*options)
    assert "existed already" in again.out
    assert all(f"{name} fp32: {time:.2f} ms a face" in again.out for name, time in times.items())


def test_an_engine_for_ncnn_is_timed(edgefr, model: Path, tmp_path: Path) -> None:  # noqa: F811
    pytest.importorskip("ncnn")
    assert edgefr("build-engine", model, "--fp32", "--runtime", "ncnn", "--cache", tmp_path / "cache").code == 0
    options = ("--batch", "1", "--seconds", "0.05", "--cache", tmp_path / "cache", "--json")
    rows = edgefr("bench", model, *options).json["rows"]
    assert ("ncnn", "fp32") in {(row["runtime"], row["precision"]) for row in rows}
