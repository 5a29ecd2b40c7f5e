"""Error against discard equals a count from scratch, its area tells good signals from poor ones, and limits hold."""

from __future__ import annotations

import json
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefr.errors import EdgefrError
from edgefr.evaluation.error_rates import Comparisons
from edgefr.evaluation.error_versus_discard import (
    area_difference,
    discard_curve,
    pair_quality,
    quality_limit,
    threshold_at_fnmr,
)
from edgefr.evaluation.pairs import Pairs
from edgefr.manifest import Manifest, QualityLimit

THRESHOLD = 0.5


def genuine(similarity: np.ndarray, people: np.ndarray | None = None) -> Comparisons:
    people = np.arange(len(similarity)) if people is None else people
    both = np.stack([people, people], 1).astype(np.int64)
    return Comparisons(similarity.astype(np.float32), np.ones(len(similarity), bool), both)


def degraded(count: int = 600, seed: int = 0) -> tuple[Comparisons, np.ndarray]:
    """Genuine comparisons that fail more often the lower their quality."""
    rng = np.random.default_rng(seed)
    quality = rng.random(count).astype(np.float32)
    return genuine(0.4 + 0.5 * quality + 0.1 * rng.normal(size=count)), quality


def after_discarding(fails: tuple[bool, ...], quality: list[int], gone: int) -> float:
    """From scratch: the mean FNMR of what remains over every order that breaks equal qualities differently."""
    orders = {tuple(sorted(shuffled, key=lambda i: quality[i])) for shuffled in permutations(range(len(fails)))}
    return float(np.mean([np.mean([fails[i] for i in order[gone:]]) for order in orders]))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 2)), min_size=5, max_size=5).filter(
        lambda x: 0 < sum(y for y, _ in x) < 5
    )
)
def test_the_curve_is_the_mean_rate_over_the_orders_of_equal_qualities(drawn: list[tuple[bool, int]]) -> None:
    fails, quality = zip(*drawn, strict=True)
    similarity = np.where(fails, 0.2, 0.8)
    curve = discard_curve(genuine(similarity), np.array(quality, np.float32), THRESHOLD, upto=0.8)
    for gone in range(5):
        found = np.interp(gone / 5, curve.discarded, curve.fnmr)
        assert found == pytest.approx(after_discarding(fails, list(quality), gone))


def test_a_perfect_signal_is_ideal_and_a_useless_one_is_not() -> None:
    comparisons, quality = degraded()
    knows = discard_curve(comparisons, comparisons.similarity, THRESHOLD)
    assert knows.relative.value == pytest.approx(0)
    assert np.allclose(knows.fnmr, knows.ideal)
    nothing = discard_curve(comparisons, np.zeros_like(quality), THRESHOLD)
    assert nothing.relative.value == pytest.approx(1)
    assert nothing.relative.ci95 == pytest.approx((1, 1))
    assert np.allclose(nothing.fnmr, nothing.fnmr[0])
    good, reversed_ = (discard_curve(comparisons, signal, THRESHOLD) for signal in (quality, -quality))
    assert 0 < good.relative.value < 0.5
    assert reversed_.relative.value > 1
    assert good.area.value < good.fnmr[0] < reversed_.area.value


def test_the_ideal_discards_exactly_what_fails() -> None:
    similarity = np.where(np.arange(100) < 10, 0.2, 0.8)
    curve = discard_curve(genuine(similarity), np.zeros(100, np.float32), THRESHOLD, upto=0.2)
    assert np.interp([0, 0.05, 0.1, 0.2], curve.discarded, curve.ideal) == pytest.approx([0.1, 5 / 95, 0, 0])


def test_impostors_do_not_matter() -> None:
    comparisons, quality = degraded()
    with_impostors = Comparisons(
        np.append(comparisons.similarity, np.float32([0.1, 0.9])),
        np.append(comparisons.same, [False, False]),
        np.append(comparisons.people, [[0, 1], [2, 3]], 0),
    )
    alone = discard_curve(comparisons, quality, THRESHOLD)
    beside = discard_curve(with_impostors, np.append(quality, np.float32([0, 1])), THRESHOLD)
    assert np.array_equal(alone.fnmr, beside.fnmr)


def test_failures_of_one_person_give_a_wide_interval() -> None:
    similarity, quality = np.where(np.arange(200) < 20, 0.2, 0.8), np.zeros(200, np.float32)
    spread = discard_curve(genuine(similarity), quality, THRESHOLD).area
    gathered = discard_curve(genuine(similarity, np.maximum(np.arange(200), 19)), quality, THRESHOLD).area
    assert spread.ci95[0] > 0.04
    assert gathered.ci95[0] == 0


def test_the_interval_covers_the_truth_in_about_95_percent() -> None:
    truth = discard_curve(*degraded(20_000, seed=99), THRESHOLD).area.value
    covered = [
        low <= truth <= high
        for low, high in (discard_curve(*degraded(200, seed), THRESHOLD).area.ci95 for seed in range(30))
    ]
    assert np.mean(covered) >= 0.85


def test_a_better_signal_has_the_smaller_area_and_a_paired_interval() -> None:
    comparisons, quality = degraded()
    blurred = quality + np.random.default_rng(1).normal(0, 0.3, len(quality)).astype(np.float32)
    gain = area_difference(comparisons, quality, blurred, THRESHOLD)
    areas = [discard_curve(comparisons, signal, THRESHOLD).area for signal in (quality, blurred)]
    assert gain.value == pytest.approx(areas[0].value - areas[1].value)
    assert gain.ci95[0] < gain.value < gain.ci95[1] < 0
    unpaired = sum(area.ci95[1] - area.ci95[0] for area in areas)
    assert gain.ci95[1] - gain.ci95[0] < unpaired / 2
    same = area_difference(comparisons, quality, quality, THRESHOLD)
    assert (same.value, same.ci95) == (0, (0, 0))


def test_a_pair_is_as_good_as_its_poorer_picture() -> None:
    pairs = Pairs(np.array([0, 1]), np.array([1, 2]), np.array([True, True]))
    assert pair_quality(np.float32([3, 1, 2]), pairs).tolist() == [1, 1]


def test_unusable_signals_and_thresholds_are_refused() -> None:
    comparisons, quality = degraded(20)
    with pytest.raises(EdgefrError, match="a quality for each of 20 comparisons, found 0 NaN among"):
        discard_curve(comparisons, quality[:5], THRESHOLD)
    with pytest.raises(EdgefrError, match="found 1 NaN"):
        discard_curve(comparisons, np.append(quality[1:], np.float32(np.nan)), THRESHOLD)
    with pytest.raises(EdgefrError, match="found that 0 of 20 do"):
        discard_curve(comparisons, quality, -0.9)
    with pytest.raises(EdgefrError, match="found that 20 of 20 do"):
        discard_curve(comparisons, quality, 2)


@given(st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4]), min_size=1, max_size=30), st.floats(0, 0.99))
def test_at_most_the_share_asked_for_fails_at_the_threshold(similarity: list[float], fnmr: float) -> None:
    comparisons = genuine(np.array(similarity))
    threshold = threshold_at_fnmr(comparisons, fnmr)
    assert np.mean(comparisons.similarity < threshold) <= fnmr + 1e-12
    higher = np.nextafter(np.float32(threshold), np.float32(1))
    assert np.mean(comparisons.similarity < higher) > fnmr - 1e-12


def test_a_limit_is_reached_by_all_but_the_share_to_discard() -> None:
    quality = np.random.default_rng(0).normal(size=5000).astype(np.float32)
    limit = quality_limit(quality, 0.01)
    assert 0.0095 < np.mean(quality < limit) <= 0.01
    assert quality_limit(np.ones(5000, np.float32)) == 1  # equals pass together
    with pytest.raises(EdgefrError, match=r"at least 3,000 faces .* found 2,999"):
        quality_limit(quality[:2999], 0.01)


LIMIT = QualityLimit("certainty", 4.5, "a test")


def test_a_limit_survives_a_manifest_and_may_be_absent() -> None:
    manifest = Manifest("onnx", "x", quality=LIMIT)
    assert Manifest.from_json(manifest.to_json(), "test") == manifest
    older = json.loads(manifest.to_json())
    del older["quality"]
    assert Manifest.from_json(json.dumps(older), "test").quality is None


@pytest.mark.parametrize("entry", [{"limit": "NaN"}, {"limit": 10**400}, {"signal": "beauty"}, {"signal": ["norm"]}])
def test_a_malformed_limit_is_refused(entry: dict[str, object]) -> None:
    """One that is not a number would let every face pass."""
    raw = json.loads(Manifest("onnx", "x", quality=LIMIT).to_json())
    raw["quality"] |= entry
    with pytest.raises(EdgefrError, match="expected an edgefr manifest in test"):
        Manifest.from_json(json.dumps(raw), "test")
