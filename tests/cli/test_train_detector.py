"""The command's own part; what it calls is tested in tests/train and tests/export."""

from __future__ import annotations

from pathlib import Path

import pytest


def test_a_recipe_that_lacks_something_is_one_sentence(edgefr, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("skimage")
    recipe = tmp_path / "spot.toml"
    recipe.write_text('name = "few"\n')
    assert "found it missing" in edgefr("train-detector", recipe).sentence
