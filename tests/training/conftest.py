"""Faces and nets for training in no time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from edgefr.nn.architectures import ARCHITECTURES  # noqa: E402
from edgefr.nn.fusion import EmbeddingMlp  # noqa: E402
from edgefr.training.common.recipes import FusionRecipe  # noqa: E402
from tests.training import tiny  # noqa: E402


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zip of generated faces."""
    return tiny.write_faces(tmp_path_factory.mktemp("faces") / "faces.zip")


@pytest.fixture
def nets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny nets among the architectures."""
    for name, net in tiny.NETS.items():
        monkeypatch.setitem(ARCHITECTURES, name, net)
    monkeypatch.setattr(EmbeddingMlp, "width", tiny.MLP_WIDTH)


@pytest.fixture
def recipe(nets: None, faces: Path, tmp_path: Path) -> Callable[..., FusionRecipe]:
    """`recipe("vib.schedule.steps=3", ...)`: a recipe of tiny nets."""
    return lambda *settings: tiny.tiny_recipe(tmp_path, faces, *settings)
