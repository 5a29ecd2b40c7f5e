"""MiniFASNet: the published weights give the published answers, and the exported graph gives the same."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from edgefr.errors import EdgefrError  # noqa: E402
from edgefr.nn.minifasnet import load_minifasnet, read_minifasnet  # noqa: E402

FILES = {"2.7_80x80_MiniFASNetV2": 2.7, "4_0_0_80x80_MiniFASNetV1SE": 4.0}


@pytest.fixture(params=FILES)
def published(request: pytest.FixtureRequest, shared: Path) -> tuple[Path, float]:
    return shared / f"weights/minifasnet/minivision_{request.param}.pth", FILES[request.param]


@pytest.mark.shared
def test_all_weights_of_a_published_file_are_used_and_probabilities_add_up(published: tuple[Path, float]) -> None:
    state = read_minifasnet(published[0])
    assert state is not None
    net = load_minifasnet(state)
    assert sum(parameter.numel() for parameter in net.parameters()) > 400_000
    with torch.no_grad():
        found = net(torch.rand(3, 3, 80, 80) * 255)
    assert found.shape == (3, 3)
    assert found.sum(1).tolist() == pytest.approx([1] * 3, abs=1e-5)


@pytest.mark.shared
def test_portraits_of_living_people_are_alive_in_the_exported_net(
    published: tuple[Path, float], shared: Path, yunet: Path, tmp_path: Path
) -> None:
    from edgefr.data.sample_faces import astronaut_faces
    from edgefr.detection.detector_registry import open_detector
    from edgefr.export.onnx_from_minifasnet import onnx_from_minifasnet
    from edgefr.io.photo import read_photograph
    from edgefr.liveness.liveness_check import LivenessCheck
    from edgefr.manifest import model_manifest

    path, scale = published
    state = read_minifasnet(path)
    assert state is not None
    output = tmp_path / "live.onnx"
    assert onnx_from_minifasnet(path, state, output, astronaut_faces(4)) < 1e-4
    manifest = model_manifest(output)
    assert manifest is not None
    assert (manifest.kind, manifest.spec) == ("liveness", {"scale": scale})
    check, detector = LivenessCheck([output]), open_detector(yunet)
    for name in ("biden.jpg", "obama.jpg", "obama2.jpg", "obama3.jpg"):
        photo = read_photograph(shared / "photos" / name)
        assert check.check(photo, detector.detect(photo)[0]).score > 0.9, name


@pytest.mark.shared
def test_weights_that_do_not_fit_together_are_refused(published: tuple[Path, float]) -> None:
    state = read_minifasnet(published[0])
    assert state is not None
    for change in ({}, {"prob.weight": torch.zeros(3, 7)}, {"conv1.conv.weight": torch.zeros(5)}):
        broken = {name: value for name, value in state.items() if name != "linear.weight"} | change
        with pytest.raises(EdgefrError, match="expected the weights of a MiniFASNet"):
            load_minifasnet(broken)


@pytest.mark.shared
def test_other_checkpoints_are_none(shared: Path) -> None:
    assert read_minifasnet(shared / "weights/arcface-mobilefacenet/mobilefacenet.pt") is None
    assert read_minifasnet(shared / "weights/edgeface-xs/edgeface-xs.onnx") is None
