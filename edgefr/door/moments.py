"""What a door sees at one frame, what it decides, and what it remembers until the next one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from edgefr.camera.identity import State
from edgefr.door.rules import Reason


@dataclass(frozen=True)
class Face:
    """A face in view, with what is known of its track.

    Attributes:
        track: Number of the track.
        state: Whether it is identified; `name` is the person then.
        similarity: Similarity to that person.
        threshold: Similarity from which the gallery identifies.
        rival: Similarity to the most similar other person.
        agreeing: Number of views in a row that gave this person.
        confirmed_at: Time of the last of them, as `Moment.at`.
        live: Whether it is a living face; None if that is not checked.
    """

    track: int
    state: State
    name: str | None
    similarity: float
    threshold: float
    rival: float
    agreeing: int
    confirmed_at: float
    live: bool | None


@dataclass(frozen=True)
class Moment:
    """What is known at one frame.

    Attributes:
        at: Time in seconds that only rises.
        local: What the clock in the time zone of the door says.
        faces: The faces in view.
        obstacle: Why the door opens for nobody now, if there is a reason.
    """

    at: float
    local: datetime
    faces: Sequence[Face]
    obstacle: Reason | None = None


@dataclass(frozen=True)
class Decision:
    """An opening or a refusal.

    Attributes:
        rule: Name of the rule; empty if no rule is concerned.
        reason: Why the door stays closed; None if it opens.
        names: The people, empty for an unknown one.
        tracks: Their tracks, in the same order; one of an unknown person.
        actions: Names of what opening does.
    """

    rule: str
    reason: Reason | None
    names: tuple[str, ...]
    tracks: tuple[int, ...]
    actions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Memory:
    """What later decisions depend on.

    Attributes:
        first_at: Time of the first frame, None before it.
        last_at: Time of the last one.
        closed_until: Time until which the door stays closed after a gap.
        seen: Track -> time at which it was last in view.
        first_tracks: Tracks that were in view at the start.
        held: Person who was in view at the start -> time at which they were last in view.
        opened_at: Rule -> time of its last opening.
        passed: Rule, track and person that it has opened for.
        qualified: Rule and person who meets it -> track and time, for rules that need two people.
        told: Track, rule and reason that were told already.
        waiting: Track and rule -> the reason that is told if the track ends with it.
    """

    first_at: float | None = None
    last_at: float = -math.inf
    closed_until: float = -math.inf
    seen: Mapping[int, float] = field(default_factory=dict)
    first_tracks: frozenset[int] = frozenset()
    held: Mapping[str, float] = field(default_factory=dict)
    opened_at: Mapping[str, float] = field(default_factory=dict)
    passed: frozenset[tuple[str, int, str]] = frozenset()
    qualified: Mapping[tuple[str, str], tuple[int, float]] = field(default_factory=dict)
    told: frozenset[tuple[int, str, Reason]] = frozenset()
    waiting: Mapping[tuple[int, str], Decision] = field(default_factory=dict)
