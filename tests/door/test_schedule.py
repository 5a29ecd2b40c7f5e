"""Periods of the week: every minute, across midnight, and when clocks change."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefr.door.schedule import DAY_MINUTES, DAYS, Period, next_time, parse_period, period_text

MONDAY = datetime(2027, 3, 1)
BERLIN = ZoneInfo("Europe/Berlin")
PERIODS = st.builds(
    Period,
    st.frozensets(st.integers(0, 6), min_size=1),
    st.integers(0, DAY_MINUTES - 1),
    st.integers(1, DAY_MINUTES),
).filter(lambda period: period.start != period.end)


@given(PERIODS)
def test_a_period_is_read_as_it_is_written(period: Period) -> None:
    assert parse_period(period_text(period)) == period


@given(PERIODS, st.integers(0, 7 * DAY_MINUTES - 1))
def test_a_minute_belongs_to_a_period_that_has_begun_and_not_ended(period: Period, minute: int) -> None:
    length = (period.end - period.start) % DAY_MINUTES or DAY_MINUTES
    begun = [(minute - day * DAY_MINUTES - period.start) % (7 * DAY_MINUTES) for day in period.days]
    assert period.contains(MONDAY + timedelta(minutes=minute)) == any(passed < length for passed in begun)


@given(st.text(max_size=30))
def test_other_texts_are_refused(text: str) -> None:
    try:
        period = parse_period(text)
    except ValueError:
        return
    assert parse_period(period_text(period)) == period


@pytest.mark.parametrize(
    ("text", "days", "start", "end"),
    [
        ("Mon-Fri 07:00-19:00", {0, 1, 2, 3, 4}, 420, 1140),
        ("Sat,Mon 22:00-02:00", {5, 0}, 1320, 120),
        ("Fri-Mon 00:00-24:00", {4, 5, 6, 0}, 0, 1440),
        ("daily 08:30-08:29", set(range(7)), 510, 509),
        ("always", set(range(7)), 0, 1440),
    ],
)
def test_days_and_times_are_read(text: str, days: set[int], start: int, end: int) -> None:
    assert parse_period(text) == Period(frozenset(days), start, end)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Mo 08:00-09:00", "no such day: Mo"),
        ("Mon, 08:00-09:00", "no day"),
        ("Mon 8:00-09:00", "another form"),
        ("Mon 08:00-24:30", "no time of day: 24:30"),
        ("Mon 08:60-09:00", "no time of day: 08:60"),
        ("Mon 24:00-09:00", "24:00"),
        ("Mon 08:00-08:00", "ends when it begins"),
        ("Mon ٠٨:٠٠-09:00", "another form"),
        ("", "another form"),
    ],
)
def test_a_wrong_text_is_explained(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_period(text)


def test_days_in_a_row_are_written_with_a_dash() -> None:
    assert period_text(parse_period("Sun,Tue,Wed,Thu 07:00-08:00")) == "Tue-Thu,Sun 07:00-08:00"
    assert period_text(parse_period("Mon,Tue 07:00-08:00")) == "Mon,Tue 07:00-08:00"


def open_minutes(text: str, day: datetime) -> int:
    """Minutes of 24 hours in Berlin, from the midnight of UTC before, in which a period is open."""
    period = parse_period(text)
    start = day.replace(tzinfo=timezone.utc)
    return sum(period.contains((start + timedelta(minutes=m)).astimezone(BERLIN)) for m in range(DAY_MINUTES))


def test_a_skipped_hour_is_missing_and_a_repeated_one_counts_twice() -> None:
    usual, spring, autumn = datetime(2027, 3, 21), datetime(2027, 3, 28), datetime(2027, 10, 31)
    for text, hours in (("Sun 02:00-03:00", (1, 0, 2)), ("Sun 02:30-05:00", (2.5, 2, 3))):
        assert [open_minutes(text, day) / 60 for day in (usual, spring, autumn)] == list(hours)


@given(st.sampled_from(DAYS), st.integers(0, DAY_MINUTES - 1), st.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1)))
def test_the_next_time_is_within_a_week(day: str, minute: int, now: datetime) -> None:
    found = next_time(day, f"{minute // 60:02}:{minute % 60:02}", now)
    assert (found.weekday(), 60 * found.hour + found.minute) == (DAYS.index(day), minute)
    assert timedelta(0) <= found - now.replace(second=0, microsecond=0) < timedelta(days=7)


@pytest.mark.parametrize(("day", "clock"), [("Mo", "08:00"), ("Mon", "8"), ("Mon", "24:00"), ("Mon", "25:00")])
def test_a_wrong_time_is_refused(day: str, clock: str) -> None:
    with pytest.raises(ValueError, match="no "):
        next_time(day, clock, MONDAY)
