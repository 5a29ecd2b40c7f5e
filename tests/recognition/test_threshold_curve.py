"""Thresholds between calibrated rates are interpolated, and never beyond them."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefr.errors import InvalidArgumentError, WrongModelError
from edgefr.gallery.threshold import gallery_threshold
from edgefr.manifest import Threshold
from edgefr.recognition.threshold_curve import interpolate_threshold
from tests.gallery.people import verifier

RATES = st.lists(st.floats(1e-8, 0.5), min_size=2, max_size=6, unique=True).map(sorted)


@st.composite
def calibrations(draw: st.DrawFn) -> tuple[Threshold, ...]:
    """Thresholds that fall as the rate rises, in any order."""
    rates = draw(RATES)
    values = sorted(draw(st.lists(st.floats(-1, 1), min_size=len(rates), max_size=len(rates))), reverse=True)
    known = [Threshold(fmr, value, (value, value), "a test") for fmr, value in zip(rates, values, strict=True)]
    return tuple(draw(st.permutations(known)))


@given(calibrations(), st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_the_threshold_never_falls_as_the_rate_falls(known: tuple[Threshold, ...], parts: list[float]) -> None:
    low, high = min(entry.fmr or 1 for entry in known), max(entry.fmr or 0 for entry in known)
    rates = sorted(min(max(high * (low / high) ** part, low), high) for part in parts)
    found = [interpolate_threshold(known, rate) for rate in rates]
    values = [entry.value for entry in found if entry is not None]
    assert len(values) == len(rates)
    assert all(first >= second - 1e-12 for first, second in pairwise(values))


@given(calibrations())
def test_at_a_calibrated_rate_it_is_the_calibrated_one(known: tuple[Threshold, ...]) -> None:
    for entry in known:
        assert entry.fmr is not None
        assert interpolate_threshold(known, entry.fmr) == entry
        assert verifier(known).threshold(fmr=entry.fmr) == entry


@given(calibrations(), st.lists(st.integers(1, 10**7), min_size=2, max_size=8), st.floats(1e-4, 0.5))
def test_the_threshold_of_a_gallery_never_falls_as_it_grows(
    known: tuple[Threshold, ...], sizes: list[int], fpir: float
) -> None:
    measured, values = verifier(known), []
    for people in sorted(sizes):
        try:
            values.append(gallery_threshold(measured, people, fpir).value)
        except WrongModelError:
            values.append(math.inf)  # and so for every larger gallery
    assert all(first <= second + 1e-12 for first, second in pairwise(values))


def test_it_is_linear_in_the_logarithm_of_the_rate_with_its_interval() -> None:
    known = (
        Threshold(1e-2, 0.3, (0.28, 0.31), "a test", unseen_fmr=2e-2),
        Threshold(1e-4, 0.5, (0.46, 0.55), "a test", unseen_fmr=2e-4),
    )
    found = interpolate_threshold(known, 1e-3)
    assert found is not None
    assert (found.value, *found.ci95, found.unseen_fmr) == pytest.approx((0.4, 0.37, 0.43, 2e-3))
    assert found.fmr == 1e-3
    assert found.measured_on == "a test, interpolated between the calibrated false match rates 0.01 and 0.0001"


def test_two_origins_are_both_named() -> None:
    known = (Threshold(1e-2, 0.3, (0, 1), "these"), Threshold(1e-4, 0.5, (0, 1), "those"))
    found = interpolate_threshold(known, 1e-3)
    assert found is not None
    assert found.measured_on.startswith("these; those; interpolated between")


def test_between_rates_that_contradict_each_other_the_higher_threshold_applies() -> None:
    known = (Threshold(1e-2, 0.5, (0.4, 0.6), "these"), Threshold(1e-4, 0.3, (0.2, 0.4), "those"))
    found = interpolate_threshold(known, 1e-3)
    assert found is not None
    assert (found.value, found.ci95) == (0.5, (0.4, 0.6))


@pytest.mark.parametrize("fmr", [1e-5, 0.1, 0.0, 1.0, math.nan])
def test_nothing_is_extrapolated(fmr: float) -> None:
    known = (Threshold(1e-2, 0.3, (0, 1), "x"), Threshold(1e-4, 0.5, (0, 1), "x"), Threshold(None, 0.4, (0, 1), "x"))
    assert interpolate_threshold(known, fmr) is None
    with pytest.raises(WrongModelError, match="expected a threshold at an FMR of"):
        verifier(known).threshold(fmr=fmr)


def test_a_precision_without_thresholds_at_the_rate_uses_those_of_fp32() -> None:
    """The fake model runs in FP32; what is measured in another precision does not count."""
    known = (
        Threshold(1e-2, 0.9, (0, 1), "x", "bf16"),
        Threshold(1e-4, 0.9, (0, 1), "x", "bf16"),
        Threshold(1e-2, 0.3, (0, 1), "x"),
        Threshold(1e-4, 0.5, (0, 1), "x"),
    )
    assert verifier(known).threshold(fmr=1e-3).value == pytest.approx(0.4)


def test_a_threshold_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="found nan"):
        verifier().threshold(float("nan"))
