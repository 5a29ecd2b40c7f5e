"""Recipes: every one in train/ is valid, says what the paper says, and mistakes are named by their key."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

from edgefr.errors import EdgefrError
from edgefr.io.toml_dataclass import MAX_BASES, read_toml
from edgefr.spec import FusionSpec
from edgefr.training.common.recipes import (
    AugmentationConfig,
    BackboneConfig,
    DataConfig,
    FusionRecipe,
    Schedule,
    VibConfig,
)
from tests.conftest import REPOSITORY

TRAIN = REPOSITORY / "train"
RECIPES = sorted(TRAIN.glob("*.toml"))
FIRST = TRAIN / "first.toml"
STUDENTS = {"student", "mini-a-first", "mini-b-first", "mini-a", "mini-b"}
VARIABLES = ("EDGEFR_SHARED", "EDGEFR_DATA", "EDGEFR_FACES", "EDGEFR_ARCFACE", "EDGEFR_ADAFACE")


@pytest.fixture(autouse=True)
def _somewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, f"/{name.lower()}")


def test_the_recipes_are_here() -> None:
    table = {f"{data}-{row}" for data in ("table1", "small") for row in ("local", "global", "both")}
    known = {"first", "smoke", "paper", "small", "small-mlp", "student", "table1-vib"} | table
    assert known <= {path.stem for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_valid_and_named_as_its_file(path: Path) -> None:
    if path.stem in STUDENTS:
        pytest.importorskip("torch")
        from edgefr.training.recogniser.distillation import DistillationRecipe

        assert read_toml(DistillationRecipe, path).name == path.stem
    elif path.stem.startswith("spot"):
        pytest.importorskip("torch")
        from edgefr.training.detector.detector_training import DetectorRecipe

        assert read_toml(DetectorRecipe, path).name == path.stem
    else:
        assert read_toml(FusionRecipe, path).name == path.stem


def test_the_papers_recipe_is_the_papers() -> None:
    """arXiv 2309.13137: two frozen nets, K = 512, SGD of 0.1 a tenth less after three drops; where the paper is
    silent: momentum 0.9, weight decay 5e-4, batches of 512, horizontal flips, beta 1e-3."""
    recipe = read_toml(FusionRecipe, TRAIN / "paper.toml")
    assert recipe == FusionRecipe(
        name="paper",
        seed=1,
        data=DataConfig(Path("/edgefr_faces"), workers=8),
        views=AugmentationConfig(kind="mirrored", maps="cache", store="fp16"),
        a=BackboneConfig(Path("/edgefr_arcface"), "arcface"),
        b=BackboneConfig(Path("/edgefr_adaface"), "adaface"),
        fusion=FusionSpec(),
        vib=VibConfig(
            Schedule(
                epochs=12,
                batch=512,
                optimizer="sgd",
                lr=0.1,
                drops=(5, 8, 11),
                momentum=0.9,
                weight_decay=5e-4,
            ),
            beta=1e-3,
            head="softmax",
        ),
    )
    spec = FusionSpec()
    assert (spec.embedding_dim, spec.local_branch, spec.global_branch, spec.vib) == (512, True, True, True)
    assert (spec.kv, spec.readout, spec.skip) == ("cross", "flatten", "none")


@pytest.mark.parametrize("base", ["paper", "small"])
def test_the_rows_of_table_one_differ_only_as_it_says(base: str) -> None:
    full = read_toml(FusionRecipe, TRAIN / f"{base}.toml")
    prefix = {"paper": "table1", "small": "small"}[base]
    rows = {"local": (True, False, False), "global": (False, True, False), "both": (True, True, False)}
    if base == "paper":
        rows["vib"] = (True, True, True)
    for row, (local, global_, vib) in rows.items():
        name = f"{prefix}-{row}"
        fusion = replace(full.fusion, local_branch=local, global_branch=global_, vib=vib)
        assert read_toml(FusionRecipe, TRAIN / f"{name}.toml") == replace(full, name=name, fusion=fusion)


def test_the_mlp_is_trained_in_the_same_way() -> None:
    small, mlp = (read_toml(FusionRecipe, TRAIN / f"{name}.toml") for name in ("small", "small-mlp"))
    assert mlp == replace(small, name="small-mlp", fusion=replace(small.fusion, body="mlp"))


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


def test_bases_merge_table_by_table_and_the_last_word_counts(tmp_path: Path) -> None:
    (tmp_path / "first.toml").write_text(FIRST.read_text())
    write(tmp_path, "middle", 'base = "first.toml"\nseed = 7\n[fusion]\nheads = 4\n[data]\ntest_folds = [1]\n')
    (tmp_path / "deeper").mkdir()
    last = write(
        tmp_path / "deeper", "last", 'base = "../middle.toml"\nname = "last"\n[fusion]\nheads = 2\nkv = "self"\n'
    )
    first, recipe = read_toml(FusionRecipe, FIRST), read_toml(FusionRecipe, last)
    assert (recipe.name, recipe.seed, recipe.data.test_folds) == ("last", 7, (1,))
    assert recipe.fusion == replace(first.fusion, heads=2, kv="self")
    unchanged = {"name", "seed", "data", "fusion"}
    assert {key: value for key, value in asdict(recipe).items() if key not in unchanged} == {
        key: value for key, value in asdict(first).items() if key not in unchanged
    }
    assert read_toml(FusionRecipe, last, ["fusion.heads=1"]).fusion.heads == 1


def test_a_chain_of_bases_has_an_end(tmp_path: Path) -> None:
    (tmp_path / "0.toml").write_text(FIRST.read_text())
    for number in range(1, MAX_BASES + 2):
        write(tmp_path, str(number), f'base = "{number - 1}.toml"\nseed = {number}\n')
    assert read_toml(FusionRecipe, tmp_path / f"{MAX_BASES}.toml").seed == MAX_BASES
    with pytest.raises(EdgefrError, match=r"base in .* at most 8"):
        read_toml(FusionRecipe, tmp_path / f"{MAX_BASES + 1}.toml")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('base = "x.toml"', "base in .* at most 8"),
        ("base = 3", "found 3"),
        ('base = ["x.toml"]', "base in"),
        ('base = "none.toml"', "found no file"),
        ('base = ""', "found no file"),
    ],
    ids=["itself", "number", "list", "missing", "empty"],
)
def test_another_base_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(EdgefrError, match=complaint):
        read_toml(FusionRecipe, write(tmp_path, "x", text))


def test_values_can_be_overridden() -> None:
    settings = ["fusion.kv=self", "views.clean=1", "data.test_folds=[1, 2]", "a.checkpoint=/x.pt"]
    recipe = read_toml(FusionRecipe, FIRST, settings)
    assert recipe.fusion.kv == "self"
    assert recipe.views.clean == 1.0
    assert recipe.data.test_folds == (1, 2)
    assert recipe.a.checkpoint == Path("/x.pt")


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("fusion.kv=both", "fusion.kv"),
        ("fusion.kvv=self", "kvv"),
        ("seed=zero", "seed to be a whole number"),
        ("seed=true", "seed to be a whole number"),
        ("views.clean=much", "views.clean to be a number"),
        ("data.test_folds=6", "data.test_folds to be a list"),
        ("data.test_folds=[6.5]", r"data.test_folds\[0\]"),
        ("a=3", "a to be a table"),
        ("name.x=3", "--set name.x=3"),
        ("nonsense", "--set key.path=value"),
        ("views.clean=1.5", "views.clean to be 0 to 1"),
        ("views.blends=-1", "views.blends to be 0 to 1"),
        ("views.variants=0", "views.variants to be 1 to 1000"),
        ("views.maps=disk", "views.maps to be one of online, cache"),
        ("data.workers=-1", "data.workers to be 0 to 256"),
        ("distill.schedule.batch=1", "batch to be 2 to 65536"),
        ("distill.schedule.accumulate=0", "accumulate to be 1 to"),
        ("distill.schedule.lr=-1", "lr to be between"),
        ("distill.schedule.lr=nan", "lr to be between"),
        ("distill.schedule.ema=1", "ema to be at least 0 and below 1"),
        ("distill.schedule.epochs=3", "either steps or epochs"),
        ("distill.schedule.steps=0", "either steps or epochs"),
        ("distill.schedule.drops=[1]", "drops to be rising epochs of a schedule in epochs"),
        ("distill.pairwise=-1", "distill.pairwise to be at least 0"),
        ("vib.schedule={steps=1}|vib.beta=-1", "vib.beta to be at least 0"),
        ("vib.schedule={steps=1}|vib.head=face", "vib.head to be one of softmax"),
        ("vib.schedule={steps=1}|vib.classes=0", "vib.classes to be above 0"),
        ("vib.schedule={steps=1}|vib.classes=0.5", "vib.head to be a margin head"),
        ("vib.schedule={epochs=3, drops=[2, 1]}", "drops to be rising"),
        ("vib.schedule={steps=1}|vib.head=magface", "never reach MagFace's 10 to 110, found 'magface'"),
        ("vib.schedule={steps=1}|views.blends=1.0", "views.blends to be below 1 with a table vib"),
        ("fusion.skip=none", 'fusion.skip to be "embeddings"'),
        ("base=paper.toml", "'base'"),
        ("data.test_folds=[11]", "test_folds to be folds from 1 to 10"),
        ("data.limit=0", "data.limit to be at least 2"),
        ("seed=-1", "seed to be"),
        ("b.loss=arcface", "finetune to be adaface"),
        ("name=../elsewhere", "name to be"),
        ("data.faces=$EDGEFR_NOWHERE/x", "EDGEFR_NOWHERE"),
    ],
)
def test_a_mistake_is_named(setting: str, complaint: str) -> None:
    with pytest.raises(EdgefrError, match=complaint):
        read_toml(FusionRecipe, FIRST, setting.split("|"))


def test_a_recipe_that_trains_nothing_is_refused(tmp_path: Path) -> None:
    text = FIRST.read_text().partition("[distill.schedule]")[0]
    with pytest.raises(EdgefrError, match="a table distill or vib"):
        read_toml(FusionRecipe, write(tmp_path, "r", text))


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(FIRST.read_text().replace('loss = "arcface"', ""))
    with pytest.raises(EdgefrError, match=r"a\.loss .* missing"):
        read_toml(FusionRecipe, path)


@given(st.binary(max_size=200))
def test_any_other_file_is_refused_in_a_sentence(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("recipe") / "r.toml"
    path.write_bytes(content)
    with pytest.raises(EdgefrError):
        read_toml(FusionRecipe, path)
    with pytest.raises(EdgefrError, match="ls train"):
        read_toml(FusionRecipe, path.with_name("none.toml"))


def test_the_papers_recipe_shows_every_face_as_often_as_the_paper_does() -> None:
    """24 times, mirrored or not, with the rate a tenth after 10, 16 and 22 of them."""
    pytest.importorskip("torch")
    from edgefr.training.common.optimizer import learning_rate_factor
    from edgefr.training.recogniser.augmented_views import AugmentedDataset

    faces = 512 * 10
    recipe = read_toml(FusionRecipe, TRAIN / "paper.toml")
    assert recipe.vib is not None
    schedule, views = (
        recipe.vib.schedule,
        len(AugmentedDataset(range(faces), recipe.views, 1)),
    )  # only their number counts
    steps = schedule.total_steps(views)
    assert steps * schedule.batch == 24 * faces
    rates = [learning_rate_factor(schedule, step, steps, views) for step in range(steps)]
    assert [rates.count(rates[0]), *(rates.count(rate) for rate in sorted(set(rates))[-2::-1])] == [100, 60, 60, 20]


def test_arrays_in_arrays_a_thousand_deep_are_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "deep.toml").write_text(f"name = {'[' * 3000}")
    with pytest.raises(EdgefrError, match=r"TOML in .*deep\.toml"):
        read_toml(FusionRecipe, tmp_path / "deep.toml")
