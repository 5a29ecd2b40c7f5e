"""`edgefr sweep --plot` draws a line a recipe, and refuses before training what it could not draw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from edgefr.cli.sweep import _draw
from edgefr.evaluation.bootstrap import Estimate
from edgefr.evaluation.figures import BackboneComparison
from edgefr.evaluation.plots import Series
from edgefr.evaluation.variants import Row
from edgefr.training.recogniser.recipe_sweep import expand_variants
from tests.training import tiny

STAGE = ("distill.schedule.steps=1", "distill.schedule.batch=8")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return tiny.write_recipe(tmp_path, tmp_path / "faces.zip")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--plot", "a.png"], "expected --over"),
        (["--plot", "a.txt", "--over", "seed=1,2"], "ends in .png, .svg or .pdf"),
        (["--plot", "a.png", "--over", "name=a,b"], "found a. Leave out --plot or the value"),
        (["--plot", "a.png", "--over", "views.clean=0.5,nan"], "0 to 1"),
    ],
)
def test_a_plot_that_cannot_be_is_refused_before_faces_are_even_looked_for(
    edgefr, recipe: Path, options: list[str], sentence: str
) -> None:
    pytest.importorskip("matplotlib")
    settings = [part for setting in STAGE for part in ("--set", setting)]
    assert sentence in edgefr("sweep", recipe, *settings, *options).sentence


def test_every_recipe_is_a_line_that_rises_in_its_values(recipe: Path, tmp_path: Path, monkeypatch) -> None:
    other = recipe.with_name("other.toml")
    other.write_text(recipe.read_text().replace('name = "tiny"', 'name = "other"'))
    chosen = expand_variants([recipe, other], "distill.pairwise=10,0,1", STAGE)
    exactly = Estimate(0.5, (0.4, 0.6))
    against = BackboneComparison(exactly, "A", exactly)

    def row(name: str, value: float) -> Row:
        clean = Estimate(value / 100, (0, 1))
        return Row(name, value, clean, exactly, against, None, {})

    drawn: list[tuple[str, list[Series]]] = []
    monkeypatch.setattr(
        "edgefr.evaluation.plots.plot_line_panels", lambda _path, panels, *_more, **_named: drawn.extend(panels)
    )
    rows = [row("backbone A", 0), *(row(variant.name, float(variant.value)) for variant in chosen)]
    _draw(tmp_path / "a.png", rows, chosen, "distill.pairwise")
    assert [title for title, _ in drawn] == ["clean", "degraded"]
    for series in drawn[0][1]:
        assert np.allclose(series.x, [0.1, 1, 10]), "0 a decade below the smallest"
        assert np.allclose(series.y, [0, 1, 10]), "each value with its own accuracy"
    assert [series.name for series in drawn[0][1]] == ["tiny", "other"]
