"""Films before a door, and a door whose action is seen by the test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from zoneinfo import ZoneInfo

from edgefr.camera.base import Frame
from edgefr.camera.event_queue import Entry
from edgefr.camera.session import Session
from edgefr.camera.watcher import Watcher
from edgefr.door.door import Door
from edgefr.door.fresh_receiver import Action, Opener
from edgefr.door.rules import Rule
from edgefr.door.schedule import parse_period
from tests.camera.people import frame

ADA, GRACE, STRANGER = 1, 2, 77
RATE = 25
EMPTY: list[tuple[int, int, int]] = []
RULE = Rule("day", None, (parse_period("always"),), ("relay",), live=False, cooldown_s=0.5)

Shot = tuple[float, list[tuple[int, int, int]]]
"""Seconds, and the people in view, each as (person, x, y)."""


class Film:
    """A recording of shots."""

    name, live = "film", False

    def __init__(self, *shots: Shot) -> None:
        self._people = [people for seconds, people in shots for _ in range(round(seconds * RATE))]

    def frames(self) -> Iterator[Frame]:
        yield from (frame(number / RATE, *people) for number, people in enumerate(self._people))


class Relay(Opener):
    """Counts openings."""

    name = "relay"

    def __init__(self) -> None:
        self.opened: list[bytes] = []

    def deliver(self, entry: Entry) -> None:
        self.opened.append(entry.message)

    def stop(self) -> None:
        """Nothing is under way."""

    def close(self) -> None:
        """There is no connection."""


@contextmanager
def door_of(
    watcher: Watcher, source: Any, *rules: Rule, opener: Any = None, **options: Any
) -> Iterator[tuple[Session, list[dict[str, Any]], list[str]]]:
    """A session with a door, the decisions, and the warnings."""
    decisions: list[dict[str, Any]] = []
    warnings: list[str] = []
    action = Action("relay", opener or Relay(), warnings.append, options.pop("on_failure", lambda *_: None))
    door = Door(
        rules or (RULE,),
        ZoneInfo("Europe/Berlin"),
        {"relay": action},
        watcher.gallery,
        source.name,
        source.live,
        decisions.append,
        warnings.append,
    )
    try:
        yield Session(source, watcher, [door], real_time=False, once=True, **options), decisions, warnings
    finally:
        action.close()


def told(decisions: list[dict[str, Any]]) -> list[tuple[str, str | None, str | None]]:
    """What was decided, for whom, and why."""
    return [(one["what"], one["name"], one["reason"]) for one in decisions]


def watched(watcher: Watcher, film: Film, *rules: Rule) -> list[tuple[str, str | None, str | None]]:
    """What a door decides over a whole film."""
    with door_of(watcher, film, *rules) as (session, decisions, _):
        session.run()
    return told(decisions)
