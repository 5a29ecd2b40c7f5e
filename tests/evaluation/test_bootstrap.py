"""Differences of accuracies have intervals over people."""

from __future__ import annotations

import numpy as np
import pytest

from edgefr.evaluation.bootstrap import accuracy_difference


def test_the_difference_lies_in_its_interval() -> None:
    rng = np.random.default_rng(0)
    right, other = rng.random(500) < 0.9, rng.random(500) < 0.8
    people = rng.integers(0, 100, (500, 2)).astype(str)
    found = accuracy_difference(right, other, people)
    assert found.value == pytest.approx(right.mean() - other.mean())
    assert found.ci95[0] < found.value < found.ci95[1]
    assert found.ci95[0] > 0


def test_errors_on_one_person_give_a_wide_interval() -> None:
    """The same gain: spread over people it is sure, gathered on one person it may be chance."""
    other = np.ones(400, bool)
    other[:40] = False
    right = np.ones(400, bool)
    spread = np.arange(400).repeat(2).reshape(-1, 2).astype(str)
    gathered = spread.copy()
    gathered[:40] = "one"
    assert accuracy_difference(right, other, spread).ci95[0] > 0
    assert accuracy_difference(right, other, gathered).ci95[0] == 0


def test_equal_systems_differ_by_nothing() -> None:
    right = np.array([True, False, True])
    found = accuracy_difference(right, right, np.array([["a", "b"], ["b", "b"], ["c", "a"]]))
    assert (found.value, found.ci95) == (0, (0, 0))
