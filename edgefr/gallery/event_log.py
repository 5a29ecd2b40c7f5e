"""What the log of a gallery keeps: pseudonyms in place of removed people's names, and events for a limited time."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

from edgefr.errors import InvalidArgumentError
from edgefr.gallery.clock import DAY_S, GRACE_S, Clock
from edgefr.gallery.records import Event

FROM = "from "
"""Begins the detail of a renaming; the former name follows."""

PSEUDONYM = re.compile(r"removed person [0-9a-f]{8}")

MAX_LOG_DAYS = 36_525
"""A hundred years."""

Key = TypeVar("Key")


def new_pseudonym() -> str:
    """A random name for a removed person. All earlier events of one person get the same one."""
    return f"removed person {secrets.token_hex(4)}"


def without_names(
    newest_first: Iterable[tuple[Key, Event]], pseudonyms: Mapping[str, str]
) -> Iterator[tuple[Key, Event]]:
    """The events that name removed people, with pseudonyms instead.

    An earlier name of a person is replaced in the events before the renaming. Another person may have the name now.
    People whom a version without pseudonyms has removed get one as well. The name of an image's file is left out,
    because files are often named after people.

    Args:
        newest_first: All events, each with a key.
        pseudonyms: Name of each removed person -> pseudonym.

    Yields:
        The changed events with their keys.
    """
    known = dict(pseudonyms)
    for key, event in newest_first:
        if event.name and event.what in ("removed", "expired") and not PSEUDONYM.fullmatch(event.name):
            known[event.name] = new_pseudonym()
        if (pseudonym := known.get(event.name)) is None:
            continue
        detail = event.detail
        if event.what == "renamed" and detail.startswith(FROM):
            del known[event.name]
            known[detail.removeprefix(FROM)] = pseudonym
            detail = FROM + pseudonym
        elif event.what == "image removed":
            detail = ""
        yield key, replace(event, name=pseudonym, detail=detail)


def kept_since(log_days: float | None, clock: Clock) -> float:
    """The time before which events are deleted, in seconds since 1970; 0 if none are.

    It follows the observations of the clock, not the clock itself: one use with a clock that is years ahead deletes
    nothing.

    Args:
        log_days: Days that events are kept, None for ever.
        clock: What the gallery knows about time.
    """
    if log_days is None or not clock.destroyed_until:
        return 0.0
    return clock.destroyed_until + GRACE_S - log_days * DAY_S


def check_log_days(log_days: float | None) -> float | None:
    """A number of days, or None.

    Raises:
        InvalidArgumentError: It is not between 1 and MAX_LOG_DAYS.
    """
    if log_days is not None and not 1 <= log_days <= MAX_LOG_DAYS:  # also refuses NaN
        raise InvalidArgumentError(
            f"1 to {MAX_LOG_DAYS:,} days to keep the log", f"{log_days:g}", "give another number, or none to keep all"
        )
    return log_days
