"""A recipe becomes a checkpoint whose manifest says what it is; a stopped run becomes the same one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import REPOSITORY

torch = pytest.importorskip("torch")

from edgefr.cli.output import progress  # noqa: E402
from edgefr.data.lfw_pairs import people_of, read_pairs  # noqa: E402
from edgefr.errors import EdgefrError  # noqa: E402
from edgefr.io.files import sha256_of  # noqa: E402
from edgefr.io.run_lock import run_lock  # noqa: E402
from edgefr.io.toml_dataclass import read_toml  # noqa: E402
from edgefr.manifest import read_manifest  # noqa: E402
from edgefr.nn.fused_model import load_fused  # noqa: E402
from edgefr.recognition.recogniser import open_recogniser  # noqa: E402
from edgefr.training.common.parallel import World  # noqa: E402
from edgefr.training.common.progress import no_progress  # noqa: E402
from edgefr.training.common.recipes import DataConfig, FusionRecipe  # noqa: E402
from edgefr.training.recogniser.fusion_training import train_fused  # noqa: E402
from edgefr.training.recogniser.teacher import Teacher  # noqa: E402
from edgefr.training.recogniser.trained_threshold import check_threshold  # noqa: E402
from edgefr.training.recogniser.training_faces import read_training_faces  # noqa: E402
from tests.training import tiny  # noqa: E402

Make = Callable[..., FusionRecipe]

SMOKE = REPOSITORY / "train/smoke.toml"
EVERYTHING = (
    "views.blends=0.2",
    "b.finetune.steps=3",
    "b.finetune.batch=8",
    "distill.schedule.steps=3",
    "distill.schedule.batch=8",
    "distill.schedule.ema=0.5",
    "vib.head=adaface",
    "vib.anchor=1.0",
    "vib.schedule.steps=3",
    "vib.schedule.batch=8",
    "vib.schedule.accumulate=2",
)
DISTILLED = ("distill.schedule.steps=3", "distill.schedule.batch=8")
STAGES = {"Fine-tuning": 16, "Caching": 300, "Distilling": 16, "Training by labels": 32}
"""What a run is stopped in, and at how many images: after two steps, or after one shard of 200."""


@pytest.mark.parametrize("maps", ["online", "cache"])
def test_a_run_stopped_and_resumed_in_every_stage_gives_the_same_checkpoint(
    recipe: Make, monkeypatch, maps: str
) -> None:
    monkeypatch.setattr("edgefr.training.common.loop.SAVE_SECONDS", 0.0)
    monkeypatch.setattr("edgefr.training.recogniser.feature_shards.SHARD_SIZE", 200)
    chosen = recipe(*EVERYTHING, f"views.maps={maps}")
    whole = train_fused(chosen, no_progress).read_bytes()
    again = replace(chosen, runs=chosen.runs.parent / "again")
    for title, images in STAGES.items():
        if title == "Caching" and maps == "online":
            continue
        with pytest.raises(KeyboardInterrupt):
            train_fused(again, tiny.stopping(title, images))
    result = train_fused(again, no_progress)
    assert result.read_bytes() == whole
    manifest = read_manifest(result)
    train_fused(again, tiny.stopping("", 10_000))
    assert result.read_bytes() == whole, "a finished run is only written again"
    assert read_manifest(result) == manifest


def test_recipes_with_equal_first_stages_share_them(recipe: Make) -> None:
    train_fused(recipe(*EVERYTHING), no_progress)
    other = recipe(*EVERYTHING, "name=other", "vib.beta=0.1")
    with pytest.raises(KeyboardInterrupt):
        train_fused(other, tiny.stopping("Training by labels", 1))
    assert train_fused(other, tiny.stopping("Fine-tuning", 1)).parent.name == "other"
    assert train_fused(recipe(*EVERYTHING, "name=other", "vib.beta=0.2"), tiny.stopping("Distilling", 1))


def test_a_stage_that_another_run_has_locked_is_refused(recipe: Make) -> None:
    chosen = recipe("vib.schedule.steps=2", "vib.schedule.batch=8")
    train_fused(chosen, no_progress)
    (state,) = (chosen.runs / "states").glob("*.safetensors")
    other = replace(chosen, name="other")
    with run_lock(state.with_suffix(".lock")), pytest.raises(EdgefrError, match="another run"):
        train_fused(other, no_progress)
    assert not (chosen.runs / "other/fused.safetensors").exists()
    assert train_fused(other, no_progress).is_file()


def test_the_progress_bar_of_a_resumed_run_starts_at_its_step(recipe: Make, monkeypatch) -> None:
    monkeypatch.setattr("edgefr.training.common.loop.SAVE_SECONDS", 0.0)
    chosen = recipe("vib.schedule.steps=4", "vib.schedule.batch=8")
    with pytest.raises(KeyboardInterrupt):
        train_fused(chosen, tiny.stopping("Training by labels", 24))
    told: list[int] = []

    @contextmanager
    def noting(title: str, _total: int) -> Iterator[Callable[[int], None]]:
        yield told.append if title == "Training by labels" else lambda _count: None

    train_fused(chosen, noting)
    assert told == [16, 8, 8]


def test_every_setting_of_the_recipe_is_part_of_the_key(recipe: Make) -> None:
    """Runs in one folder that differ in anything do not take up each other's states."""
    base = ("vib.schedule.steps=2", "vib.schedule.batch=8")
    settings = (
        (),
        ("seed=6",),
        ("vib.beta=0.5",),
        ("views.clean=0.1",),
        ("vib.schedule.lr=1e-3",),
        ("data.limit=247",),
    )
    found = [train_fused(recipe(*base, *setting), no_progress).read_bytes() for setting in settings]
    assert len(set(found)) == len(settings)


def test_the_manifest_describes_the_checkpoint(recipe: Make) -> None:
    chosen = recipe(*EVERYTHING)
    result = train_fused(chosen, no_progress)
    manifest = read_manifest(result)
    assert manifest is not None
    for part in (
        "248 aligned faces of 124 people from faces.zip (seed 5)",
        "3 steps of 8 by distillation",
        "3 steps of 16 by labels",
        "on CPU",
        "Backbone b was fine-tuned from b.pt with adaface loss on the same people (3 steps of 8)",
    ):
        assert part in manifest.trained_on
    assert manifest.made_from["backbone a"]["sha256"] == sha256_of(chosen.a.checkpoint)
    assert manifest.made_from["faces"]["sha256"] == sha256_of(chosen.data.faces)
    assert manifest.spec == load_fused(result).spec.to_dict()

    # Of all pairs of different people just so many reach the threshold.
    data = read_training_faces(chosen.data)
    embedding = open_recogniser(result).embed(data.read(range(len(data)))).embedding
    pairs = np.triu_indices(len(data), 1)
    different = (data.labels[:, None] != data.labels[None, :])[pairs]
    rate = ((embedding @ embedding.T)[pairs][different] >= manifest.thresholds[0].value).mean()
    assert 0.8e-3 < rate <= 1e-3

    # The backbones stay as they were, but for the partner.
    model = load_fused(result)
    for seat, backbone, tuned in ((chosen.a, model.backbone_a, False), (chosen.b, model.backbone_b, True)):
        start = torch.load(seat.checkpoint, weights_only=True)
        same = {name: torch.equal(value, start[name]) for name, value in backbone.state_dict().items()}
        assert same["bn.running_mean"]
        assert same["fc.weight"] != tuned
        assert same["conv.weight"] != tuned


def test_the_paper_way_trains_by_labels_alone(recipe: Make) -> None:
    """SGD in epochs with drops over cached mirrored views, without a skip."""
    settings = (
        "views.kind=mirrored",
        "views.maps=cache",
        "fusion.skip=none",
        "vib.schedule.epochs=3",
        "vib.schedule.batch=124",
        "vib.schedule.optimizer=sgd",
        "vib.schedule.lr=0.1",
        "vib.schedule.drops=[1, 2]",
    )
    chosen = recipe(*settings)
    manifest = read_manifest(train_fused(chosen, no_progress))
    assert manifest is not None
    assert "12 steps of 124 by labels" in manifest.trained_on


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        (("distill.schedule.steps=3", "distill.schedule.batch=512"), "at least 512 views"),
        (("vib.schedule.steps=3", "vib.schedule.batch=64", "vib.schedule.accumulate=9"), "at least 576 views"),
        (("vib.schedule.steps=3", "b.finetune.steps=2", "b.finetune.batch=250"), "at least 250 views"),
        (("vib.schedule.steps=3", "vib.schedule.batch=8", "data.limit=200"), "impostor pairs"),
        (("vib.schedule.steps=3", "data.limit=2", "vib.schedule.batch=2"), "impostor pairs"),
        (("vib.schedule.steps=3", "vib.schedule.batch=8", "fusion.embedding_dim=12"), "at least 16"),
    ],
)
def test_late_failures_are_found_before_training(recipe: Make, settings, found: str) -> None:
    chosen = recipe("b.finetune.steps=2", "b.finetune.batch=2", *settings)
    with pytest.raises(EdgefrError, match=found):
        train_fused(chosen, no_progress)
    assert not chosen.runs.exists()


@pytest.fixture
def smoke(shared_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FusionRecipe:
    monkeypatch.setenv("EDGEFR_SHARED", str(shared_root))
    settings = ["data.limit=250", f"runs={tmp_path}", "a.arch=mobilefacenet", "b.arch=mobilefacenet"]
    settings += ["b.finetune.steps=2", "b.finetune.batch=8", "distill.schedule.steps=2", "distill.schedule.batch=8"]
    return read_toml(FusionRecipe, SMOKE, settings)


@pytest.mark.shared
def test_real_nets_and_faces_stopped_on_the_way_give_the_same_checkpoint_that_works(
    smoke: FusionRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_fused(smoke, progress).read_bytes()
    monkeypatch.setattr("edgefr.training.common.loop.SAVE_SECONDS", 0.0)
    again = replace(smoke, runs=tmp_path / "again")
    for title in ("Fine-tuning", "Distilling"):
        with pytest.raises(KeyboardInterrupt):
            train_fused(again, tiny.stopping(title, 16))
    result = train_fused(again, progress)
    assert result.read_bytes() == whole
    assert model_differs_from_its_start(result)

    # The faces of two images of one person are closer than the threshold, other people's are not.
    manifest = read_manifest(result)
    assert manifest is not None
    data = read_training_faces(smoke.data)
    embedding = open_recogniser(result).embed(data.read(range(64))).embedding
    similarity = embedding @ embedding.T
    same = data.labels[:64, None] == data.labels[None, :64]
    assert (similarity[~same] < manifest.thresholds[0].value).mean() > 0.99


def model_differs_from_its_start(result: Path) -> bool:
    model = load_fused(result)
    first, second = model.backbone_a.state_dict(), model.backbone_b.state_dict()
    tuned = any(not torch.equal(first[key], second[key]) for key in first)
    return tuned and bool(model.bottleneck.mu.weight.abs().max() > 0)


@pytest.mark.shared
def test_nobody_of_the_test_folds_is_trained_on(smoke: FusionRecipe) -> None:
    data = read_training_faces(smoke.data)
    held_out = people_of(read_pairs(smoke.data.pairs), smoke.data.test_folds)
    assert held_out.isdisjoint(name.partition("/")[0] for name in data.names)


@pytest.mark.shared
def test_missing_faces_for_the_threshold_are_reported_before_training(smoke: FusionRecipe, faces: Path) -> None:
    strangers = DataConfig(smoke.data.faces, smoke.data.pairs)
    with pytest.raises(EdgefrError, match="found 0"):
        check_threshold(read_training_faces(DataConfig(faces)), strangers)


def test_distillation_without_a_skip_is_refused(recipe: Make) -> None:
    with pytest.raises(EdgefrError, match=r"fusion\.skip"):
        recipe("distill.schedule.steps=3", "fusion.skip=none")


def test_a_fusion_can_have_the_targets_of_its_backbones_teacher(recipe: Make, tmp_path: Path) -> None:
    """mu is as long as the teacher's embedding, starts as the sum of both backbones' and nears the teacher's."""
    weights = tiny.write_weights(tmp_path / "teacher.pt", 9)
    settings = [f"aims.teacher={weights}", "fusion.embedding_dim=8", "views.clean=1.0", "distill.schedule.lr=1e-2"]
    teacher = Teacher(weights, World())
    faces = torch.from_numpy(read_training_faces(recipe(*DISTILLED).data).read(range(64)))

    def cosine(steps: int) -> float:
        chosen = recipe(*settings, f"distill.schedule.steps={steps}", f"name=after-{steps}")
        result = train_fused(chosen, no_progress)
        manifest = read_manifest(result)
        assert manifest is not None
        assert manifest.made_from["teacher"]["sha256"] == sha256_of(weights)
        with torch.no_grad():
            return float((load_fused(result)(faces).embedding * teacher(faces)).sum(1).mean())

    assert cosine(60) > cosine(1) + 0.3


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        (("fusion.embedding_dim=8",), "fusion.embedding_dim to be at least 16"),
        (("aims.teacher={wide}",), "aims.teacher to be a checkpoint whose embeddings are as long"),
    ],
)
def test_embeddings_are_summed_only_with_a_common_teacher(recipe: Make, tmp_path: Path, settings, found: str) -> None:
    wide = tiny.write_weights(tmp_path / "wide.pt", 3, "wide")
    with pytest.raises(EdgefrError, match=found):
        train_fused(recipe(*DISTILLED, *(setting.format(wide=wide) for setting in settings)), no_progress)


def test_the_teacher_is_part_of_the_key(recipe: Make, tmp_path: Path) -> None:
    """The state of a run without aims must not be taken up by one with them."""
    weights = tiny.write_weights(tmp_path / "teacher.pt", 9)
    first = train_fused(recipe(*DISTILLED), no_progress).read_bytes()
    assert train_fused(recipe(*DISTILLED, f"aims.teacher={weights}"), no_progress).read_bytes() != first
