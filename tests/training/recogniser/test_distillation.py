"""One small net that imitates a fused model: a backbone's checkpoint that says what it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402

from edgefr.errors import EdgefrError  # noqa: E402
from edgefr.export.onnx_from_checkpoint import onnx_from_checkpoint  # noqa: E402
from edgefr.io.files import sha256_of  # noqa: E402
from edgefr.io.toml_dataclass import read_toml  # noqa: E402
from edgefr.manifest import HeldOut, Manifest, model_manifest, read_manifest, write_manifest  # noqa: E402
from edgefr.nn.architectures import build_backbone  # noqa: E402
from edgefr.nn.fused_model import FusedModel, save_fused  # noqa: E402
from edgefr.nn.upstream_checkpoints import backbone_from_checkpoint  # noqa: E402
from edgefr.spec import FusionSpec, ModelSpec  # noqa: E402
from edgefr.training.common.parallel import World  # noqa: E402
from edgefr.training.common.progress import no_progress  # noqa: E402
from edgefr.training.common.recipes import AugmentationConfig, DataConfig  # noqa: E402
from edgefr.training.recogniser.augmented_views import AugmentedDataset  # noqa: E402
from edgefr.training.recogniser.distillation import DistillationRecipe, Targets, _write, distill_student  # noqa: E402
from edgefr.training.recogniser.face_tensors import to_input  # noqa: E402
from edgefr.training.recogniser.teacher import Teacher  # noqa: E402
from edgefr.training.recogniser.training_faces import read_training_faces  # noqa: E402
from tests.training import tiny  # noqa: E402

Make = Callable[..., DistillationRecipe]


@pytest.fixture
def make(nets: None, faces: Path, tmp_path: Path) -> Make:
    """`make("schedule.steps=3")`: a recipe for a tiny student of a tiny fused model."""
    torch.manual_seed(3)
    fusion = FusionSpec(body="mlp", embedding_dim=16, skip="embeddings")
    save_fused(FusedModel.random(ModelSpec("tiny", "tiny", fusion=fusion)), tmp_path / "teacher.safetensors")
    path = tmp_path / "student.toml"
    path.write_text(f"""
name = "student"
runs = '{tmp_path / "runs"}'
teacher = '{tmp_path / "teacher.safetensors"}'
student = '{tiny.write_weights(tmp_path / "start.pt", 5)}'
[data]
faces = '{faces}'
[views]
variants = 2
blends = 0.3
[schedule]
steps = 3
batch = 8
lr = 1e-3
""")
    return lambda *settings: read_toml(DistillationRecipe, path, settings)


def aims_of(recipe: DistillationRecipe, views: AugmentedDataset, dim: int) -> Targets:
    teacher = Teacher(recipe.teacher, World())
    return Targets(teacher, teacher.embed_all(views.faces, no_progress), dim)


def test_the_student_is_a_backbones_checkpoint_with_a_threshold(make: Make) -> None:
    recipe = make()
    result = distill_student(recipe, no_progress, World())
    backbone = backbone_from_checkpoint(result)
    assert backbone.arch == "tiny"
    start = backbone_from_checkpoint(recipe.student).state_dict()
    assert not torch.equal(backbone.state_dict()["fc.weight"], start["fc.weight"])
    assert torch.equal(backbone.state_dict()["bn.running_mean"], start["bn.running_mean"])
    manifest = read_manifest(result)
    assert manifest is not None
    assert manifest.made_from["teacher"]["sha256"] == sha256_of(recipe.teacher)
    assert manifest.made_from["student"]["sha256"] == sha256_of(recipe.student)
    assert manifest.trained_on == (
        "Imitates teacher.safetensors on 248 aligned faces of 124 people from faces.zip (seed 0): 3 steps of 8 on CPU. "
        "What teacher.safetensors was trained on: not known."
    )
    (threshold,) = manifest.thresholds
    assert threshold.fmr == 1e-3
    assert threshold.ci95[0] <= threshold.value <= threshold.ci95[1]


def test_the_threshold_is_that_of_the_file(make: Make) -> None:
    """So many pairs of different people reach it, embedded by the net as it is read again."""
    recipe = make()
    result = distill_student(recipe, no_progress, World())
    data = read_training_faces(recipe.data)
    with torch.no_grad():
        faces = torch.from_numpy(data.read(range(len(data))))
        embedding = F.normalize(backbone_from_checkpoint(result)(to_input(faces, World())).embedding)
    similarity = (embedding @ embedding.T).numpy()[np.triu_indices(len(data), 1)]
    different = (data.labels[:, None] != data.labels[None, :])[np.triu_indices(len(data), 1)]
    manifest = read_manifest(result)
    assert manifest is not None
    rate = (similarity[different] >= manifest.thresholds[0].value).mean()
    assert 0.8e-3 < rate <= 1e-3


def test_training_brings_the_student_nearer_to_the_teacher(make: Make) -> None:
    def cosine(recipe: DistillationRecipe, path: Path) -> float:
        views = AugmentedDataset(read_training_faces(recipe.data), AugmentationConfig(variants=1, clean=1.0), 1)
        (shown,) = views.loader(iter([np.arange(64)]))
        aims = aims_of(recipe, views, 8)
        with torch.no_grad():
            embedding = backbone_from_checkpoint(path)(to_input(shown.image, World())).embedding
        return float(F.cosine_similarity(embedding, aims(shown)).mean())

    recipe = make("schedule.steps=40", "schedule.lr=5e-3")
    before = cosine(recipe, recipe.student)
    assert cosine(recipe, distill_student(recipe, no_progress, World())) > before + 0.3


def test_a_stopped_run_becomes_the_same_checkpoint(make: Make, monkeypatch) -> None:
    monkeypatch.setattr("edgefr.training.common.loop.SAVE_SECONDS", 0.0)
    recipe = make()
    whole = distill_student(recipe, no_progress, World()).read_bytes()
    again = make(f"runs={recipe.runs.parent / 'again'}")
    with pytest.raises(KeyboardInterrupt):
        distill_student(again, tiny.stopping("Distilling", 16), World())
    assert distill_student(again, no_progress, World()).read_bytes() == whole


def test_a_finished_run_is_found_by_its_inputs_wherever_they_are(make: Make, tmp_path: Path) -> None:
    whole = distill_student(make(), no_progress, World()).read_bytes()
    (tmp_path / "moved").mkdir()
    for name in ("teacher.safetensors", "start.pt"):
        (tmp_path / "moved" / name).write_bytes((tmp_path / name).read_bytes())
    elsewhere = (f"teacher={tmp_path / 'moved/teacher.safetensors'}", f"student={tmp_path / 'moved/start.pt'}")
    settings = (*elsewhere, "name=other", "data.workers=1")
    again = distill_student(make(*settings), tiny.stopping("Distilling", 1), World())
    assert again.parent.name == "other"
    assert again.read_bytes() == whole
    with pytest.raises(KeyboardInterrupt):
        distill_student(make(*elsewhere, "pairwise=9.0"), tiny.stopping("Distilling", 1), World())


def test_the_manifest_names_the_training_data_of_the_teacher(make: Make) -> None:
    recipe = make()
    write_manifest(recipe.teacher, Manifest("checkpoint", "teacher", trained_on="Trained on these and those."))
    manifest = read_manifest(distill_student(recipe, no_progress, World()))
    assert manifest is not None
    assert manifest.trained_on.endswith("What teacher.safetensors was trained on: Trained on these and those.")


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_a_teacher_or_student_trained_on_the_people_held_out_is_refused(make: Make, tmp_path: Path, role: str) -> None:
    pairs = tmp_path / "pairs.txt"
    lines = [f"p{fold:03d}\t1\t2\np{fold:03d}\t1\tp{fold + 10:03d}\t1" for fold in range(10)]
    pairs.write_text("10\t1\n" + "\n".join(lines))
    recipe = make(f"data.pairs={pairs}", "data.test_folds=[9, 10]")
    known = HeldOut(sha256_of(pairs), (9,), "faces")
    write_manifest(getattr(recipe, role), Manifest("checkpoint", role, held_out=known))
    with pytest.raises(EdgefrError, match=rf"{getattr(recipe, role).name} .*folds 10\. Train it"):
        distill_student(recipe, no_progress, World())


def test_labels_of_nobody_are_refused(make: Make) -> None:
    with pytest.raises(EdgefrError, match=r"views\.blends to be below 1 with a table labels"):
        make("views.blends=1.0", "labels={}")


@pytest.mark.parametrize("people", [124, 1])
def test_a_student_may_have_a_longer_embedding_than_its_teacher_or_there_are_faces(make: Make, people: int) -> None:
    """300 values against 16, or against two faces: what is left over aims at zero."""
    recipe = make()
    views = AugmentedDataset(read_training_faces(DataConfig(recipe.data.faces, limit=2 * people)), recipe.views, 1)
    (shown,) = views.loader(iter([np.arange(2)]))
    aims = aims_of(recipe, views, 300)(shown)
    assert aims.shape == (2, 300)
    own = aims_of(recipe, views, 16)(shown)
    torch.testing.assert_close(F.normalize(aims) @ F.normalize(aims).T, F.normalize(own) @ F.normalize(own).T)


def test_a_wide_student_trains(make: Make, tmp_path: Path) -> None:
    weights = tiny.write_weights(tmp_path / "wide.pt", 5, "wide")
    result = distill_student(make(f"student={weights}", "schedule.steps=1"), no_progress, World())
    assert backbone_from_checkpoint(result).embedding_dim == 300


def test_a_short_student_keeps_the_similarities_as_well_as_it_can(make: Make) -> None:
    """No projection onto so few axes keeps more of the embeddings than their principal components do."""
    recipe = make()
    views = AugmentedDataset(read_training_faces(recipe.data), AugmentationConfig(variants=1), 1)
    aims = aims_of(recipe, views, 4)
    whole = aims_of(recipe, views, 16).clean
    kept = aims.clean.square().sum()
    for seed in range(5):
        other = torch.linalg.qr(torch.randn(16, 4, generator=torch.Generator().manual_seed(seed))).Q
        assert kept > (whole @ other).square().sum()


def test_a_student_with_random_weights_learns_from_a_pool_and_labels(make: Make, tmp_path: Path, nets: None) -> None:
    """A backbone teaches; BatchNorm takes its statistics from the pool; the people's labels pull, too."""
    weights = tiny.write_weights(tmp_path / "backbone.pt", 9)
    started = (tmp_path / "student.toml").read_text()
    path = tmp_path / "nothing.toml"
    path.write_text(re.sub(r"(?m)^student = .*$", 'arch = "tiny"', started))
    settings = [f"teacher={weights}", "pool=400", "schedule.steps=30", "schedule.lr=5e-3", "seed=1"]

    def trained(*more: str) -> tuple[DistillationRecipe, Path]:
        recipe = read_toml(DistillationRecipe, path, [*settings, *more])
        return recipe, distill_student(recipe, no_progress, World())

    recipe, result = trained()
    data = read_training_faces(recipe.data)
    teacher, student = Teacher(weights, World()), backbone_from_checkpoint(result)
    assert not torch.equal(student.state_dict()["bn.running_mean"], torch.zeros(512))
    faces = torch.from_numpy(data.read(range(64)))
    with torch.no_grad():
        cosine = F.cosine_similarity(student(to_input(faces, World())).embedding, teacher(faces)).mean()
    assert cosine > 0.5
    manifest = read_manifest(result)
    assert manifest is not None
    assert "Imitates backbone.pt on 400 pictures, variations among them, of 248 aligned faces" in manifest.trained_on
    log = (recipe.runs / "student" / "log.jsonl").read_text()
    assert '"labels"' not in log
    other, _ = trained("labels.head=adaface", "labels.weight=0.05", "name=labelled")
    assert '"labels"' in (other.runs / "labelled" / "log.jsonl").read_text()


def test_weights_take_rgb_whatever_the_architecture(tmp_path: Path) -> None:
    """AdaFace's own files take BGR; a student's never do."""
    torch.manual_seed(0)
    net = build_backbone("ir_18")
    _write(net, tmp_path / "student.safetensors", Manifest("checkpoint", "student"))
    again = backbone_from_checkpoint(tmp_path / "student.safetensors")
    for name, value in net.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_the_exported_student_carries_its_manifest(make: Make, tmp_path: Path) -> None:
    recipe = make()
    result = distill_student(recipe, no_progress, World())
    faces = read_training_faces(recipe.data).read(range(8))
    onnx_from_checkpoint(result, tmp_path / "student.onnx", faces)
    known, exported = read_manifest(result), model_manifest(tmp_path / "student.onnx")
    assert known is not None
    assert exported is not None
    assert exported.thresholds == known.thresholds
    assert exported.made_from["teacher"] == known.made_from["teacher"]
    assert exported.made_from["checkpoint"]["sha256"] == sha256_of(result)
    assert exported.spec == {"arch": "tiny"}


@pytest.mark.parametrize(
    ("setting", "found"),
    [
        ("views.maps=cache", "views.maps"),
        ("views.kind=mirrored", "views.kind"),
        ("schedule.batch=512", "at least 512 views"),
        ("data.limit=100", "impostor pairs"),
        ("arch=tiny", "either student or arch"),
        ("pool=200", "at least 248, the number of faces"),
        ("pairwise=-10", "pairwise to be at least 0"),
        ("seed=-1", "seed to be 0 to"),
        ("name=../../x", "name to be the name of a folder"),
    ],
)
def test_invalid_settings_are_refused_before_training(make: Make, setting: str, found: str, tmp_path: Path) -> None:
    with pytest.raises(EdgefrError, match=found):
        distill_student(make(setting), no_progress, World())
    assert not (tmp_path / "runs").exists()
