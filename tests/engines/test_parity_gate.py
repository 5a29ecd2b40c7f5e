"""The comparison finds exactly the planted flips, for any embeddings, pairs and thresholds."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefr.engines.parity_gate import (
    BF16,
    FP16,
    FP32,
    INT8,
    Bound,
    Decisions,
    ParityReport,
    check_bounds,
    compare_models,
    looser_bound,
)
from edgefr.errors import EdgefrError
from edgefr.evaluation import pairs as pairs_module
from edgefr.evaluation.error_rates import best_threshold
from edgefr.evaluation.pairs import Pairs, similarities
from edgefr.recognition.recogniser import Recogniser
from edgefr.runtimes.base import Array, Description, TensorInfo
from edgefr.runtimes.fake import DESCRIPTION, FakeBackend
from edgefr.types import Faces, Floats


@dataclass(frozen=True)
class Planted:
    """A backend that looks embeddings up: the first pixel of a face is its row in the table."""

    table: Floats
    norm: float = 1.0
    uncertainty: float | None = 0.0

    def describe(self) -> Description:
        embedding = TensorInfo("embedding", "float32", (None, self.table.shape[1]))
        others = DESCRIPTION.outputs[1 : 2 if self.uncertainty is None else 3]
        return replace(DESCRIPTION, outputs=(embedding, *others))

    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        rows = inputs["image"][:, 0, 0, 0]
        found = {"embedding": self.table[rows], "norm": np.full(len(rows), self.norm, np.float32)}
        if self.uncertainty is not None:
            found["uncertainty"] = np.full(len(rows), self.uncertainty, np.float32)
        return found


def planted(table: Floats, norm: float = 1.0, uncertainty: float | None = 0.0) -> Recogniser:
    return Recogniser(Planted(table, norm, uncertainty), "planted")


def numbered(count: int) -> Faces:
    faces = np.zeros((count, 112, 112, 3), np.uint8)
    faces[:, 0, 0, 0] = np.arange(count)
    return faces


def table_of(signs: list[list[bool]]) -> Floats:
    """Rows of four halves, plus or minus: exactly unit length, similarities exact multiples of 1/2."""
    return np.where(np.array(signs).reshape(-1, 4), 0.5, -0.5).astype(np.float32)


def pairs_of(rows: list[tuple[int, int, bool]]) -> Pairs:
    columns = list(zip(*rows, strict=True)) if rows else [(), (), ()]
    return Pairs(np.array(columns[0], np.int64), np.array(columns[1], np.int64), np.array(columns[2], bool))


@st.composite
def comparisons(draw: st.DrawFn) -> tuple[Floats, Floats, list[tuple[int, int, bool]], float]:
    count = draw(st.integers(1, 6))
    rows = st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=count, max_size=count)
    index = st.integers(0, count - 1)
    pairs = draw(st.lists(st.tuples(index, index, st.booleans()), min_size=1, max_size=12))
    threshold = draw(st.sampled_from([-2.0, -1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0, 2.0]))
    return table_of(draw(rows)), table_of(draw(rows)), pairs, threshold


@given(comparisons())
def test_finds_exactly_the_flips(case: tuple[Floats, Floats, list[tuple[int, int, bool]], float]) -> None:
    ours, theirs, rows, threshold = case
    report = compare_models(planted(ours), planted(theirs), numbered(len(ours)), pairs_of(rows), (threshold,))

    flipped, mixed, right_ours, right_theirs, accepted_ours, accepted_theirs = [], 0, 0, 0, 0, 0
    for number, (first, second, same) in enumerate(rows):
        one = sum(float(a) * float(b) for a, b in zip(ours[first], ours[second], strict=True)) >= threshold
        other = sum(float(a) * float(b) for a, b in zip(theirs[first], theirs[second], strict=True)) >= threshold
        across = sum(float(a) * float(b) for a, b in zip(ours[first], theirs[second], strict=True)) >= threshold
        if one != other:
            flipped.append(number)
        mixed += across != one
        accepted_ours += one and same
        accepted_theirs += other and same
        right_ours += one == same
        right_theirs += other == same
    cosines = [sum(float(x) * float(y) for x, y in zip(a, b, strict=True)) for a, b in zip(ours, theirs, strict=True)]

    (decided,) = report.decisions
    genuine = sum(same for _, _, same in rows)
    assert decided.flipped == tuple(flipped)
    assert decided.mixed_flips == mixed
    assert decided.threshold == threshold
    assert decided.accuracy_reference == pytest.approx(right_ours / len(rows))
    assert decided.accuracy_candidate == pytest.approx(right_theirs / len(rows))
    assert decided.tar_reference == (pytest.approx(accepted_ours / genuine) if genuine else None)
    assert decided.tar_candidate == (pytest.approx(accepted_theirs / genuine) if genuine else None)
    assert report.cosine_min == pytest.approx(min(cosines))
    assert report.cosine_mean == pytest.approx(sum(cosines) / len(cosines))
    assert report.cosine_min <= report.cosine_p01 <= max(cosines)


@given(
    st.lists(
        st.tuples(st.sampled_from([-0.9, -0.5, 0.0, 0.3, np.nextafter(0.3, 1), 1.0]), st.booleans()),
        min_size=1,
    )
)
def test_no_threshold_decides_better_than_the_best(scores: list[tuple[float, bool]]) -> None:
    similarity = np.array([score for score, _ in scores])
    same = np.array([truth for _, truth in scores])
    best = best_threshold(similarity, same)

    def right(threshold: float) -> int:
        return sum((score >= threshold) == truth for score, truth in scores)

    assert right(best) == max(right(threshold) for threshold in [*similarity, 2.0])


def test_without_a_threshold_the_best_one_of_the_reference_is_used() -> None:
    angles = np.radians([0, 20, 90, 110])
    table = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    pairs = pairs_of([(0, 1, True), (2, 3, True), (0, 2, False), (1, 3, False), (1, 2, False)])
    report = compare_models(planted(table), planted(table), numbered(4), pairs)
    (decided,) = report.decisions
    assert decided.accuracy_reference == decided.accuracy_candidate == 1
    assert decided.threshold == pytest.approx((np.cos(np.radians(20)) + np.cos(np.radians(70))) / 2)
    assert check_bounds(report, FP32) == []


def test_without_pairs_only_embeddings_are_compared() -> None:
    faces = np.random.default_rng(0).integers(0, 256, (5, 112, 112, 3), np.uint8)
    fake = Recogniser(FakeBackend(), "fake")
    steps: list[int] = []
    report = compare_models(fake, fake, faces, None, (), steps.append)
    assert sum(steps) == 10
    assert (report.pairs, report.decisions) == (0, ())
    assert report.cosine_min == pytest.approx(1)
    assert check_bounds(report, FP32) == []


def test_norm_and_uncertainty_are_compared_if_both_models_have_them() -> None:
    table = table_of([[True] * 4])
    report = compare_models(planted(table, 3.0, -1.0), planted(table, 2.5, 1.0), numbered(1))
    assert (report.norm_difference, report.uncertainty_difference) == (0.5, 2.0)
    assert compare_models(planted(table), planted(table, 1.0, None), numbered(1)).uncertainty_difference is None


def test_the_check_names_every_exceeded_bound() -> None:
    ours = table_of([[True] * 4, [True] * 4])
    theirs = table_of([[True] * 4, [False] * 4])
    report = compare_models(planted(ours), planted(theirs), numbered(2), pairs_of([(0, 1, True)]), (0.0,))
    cosine, flips, mixed, points = check_bounds(report, Bound(0.99, 0, 0.0))
    assert "cosine" in cosine
    assert "-1.000000" in cosine
    assert "threshold 0.000, found 1" in flips
    assert "gallery of the reference" in mixed
    assert "100.000 points" in points


def test_the_bounds_hold_at_every_threshold() -> None:
    """Similarities 0.5 and 0 differ at 0.25 only: a flip there is seen whatever the first threshold is."""
    ours, theirs = table_of([[True] * 4, [True, True, True, False]]), table_of([[True] * 4, [True, True, False, False]])
    report = compare_models(planted(ours), planted(theirs), numbered(2), pairs_of([(0, 1, True)]), (0.9, 0.25))
    assert [decided.flips for decided in report.decisions] == [0, 1]
    assert any("threshold 0.250, found 1" in sentence for sentence in check_bounds(report, FP32))


def reported(pairs: int, flips: int, wrong: int) -> ParityReport:
    table = table_of([[True] * 4])
    decided = Decisions(0.3, 0.99, 0.99 - wrong / pairs, 0.9, 0.9, tuple(range(flips)), 0)
    return replace(compare_models(planted(table), planted(table), numbered(1)), pairs=pairs, decisions=(decided,))


@pytest.mark.parametrize(
    ("bound", "pairs", "flips", "passes"),
    [
        (BF16, 6000, 2, True),
        (BF16, 6000, 3, False),
        (BF16, 600, 1, True),
        (BF16, 600, 2, False),
        (BF16, 12000, 4, True),
        (BF16, 12000, 5, False),
        (FP16, 6000, 1, True),
        (FP16, 6000, 2, False),
        (FP32, 6000, 1, False),
        (INT8, 6000, 6, True),
        (INT8, 6000, 7, False),
    ],
)
def test_wrong_flips_are_bounded_by_their_rate(bound: Bound, pairs: int, flips: int, passes: bool) -> None:
    assert (check_bounds(reported(pairs, flips, flips), bound) == []) == passes


def test_int8_may_flip_decisions_if_the_accuracy_stays() -> None:
    assert check_bounds(reported(6000, 50, 0), INT8) == []
    assert check_bounds(reported(6000, 50, 0), FP16) != []


def test_a_comparison_uses_the_wider_bound_of_both() -> None:
    assert looser_bound("fp32", "int8") == looser_bound("int8", "bf16") == INT8
    assert looser_bound("fp32", "fp32") == FP32


def test_models_that_cannot_be_compared_are_refused() -> None:
    two, four = planted(np.eye(2, dtype=np.float32)), planted(table_of([[True] * 4] * 2))
    with pytest.raises(EdgefrError, match="embeddings of one length, found 2 and 4"):
        compare_models(two, four, numbered(2))
    with pytest.raises(EdgefrError, match="expected at least one face"):
        compare_models(two, two, numbered(0))
    with pytest.raises(EdgefrError, match="expected pairs among 2 faces, found one of face number 2"):
        compare_models(two, two, numbered(2), pairs_of([(0, 2, True)]))


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (np.zeros(2, np.int64), np.zeros(3, np.int64), np.zeros(2, bool)),
        (np.zeros(2, np.int32), np.zeros(2, np.int64), np.zeros(2, bool)),
        (np.zeros(2, np.int64), np.zeros(2, np.int64), np.zeros(2, np.int64)),
        (np.zeros((1, 2), np.int64), np.zeros((1, 2), np.int64), np.zeros((1, 2), bool)),
        (np.array([-1]), np.array([0]), np.array([True])),
    ],
    ids=["length", "int32", "same as int", "two-dimensional", "negative"],
)
def test_malformed_pairs_are_refused(
    first: npt.NDArray[np.int64], second: npt.NDArray[np.int64], same: npt.NDArray[np.bool_]
) -> None:
    with pytest.raises(EdgefrError, match="expected pairs"):
        Pairs(first, second, same)


def test_similarities_do_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    embedding = rng.standard_normal((9, 5)).astype(np.float32)
    pairs = Pairs(rng.integers(0, 9, 20), rng.integers(0, 9, 20), np.zeros(20, bool))
    monkeypatch.setattr(pairs_module, "CHUNK", 6)
    wanted = [embedding[a] @ embedding[b] for a, b in zip(pairs.first, pairs.second, strict=True)]
    np.testing.assert_allclose(similarities(embedding, pairs), wanted, rtol=1e-5)
    assert similarities(embedding, pairs_of([])).shape == (0,)
