"""The written split of people: who is trained on, chosen by, calibrated on and tested on are different people."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgefr.data.collections import open_faces
from edgefr.io.toml_dataclass import read_toml
from edgefr.jobs.select_people import read_people
from tests.conftest import REPOSITORY

TRAIN = REPOSITORY / "train"
LISTS = ("choose", "calibrate")
LFW = tuple(range(1, 11))


def people(purpose: str) -> frozenset[str]:
    return read_people(TRAIN / "people" / f"celeba-{purpose}.txt")


def test_nobody_is_chosen_by_and_calibrated_on() -> None:
    assert people("choose").isdisjoint(people("calibrate"))
    assert (len(people("choose")), len(people("calibrate"))) == (50, 99)


@pytest.mark.parametrize("recipe", ["mini-a-first", "mini-b-first", "mini-a", "mini-b", "mini"])
def test_what_ships_is_trained_on_nobody_of_lfws_pairs_and_on_the_selection_without_the_lists(recipe: str) -> None:
    pytest.importorskip("torch")
    from edgefr.training.common.recipes import FusionRecipe
    from edgefr.training.recogniser.distillation import DistillationRecipe

    data = read_toml(FusionRecipe if recipe == "mini" else DistillationRecipe, TRAIN / f"{recipe}.toml", ()).data
    assert data.test_folds == LFW
    assert data.faces == Path("train/data/mini-train.zip")
    command = (TRAIN / "README.md").read_text()
    making = command[command.index("-o train/data/mini-train.zip") :].split("\n```")[0]
    assert all(f"--without train/people/celeba-{purpose}.txt" in making for purpose in LISTS)


def test_the_lists_name_people_with_photographs_in_the_wild(shared: Path) -> None:
    names = open_faces(shared / "faces-celeba.zip").names
    wild = {name.split("/")[0] for name in names if "/celeba-small" not in name}
    assert people("choose") | people("calibrate") <= wild
