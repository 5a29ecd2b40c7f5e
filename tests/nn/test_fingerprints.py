"""Every backbone answers as its upstream repository's net does with the same weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgefr.nn.architectures import ARCHITECTURES  # noqa: E402
from edgefr.nn.backbone import Backbone  # noqa: E402
from edgefr.nn.fused_model import normalise  # noqa: E402
from edgefr.nn.upstream_checkpoints import backbone_from_checkpoint  # noqa: E402
from tests.nn.conftest import known_images, known_state  # noqa: E402

FILES = [
    ("adaface_ir_18", "ir_18"),
    ("adaface_ir_50", "ir_50"),
    ("adaface_ir_101", "ir_101"),
    ("cvlface_iresnet_ir18", "ir_18"),
    ("insightface_iresnet18", "iresnet18"),
    ("insightface_iresnet50", "iresnet50"),
    ("insightface_iresnet100", "iresnet100"),
    ("insightface_mbf", "mbf"),
]
PREFIX = {"adaface": "model.", "cvlface": "net.", "insightface": ""}


@pytest.fixture(scope="module", params=FILES, ids=lambda file: file[0])
def loaded(
    request: pytest.FixtureRequest, shared_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, dict[str, Any], Backbone]:
    """A name of FILES, its fingerprint, and the net through the loader: saved under upstream's prefix, the architecture
    found by itself."""
    name, arch = request.param
    told = json.loads((shared_root / "fingerprints" / f"{name}.json").read_text())
    shapes = {key: tuple(shape) for key, shape, _ in told["state_dict"]}
    prefix = PREFIX[name.partition("_")[0]]
    state = {prefix + key: value for key, value in known_state(shapes, told["weight_gain"]).items()}
    path = tmp_path_factory.mktemp(name) / "checkpoint.pt"
    torch.save({"state_dict": state} if prefix == "model." else state, path)
    backbone = backbone_from_checkpoint(path)
    path.unlink()
    assert backbone.arch == arch
    return name, told, backbone


@pytest.mark.shared
@pytest.mark.parametrize("tap", ["conv", "bn"])
def test_a_checkpoint_answers_as_upstream_does(tap: str, loaded: tuple[str, dict[str, Any], Backbone]) -> None:
    """Fed RGB."""
    name, told, backbone = loaded
    backbone.tap = tap

    with torch.inference_mode():
        maps, embedding = (tensor.numpy() for tensor in backbone(normalise(torch.from_numpy(known_images()))))

    # AdaFace's weights want BGR, so an RGB image through the loader equals upstream's answer to the BGR image.
    answers = told["fingerprint"]["bgr" if name.startswith("adaface") else "rgb"]
    wanted = answers.get("embedding_pre_norm") or answers["embedding"]
    scale = np.abs(embedding).max()
    assert np.abs(embedding[:, :8] - wanted["first8"]).max() <= 1e-5 * scale
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), wanted["norm"], rtol=1e-5)
    is_bn = tap == "bn" and name != "insightface_mbf"
    if name == "insightface_mbf" and tap == "conv":
        return  # upstream's feature map is behind the BatchNorm and PReLU of conv_sep
    seen = answers["after_next_layer" if is_bn else "feature_map"]
    assert list(maps.shape) == seen["shape"]
    assert np.abs(maps[0].reshape(-1)[:8] - seen["first8"]).max() <= 1e-5 * seen["absmax"]
    for statistic, value in (("mean", maps.mean()), ("std", maps.std()), ("absmax", np.abs(maps).max())):
        assert abs(value - seen[statistic]) <= 1e-5 * seen["absmax"]


def parameters(arch: str) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in ARCHITECTURES[arch]().parameters())


def test_parameter_counts_are_those_published() -> None:
    assert parameters("iresnet100") == 65_156_160
    assert parameters("ir_101") == 65_150_912
    assert parameters("mbf") == 2_059_520
    assert parameters("mobilefacenet") == 999_936


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_architecture_gives_the_map_and_the_embedding_that_it_promises(arch: str) -> None:
    with torch.device("meta"):
        backbone = ARCHITECTURES[arch]().eval()
    image = torch.empty(1, 3, 112, 112, device="meta")
    if arch == "mobilefacenet":
        backbone.scale, backbone.shift = backbone.scale.to("meta"), backbone.shift.to("meta")
    maps, embedding = backbone(image)
    assert maps.shape == (1, backbone.map_channels, 7, 7)
    assert embedding.shape == (1, backbone.embedding_dim)
