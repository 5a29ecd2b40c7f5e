"""Whom a model was trained on is known by its manifest: doubts name the folds to give."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefr.cli.options import folds_of
from edgefr.evaluation.train_test_overlap import common_folds, format_folds, overlap_warnings
from edgefr.manifest import HeldOut

KNOWN = {"fused": HeldOut("lfw", (6, 7, 8), "faces"), "mlp": HeldOut("lfw", (7, 8, 10), "faces")}
NOBODY = {"all": HeldOut(None, (), "faces")}
SETS = {"lfw.zip": Path("faces"), "others.zip": Path("others")}


def doubted(known: dict[str, HeldOut], pairs: str | None, folds: Collection[int]) -> list[str]:
    return overlap_warnings(known, pairs, folds, SETS, lambda path: path.name)


def test_the_folds_that_all_models_held_out() -> None:
    assert common_folds(KNOWN, "lfw") == (7, 8)
    assert common_folds(KNOWN | {"other": HeldOut("cfp", (1,), "x")}, "lfw") == (7, 8), "of other pairs: not asked"
    assert common_folds(KNOWN, "cfp") == ()
    assert common_folds({}, "lfw") == ()


def test_folds_that_were_trained_on_give_a_warning() -> None:
    assert doubted(KNOWN, "lfw", {7, 8}) == []
    (doubt,) = doubted(KNOWN, "lfw", {6, 7})
    assert doubt.startswith("mlp was trained on people of folds 6,")
    assert doubt.endswith("give --folds 7-8,10 for those held out")
    assert len(doubted(KNOWN, "lfw", range(1, 11))) == 2


def test_the_same_faces_without_the_pairs_give_a_warning() -> None:
    for pairs in ("cfp", None):
        doubt = doubted(KNOWN, pairs, {7})[0]
        assert doubt.startswith("fused was trained on people of lfw.zip,")
        assert "--pairs (SHA-256 lfw), and --folds 6-8" in doubt
    assert overlap_warnings(KNOWN, None, (), {"others.zip": Path("others")}, lambda path: path.name) == []
    (doubt,) = doubted(NOBODY, "lfw", {7})
    assert "take other people" in doubt


def test_a_digest_is_computed_only_if_it_is_needed() -> None:
    assert overlap_warnings(KNOWN, "lfw", {7, 8}, SETS, lambda _: pytest.fail("asked")) == []
    assert overlap_warnings({}, None, (), SETS, lambda _: pytest.fail("asked")) == []


@settings(deadline=None)
@given(st.sets(st.integers(1, 20), min_size=1))
def test_formatted_folds_are_accepted_by_the_option(folds: set[int]) -> None:
    assert folds_of(format_folds(folds)) == folds
    assert format_folds({1, 3, 6, 7, 8, 9, 10}) == "1,3,6-10"
