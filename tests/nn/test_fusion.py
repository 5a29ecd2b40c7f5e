"""The fusion network is the paper's: its sizes, its readings, its start and its bottleneck."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402

from edgefr.errors import EdgefrError  # noqa: E402
from edgefr.nn.attention import Attention, EncoderLayer  # noqa: E402
from edgefr.nn.bottleneck import Bottleneck, Code, kl_divergence, sample  # noqa: E402
from edgefr.nn.fused_model import FusedModel, load_fused, normalise, save_fused  # noqa: E402
from edgefr.nn.fusion import EmbeddingMlp, Fusion, GlobalAggregation, LocalAggregation  # noqa: E402
from edgefr.spec import FusionSpec, ModelSpec  # noqa: E402


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def maps(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 512, 7, 7, generator=generator), torch.randn(2, 512, 7, 7, generator=generator)


def embeddings() -> torch.Tensor:
    """Of two nets, each of unit length, side by side, (2, 1024)."""
    generator = torch.Generator().manual_seed(1)
    return F.normalize(torch.randn(2, 2, 512, generator=generator), dim=2).flatten(1)


def small(**options: object) -> ModelSpec:
    fusion = FusionSpec(**{"readout": "mean", "embedding_dim": 256, **options})
    return ModelSpec("mobilefacenet", "mobilefacenet", fusion=fusion)


def test_sizes_are_the_papers() -> None:
    spec = FusionSpec(vib=False)
    assert count(LocalAggregation(spec, 512)) == 5_789_696
    assert count(GlobalAggregation(spec, 512)) == 6_304_768


@pytest.mark.parametrize(("readout", "deployed"), [("flatten", 25_464_320), ("mean", 12_881_408)])
def test_deployed_size(readout: str, deployed: int) -> None:
    spec = FusionSpec(vib=False, readout=readout)
    fusion = Fusion(spec, 512)
    assert count(fusion) + count(Bottleneck(spec, fusion.width, (512, 512))) == deployed


@pytest.mark.parametrize(
    ("local", "global_", "vib", "width"),
    [
        (False, True, False, 1024),
        (True, False, False, 25_088),
        (True, True, False, 26_112),
        (True, True, True, 26_112),
    ],
)
def test_the_rows_of_table_one_by_configuration(local: bool, global_: bool, vib: bool, width: int) -> None:
    spec = FusionSpec(local_branch=local, global_branch=global_, vib=vib)
    fusion = Fusion(spec, 512).eval()
    assert fusion(*maps(), embeddings()).shape == (2, width)
    assert (Bottleneck(spec, fusion.width, (512, 512)).logvar is not None) == vib


@pytest.mark.parametrize(("kv", "keys", "values"), [("cross", "x", "x"), ("self", "y", "y"), ("split", "y", "x")])
def test_which_map_answers_the_other_nets_mean(kv: str, keys: str, values: str) -> None:
    """F1's query is Y's mean; moving a key or value map without moving its mean changes F1 only if it is used."""
    layer = GlobalAggregation(FusionSpec(kv=kv), 512).eval()
    x, y = maps()
    mixed = {"x": x.flatten(2).roll(1, 2).view_as(x), "y": y.flatten(2).roll(1, 2).view_as(y)}
    with torch.no_grad():
        before = layer(x, y)[:, 0]
        moved_x = layer(mixed["x"], y)[:, 0]
        moved_y = layer(x, mixed["y"])[:, 0]
        flipped = layer(x + (torch.arange(49.0) - 24).view(1, 1, 7, 7), y)[:, 0]
    # Attention over a set does not see the order of its tokens when keys and values move together ...
    together = keys == values
    assert torch.allclose(before, moved_x, atol=1e-4) == (together or "x" not in (keys, values))
    assert torch.allclose(before, moved_y, atol=1e-4) == (together or "y" not in (keys, values))
    # ... but sees what the tokens say (same mean, other values).
    assert torch.allclose(before, flipped, atol=1e-4) == ("x" not in (keys, values))


def test_split_takes_keys_from_the_querys_own_net_and_values_from_the_other() -> None:
    """With all keys alike attention is even, so only the mean of the values counts."""
    layer = GlobalAggregation(FusionSpec(kv="split"), 512).eval()
    x, y = maps()
    flat = y.mean((2, 3), keepdim=True).expand_as(y)
    with torch.no_grad():
        even, moved = layer(x, flat)[:, 0], layer(x.flatten(2).roll(3, 2).view_as(x), flat)[:, 0]
        values = layer(x + 1, flat)[:, 0]
    torch.testing.assert_close(even, moved, atol=1e-5, rtol=0)
    assert not torch.allclose(even, values, atol=1e-3)


def test_attention_is_torchs_multi_head_attention() -> None:
    torch.manual_seed(0)
    ours, theirs = Attention(512, 8).eval(), torch.nn.MultiheadAttention(512, 8, batch_first=True).eval()
    parts = (ours.query, ours.key, ours.value)
    theirs.in_proj_weight.data = torch.cat([part.weight for part in parts])
    theirs.in_proj_bias.data = torch.cat([part.bias for part in parts])
    theirs.out_proj.load_state_dict(ours.output.state_dict())
    query, keys, values = torch.randn(2, 3, 512), torch.randn(2, 49, 512), torch.randn(2, 49, 512)
    torch.testing.assert_close(ours(query, keys, values), theirs(query, keys, values)[0], atol=1e-5, rtol=0)


def test_attention_is_traced_for_any_batch_at_the_first_attempt() -> None:
    """Else torch.onnx.export traces every model a second time, which doubles the time of `edgefr export`."""
    attention, x = Attention(8, 2).eval(), torch.randn(2, 3, 8)
    dynamic = {0: torch.export.Dim.DYNAMIC}
    program = torch.export.export(attention, (x, x, x), dynamic_shapes=(dynamic,) * 3, strict=False)
    wide = torch.randn(5, 3, 8)
    torch.testing.assert_close(program.module()(wide, wide, wide), attention(wide, wide, wide))


def test_the_encoder_is_torchs_post_norm_layer() -> None:
    torch.manual_seed(0)
    ours = EncoderLayer(512, 8, 2048).eval()
    theirs = torch.nn.TransformerEncoderLayer(512, 8, 2048, dropout=0.0, batch_first=True)
    parts = (ours.attention.query, ours.attention.key, ours.attention.value)
    theirs.self_attn.in_proj_weight.data = torch.cat([part.weight for part in parts])
    theirs.self_attn.in_proj_bias.data = torch.cat([part.bias for part in parts])
    theirs.self_attn.out_proj.load_state_dict(ours.attention.output.state_dict())
    theirs.linear1.load_state_dict(ours.ffn[0].state_dict())
    theirs.linear2.load_state_dict(ours.ffn[2].state_dict())
    x = torch.randn(2, 49, 512)
    torch.testing.assert_close(ours(x, x, x), theirs(x), atol=1e-5, rtol=0)


def test_the_local_block_is_leff_with_a_shortcut() -> None:
    """Written out: Conv1x1, BN, GELU, depth-wise Conv3x3, BN, GELU, Conv1x1, BN, + F, Conv1x1, tokens, encoder."""
    torch.manual_seed(0)
    layer = LocalAggregation(FusionSpec(), 512).eval()
    x, y = maps()
    wide = torch.cat([x, y], 1)
    (conv1, bn1, _, conv2, bn2, _, conv3, bn3), z = layer.block, wide
    z = F.gelu(bn1(F.conv2d(z, conv1.weight)))
    z = F.gelu(bn2(F.conv2d(z, conv2.weight, padding=1, groups=1024)))
    z = bn3(F.conv2d(z, conv3.weight)) + wide
    z = F.conv2d(z, layer.project.weight, layer.project.bias).flatten(2).transpose(1, 2)
    torch.testing.assert_close(layer(x, y), layer.encoder[0](z, z, z), atol=1e-5, rtol=0)


@pytest.mark.parametrize("project", ["after", "inside", "fold"])
@pytest.mark.parametrize("positions", ["none", "learned", "sincos"])
def test_other_readings_of_the_local_branch(project: str, positions: str) -> None:
    layer = LocalAggregation(FusionSpec(project=project, positions=positions), 512).eval()
    assert layer(*maps()).shape == (2, 49, 512)


def test_the_fusion_looks_at_maps_alone_and_the_mlp_at_embeddings_alone() -> None:
    fusion, mlp = Fusion(FusionSpec(readout="mean"), 512).eval(), EmbeddingMlp(1024)
    with torch.no_grad():
        for body, by_maps, by_embeddings in ((fusion, True, False), (mlp, False, True)):
            before = body(*maps(), embeddings())
            assert torch.equal(before, body(*maps(1), embeddings())) != by_maps
            assert torch.equal(before, body(*maps(), embeddings().flip(0))) != by_embeddings


def test_the_mlp_is_three_layers_of_2048_on_both_embeddings() -> None:
    mlp = EmbeddingMlp(256)
    assert count(mlp) == 256 * 2048 + 2 * 2048 * 2048 + 3 * 2048
    x = F.normalize(torch.randn(2, 2, 128), dim=2).flatten(1)
    z = x / x.square().mean().sqrt()  # the layers see values of about one, whatever the width
    for layer in (mlp.layers[0], mlp.layers[2], mlp.layers[4]):
        z = F.gelu(F.linear(z, layer.weight, layer.bias))
    torch.testing.assert_close(mlp(*maps(), x), z)
    assert z.shape == (2, mlp.width)


@pytest.mark.parametrize("skip", ["none", "embeddings"])
def test_a_model_with_the_mlp_answers_and_comes_back(skip: str, tmp_path) -> None:
    model = FusedModel.random(small(body="mlp", skip=skip))
    torch.nn.init.normal_(model.bottleneck.mu.weight, std=0.01)
    save_fused(model, tmp_path / "fused.safetensors")
    again = load_fused(tmp_path / "fused.safetensors")
    assert again.spec.fusion.body == "mlp"
    image = torch.randint(0, 256, (2, 112, 112, 3), dtype=torch.uint8)
    with torch.no_grad():
        found = model(image)
        assert torch.equal(again(image).embedding, found.embedding)
    assert found.embedding.shape == (2, 256)
    torch.testing.assert_close(found.embedding.norm(dim=1), torch.ones(2))


def test_before_training_the_skip_gives_the_concatenations_cosine() -> None:
    model = FusedModel.random(small(skip="embeddings"))
    image = torch.randint(0, 256, (4, 112, 112, 3), dtype=torch.uint8)
    with torch.no_grad():
        embedding = model(image).embedding
        concatenated = F.normalize(model.backbone_features(normalise(image)).embeddings)
    torch.testing.assert_close(embedding @ embedding.T, concatenated @ concatenated.T, atol=1e-5, rtol=0)


def test_a_skip_that_would_lose_something_is_refused() -> None:
    with pytest.raises(EdgefrError, match="at least 256"):
        FusedModel.random(small(skip="embeddings", embedding_dim=255))


def test_kl_is_the_gaussians() -> None:
    mu, logvar = torch.randn(3, 8, dtype=torch.float64), torch.randn(3, 8, dtype=torch.float64)
    code = torch.distributions.Normal(mu, (0.5 * logvar).exp())
    wanted = torch.distributions.kl_divergence(code, torch.distributions.Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(kl_divergence(Code(mu, logvar)), wanted)


def test_samples_have_the_codes_mean_and_variance() -> None:
    torch.manual_seed(0)
    code = Code(torch.full((20_000, 2), 3.0), torch.full((20_000, 2), -2.0))
    z = sample(code)
    assert z.mean().item() == pytest.approx(3, abs=0.02)
    assert z.var().item() == pytest.approx(torch.tensor(-2.0).exp().item(), rel=0.05)
    assert sample(Code(code.mu, None)) is code.mu


def test_uncertainty_is_the_mean_log_variance_within_its_range() -> None:
    model = FusedModel.random(small())
    image = torch.zeros(1, 112, 112, 3, dtype=torch.uint8)
    with torch.no_grad():
        assert model(image).uncertainty.item() == pytest.approx(-5)
        model.bottleneck.logvar.bias.fill_(100)
        assert model(image).uncertainty.item() == pytest.approx(8)


def test_backbones_stay_frozen_while_the_rest_trains() -> None:
    model = FusedModel.random(small()).train()
    assert model.fusion.training
    assert not model.backbone_a.training
    assert not any(parameter.requires_grad for parameter in model.backbone_b.parameters())


def test_a_checkpoint_comes_back_as_it_was(tmp_path) -> None:
    model = FusedModel.random(small(skip="embeddings", kv="split"))
    path = tmp_path / "fused.safetensors"
    save_fused(model, path)
    again = load_fused(path)
    assert again.spec == model.spec
    image = torch.randint(0, 256, (1, 112, 112, 3), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(again(image).embedding, model(image).embedding)


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda state: state.pop("bottleneck.mu.weight"), "1 missing"),
        (lambda state: state.update(extra=torch.zeros(1)), "1 extra"),
        (lambda state: state.update({"bottleneck.mu.bias": torch.zeros(3)}), "1 of another shape"),
    ],
)
def test_a_checkpoint_with_other_tensors_is_refused(spoil, found: str, tmp_path) -> None:
    from safetensors.torch import save_file

    model = FusedModel.random(small())
    save_fused(model, tmp_path / "good.safetensors")
    from safetensors import safe_open

    with safe_open(tmp_path / "good.safetensors", "pt") as file:
        header, state = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    spoil(state)
    save_file(state, tmp_path / "bad.safetensors", header)
    with pytest.raises(EdgefrError, match=found):
        load_fused(tmp_path / "bad.safetensors")


def test_impossible_choices_are_refused_by_name() -> None:
    for options in (
        {"kv": "both"},
        {"body": "cnn"},
        {"local_branch": False, "global_branch": False},
        {"depth": 0},
    ):
        with pytest.raises(EdgefrError, match="Correct the recipe"):
            FusionSpec(**options)
