"""The systems beside a model: their backbones in the same pass, their sum, their concatenation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefr.errors import EdgefrError
from edgefr.evaluation.model_set import (
    Model,
    ModelSet,
    System,
    fusion_baselines,
    join_batches,
    open_models,
    system_from_output,
)
from edgefr.types import Faces
from tests.evaluation.planted import face, planted

FACES = np.stack([face(person, 1) for person in range(5)])


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 1000))
def test_cosine_on_the_concatenation_is_the_mean_of_both_scores(width: int, other: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (
        system_from_output(key, rng.normal(size=(4, k)).astype(np.float32)) for key, k in (("a", width), ("b", other))
    )
    found = {system.name: system.embedding for system in fusion_baselines(a, b)}
    scores = [system.embedding @ system.embedding.T for system in (a, b)]
    np.testing.assert_allclose(found["concatenation"] @ found["concatenation"].T, sum(scores) / 2, atol=1e-5)
    assert ("sum" in found) == (width == other)


def test_the_sum_points_between_both_and_has_unit_length() -> None:
    a, b = System("a", np.array([[1, 0]], np.float32)), System("b", np.array([[0, 1]], np.float32))
    total = fusion_baselines(a, b)[0]
    assert total.name == "sum"
    np.testing.assert_allclose(total.embedding, [[0.5**0.5, 0.5**0.5]], atol=1e-6)


def test_a_missing_face_stays_missing() -> None:
    rows = np.array([[1, 0], [np.nan, np.nan]], np.float32)
    for system in fusion_baselines(System("a", rows), System("b", rows)):
        assert np.isnan(system.embedding[1]).all()
        assert np.isfinite(system.embedding[0]).all()


def test_batches_join_to_what_one_pass_gives() -> None:
    models = planted()
    whole = models.embed(FACES)
    parts = zip(models.embed(FACES[:2]), models.embed(FACES[2:]), strict=True)
    for wanted, found in zip(whole, map(join_batches, parts), strict=True):
        assert found.name == wanted.name
        np.testing.assert_allclose(found.embedding, wanted.embedding, atol=1e-6)
        np.testing.assert_allclose(found.norm, wanted.norm, rtol=1e-5)
        assert (found.uncertainty is None) == (wanted.uncertainty is None)


def test_both_flips_are_added_before_they_are_normalised() -> None:
    from tests.evaluation.planted import projection

    found = planted().embed_both_flips(FACES)[1]
    raw = projection(FACES, 0) + projection(np.ascontiguousarray(FACES[:, :, ::-1]), 0)
    np.testing.assert_allclose(found.embedding, raw / np.linalg.norm(raw, axis=1, keepdims=True), atol=1e-5)


def test_embeddings_that_are_not_finite_are_refused() -> None:
    def embed(faces: Faces) -> list[System]:
        return [System("broken", np.full((len(faces), 4), np.nan, np.float32))]

    models = ModelSet((Model("broken", None, "planted", "fp32", embed),), None)
    with pytest.raises(EdgefrError, match="finite embeddings from broken"):
        models.embed(FACES)


def test_a_single_model_has_no_baselines() -> None:
    models = open_models(Path("fake"))
    systems = models.with_baselines(models.embed(FACES))
    assert (models.candidate, [system.name for system in systems]) == ("fake", ["fake"])
    assert models.models[0].sha256 is None


def test_a_model_given_twice_is_refused() -> None:
    with pytest.raises(EdgefrError, match="expected every model once, found fake 2 times"):
        open_models(Path("fake"), [Path("fake")])


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three small fused checkpoints of random weights, all of the same file name."""
    torch = pytest.importorskip("torch")
    from edgefr.nn.fused_model import FusedModel, save_fused
    from edgefr.spec import FusionSpec, ModelSpec

    fusion = FusionSpec(embedding_dim=256, readout="mean", skip="embeddings", global_branch=False)
    paths = []
    for seed in range(3):
        torch.manual_seed(seed)
        model = FusedModel.random(ModelSpec("mobilefacenet", "mobilefacenet", fusion=fusion))
        torch.nn.init.normal_(model.bottleneck.logvar.weight, std=0.05)
        paths.append(tmp_path_factory.mktemp(f"run{seed}") / "fused.safetensors")
        save_fused(model, paths[-1])
    return paths


def test_a_checkpoint_brings_its_backbones_in_one_pass(checkpoints: list[Path], monkeypatch) -> None:
    import torch

    from edgefr.nn.fused_model import load_fused, normalise
    from edgefr.nn.mobilefacenet import MobileFaceNet
    from edgefr.recognition.recogniser import open_recogniser

    models = open_models(checkpoints[0])
    alone = open_recogniser(checkpoints[0]).embed(FACES)
    model = load_fused(checkpoints[0])
    with torch.inference_mode():
        sides = [net(normalise(torch.tensor(FACES))).embedding.numpy() for net in (model.backbone_a, model.backbone_b)]
    passes = []
    forward = MobileFaceNet.forward
    monkeypatch.setattr(MobileFaceNet, "forward", lambda net, image: passes.append(1) or forward(net, image))
    fused, a, b = models.embed(FACES)
    assert len(passes) == 2
    for wanted, found in ((alone.embedding, fused.embedding), (alone.norm, fused.norm)):
        np.testing.assert_allclose(found, wanted, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(fused.uncertainty, alone.uncertainty, atol=1e-5)
    for raw, side in zip(sides, (a, b), strict=True):
        np.testing.assert_allclose(side.raw, raw, atol=1e-4, rtol=1e-4)
    assert [a.name, b.name] == list(models.pair)
    assert [a.name[:10], b.name[:10]] == ["backbone A", "backbone B"]
    names = [system.name for system in models.with_baselines([fused, a, b])]
    assert names == ["fused.safetensors", a.name, b.name, "sum", "concatenation"]


def test_bf16_is_close_and_of_unit_length(checkpoints: list[Path]) -> None:
    exact, fast = (open_models(checkpoints[0], precision=word).embed(FACES) for word in ("fp32", "bf16"))
    for wanted, found in zip(exact, fast, strict=True):
        np.testing.assert_allclose(np.linalg.norm(found.embedding, axis=1), 1, atol=1e-5)
        assert (wanted.embedding * found.embedding).sum(1).min() > 0.99
        assert not np.array_equal(wanted.embedding, found.embedding)
    with pytest.raises(EdgefrError, match=r"precision auto or fp32 or bf16 .* found int8"):
        open_models(checkpoints[0], precision="int8")


def test_other_models_come_without_their_backbones_and_with_different_names(checkpoints: list[Path]) -> None:
    models = open_models(checkpoints[0], checkpoints[1:])
    names = [system.name for system in models.embed(FACES[:1])]
    assert names == [str(checkpoints[0]), *models.pair, *map(str, checkpoints[1:])]
    assert all(name.startswith("backbone") for name in models.pair)


def test_two_other_models_are_the_pair_of_a_model_without_backbones(checkpoints: list[Path]) -> None:
    models = open_models(Path("fake"), checkpoints[:2])
    assert models.pair == (str(checkpoints[0]), str(checkpoints[1]))
    systems = models.with_baselines(models.embed(FACES[:1]))
    assert [system.name for system in systems][3:] == ["sum", "concatenation"]
    assert open_models(Path("fake"), checkpoints[:1]).pair is None
