"""A recipe becomes a checkpoint whose manifest says what it is; a stopped run becomes the same one."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgefr.backends.recogniser import open_recogniser  # noqa: E402
from edgefr.cli.output import progress  # noqa: E402
from edgefr.data.lfw import people_of, read_pairs  # noqa: E402
from edgefr.errors import EdgefrError  # noqa: E402
from edgefr.manifest import read_manifest, sha256_of  # noqa: E402
from edgefr.nn.bottleneck import Code  # noqa: E402
from edgefr.nn.fused import load_fused  # noqa: E402
from edgefr.recipe import read_recipe  # noqa: E402
from edgefr.train.distill import imitation_loss  # noqa: E402
from edgefr.train.faces import look, read_training_faces  # noqa: E402
from edgefr.train.recipe import Distill, Recipe, Schedule  # noqa: E402
from edgefr.train.run import train_fused  # noqa: E402

SMOKE = Path(__file__).parents[2] / "train/smoke.toml"


@pytest.fixture
def recipe(shared_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.setenv("EDGEFR_SHARED", str(shared_root))
    settings = ["data.limit=260", f"runs={tmp_path}", "b.finetune.steps=2", "distill.schedule.steps=3"]
    return read_recipe(Recipe, SMOKE, settings)


@pytest.mark.shared
def test_a_recipe_gives_a_checkpoint_that_says_what_it_is(recipe: Recipe) -> None:
    result = train_fused(recipe, progress)
    manifest = read_manifest(result)
    assert manifest is not None
    assert "260 aligned faces" in manifest.trained_on
    assert "fine-tuned from mobilefacenet.pt with adaface loss" in manifest.trained_on
    assert manifest.made_from["backbone a"]["sha256"] == sha256_of(recipe.a.checkpoint)
    (threshold,) = manifest.thresholds
    assert threshold.fmr == 1e-3
    assert threshold.ci95[0] <= threshold.value <= threshold.ci95[1]

    # The faces of two images of one person are closer than the threshold, other people's are not.
    data = read_training_faces(recipe.data)
    embedding = open_recogniser(result).embed(data.faces[:64]).embedding
    similarity = embedding @ embedding.T
    same = data.labels[:64, None] == data.labels[None, :64]
    assert (similarity[~same] < threshold.value).mean() > 0.99
    assert model_differs_from_its_start(result)


def model_differs_from_its_start(result: Path) -> bool:
    model = load_fused(result)
    first, second = model.backbone_a.state_dict(), model.backbone_b.state_dict()
    tuned = any(not torch.equal(first[key], second[key]) for key in first)
    return tuned and bool(model.bottleneck.mu.weight.abs().max() > 0)


@pytest.mark.shared
def test_a_stopped_run_becomes_the_same_checkpoint(recipe: Recipe, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("edgefr.train.loop.SAVE_SECONDS", 0.0)
    whole = train_fused(recipe, progress).read_bytes()

    def stopping_in(stage: str):
        """A progress that is interrupted, as by Ctrl-C, at the second step of a stage."""

        @contextmanager
        def stopping(title: str, _total: int):
            done = 0

            def advance(count: int) -> None:
                nonlocal done
                done += count
                if title.startswith(stage) and done == 2:
                    raise KeyboardInterrupt

            yield advance

        return stopping

    for stage in ("Fine-tuning", "Training"):
        with pytest.raises(KeyboardInterrupt):
            train_fused(replace(recipe, name="again"), stopping_in(stage))
    assert train_fused(replace(recipe, name="again"), progress).read_bytes() == whole


@pytest.mark.shared
def test_nobody_of_the_test_folds_is_trained_on(recipe: Recipe) -> None:
    data = read_training_faces(recipe.data)
    held_out = people_of(read_pairs(recipe.data.pairs), recipe.data.test_folds)
    assert held_out.isdisjoint(name.partition("/")[0] for name in data.names)


def test_a_look_keeps_the_share_of_clean_faces_and_is_seeded() -> None:
    faces = np.random.default_rng(0).integers(0, 256, (8, 112, 112, 3), np.uint8)
    first, again = (look(faces, np.random.default_rng(5), 0.5) for _ in range(2))
    assert torch.equal(first, again)
    assert first.shape == (8, 3, 112, 112)
    assert -1 <= first.min() < first.max() <= 1

    def degraded_share(clean: float) -> float:
        """A checkerboard keeps its contrast unless it is degraded; a warp of a few pixels only softens it."""
        checker = np.repeat((np.indices((112, 112)).sum(0) // 8 % 2 * 255)[..., None], 3, 2).astype(np.uint8)
        plain = look(np.stack([checker] * 40), np.random.default_rng(1), 1.0)
        seen = look(np.stack([checker] * 40), np.random.default_rng(1), clean)
        return float(np.mean([not torch.equal(a, b) for a, b in zip(plain, seen, strict=True)]))

    assert degraded_share(1.0) == 0
    assert degraded_share(0.0) == 1


def test_imitation_is_perfect_only_at_the_aim_and_teaches_its_own_error() -> None:
    torch.manual_seed(0)
    aims, recipe = torch.randn(6, 16), Distill(Schedule(1), likelihood=100.0)
    at_aim = imitation_loss(Code(3 * aims, None), aims, recipe)
    assert at_aim.item() == pytest.approx(0, abs=1e-5)
    assert imitation_loss(Code(aims + torch.randn(6, 16), None), aims, recipe) > 0.1

    logvar = torch.zeros(6, 16, requires_grad=True)
    code = Code((aims + 0.5).requires_grad_(), logvar)
    optimizer = torch.optim.LBFGS([logvar], max_iter=100)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = imitation_loss(code, aims, recipe)
        loss.backward()
        return loss

    optimizer.step(closure)
    torch.testing.assert_close(logvar.detach(), torch.full((6, 16), 0.25).log(), atol=0.05, rtol=0)


@pytest.mark.shared
def test_distillation_without_a_skip_is_refused(recipe: Recipe) -> None:
    bare = replace(recipe, fusion=replace(recipe.fusion, skip="none"))
    with pytest.raises(EdgefrError, match=r"fusion\.skip"):
        train_fused(bare, progress)
    assert not (recipe.runs / recipe.name).exists(), "refused before the partner is trained"
