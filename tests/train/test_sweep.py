"""A sweep trains what differs, tests it on the people held out, and keeps what was found."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgefr.errors import EdgefrError  # noqa: E402
from edgefr.evaluate.ablation import Row, read_rows, rows_table, write_rows  # noqa: E402
from edgefr.nn.fused import load_fused  # noqa: E402
from edgefr.train.progress import silent  # noqa: E402
from edgefr.train.sweep import A, B, sweep, variants  # noqa: E402
from tests.train.tiny import write_recipe  # noqa: E402

FOLDS, A_FOLD = 10, 16
"""Folds of the pairs file, and people of each, who are in a genuine and in two impostor pairs."""

STAGE = ("distill.schedule.steps=2", "distill.schedule.batch=8", "distill.schedule.lr=1e-2")


@pytest.fixture
def recipe(tmp_path: Path, nets: None) -> Path:
    """Faces under LFW's names, their pairs, and a recipe that holds out the first two folds."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        for person in range(FOLDS * A_FOLD):
            colours = rng.integers(0, 256, (5, 5, 3))
            for number in (1, 2):
                small = np.clip(colours + rng.integers(-60, 61, colours.shape), 0, 255).astype(np.uint8)
                face = cv2.resize(small, (112, 112), interpolation=cv2.INTER_LINEAR)
                archive.writestr(_name(person, number), cv2.imencode(".jpg", face)[1].tobytes())
    lines = [f"{FOLDS} {A_FOLD}"]
    for fold in range(FOLDS):
        people = [fold * A_FOLD + index for index in range(A_FOLD)]
        lines += [f"P{person}\t1\t2" for person in people]
        lines += [f"P{a}\t1\tP{b}\t2" for a, b in zip(people, people[1:] + people[:1], strict=True)]
    (tmp_path / "pairs.txt").write_text("\n".join(lines) + "\n")
    path = write_recipe(tmp_path, tmp_path / "faces.zip")
    path.write_text(
        path.read_text().replace("[views]", f"pairs = '{tmp_path / 'pairs.txt'}'\ntest_folds = [1, 2]\n[views]")
    )
    return path


def _name(person: int, number: int) -> str:
    return f"P{person}/P{person}_{number:04d}.jpg"


def test_a_sweep_tests_baselines_and_every_value(recipe: Path, tmp_path: Path) -> None:
    told: list[int] = []
    chosen = variants([recipe], "distill.pairwise=0,10", STAGE)
    rows = sweep(chosen, None, silent, lambda so_far: told.append(len(so_far)))
    names = [row.name for row in rows]
    assert names == [A, B, "sum", "concatenation", "tiny, distill.pairwise 0", "tiny, distill.pairwise 10"]
    assert [row.value for row in rows[4:]] == [0.0, 10.0]
    assert told == [5, 6], "all rows so far are told after every variant"
    assert len(rows[0].by_protocol) == 11, "clean, and five degradations of both pictures and of one"
    best = max(rows[:2], key=lambda row: row.degraded.value)
    assert best.against.ratio.value == pytest.approx(1), "errors are those of the better backbone"
    models = [load_fused(tmp_path / "runs" / variant.recipe.name / "fused.safetensors") for variant in chosen]
    first, second = (model.bottleneck.mu.weight for model in models)
    assert not torch.equal(first, second), "the value was set"


def test_recipes_that_begin_alike_do_not_train_their_beginning_twice(recipe: Path, tmp_path: Path) -> None:
    labels = ("vib.schedule.steps=1", "vib.schedule.batch=8", "vib.head=cosface")
    sweep(variants([recipe], "vib.beta=0,1e-3", (*STAGE, *labels)), 20, silent, lambda _rows: None)
    assert len(list((tmp_path / "runs/states").glob("*.safetensors"))) == 3, "one distillation, two by labels"


def test_a_sweep_leaves_trained_models_alone(recipe: Path) -> None:
    assert [variant.recipe.name for variant in variants([recipe], None, STAGE)] == ["sweep-tiny"]


@pytest.mark.parametrize("over", ["vib.beta", "vib.beta=", "vib.beta=1,,2", "=1"])
def test_values_that_are_none_are_refused(recipe: Path, over: str) -> None:
    with pytest.raises(EdgefrError, match="--over key=value"):
        variants([recipe], over, STAGE)


def test_two_recipes_of_one_name_are_refused(recipe: Path) -> None:
    with pytest.raises(EdgefrError, match="different names"):
        variants([recipe, recipe], None, STAGE)


def test_rows_are_read_as_they_were_written_and_shown_in_a_table(recipe: Path, tmp_path: Path) -> None:
    rows = sweep(variants([recipe], None, STAGE), 24, silent, lambda _rows: None)
    write_rows(tmp_path / "rows.json", rows)
    known: list[Row] = read_rows(tmp_path / "rows.json")
    assert known == rows
    table = rows_table("Ablation", known)
    assert [cells[0] for cells in table.rows] == [row.name for row in rows]
    assert f"{100 * rows[-1].clean.value:.2f}" in table.rows[-1][1]


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"name": "x"}]', "[" * 100_000])
def test_a_file_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "rows.json").write_text(text)
    with pytest.raises(EdgefrError, match="edgefr sweep"):
        read_rows(tmp_path / "rows.json")
