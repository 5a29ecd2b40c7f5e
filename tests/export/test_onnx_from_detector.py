"""The detector as one ONNX file: it answers as torch does at every size, and carries its manifest."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
pytest.importorskip("skimage")

from safetensors.torch import save_file  # noqa: E402

from edgefr.detection.detector_registry import open_detector  # noqa: E402
from edgefr.errors import EdgefrError  # noqa: E402
from edgefr.export import onnx_from_detector as module  # noqa: E402
from edgefr.export.onnx_from_detector import onnx_from_spot  # noqa: E402
from edgefr.io.files import sha256_of  # noqa: E402
from edgefr.manifest import Manifest, model_manifest, write_manifest  # noqa: E402
from edgefr.nn.spot_network import Spot, SpotContract  # noqa: E402
from edgefr.runtimes import open_backend  # noqa: E402


def random_net() -> Spot:
    """Certain of a face at about every second place."""
    torch.manual_seed(0)
    net = Spot().eval()
    with torch.no_grad():
        for head in net.heads:
            head[-1].weight.normal_(std=0.3)
            head[-1].bias.zero_()
    return net


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("spot") / "spot.safetensors"
    save_file(random_net().state_dict(), path)
    write_manifest(path, Manifest("detector", "spot", made_from={"teacher": {"file": "y", "sha256": "0"}}))
    return path


@pytest.fixture(scope="module")
def exported(checkpoint: Path) -> Path:
    return onnx_from_spot(checkpoint, checkpoint.with_suffix(".onnx")).path


@pytest.mark.parametrize(("height", "width"), [(32, 32), (96, 416), (288, 64)])
def test_the_file_has_the_outputs_of_torch_at_every_size(exported: Path, height: int, width: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (1, height, width, 3)).astype(np.uint8)
    found = open_backend(exported, "onnxruntime").infer({"image": picture})["faces"]
    with torch.no_grad():
        expected = SpotContract(random_net())(torch.from_numpy(picture)).numpy()
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_the_file_is_small_and_its_manifest_names_its_origin(exported: Path, checkpoint: Path) -> None:
    assert exported.stat().st_size < 2_000_000
    manifest = model_manifest(exported)
    assert manifest is not None
    assert manifest.made_from["checkpoint"]["sha256"] == sha256_of(checkpoint)
    assert manifest.made_from["teacher"]["sha256"] == "0"
    assert str(checkpoint.parent) not in exported.read_bytes().decode("latin-1")


@pytest.mark.parametrize("shape", [(100, 77), (31, 300), (1, 1)])
def test_the_file_works_as_a_detector_for_any_size(
    exported: Path, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With faces in pixels of that picture: what is laid around it to fill the network's squares shifts none.

    The net is random: any score counts, and nobody votes.
    """
    for name, value in (("SCORE_THRESHOLD", 0.0), ("VOTE_SCORE", 0.0), ("VOTE_IOU", 0.999)):
        monkeypatch.setattr(f"edgefr.detection.spot.{name}", value)
    picture = np.random.default_rng(1).integers(0, 256, (*shape, 3)).astype(np.uint8)
    detector = open_detector(exported)
    assert detector.name == "spot"
    faces = detector.detect(picture)
    assert [face.score for face in faces] == sorted((face.score for face in faces), reverse=True)
    below, right = (-length % 32 for length in shape)
    whole = np.pad(picture, ((0, below), (0, right), (0, 0)))
    with torch.no_grad():
        rows = SpotContract(random_net())(torch.from_numpy(whole[None])).numpy()
    best = rows[rows[:, 14].argmax()]
    if max(shape) <= 144:  # seen once, at its own size
        assert faces[0].box == pytest.approx(tuple(best[:4]), abs=0.02)
        assert faces[0].landmarks == pytest.approx(best[4:14].reshape(5, 2), abs=0.02)


def test_a_graph_with_other_outputs_is_not_written(
    checkpoint: Path, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = np.ones((5, 15), np.float32)
    for column, by, same in ((0, 0.04, True), (0, 0.2, False), (14, 5e-4, True), (14, 2e-3, False), (9, np.nan, False)):
        found = expected.copy()
        found[3, column] += by
        assert module._are_close(found, expected) == same
    monkeypatch.setattr(module, "write_onnx", lambda *given: shutil.copy(exported, given[-1]))
    monkeypatch.setattr(module, "load_spot", lambda _path: Spot())  # other weights than the file has
    with pytest.raises(EdgefrError, match=r"found other outputs of the exported graph.*Nothing was written"):
        onnx_from_spot(checkpoint, checkpoint.with_name("other.onnx"))
    assert not checkpoint.with_name("other.onnx").exists()


def test_other_checkpoints_are_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    for path in (tmp_path / "other.safetensors", tmp_path / "missing.safetensors"):
        with pytest.raises(EdgefrError, match="expected the checkpoint of a detector"):
            onnx_from_spot(path, tmp_path / "spot.onnx")
    assert not (tmp_path / "spot.onnx").exists()
