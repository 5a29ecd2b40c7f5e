"""A damaged model gives no answers, on any runtime."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgefr.detection.detector_registry import open_detector
from edgefr.errors import WrongModelError
from edgefr.manifest import Manifest, Threshold, model_digest, model_manifest, write_manifest, write_model_manifest
from edgefr.models import MINI, SPOT, shipped_model
from edgefr.recognition.recogniser import open_recogniser
from edgefr.runtimes.triton.model_fingerprint import ModelFingerprint
from edgefr.types import Faces

RUNTIMES = ("onnxruntime", "openvino")

Change = Callable[[np.ndarray], np.ndarray]


def with_weight(model: Path, name: str, change: Change, output: Path) -> Path:
    """A copy of a model with one changed weight."""
    proto = onnx.load(model)
    weight = next(tensor for tensor in proto.graph.initializer if tensor.name == name)
    array = change(numpy_helper.to_array(weight).copy())
    weight.CopyFrom(numpy_helper.from_array(array.astype(np.float32), name))
    onnx.save(proto, output)
    return output


def with_one_nan(weight: np.ndarray) -> np.ndarray:
    weight.flat[5] = np.nan
    return weight


def with_external_data(model: Path, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "model.onnx"
    onnx.save(onnx.load(model), path, save_as_external_data=True, location="model.data", size_threshold=1024)
    return path


def change_byte(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_model_with_one_nan_is_refused(runtime: str, model: Path, tmp_path: Path) -> None:
    pytest.importorskip(runtime)
    damaged = with_weight(model, "conv", with_one_nan, tmp_path / "nan.onnx")
    with pytest.raises(WrongModelError, match=r"expected finite weights in .*nan\.onnx, found NaN or infinity in conv"):
        open_recogniser(damaged, runtime)


def test_a_checkpoint_with_one_nan_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    from safetensors import safe_open

    state = safetensors.load_file(checkpoint)
    name = next(key for key, tensor in state.items() if tensor.is_floating_point())
    state[name].view(-1)[0] = float("nan")
    with safe_open(checkpoint, "pt") as file:
        safetensors.save_file(state, tmp_path / "nan.safetensors", file.metadata())
    with pytest.raises(WrongModelError, match=f"found NaN or infinity in {name}"):
        open_recogniser(tmp_path / "nan.safetensors", "torch")


def test_a_detector_with_one_nan_is_refused(tmp_path: Path) -> None:
    proto = onnx.load(shipped_model(SPOT))
    name = next(tensor.name for tensor in proto.graph.initializer if len(tensor.dims) == 4)
    damaged = with_weight(shipped_model(SPOT), name, with_one_nan, tmp_path / "nan.onnx")
    with pytest.raises(WrongModelError, match="expected finite weights"):
        open_detector(damaged)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_model_that_answers_zero_is_refused_when_it_is_opened(runtime: str, model: Path, tmp_path: Path) -> None:
    pytest.importorskip(runtime)
    zero = with_weight(model, "projection", np.zeros_like, tmp_path / "zero.onnx")
    with pytest.raises(WrongModelError, match=r"expected embeddings of unit length from .*, found lengths that differ"):
        open_recogniser(zero, runtime)


@pytest.mark.parametrize("images", [None, 2])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_model_that_always_answers_the_same_is_refused_at_the_first_face(
    runtime: str, images: int | None, model: Path, faces: Faces, tmp_path: Path
) -> None:
    pytest.importorskip(runtime)
    constant = with_weight(model, "scale", lambda scale: scale * 1e30, tmp_path / "constant.onnx")
    recogniser = open_recogniser(constant, runtime, images=images)
    with pytest.raises(WrongModelError, match="found the same one for a face and for a drawing"):
        recogniser.embed(faces[:1])


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_model_with_external_data_runs_and_its_data_belongs_to_its_digest(
    runtime: str, model: Path, faces: Faces, tmp_path: Path
) -> None:
    pytest.importorskip(runtime)
    path = with_external_data(model, tmp_path / "external")
    expected = open_recogniser(model, runtime, "fp32").embed(faces).embedding
    np.testing.assert_allclose(open_recogniser(path, runtime, "fp32").embed(faces).embedding, expected, atol=1e-6)
    digest = model_digest(path)
    assert ModelFingerprint.of(path).sha256 == digest
    change_byte(path.with_name("model.data"), 1000)
    assert model_digest(path) != digest
    path.with_name("model.data").unlink()
    for work in (lambda: open_recogniser(path, runtime), lambda: model_digest(path)):
        with pytest.raises(WrongModelError, match=r"model\.data, found no such file"):
            work()


def test_a_model_that_changed_after_its_calibration_causes_a_warning(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model.read_bytes())
    write_model_manifest(path, Manifest("onnx", "m", thresholds=(Threshold(1e-3, 0.3, (0.2, 0.4), "x"),)))
    open_recogniser(path, "onnxruntime")
    assert caplog.records == []
    with_weight(path, "conv", lambda weight: weight * 1.5, path)  # keeps the metadata, as tools do
    open_recogniser(path, "onnxruntime")
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("edgefr", logging.WARNING)
    assert f"{path} has changed since its manifest was written" in record.getMessage()
    manifest = model_manifest(path)
    assert manifest is not None
    assert manifest.is_outdated(path)


def test_another_model_under_the_name_of_a_calibrated_one_causes_a_warning(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model.read_bytes())
    write_model_manifest(path, Manifest("onnx", "m"))
    with_weight(model, "conv", lambda weight: weight * 1.5, path)
    open_recogniser(path, "onnxruntime")
    assert "has changed since its manifest" in caplog.text


def test_a_manifest_without_a_digest_causes_no_warning(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model.read_bytes())
    write_manifest(path, Manifest("onnx", "m"))
    open_recogniser(path, "onnxruntime")
    assert caplog.records == []


def test_verify_prints_the_warning_on_stderr(tmp_path: Path) -> None:
    data = pytest.importorskip("skimage.data")
    cv2.imwrite(str(tmp_path / "a.png"), data.astronaut()[..., ::-1])
    path = tmp_path / "mini.onnx"
    path.write_bytes(shipped_model(MINI).read_bytes())
    known = model_manifest(path)
    assert known is not None
    write_model_manifest(path, known)
    proto = onnx.load(path)
    proto.graph.doc_string = "changed"
    onnx.save(proto, path)
    command = [sys.executable, "-m", "edgefr", "verify", tmp_path / "a.png", tmp_path / "a.png", "-m", path]
    result = subprocess.run([*command, "--runtime", "onnxruntime"], capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert result.stderr.count("mini.onnx has changed since its manifest was written") == 1
