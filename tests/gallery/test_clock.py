"""Nobody is destroyed by a clock that is wrong once, and everybody who has expired is destroyed in the end."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefr.gallery.clock import DAY_S, GRACE_S, MARK_S, MAX_MARKS, Clock, clock_notice

NOW = 1.7e9


def observed(*days: float) -> Clock:
    clock = Clock()
    for day in days:
        clock = clock.observe(NOW + day * DAY_S)
    return clock


def test_use_every_day_destroys_after_the_grace_period() -> None:
    assert observed(*range(7)).destroyed_until == 0
    assert observed(*range(8)).destroyed_until == NOW
    assert observed(*range(11)).destroyed_until == NOW + 3 * DAY_S


def test_a_gallery_that_is_used_once_a_month_destroys_at_the_third_use() -> None:
    assert observed(0, 30).destroyed_until == 0
    assert observed(0, 30, 60).destroyed_until == NOW


def test_one_use_in_the_future_counts_as_half_of_the_grace_period() -> None:
    assert observed(0, 400).destroyed_until == 0
    assert observed(0, 400, 400.1, 401).destroyed_until == 0


def test_a_clock_that_is_set_back_forgets_the_future() -> None:
    clock = observed(0, 400, 402, 1, 2, 3, 4, 5, 6, 7, 8)
    assert all(at <= clock.last for at, _ in clock.marks)
    assert clock.destroyed_until <= NOW + 8 * DAY_S - GRACE_S + DAY_S


def test_observations_of_the_same_hour_store_nothing() -> None:
    clock = observed(0, 1)
    assert clock.observe(clock.last + MARK_S - 1) is clock
    assert clock.observe(clock.last - 10) is clock


@given(st.lists(st.floats(1, 1e10), max_size=30))
def test_whatever_the_clock_says_nobody_is_destroyed_before_the_date_and_the_grace_period(times: list[float]) -> None:
    clock, past = Clock(), []
    for at in times:
        clock = clock.observe(at)
        past.append(at)
        assert clock.destroyed_until <= max(past)
        assert len(clock.marks) < MAX_MARKS
        assert Clock.from_dict(json.loads(json.dumps(clock.to_dict()))) == clock
    if len({*times}) < 3:
        assert clock.destroyed_until == 0


def test_years_of_use_keep_few_observations() -> None:
    clock = Clock()
    for hour in range(0, 24 * 800, 5):
        clock = clock.observe(NOW + hour * 3600)
    assert len(clock.marks) <= 2 + GRACE_S / MARK_S


@pytest.mark.parametrize(
    ("days", "words"),
    [(0.001, ""), (29, ""), (-0.001, ""), (400, "400.0 days after"), (-2, "2.0 days before"), (-0.01, "14 minutes")],
)
def test_a_jump_is_reported_with_both_dates(days: float, words: str) -> None:
    notice = clock_notice(observed(0), NOW + days * DAY_S, 3)
    assert words in notice
    assert bool(words) == bool(notice)
    if words:
        assert "(2023-11-14 22:13 UTC); 3 people have expired by it" in notice
