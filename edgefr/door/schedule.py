"""Weekly times at which a door may open, such as "Mon-Fri 07:00-19:00" or "Sat 22:00-04:00"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
ALWAYS, DAILY = "always", "daily"
DAY_MINUTES = 24 * 60
EXAMPLE = '"Mon-Fri 07:00-19:00", "Sat,Sun 22:00-02:00", "daily 08:00-18:00" or "always"'

_PERIOD = re.compile(r"(\S+) (\d\d):(\d\d)-(\d\d):(\d\d)", re.ASCII)


@dataclass(frozen=True)
class Period:
    """A time of some days of the week, in the local time of the door.

    Attributes:
        days: The days on which it begins; Monday is 0.
        start: Its beginning in minutes since midnight.
        end: Its end, which no longer belongs to it. If it is not after `start`, it is on the next day.
    """

    days: frozenset[int]
    start: int
    end: int

    def contains(self, local: datetime) -> bool:
        """Whether a local time belongs to the period.

        The clock on the wall decides. An hour that is skipped in spring is missing, and one that is repeated in autumn
        counts twice.
        """
        day, minute = local.weekday(), 60 * local.hour + local.minute
        if self.start < self.end:
            return day in self.days and self.start <= minute < self.end
        return (day in self.days and minute >= self.start) or ((day - 1) % 7 in self.days and minute < self.end)


def parse_period(text: str) -> Period:
    """Read a period.

    Args:
        text: Days and times, see EXAMPLE.

    Raises:
        ValueError: It is another text. The message says what is wrong, as "no such day: Mo".
    """
    if text == ALWAYS:
        return Period(frozenset(range(7)), 0, DAY_MINUTES)
    found = _PERIOD.fullmatch(text)
    if found is None:
        raise ValueError("another form")
    start, end = _minutes(found[2], found[3]), _minutes(found[4], found[5])
    if start == DAY_MINUTES:
        raise ValueError("a beginning at 24:00, which is 00:00 of the next day")
    if start == end:
        raise ValueError("a period that ends when it begins; a whole day is 00:00-24:00")
    return Period(_days(found[1]), start, end)


def period_text(period: Period) -> str:
    """The text that `parse_period` reads."""
    times = "-".join(f"{minutes // 60:02}:{minutes % 60:02}" for minutes in (period.start, period.end))
    return f"{DAILY if len(period.days) == 7 else _days_text(sorted(period.days))} {times}"


def next_time(day: str, clock: str, now: datetime) -> datetime:
    """The next time at which it is `clock` ("08:30") on a day of the week ("Mon"), at or after the minute of `now`.

    Raises:
        ValueError: The day or the time is none.
    """
    found = re.fullmatch(r"(\d\d):(\d\d)", clock, re.ASCII)
    if found is None or (minutes := _minutes(found[1], found[2])) == DAY_MINUTES:
        raise ValueError(f"no time of day: {clock}")
    ahead = (_day(day) - now.weekday()) % 7
    at = now.replace(hour=minutes // 60, minute=minutes % 60, second=0, microsecond=0) + timedelta(days=ahead)
    return at if at >= now.replace(second=0, microsecond=0) else at + timedelta(days=7)


def _days_text(days: Sequence[int]) -> str:
    """Days in order, with a dash between the first and the last of three or more in a row."""
    runs: list[list[int]] = []
    for day in days:
        if runs and day == runs[-1][-1] + 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    return ",".join((",", "-")[len(run) > 2].join(DAYS[day] for day in run[:: max(len(run) - 1, 1)]) for run in runs)


def _days(text: str) -> frozenset[int]:
    if text == DAILY:
        return frozenset(range(7))
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        start = _day(first)
        length = (_day(last) - start) % 7 if dash else 0
        found.update((start + day) % 7 for day in range(length + 1))
    return frozenset(found)


def _day(text: str) -> int:
    if text not in DAYS:
        raise ValueError(f"no such day: {text}" if text else "no day")
    return DAYS.index(text)


def _minutes(hours: str, minutes: str) -> int:
    total = 60 * int(hours) + int(minutes)
    if int(minutes) > 59 or total > DAY_MINUTES:
        raise ValueError(f"no time of day: {hours}:{minutes}")
    return total
