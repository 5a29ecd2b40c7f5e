"""Recipes: every one in train/ is valid, and mistakes are named by their key."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefr.errors import EdgefrError
from edgefr.recipe import read_recipe
from edgefr.train.recipe import Recipe

RECIPES = sorted((Path(__file__).parent.parent / "train").glob("*.toml"))
FIRST = next(path for path in RECIPES if path.stem == "first")


@pytest.fixture(autouse=True)
def _somewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFR_SHARED", "/somewhere")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_valid_and_named_as_its_file(path: Path) -> None:
    recipe = read_recipe(Recipe, path)
    assert recipe.name == path.stem
    assert recipe.data.faces.is_relative_to("/somewhere")


def test_values_can_be_overridden() -> None:
    settings = ["fusion.kv=self", "distill.clean=1", "data.test_folds=[1, 2]", "a.checkpoint=/x.pt"]
    recipe = read_recipe(Recipe, FIRST, settings)
    assert recipe.fusion.kv == "self"
    assert recipe.distill.clean == 1.0
    assert recipe.data.test_folds == (1, 2)
    assert recipe.a.checkpoint == Path("/x.pt")


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("fusion.kv=both", "fusion.kv"),
        ("fusion.kvv=self", "kvv"),
        ("seed=zero", "seed to be a whole number"),
        ("seed=true", "seed to be a whole number"),
        ("distill.clean=much", "distill.clean to be a number"),
        ("data.test_folds=6", "data.test_folds to be a list"),
        ("data.test_folds=[6.5]", r"data.test_folds\[0\]"),
        ("a=3", "a to be a table"),
        ("name.x=3", "--set name.x=3"),
        ("nonsense", "--set key.path=value"),
        ("distill.clean=1.5", "distill.clean to be 0 to 1"),
        ("distill.schedule.batch=1", "batch to be 2 to 4096"),
        ("distill.schedule.lr=-1", "lr to be between"),
        ("data.test_folds=[11]", "test_folds to be some"),
        ("data.limit=0", "data.limit to be at least 2"),
        ("seed=-1", "seed to be"),
        ("b.loss=arcface", "finetune to be adaface"),
        ("name=../elsewhere", "name to be"),
        ("data.faces=$EDGEFR_NOWHERE/x", "EDGEFR_NOWHERE"),
    ],
)
def test_a_mistake_is_named(setting: str, complaint: str) -> None:
    with pytest.raises(EdgefrError, match=complaint):
        read_recipe(Recipe, FIRST, [setting])


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(FIRST.read_text().replace('loss = "arcface"', ""))
    with pytest.raises(EdgefrError, match=r"a\.loss .* missing"):
        read_recipe(Recipe, path)


@given(st.binary(max_size=200))
def test_any_other_file_is_refused_in_a_sentence(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("recipe") / "r.toml"
    path.write_bytes(content)
    with pytest.raises(EdgefrError):
        read_recipe(Recipe, path)
    with pytest.raises(EdgefrError, match="ls train"):
        read_recipe(Recipe, path.with_name("none.toml"))
