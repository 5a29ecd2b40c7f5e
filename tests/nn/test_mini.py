"""Mini, and fused models of backbones with other maps than the published ones."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402

from edgefr.errors import EdgefrError  # noqa: E402
from edgefr.nn.architectures import build_backbone  # noqa: E402
from edgefr.nn.fused_model import FusedModel, load_fused, save_fused  # noqa: E402
from edgefr.nn.fusion import Fusion  # noqa: E402
from edgefr.spec import FusionSpec, ModelSpec  # noqa: E402

SMALL = {"readout": "mean", "embedding_dim": 128, "heads": 4, "ffn": 256}


def fused(**options: object) -> FusedModel:
    torch.manual_seed(0)
    return FusedModel.random(ModelSpec("mini", "mini", fusion=FusionSpec(**{**SMALL, **options})))


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_a_fused_pair_fits_into_ten_megabytes() -> None:
    assert 600_000 < count(build_backbone("mini")) < 850_000
    assert count(fused(skip="embeddings")) * 4 < 10e6


@pytest.mark.parametrize("options", [{}, {"readout": "flatten"}, {"project": "fold"}, {"positions": "sincos"}])
def test_a_fusion_has_the_width_of_its_backbones_maps(options: dict[str, str]) -> None:
    model = fused(**options)
    answer = model(torch.randint(0, 256, (2, 112, 112, 3), dtype=torch.uint8))
    assert answer.embedding.shape == (2, 128)
    assert model.fusion.width == 128 * (51 if "readout" in options else 3)


def test_the_tap_is_before_or_after_the_last_norm() -> None:
    torch.manual_seed(0)
    net = build_backbone("mini")
    net.bn[0].running_mean.normal_()  # else both taps differ by hardly more than the sign
    image = torch.randn(2, 3, 112, 112)
    after = net(image).map
    net.tap = "conv"
    assert torch.equal(net.bn(net(image).map), after)


def test_a_map_with_fewer_channels_is_adapted(tmp_path: Path) -> None:
    model = FusedModel.random(ModelSpec("mini", "mobilefacenet", fusion=FusionSpec(readout="mean")))
    assert model.fusion.width == 3 * 512
    faces = torch.randint(0, 256, (2, 112, 112, 3), dtype=torch.uint8)
    save_fused(model, tmp_path / "fused.safetensors")
    with torch.no_grad():
        assert torch.equal(load_fused(tmp_path / "fused.safetensors")(faces).embedding, model(faces).embedding)


def test_heads_divide_the_channels() -> None:
    with pytest.raises(EdgefrError, match=r"divide the 128 channels of the backbones' maps, found 48"):
        Fusion(FusionSpec(heads=48), 128)


def test_a_code_as_long_as_each_embedding_starts_as_their_sum() -> None:
    """Two backbones that one teacher taught speak of the same axes."""
    model = fused(skip="embeddings")
    first, second = F.normalize(torch.randn(2, 5, 128), dim=2)
    maps = torch.zeros(5, 128, 7, 7)
    from edgefr.nn.fused_model import BackboneFeatures

    mu = model.encode(BackboneFeatures(maps, maps, torch.cat([first, second], 1))).mu
    torch.testing.assert_close(F.normalize(mu), F.normalize(first + second))


def test_position_codes_that_do_not_fit_the_channels_are_refused() -> None:
    with pytest.raises(EdgefrError, match=r"fusion.positions that fit 90 channels.*learned"):
        Fusion(FusionSpec(heads=2, positions="sincos"), 90)
