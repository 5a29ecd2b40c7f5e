"""Without --runtime the fastest runtime is measured once, and "auto" follows what was measured."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib import util
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
if util.find_spec("openvino") is None:  # its import, while pytest captures, would spoil tests that configure logging
    pytest.skip("openvino is not installed", allow_module_level=True)
pytest.importorskip("ncnn")

from edgefr.engines import fastest_engine as module
from edgefr.engines.device_profile import read_profile
from edgefr.engines.engine_cache import delete_folder
from edgefr.engines.engine_from_onnx import BuildFaces, ParityGateError, engine_from_onnx
from edgefr.engines.fastest_engine import fastest_engine, time_in_turns
from edgefr.errors import EdgefrError
from edgefr.recognition.recogniser import Recogniser
from edgefr.runtimes import open_backend
from edgefr.runtimes.measured_choice import Candidate, fastest, read_candidates, write_candidates


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "user cache"
    monkeypatch.setattr("edgefr.runtimes.measured_choice.user_folder", lambda kind: folder)
    return folder


@pytest.fixture
def own_model(model: Path, tmp_path: Path) -> Path:
    path = tmp_path / "own.onnx"
    path.write_bytes(model.read_bytes())
    return path


def speeds(monkeypatch: pytest.MonkeyPatch, **milliseconds: float) -> list[list[str]]:
    """Replace the clock: "runtime_precision" -> time for a face. Gives the runtimes of each measurement."""
    measured: list[list[str]] = []

    def timed(recognisers: list[Recogniser], batch: int) -> list[float]:
        names = [f"{one.description.runtime}_{one.description.precision}" for one in recognisers]
        if batch == 1:
            measured.append(names)
        return [batch * milliseconds.get(name, 9.0) / 1e3 for name in names]

    monkeypatch.setattr(module, "time_in_turns", timed)
    return measured


def choose(model: Path, faces: np.ndarray, tmp_path: Path, precision: str = "fp32") -> tuple[str, str]:
    sample = BuildFaces(faces, None, faces)
    built, ranked = fastest_engine(model, precision, read_profile(None, "openvino"), sample, tmp_path / "cache")
    return built.manifest.engine["key"]["place"]["runtime"], ranked[0].runtime


@pytest.mark.parametrize("winner", ["onnxruntime", "openvino", "ncnn"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_fastest_is_built_and_measured_once(
    winner: str, precision: str, own_model: Path, faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = speeds(monkeypatch, **{f"{winner}_{precision}": 1.0})
    assert choose(own_model, faces, tmp_path, precision) == (winner, winner)
    assert {name for name in measured[0] if precision in name} == {
        f"{name}_{precision}" for name in ("onnxruntime", "openvino", "ncnn")
    }
    assert choose(own_model, faces, tmp_path, precision) == (winner, winner)
    assert len(measured) == 1
    engines = [path.name for path in (tmp_path / "cache").iterdir()]
    assert len(engines) == 1, "engines that are slower are deleted"


def test_an_engine_that_was_there_before_is_kept_if_it_is_slower(
    own_model: Path, faces: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speeds(monkeypatch, onnxruntime_int8=1.0)
    profile, sample = read_profile(None, "openvino"), BuildFaces(faces, None, faces)
    wanted = engine_from_onnx(own_model, "int8", "openvino", profile, sample, tmp_path / "cache", lambda _: None)
    assert choose(own_model, faces, tmp_path, "int8") == ("onnxruntime", "onnxruntime")
    assert wanted.path.is_file()
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_changed_model_is_measured_again(
    own_model: Path, faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = speeds(monkeypatch, onnxruntime_fp32=1.0)
    choose(own_model, faces, tmp_path)
    os.utime(own_model, ns=(1, 1))
    assert read_candidates(own_model, "fp32") == ()
    choose(own_model, faces, tmp_path)
    assert len(measured) == 2


def test_auto_opens_what_was_measured(own_model: Path, faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speeds(monkeypatch, ncnn_fp32=1.0, openvino_bf16=1.5)
    choose(own_model, faces, tmp_path)
    assert open_backend(own_model, images=None).describe().runtime == "ncnn"
    assert open_backend(own_model, precision="fp32").describe().runtime == "ncnn"
    assert open_backend(own_model, "onnxruntime").describe().runtime == "onnxruntime"
    for folder in (tmp_path / "cache").iterdir():
        delete_folder(folder)
    assert open_backend(own_model, images=1).describe().runtime == "onnxruntime"


def test_bf16_counts_for_auto_where_the_processor_has_it(
    own_model: Path, faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = speeds(monkeypatch, ncnn_fp32=2.0, openvino_bf16=1.0)
    choose(own_model, faces, tmp_path)
    if "openvino_bf16" not in measured[0]:
        pytest.skip("this processor has no native bf16")
    found = open_backend(own_model).describe()
    assert (found.runtime, found.precision) == ("openvino", "bf16")
    assert open_backend(own_model, precision="fp32").describe().runtime == "ncnn"


@pytest.mark.parametrize("asked", ["fp32", "bf16"])
def test_auto_does_not_compute_in_bf16_where_an_engine_of_it_decides_differently(
    asked: str, own_model: Path, faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = speeds(monkeypatch, openvino_fp32=2.0, openvino_bf16=1.0)
    real = module.engine_from_onnx

    def gate(model, precision, runtime, *rest):
        if precision == "bf16":
            raise ParityGateError("an engine that decides like the model", "another", "build it in FP32")
        return real(model, precision, runtime, *rest)

    monkeypatch.setattr(module, "engine_from_onnx", gate)
    if asked == "fp32":
        choose(own_model, faces, tmp_path)
        assert "openvino_bf16" not in measured[0]
    else:
        with pytest.raises(ParityGateError):
            choose(own_model, faces, tmp_path, "bf16")
    assert read_candidates(own_model, "bf16") == ()
    assert open_backend(own_model).describe().precision == "fp32"


def test_a_start_counts_as_much_as_the_images() -> None:
    quick = Candidate("onnxruntime", "1", "fp32", "", start_ms=10, image_ms=5, batch_ms=5)
    slow = Candidate("openvino", "1", "fp32", "", start_ms=100, image_ms=2, batch_ms=2)
    assert [fastest((quick, slow), images) for images in (1, 29, 31, None)] == [quick, quick, slow, slow]
    assert fastest(()) is None


def test_many_images_are_computed_in_batches() -> None:
    singly = Candidate("ncnn", "1", "fp32", "engine", start_ms=10, image_ms=5, batch_ms=5)
    together = Candidate("openvino", "1", "fp32", "", start_ms=10, image_ms=7, batch_ms=3)
    assert [fastest((singly, together), images) for images in (1, 7, 8, None)] == [singly, singly, together, together]


def test_a_candidate_that_decides_differently_is_left_out(
    own_model: Path, faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = speeds(monkeypatch, ncnn_int8=1.0, openvino_int8=2.0)
    real = module.engine_from_onnx

    def gate(model, precision, runtime, *rest):
        if runtime == "ncnn":
            raise ParityGateError("an engine that decides like the model", "another", "build it in FP32")
        return real(model, precision, runtime, *rest)

    monkeypatch.setattr(module, "engine_from_onnx", gate)
    assert choose(own_model, faces, tmp_path, "int8") == ("openvino", "openvino")
    assert "ncnn_int8" not in measured[0]
    monkeypatch.setattr(module, "RUNTIMES", {"int8": ("ncnn",)})
    os.utime(own_model, ns=(1, 1))
    with pytest.raises(ParityGateError):
        choose(own_model, faces, tmp_path, "int8")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"measured": 1}', "[" * 5000, "\udcff"])
def test_a_damaged_record_is_no_record(content: str, own_model: Path, cache: Path) -> None:
    write_candidates(own_model, "fp32", [Candidate("ncnn", "1", "fp32", "", 1, 1, 1)])
    (record,) = (cache / "choices").iterdir()
    record.write_text(content, encoding="utf-8", errors="surrogateescape")
    assert read_candidates(own_model, "fp32") == ()


def test_an_updated_library_does_not_count(own_model: Path) -> None:
    old = Candidate("openvino", "0.1", "fp32", "", 1, 1, 1)
    write_candidates(own_model, "fp32", [old, replace(old, runtime="nothing")])
    write_candidates(own_model, "bf16", [replace(old, precision="bf16")])
    assert open_backend(own_model, images=1).describe().runtime == "onnxruntime"


def test_without_a_cache_nothing_is_kept(own_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgefr.runtimes.measured_choice.user_folder", lambda kind: None)
    write_candidates(own_model, "fp32", [Candidate("ncnn", "1", "fp32", "", 1, 1, 1)])
    assert read_candidates(own_model, "fp32") == ()


def test_no_runtime_for_a_precision_is_an_error(
    own_model: Path, faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RUNTIMES", {"fp16": ()})
    with pytest.raises(EdgefrError, match="expected a runtime for engines in fp16"):
        choose(own_model, faces, tmp_path, "fp16")


def test_every_recogniser_gets_a_time(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROUND_SECONDS", 0.01)
    first, second = (Recogniser(open_backend(model, name), "the model") for name in ("onnxruntime", "openvino"))
    times = time_in_turns([first, second], 2)
    assert len(times) == 2
    assert all(0 < time < 10 for time in times)


def test_a_runtime_that_was_installed_later_is_measured_too(
    own_model: Path, faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = speeds(monkeypatch, openvino_fp32=1.0)
    both = module.RUNTIMES
    monkeypatch.setattr(module, "RUNTIMES", {"fp32": ("onnxruntime",), "bf16": ()})
    assert choose(own_model, faces, tmp_path) == ("onnxruntime", "onnxruntime")
    monkeypatch.setattr(module, "RUNTIMES", both)
    assert choose(own_model, faces, tmp_path) == ("openvino", "openvino")
    assert len(measured) == 2


def test_times_of_a_model_that_was_replaced_meanwhile_are_not_kept(
    own_model: Path, faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speeds(monkeypatch, openvino_fp32=1.0)
    timed = module.time_in_turns

    def replaced(recognisers: list[Recogniser], batch: int) -> list[float]:
        os.utime(own_model, ns=(1, 1))
        return timed(recognisers, batch)

    monkeypatch.setattr(module, "time_in_turns", replaced)
    choose(own_model, faces, tmp_path)
    assert read_candidates(own_model, "fp32") == ()
