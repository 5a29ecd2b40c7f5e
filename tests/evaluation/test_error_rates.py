"""Rates equal scikit-learn's and a count from scratch, and their intervals cover the truth as often as they say."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefr.errors import EdgefrError
from edgefr.evaluation import error_rates as rates
from edgefr.evaluation.bootstrap import Estimate, PairWeights, draws, error_ratio, interval
from edgefr.evaluation.error_curve import RANKS
from edgefr.evaluation.error_rates import (
    FAILURE,
    Comparisons,
    accuracy,
    det_curve,
    equal_error_rate,
    tar_at_far,
)


def some(seed: int, count: int = 3000, people: int = 200, digits: int = 6) -> Comparisons:
    """Comparisons of a system that errs; with few digits many are equal."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, people, count)
    same = rng.random(count) < 0.4
    second = np.where(same, first, (first + rng.integers(1, people, count)) % people)
    similarity = np.clip(0.2 * rng.normal(size=count) + 0.5 * same, -0.9, 1)
    return Comparisons(np.round(similarity, digits).astype(np.float32), same, np.column_stack([first, second]))


def with_failures(comparisons: Comparisons, share: float) -> Comparisons:
    failed = np.random.default_rng(3).random(len(comparisons.same)) < share
    similarity = np.where(failed, np.float32(FAILURE), comparisons.similarity)
    return Comparisons(similarity, comparisons.same, comparisons.people)


def counted(comparisons: Comparisons, threshold: float) -> tuple[float, float]:
    """From scratch: FMR and FNMR."""
    kinds = {True: [0, 0], False: [0, 0]}
    for similarity, same in zip(comparisons.similarity.tolist(), comparisons.same.tolist(), strict=True):
        kinds[same][similarity >= threshold] += 1
    return kinds[False][1] / sum(kinds[False]), kinds[True][0] / sum(kinds[True])


def tar_counted(comparisons: Comparisons, far: float) -> float:
    """From scratch: the best of all thresholds that keep the rate."""
    found = ((counted(comparisons, t), t) for t in np.unique(comparisons.similarity).tolist() if t > FAILURE)
    return max((1 - fnmr for (fmr, fnmr), _ in found if fmr <= far), default=0.0)


@pytest.mark.parametrize("digits", [1, 2, 6])
@pytest.mark.parametrize("failures", [0, 0.1])
def test_rates_are_those_of_scikit_learn(digits: int, failures: float) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    comparisons = with_failures(some(digits, digits=digits), failures)
    fmr, tar, threshold = metrics.roc_curve(comparisons.same, comparisons.similarity, drop_intermediate=False)
    for far in (0.02, 0.1, 0.3):
        found = tar_at_far(comparisons, far)
        usable = (fmr <= far) & (threshold > FAILURE)
        assert found.tar.value == pytest.approx(tar[usable].max(), abs=1e-12)
        assert found.impostors == int((~comparisons.same).sum())
    ahead = 1 - tar - fmr  # falls through 0 at the equal error rate
    after = int(np.argmax(ahead <= 0))
    part = ahead[after - 1] / (ahead[after - 1] - ahead[after])
    expected = fmr[after - 1] + part * (fmr[after] - fmr[after - 1])
    assert equal_error_rate(comparisons).value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("digits", [1, 5])
def test_rates_are_those_of_a_count_from_scratch(digits: int) -> None:
    comparisons = with_failures(some(5, 400, 40, digits), 0.05)
    curve = det_curve(comparisons)
    for threshold, fmr, fnmr in list(zip(curve.threshold, curve.fmr, curve.fnmr, strict=True))[::7]:
        assert counted(comparisons, float(threshold)) == pytest.approx((fmr, fnmr))
    for far in (0.15, 0.5):
        found = tar_at_far(comparisons, far)
        fmr, fnmr = counted(comparisons, found.threshold)
        assert fmr <= far
        assert found.tar.value == pytest.approx(1 - fnmr) == pytest.approx(tar_counted(comparisons, far))


def test_equal_similarities_pass_or_fail_together() -> None:
    same = np.repeat([True, False], 100)
    similarity = np.concatenate([np.full(100, 0.5), np.full(100, 0.5)]).astype(np.float32)
    comparisons = Comparisons(similarity, same, np.arange(400).reshape(200, 2))
    assert tar_at_far(comparisons, 0.5).tar.value == 0
    assert equal_error_rate(comparisons).value == 0.5


def test_a_rate_that_is_reached_exactly_is_kept() -> None:
    """0.29 x 200 is less than 58 to a computer."""
    similarity = np.linspace(0, 0.9, 201, dtype=np.float32)
    comparisons = Comparisons(similarity, np.arange(201) == 200, np.arange(402).reshape(-1, 2))
    found = tar_at_far(comparisons, 0.29)
    assert int((similarity[:200] >= found.threshold).sum()) == 58


def test_a_face_that_was_not_found_is_no_match_at_any_threshold() -> None:
    clean = some(1)
    failing = with_failures(clean, 0.2)
    lost = failing.similarity == FAILURE
    curve = det_curve(failing)
    assert curve.threshold.min() > FAILURE
    assert curve.fnmr.min() == pytest.approx(lost[failing.same].mean())
    assert curve.fmr.max() == pytest.approx(1 - lost[~failing.same].mean())
    assert tar_at_far(failing, 0.9).tar.value < 0.85
    folds = np.arange(len(lost)) % 10
    right = accuracy(failing, folds).right
    assert not right[lost & failing.same].any()
    assert right[lost & ~failing.same].all()


def test_no_threshold_is_chosen_that_would_accept_failures() -> None:
    """Not even where that would be right most often."""
    mostly_lost = np.array([FAILURE, FAILURE, FAILURE, 0.5])
    assert rates.best_threshold(mostly_lost, np.array([True, True, True, False])) > 0.5
    assert rates.best_threshold(mostly_lost, np.ones(4, bool)) > FAILURE


def test_no_face_was_found_in_any_picture() -> None:
    comparisons = with_failures(some(1, 500), 1)
    assert tar_at_far(comparisons, 0.5).tar.value == 0
    assert accuracy(comparisons, np.arange(500) % 5).estimate.value == pytest.approx((~comparisons.same).mean())
    assert len(det_curve(comparisons).threshold) == 0


def test_a_rate_that_the_comparisons_cannot_support_is_refused_with_the_number_needed() -> None:
    comparisons = some(0, 1000)
    with pytest.raises(EdgefrError, match=r"at least 3,000,000 impostor comparisons .* found \d\d\d\. Give more"):
        tar_at_far(comparisons, 1e-5)
    just = np.arange(3100) < 100
    enough = Comparisons(np.linspace(-0.5, 1, 3100, dtype=np.float32), just, np.arange(6200).reshape(-1, 2))
    assert tar_at_far(enough, 0.01).impostors == 3000
    with pytest.raises(EdgefrError, match="found 3,000"):
        tar_at_far(enough, 0.00999)
    for far in (0, 1, -1, float("nan")):
        with pytest.raises(EdgefrError, match="between 0 and 1"):
            tar_at_far(comparisons, far)


@pytest.mark.parametrize("kind", [True, False])
def test_comparisons_of_one_kind_only_are_refused(kind: bool) -> None:
    one = Comparisons(np.zeros(3, np.float32), np.full(3, kind), np.zeros((3, 2), np.int64))
    with pytest.raises(EdgefrError, match="expected genuine and impostor comparisons"):
        equal_error_rate(one)
    with pytest.raises(EdgefrError, match="expected"):
        det_curve(one)


def test_arrays_that_do_not_fit_together_are_refused() -> None:
    three, people = np.zeros(3, np.float32), np.zeros((3, 2), np.int64)
    for wrong in (
        (three.astype(np.float64), np.ones(3, bool), people),
        (three, np.ones(2, bool), people),
        (three, np.ones(3, bool), people[:, :1]),
    ):
        with pytest.raises(EdgefrError, match="expected comparisons as float32"):
            Comparisons(*wrong)
    with pytest.raises(EdgefrError, match="the similarity -1"):
        Comparisons(np.array([0, np.nan, 1], np.float32), np.ones(3, bool), people)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 3, 6]))
def test_rates_do_not_change_with_the_scale_of_similarity(seed: int, digits: int) -> None:
    """Any rising transform keeps order and ties, and so every figure and its interval."""
    before = some(seed, 600, 60, digits)
    cubed = np.sign(before.similarity) * np.abs(before.similarity.astype(np.float64)) ** 1.5 / 2 + 0.1
    _, place = np.unique(before.similarity, return_inverse=True)
    after = Comparisons(cubed.astype(np.float32), before.same, before.people)
    assert (np.unique(after.similarity, return_inverse=True)[1] == place).all()
    assert equal_error_rate(before) == equal_error_rate(after)
    assert tar_at_far(before, 0.2).tar == tar_at_far(after, 0.2).tar


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 3, 6]), st.sampled_from([0, 0.1, 0.5]))
def test_the_curve_is_monotone_and_more_false_matches_allow_more_true_ones(
    seed: int, digits: int, failures: float
) -> None:
    comparisons = with_failures(some(seed, 700, 60, digits), failures)
    curve = det_curve(comparisons)
    assert len(curve.threshold) <= 500
    assert (np.diff(curve.threshold) > 0).all()
    assert (np.diff(curve.fmr) <= 0).all()
    assert (np.diff(curve.fnmr) >= 0).all()
    tars = [tar_at_far(comparisons, far).tar for far in (0.1, 0.2, 0.4, 0.8)]
    assert all(a.value <= b.value for a, b in pairwise(tars))
    for estimate in (*tars, equal_error_rate(comparisons)):
        low, high = estimate.ci95
        assert 0 <= low <= high <= 1
        assert low - 0.02 <= estimate.value <= high + 0.02


def test_the_levels_of_the_resampled_curves_lose_nothing_that_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgefr.evaluation import error_curve as curve

    assert RANKS > 1000
    found = {}
    for ranks in (300, 10_000):
        monkeypatch.setattr(curve, "RANKS", ranks)
        comparisons = some(4)
        found[ranks] = np.array([equal_error_rate(comparisons).ci95, tar_at_far(comparisons, 0.1).tar.ci95])
    np.testing.assert_allclose(found[300], found[10_000], atol=2e-3)


def test_each_fold_is_decided_with_the_threshold_that_is_best_on_the_others() -> None:
    comparisons = some(2, 300)
    folds = np.arange(300) % 3
    found = accuracy(comparisons, folds)
    right = np.empty(300, bool)
    for fold in range(3):
        train, test = folds != fold, folds == fold
        grid = np.linspace(-0.99, 1.01, 20_001)
        shares = [((comparisons.similarity[train] >= t) == comparisons.same[train]).mean() for t in grid[::10]]
        best = max(shares)
        threshold = rates.best_threshold(comparisons.similarity[train].astype(np.float64), comparisons.same[train])
        reached = ((comparisons.similarity[train] >= threshold) == comparisons.same[train]).mean()
        assert reached >= best
        right[test] = (comparisons.similarity[test] >= threshold) == comparisons.same[test]
    assert (found.right == right).all()
    assert found.estimate.value == pytest.approx(right.mean())
    assert found.fold_std == pytest.approx(np.std([right[folds == fold].mean() for fold in range(3)]))
    assert found.estimate.ci95[0] < found.estimate.value < found.estimate.ci95[1]
    with pytest.raises(EdgefrError, match="at least two folds"):
        accuracy(comparisons, np.zeros(300, np.int64))


def test_all_pictures_are_compared_with_all_once() -> None:
    rng = np.random.default_rng(0)
    embedding = rng.normal(size=(280, 8)).astype(np.float32)
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    labels = rng.integers(5, 50, 280)
    embedding[17] = np.nan
    found = rates.compare_all(embedding, labels)
    first, second = np.triu_indices(280, 1)
    expected = {
        (a, b): FAILURE if 17 in (a, b) else float(embedding[a] @ embedding[b])
        for a, b in zip(first.tolist(), second.tolist(), strict=True)
    }
    assert len(found.same) == len(expected) == 280 * 279 // 2
    np.testing.assert_allclose(np.sort(found.similarity), np.sort(list(expected.values())), atol=1e-6)
    np.testing.assert_array_equal(found.same, found.people[:, 0] == found.people[:, 1])
    pairs = np.sort(np.column_stack([labels[first], labels[second]]), axis=1)
    assert sorted(map(tuple, np.sort(found.people, axis=1).tolist())) == sorted(map(tuple, pairs.tolist()))
    assert (found.similarity == FAILURE).sum() == 279


def test_too_many_images_are_refused_before_any_work() -> None:
    with pytest.raises(EdgefrError, match="Give at most 14,142 images"):
        rates.compare_all(np.zeros((14_143, 1), np.float32), np.zeros(14_143, np.int64))


def test_a_pair_weighs_as_often_as_both_people_were_drawn() -> None:
    people = np.array([[7, 7], [7, 90], [90, 3]])
    pairs = PairWeights.of(people)
    for drawn in draws(pairs.count, 50):
        counts = dict(zip((3, 7, 90), drawn.tolist(), strict=False))
        assert sum(counts.values()) == 3
        assert pairs.weights(drawn).tolist() == [counts[7], counts[7] * counts[90], counts[90] * counts[3]]


def test_intervals_are_over_people_and_not_over_pairs() -> None:
    """Each person's images are alike: twenty comparisons of one say hardly more than one of them."""
    rng = np.random.default_rng(0)
    easy = rng.random(60) < 0.8
    similarity = np.concatenate([np.repeat(np.where(easy, 0.6, 0.1), 20), rng.normal(0, 0.1, 1200)]).astype(np.float32)
    same = np.arange(2400) < 1200
    strangers = 1000 + np.arange(2400).reshape(1200, 2)
    by_person = np.concatenate([np.repeat(np.arange(60), 20)[:, None].repeat(2, 1), strangers])
    alone = np.concatenate([np.arange(1200)[:, None].repeat(2, 1) + 10_000, strangers])
    widths = []
    for people in (by_person, alone):
        low, high = tar_at_far(Comparisons(similarity, same, people), 0.05).tar.ci95
        widths.append(high - low)
    assert widths[0] > 2.5 * widths[1]


def planted(seed: int) -> Comparisons:
    """80 people who are more or less hard, with 6 genuine comparisons and 20 impostor ones each."""
    rng = np.random.default_rng(seed)
    ease = rng.normal(0, 0.15, 80)
    genuine = np.repeat(np.arange(80), 6)
    first, second = np.repeat(np.arange(80), 20), rng.integers(0, 79, 1600)
    second += second >= first
    similarity = np.concatenate(
        [
            0.5 + ease[genuine] + rng.normal(0, 0.1, 480),
            0.5 * (ease[first] + ease[second]) + rng.normal(0, 0.1, 1600),
        ]
    )
    people = np.concatenate([np.column_stack([genuine] * 2), np.column_stack([first, second])])
    return Comparisons(np.clip(similarity, -0.99, 1).astype(np.float32), np.arange(2080) < 480, people)


def test_intervals_cover_the_truth_in_about_95_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgefr.evaluation import error_curve as curve

    monkeypatch.setattr(curve, "CURVE", 200)
    monkeypatch.setattr(curve, "RANKS", 200)
    trials = [planted(seed) for seed in range(30)]
    for figure in (equal_error_rate, lambda comparisons: tar_at_far(comparisons, 0.05).tar):
        found = [figure(trial) for trial in trials]
        truth = np.mean([figure_of.value for figure_of in found])
        covered = np.mean([entry.ci95[0] <= truth <= entry.ci95[1] for entry in found])
        assert covered >= 0.85
        widths = np.mean([entry.ci95[1] - entry.ci95[0] for entry in found])
        assert widths < 6 * np.std([entry.value for entry in found])  # 3.92 for a normal distribution


def test_the_ratio_of_errors_has_a_paired_interval() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(2000) < 0.2
    other = ~hard
    right = ~(hard & (rng.random(2000) < 0.4))
    people = rng.integers(0, 300, (2000, 2))
    found = error_ratio(right, other, people)
    assert found.value == pytest.approx((~right).sum() / (~other).sum())
    assert found.ci95[0] < found.value < found.ci95[1] < 0.6
    back = error_ratio(other, right, people)
    assert back.value == pytest.approx(1 / found.value)
    assert error_ratio(right, right, people) == Estimate(1.0, (1.0, 1.0))


def test_a_ratio_to_no_errors_is_infinite_or_unknown() -> None:
    perfect, people = np.ones(50, bool), np.arange(100).reshape(50, 2)
    none = error_ratio(perfect, perfect, people)
    assert np.isnan(none.value)
    assert none.ci95 == (0, np.inf)
    one = perfect.copy()
    one[0] = False
    assert error_ratio(one, perfect, people).value == np.inf
    sure = error_ratio(perfect, one, people)
    assert sure.value == 0
    assert sure.ci95 == (0, np.inf), "where the one pair was not drawn, nothing is known"


def test_an_interval_ignores_unknown_values() -> None:
    assert interval(np.array([np.nan, 1, 2, 3])) == (1, 3)
    assert np.isnan(interval(np.array([np.nan]))).all()
    low, high = interval(np.arange(1001) / 1000)
    assert (low, high) == pytest.approx((0.025, 0.975))
