"""APCER, BPCER and ACER after ISO/IEC 30107-3."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefr.evaluation.attack_rates import Scores, attack_rates, threshold_for_apcer


def scores(kind: str, values: list[float]) -> Scores:
    return Scores(kind, np.array(values, np.float32), np.array([f"person {n}" for n in range(len(values))]), 0)


LISTS = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=30)


def test_the_worst_species_counts() -> None:
    living = scores("bona fide", [0.9, 0.8, 0.4, 0.95])
    rates = attack_rates(living, [scores("print", [0.1, 0.6]), scores("screen", [0.2, 0.3, 0.1, 0.7])], 0.5)
    assert {kind: estimate.value for kind, estimate in rates.apcer.items()} == {"print": 0.5, "screen": 0.25}
    assert rates.bpcer.value == 0.25
    assert (rates.worst, rates.acer) == ("print", 0.375)


def test_a_score_at_the_threshold_is_a_living_face() -> None:
    rates = attack_rates(scores("bona fide", [0.5]), [scores("print", [0.5])], 0.5)
    assert (rates.apcer["print"].value, rates.bpcer.value) == (1.0, 0.0)


def test_no_error_among_few_people_is_no_proof() -> None:
    """With 30 people, 11.6 % of errors are seen in none of them once in forty times."""
    rates = attack_rates(scores("bona fide", [0.9] * 30), [scores("print", [0.9] * 30)], 0.5)
    assert rates.bpcer.ci95 == pytest.approx((0, 0.116), abs=1e-3)
    assert rates.apcer["print"].ci95 == pytest.approx((0.884, 1), abs=1e-3)


def test_many_pictures_of_few_people_prove_less_than_those_of_many() -> None:
    values = np.array([0.1, *[0.9] * 9] * 4, np.float32)
    many = Scores("bona fide", values, np.array([f"person {n}" for n in range(40)]), 0)
    few = Scores("bona fide", values, np.array(["Ada", *["Grace"] * 9] * 4), 0)
    attacks = [scores("print", [0.1])]
    (low, high), wide = (attack_rates(one, attacks, 0.5).bpcer.ci95 for one in (many, few))
    assert 0 < low < 0.1 < high < 0.3
    assert wide == (0, 1), "a resample may have Ada alone, or Grace alone"


@given(LISTS, LISTS, st.floats(0, 1))
def test_the_strict_threshold_is_the_lowest_that_keeps_the_rate(
    prints: list[float], screens: list[float], share: float
) -> None:
    attacks = [scores("print", prints), scores("screen", screens)]
    threshold = threshold_for_apcer(attacks, share)
    rates = attack_rates(scores("bona fide", [0.5]), attacks, threshold)
    assert max(estimate.value for estimate in rates.apcer.values()) <= share + 1e-6
    lower = [score for score in (*prints, *screens) if score < threshold]
    if lower:
        rates = attack_rates(scores("bona fide", [0.5]), attacks, float(np.float32(max(lower))))
        assert max(estimate.value for estimate in rates.apcer.values()) > share - 1e-6
