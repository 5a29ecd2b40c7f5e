"""The decisions of a door in the log of the gallery, where names of removed people are replaced like all others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from edgefr.door.moments import Decision
from edgefr.door.rules import Rule
from edgefr.gallery.base import Gallery
from edgefr.gallery.records import Event

OPENED, REFUSED, FAILED = "opened", "refused", "failed"
"""Kinds of events of the log."""


def log_decisions(gallery: Gallery, decisions: Sequence[Decision]) -> None:
    """Write decisions into the log, one event for each person. The detail names rule and reason, never a person.

    Raises:
        EdgefrError: The log cannot be written, so a door must not open.
    """
    if decisions:
        gallery.log([Event.now(*fields) for decision in decisions for fields in _events(decision)])


def log_failure(gallery: Gallery, rule: str, action: str, reason: str) -> None:
    """Write into the log that an action of a rule has failed. Raises like `log_decisions`."""
    gallery.log([Event.now(FAILED, "", _detail(rule, f"{action}: {reason}"))])


def seconds_since_opening(gallery: Gallery, rules: Iterable[Rule], now: float) -> Mapping[str, float]:
    """Seconds since each rule has opened last, by the log, so that a restart ends no cooldown.

    Args:
        gallery: Its log is read as a whole.
        rules: The rules of the door.
        now: What the clock says, in seconds since 1970. Openings after it count as of now.

    Returns:
        Name of a rule -> seconds; rules that never opened are left out.

    Raises:
        EdgefrError: The log cannot be read.
    """
    names = {_rule_text(rule.name): rule.name for rule in rules}
    found: dict[str, float] = {}
    for event in gallery.events():
        rule = event.detail.partition(":")[0] if event.what == OPENED else ""
        if rule in names:
            found[names[rule]] = max(0.0, now - event.at)
    return found


def _events(decision: Decision) -> list[tuple[str, str, str]]:
    what, why = (REFUSED, decision.reason.value) if decision.reason else (OPENED, ", ".join(decision.actions))
    if len(decision.names) > 1:
        why += f" (one of {len(decision.names)} people)"
    return [(what, name, _detail(decision.rule, why)) for name in decision.names or ("",)]


def _detail(rule: str, text: str) -> str:
    return f"{_rule_text(rule)}: {text}" if rule else f"door: {text}"


def _rule_text(name: str) -> str:
    """The name of a rule so that a colon ends it."""
    return f"door, rule {json.dumps(name, ensure_ascii=False)}".replace(":", "")
