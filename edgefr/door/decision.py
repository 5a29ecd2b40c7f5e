"""Decide whether a door opens: a pure function of rules, faces, time and what it remembers.

It says no unless everything says yes. A person who is refused for a passing reason, such as the time or a cooldown, is
judged again with the next frame. One appearance of a person, which is a track with a name, opens a rule once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from edgefr.door.moments import Decision, Face, Memory, Moment
from edgefr.door.rules import Reason, Rule

START_S = 2.0
"""Seconds after the first frame in which a face counts as in view since the start."""
ABSENT_S = 3.0
"""Seconds for which a person who was in view at the start must be out of view before the door opens for them."""
MAX_GAP_S, SETTLE_S = 2.0, 1.0
"""Seconds without a frame after which the door stays closed for SETTLE_S: the first frames of a connection that has
stalled may be old ones."""
CONFIRMED_S = 3.0
"""Seconds since the last view that confirmed an identity. A track in view is embedded every two seconds."""
FORGET_S = 5.0
"""Seconds after which a track that is not in view is forgotten; it has ended by then. Numbers are not used again."""
PASSING = (Reason.FEW_FRAMES, Reason.ALONE)
"""Reasons that are told only if the track ends with them."""


def decide(rules: Sequence[Rule], memory: Memory, moment: Moment) -> tuple[Memory, list[Decision]]:
    """Decide for one frame.

    Args:
        rules: The rules of the door.
        memory: What the last call returned; `Memory()` at first.
        moment: The frame. Its time is not before that of the last one.

    Returns:
        What the next call needs, and the decisions that are new: every opening, and every reason of a refusal once for
        a track and a rule.
    """
    memory, ended = _after_time(rules, memory, moment)
    decisions = list(ended)
    for face in moment.faces:
        for verdict in _verdicts(rules, face, memory, moment):
            memory = _remember(memory, verdict, moment.at)
            decisions += _new(verdict, memory, face.track)
            memory = _tell(memory, verdict, face.track)
    return memory, decisions


def judge_person(face: Face, memory: Memory, moment: Moment) -> Reason | None:
    """Why the door opens for a face by no rule at all; None if the rules decide."""
    checks = (
        (face.state == "pending", Reason.PENDING),
        (moment.obstacle is not None, moment.obstacle),
        (moment.at < memory.closed_until, Reason.GAP),
        (face.live is False, Reason.NOT_LIVE),
        (face.state != "identified" or face.name is None, Reason.UNKNOWN),
        (face.track in memory.first_tracks or face.name in memory.held, Reason.IN_VIEW_AT_START),
        (Counter(other.name for other in moment.faces)[face.name] > 1, Reason.AMBIGUOUS),
        (not face.rival < face.threshold, Reason.AMBIGUOUS),
        (not moment.at - face.confirmed_at <= CONFIRMED_S, Reason.UNCONFIRMED),
    )
    return next((reason for applies, reason in checks if applies), None)


def judge_rule(rule: Rule, face: Face, memory: Memory, moment: Moment) -> Reason | None:
    """Why a rule that is for a person does not open; None if it opens, or waits for a second person only."""
    minimum = face.threshold if rule.similarity is None else max(rule.similarity, face.threshold)
    checks = (
        (rule.live and face.live is None, Reason.LIVENESS_UNCHECKED),
        (not face.similarity >= minimum, Reason.UNSURE),
        (face.agreeing < rule.frames, Reason.FEW_FRAMES),
        (not any(period.contains(moment.local) for period in rule.periods), Reason.CLOSED),
        (moment.at - memory.opened_at.get(rule.name, -math.inf) < rule.cooldown_s, Reason.COOLDOWN),
    )
    return next((reason for applies, reason in checks if applies), None)


def _verdicts(rules: Sequence[Rule], face: Face, memory: Memory, moment: Moment) -> Iterator[Decision]:
    """What each rule says to a face. Rules that are for others are silent, unless all are."""
    name = face.name if face.state == "identified" else None
    reason = judge_person(face, memory, moment)
    concerned = [rule for rule in rules if name is not None and rule.is_for(name)]
    if reason is None and not concerned:
        reason = Reason.NOT_LISTED
    if reason is not None or name is None:
        yield Decision("", reason, () if name is None else (name,), (face.track,))
        return
    for rule in concerned:
        if (rule.name, face.track, name) not in memory.passed:
            yield _verdict(rule, face, name, memory, moment)


def _verdict(rule: Rule, face: Face, name: str, memory: Memory, moment: Moment) -> Decision:
    if (reason := judge_rule(rule, face, memory, moment)) is not None:
        return Decision(rule.name, reason, (name,), (face.track,))
    if rule.two_people_within_s is None:
        return Decision(rule.name, None, (name,), (face.track,), rule.actions)
    for (other_rule, other), (track, _) in memory.qualified.items():
        if other_rule == rule.name and other != name and track != face.track:
            return Decision(rule.name, None, (other, name), (track, face.track), rule.actions)
    return Decision(rule.name, Reason.ALONE, (name,), (face.track,))


def _remember(memory: Memory, verdict: Decision, at: float) -> Memory:
    """Note what a verdict means for later ones."""
    if verdict.reason is None:
        return replace(
            memory,
            opened_at={**memory.opened_at, verdict.rule: at},
            passed=memory.passed | {(verdict.rule, *pair) for pair in zip(verdict.tracks, verdict.names, strict=True)},
            qualified={key: entry for key, entry in memory.qualified.items() if key[0] != verdict.rule},
        )
    kept = {
        key: (track, since)
        for key, (track, since) in memory.qualified.items()
        if track not in verdict.tracks or verdict.rule not in ("", key[0])
    }
    if verdict.reason == Reason.ALONE:
        kept[verdict.rule, verdict.names[0]] = verdict.tracks[0], at
    return replace(memory, qualified=kept)


def _new(verdict: Decision, memory: Memory, track: int) -> list[Decision]:
    """The verdict if it is to be told now."""
    if verdict.reason is None:
        return [verdict]
    is_told = (track, verdict.rule, verdict.reason) in memory.told
    return [] if is_told or verdict.reason in (Reason.PENDING, *PASSING) else [verdict]


def _tell(memory: Memory, verdict: Decision, track: int) -> Memory:
    """Note what was told, and what is to be told when the track ends."""
    if verdict.reason == Reason.PENDING:
        return memory
    waiting = {key: value for key, value in memory.waiting.items() if key not in ((track, verdict.rule), (track, ""))}
    if verdict.reason is None:
        return replace(memory, waiting=waiting)
    if verdict.reason in PASSING:
        return replace(memory, waiting={**waiting, (track, verdict.rule): verdict})
    return replace(memory, waiting=waiting, told=memory.told | {(track, verdict.rule, verdict.reason)})


def _after_time(rules: Sequence[Rule], memory: Memory, moment: Moment) -> tuple[Memory, list[Decision]]:
    """What has changed since the last frame by time alone, and the refusals of tracks that have ended."""
    at = moment.at
    first_at = at if memory.first_at is None else memory.first_at
    has_gap = memory.first_at is not None and at - memory.last_at > MAX_GAP_S
    seen = {**memory.seen, **{face.track: at for face in moment.faces}}
    ended = {track for track, last in seen.items() if at - last > FORGET_S}
    first = memory.first_tracks | ({face.track for face in moment.faces} if at - first_at <= START_S else frozenset())
    held = {name: last for name, last in memory.held.items() if at - last <= ABSENT_S}
    for face in moment.faces:
        if face.name is not None and (face.name in held or face.track in first):
            held[face.name] = at
    windows = {rule.name: rule.two_people_within_s or 0.0 for rule in rules}
    refused = [verdict for (track, _), verdict in memory.waiting.items() if track in ended]
    return replace(
        memory,
        first_at=first_at,
        last_at=at,
        closed_until=at + SETTLE_S if has_gap else memory.closed_until,
        seen={track: last for track, last in seen.items() if track not in ended},
        first_tracks=frozenset(first - ended),
        held=held,
        passed=frozenset(entry for entry in memory.passed if entry[1] not in ended),
        qualified={key: entry for key, entry in memory.qualified.items() if at - entry[1] <= windows[key[0]]},
        told=frozenset(entry for entry in memory.told if entry[0] not in ended),
        waiting={key: verdict for key, verdict in memory.waiting.items() if key[0] not in ended},
    ), refused
