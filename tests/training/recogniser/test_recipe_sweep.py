"""A sweep trains what differs, tests it on the people held out, and keeps what was found."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgefr.data.lfw_pairs import read_pairs  # noqa: E402
from edgefr.errors import EdgefrError  # noqa: E402
from edgefr.evaluation.bootstrap import accuracy_difference, error_ratio  # noqa: E402
from edgefr.evaluation.variants import Row, read_rows, rows_table, write_rows  # noqa: E402
from edgefr.io.files import sha256_of  # noqa: E402
from edgefr.manifest import HeldOut, read_manifest  # noqa: E402
from edgefr.nn.fused_model import load_fused  # noqa: E402
from edgefr.training.common.parallel import World  # noqa: E402
from edgefr.training.common.progress import no_progress  # noqa: E402
from edgefr.training.recogniser.holdout_evaluation import A, B, HoldoutEvaluator  # noqa: E402
from edgefr.training.recogniser.recipe_sweep import expand_variants, sweep  # noqa: E402
from tests.training.tiny import write_recipe, write_weights  # noqa: E402

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
    chosen = expand_variants([recipe], "distill.pairwise=0,10", STAGE)
    rows = sweep(chosen, None, no_progress, lambda so_far: told.append(len(so_far)))
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
    manifest = read_manifest(tmp_path / "runs" / chosen[0].recipe.name / "fused.safetensors")
    faces, pairs = sha256_of(tmp_path / "faces.zip"), sha256_of(tmp_path / "pairs.txt")
    assert manifest.held_out == HeldOut(pairs, (1, 2), faces), "who may be evaluated on is known from now on"


def test_the_first_variant_stands_against_every_other_by_paired_intervals(recipe: Path, tmp_path: Path) -> None:
    """The same from the decisions of each model, tested alone."""
    chosen = expand_variants([recipe], "distill.pairwise=0,10", STAGE)
    rows = sweep(chosen, None, no_progress, lambda _rows: None)
    data, named = chosen[0].recipe.data, [pair for pair in read_pairs(tmp_path / "pairs.txt") if pair.fold <= 2]
    evaluator, right = HoldoutEvaluator(data, named, World(), no_progress), {}
    for variant in chosen:
        model = load_fused(tmp_path / "runs" / variant.recipe.name / "fused.safetensors")
        trials = [trial for trial in evaluator.trials(variant.name, model) if trial.degraded]
        people = np.concatenate([trial.comparisons[A].people for trial in trials])
        for name in trials[0].accuracy:
            right[name] = np.concatenate([trial.accuracy[name].right for trial in trials])
    first = chosen[0].name
    assert [row.judged is None for row in rows] == [row.name == first for row in rows]
    for row in rows:
        if row.judged is not None:
            assert row.judged.model == first
            assert row.judged.gain == accuracy_difference(right[first], right[row.name], people)
            assert row.judged.ratio == error_ratio(right[first], right[row.name], people)
    assert rows_table("", rows).header[-1] == f"{first}'s gain over it, points"


def test_variants_with_other_backbones_have_baselines_of_their_own(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = write_weights(tmp_path / "other/b.pt", 7)
    second = recipe.with_name("second.toml")
    text = recipe.read_text().replace('name = "tiny"', 'name = "second"')
    second.write_text(text.replace(str(tmp_path / "b.pt"), str(other)))
    chosen = expand_variants([recipe, second], None, STAGE)
    rows = sweep(chosen, 24, no_progress, lambda _rows: None)
    names = [row.name for row in rows]
    first, other = (variant.name for variant in chosen)
    assert names == [A, B, "sum", "concatenation", first, *(f"{key} of {other}" for key in names[:4]), other]
    ratio = {row.name: row.against.ratio.value for row in rows}
    assert min(ratio[A], ratio[B]) == min(ratio[f"{A} of {other}"], ratio[f"{B} of {other}"]) == 1
    assert rows[5].by_protocol == rows[0].by_protocol, "the same backbone A"
    assert rows[6].by_protocol != rows[1].by_protocol, "another backbone B"


def test_another_process_than_the_first_trains_and_leaves_the_rest(recipe: Path) -> None:
    told: list[object] = []
    assert sweep(expand_variants([recipe], None, STAGE), None, no_progress, told.append, World(rank=1)) == []
    assert told == []


@pytest.mark.parametrize("kept", [0, 1 << 18, 1 << 30])
def test_the_feature_cache_is_bounded_and_does_not_change_results(recipe: Path, monkeypatch, kept: int) -> None:
    (variant,) = expand_variants([recipe], None, STAGE)
    sweep([variant], 24, no_progress, lambda _rows: None)
    model = load_fused(variant.recipe.runs / variant.recipe.name / "fused.safetensors")
    named = [pair for pair in read_pairs(variant.recipe.data.pairs) if pair.fold <= 2][::8]
    monkeypatch.setattr("edgefr.training.recogniser.holdout_evaluation.CACHE_BYTES", kept)
    seen, see = [], type(model).backbone_features
    monkeypatch.setattr(type(model), "backbone_features", lambda net, image: seen.append(len(image)) or see(net, image))
    evaluator = HoldoutEvaluator(variant.recipe.data, named, World(), no_progress)
    first, again = (evaluator.trials("x", model)[3].comparisons["x"].similarity for _ in range(2))
    assert np.array_equal(first, again)
    assert sum(part.nbytes for seen in evaluator._cache.values() for part in seen) <= kept
    asked = len({name for pair in named for name in (pair.first, pair.second)}) * 6
    assert sum(seen) == (asked if kept == 1 << 30 else 2 * asked)


@pytest.mark.parametrize(
    ("over", "settings", "limit", "sentence"),
    [
        ("data.test_folds=[1],[2]", (), None, "the same data.faces, data.pairs and data.test_folds"),
        ("vib.beta=0,1", ("data.test_folds=[]",), None, "test pairs of at least two folds"),
        ("vib.beta=0,1", ("data.test_folds=[1]",), None, "at least two folds, .* found 32 of 1"),
        ("vib.beta=0,1", (), 1, "found 1 of 1. .* --limit"),
        ("distill.schedule.batch=8,4096", (), None, "4096"),
    ],
)
def test_variants_that_would_fail_after_training_are_refused_before(
    recipe: Path, tmp_path: Path, over: str, settings: tuple[str, ...], limit: int | None, sentence: str
) -> None:
    chosen = expand_variants([recipe], over, (*STAGE, "vib.schedule.steps=1", "vib.schedule.batch=8", *settings))
    with pytest.raises(EdgefrError, match=sentence):
        sweep(chosen, limit, no_progress, lambda _rows: None)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("setting", "values", "sentence"),
    [("a.checkpoint", "a.pt,none.pt", r"none\.pt"), ("fusion.embedding_dim", "16,12", r"fusion\.embedding_dim")],
)
def test_a_variant_that_cannot_be_put_together_is_found_before_any_is_trained(
    recipe: Path, tmp_path: Path, monkeypatch, setting: str, values: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edgefr.training.recogniser.recipe_sweep.train_fused", lambda *_: pytest.fail("trained"))
    chosen = expand_variants([recipe], f"{setting}={values}", STAGE)
    with pytest.raises(EdgefrError, match=sentence):
        sweep(chosen, None, no_progress, lambda _rows: None)


def test_variants_share_equal_first_stages(recipe: Path, tmp_path: Path) -> None:
    labels = ("vib.schedule.steps=1", "vib.schedule.batch=8", "vib.head=cosface")
    sweep(expand_variants([recipe], "vib.beta=0,1e-3", (*STAGE, *labels)), 20, no_progress, lambda _rows: None)
    assert len(list((tmp_path / "runs/states").glob("*.safetensors"))) == 3, "one distillation, two by labels"


def test_a_sweep_leaves_trained_models_alone(recipe: Path) -> None:
    plain = recipe.with_name("plain.toml")
    plain.write_text(recipe.read_text() + "[distill.schedule]\nsteps = 2\n")
    assert [variant.recipe.name for variant in expand_variants([plain], None, ())] == ["sweep-tiny"]


def test_other_settings_have_their_own_folder(recipe: Path) -> None:
    names = {
        variant.recipe.name
        for settings in (STAGE, ("distill.schedule.steps=3",))
        for over in (None, "vib.beta=0")
        for variant in expand_variants([recipe], over, (*settings, "vib.schedule.steps=1"))
    }
    assert len(names) == 4
    assert all(name.startswith("sweep-tiny-") for name in names)


@pytest.mark.parametrize("over", ["vib.beta", "vib.beta=", "vib.beta=1,,2", "=1"])
def test_values_that_are_none_are_refused(recipe: Path, over: str) -> None:
    with pytest.raises(EdgefrError, match="--over key=value"):
        expand_variants([recipe], over, STAGE)


def test_two_recipes_of_one_name_are_refused(recipe: Path) -> None:
    with pytest.raises(EdgefrError, match="different names"):
        expand_variants([recipe, recipe], None, STAGE)


def test_rows_are_read_as_they_were_written_and_shown_in_a_table(recipe: Path, tmp_path: Path) -> None:
    rows = sweep(expand_variants([recipe], None, STAGE), 24, no_progress, lambda _rows: None)
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


def test_rows_of_before_the_first_was_set_against_the_others_are_read(tmp_path: Path) -> None:
    none = {"value": 0.9, "ci95": [0.8, 1.0]}
    row = {"name": "x", "value": None, "clean": none, "degraded": none, "by_protocol": {"clean": none}}
    row["against"] = {"ratio": none, "better": A, "gain": none}
    (tmp_path / "rows.json").write_text(json.dumps([row]))
    (known,) = read_rows(tmp_path / "rows.json")
    assert known.judged is None
    assert len(rows_table("", [known]).header) == 5
