"""A door opens if everything says yes, and for no other combination."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefr.door.decision import (
    ABSENT_S,
    CONFIRMED_S,
    FORGET_S,
    MAX_GAP_S,
    SETTLE_S,
    START_S,
    decide,
)
from edgefr.door.moments import Decision, Face, Memory, Moment
from edgefr.door.rules import Reason, Rule
from edgefr.door.schedule import parse_period

ALWAYS = (parse_period("always"),)
RULE = Rule("day", None, ALWAYS, ("relay",))
MONDAY = datetime(2027, 3, 1, 12)
ADA = Face(1, "identified", "Ada", 0.8, 0.6, 0.1, 3, 0.0, True)
GRACE = replace(ADA, track=2, name="Grace")


class Play:
    """Moments in order, a tenth of a second apart, after an empty start."""

    def __init__(self, *rules: Rule) -> None:
        self.rules, self.memory, self.at = rules or (RULE,), Memory(), 0.0
        self.wait(START_S + 0.1)

    def show(self, *faces: Face, after: float = 0.1, **moment: Any) -> list[Decision]:
        """The new decisions on a frame with faces, whose identities were confirmed just now."""
        self.at += after
        confirmed = [replace(face, confirmed_at=self.at + face.confirmed_at) for face in faces]
        made = Moment(self.at, MONDAY + timedelta(seconds=self.at), confirmed)
        self.memory, decisions = decide(self.rules, self.memory, replace(made, **moment))
        return decisions

    def wait(self, seconds: float, *faces: Face) -> list[Decision]:
        """The decisions while nothing changes for a time."""
        return [decision for _ in range(math.ceil(seconds / 0.1)) for decision in self.show(*faces)]


def opened(decisions: Sequence[Decision]) -> list[tuple[str, ...]]:
    return [decision.names for decision in decisions if decision.reason is None]


def reasons(decisions: Sequence[Decision]) -> list[Reason | None]:
    return [decision.reason for decision in decisions]


def test_an_enrolled_person_opens_once() -> None:
    play = Play()
    assert play.show(ADA) == [Decision("day", None, ("Ada",), (1,), ("relay",))]
    assert play.wait(20, ADA) == []


def test_another_person_whom_the_tracker_takes_for_the_first_one_opens_too() -> None:
    play = Play()
    assert opened(play.show(ADA)) == [("Ada",)]
    assert reasons(play.show(replace(ADA, name="Grace"))) == [Reason.COOLDOWN]
    assert opened(play.wait(6, replace(ADA, name="Grace"))) == [("Grace",)]


def test_who_comes_again_opens_again() -> None:
    play = Play()
    assert opened(play.show(ADA)) == [("Ada",)]
    play.wait(10)
    assert opened(play.show(replace(ADA, track=5))) == [("Ada",)]


REFUSALS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], Reason | None]] = {
    # name: rule, face, moment, reason
    "a stranger": ({}, {"state": "unknown", "name": None}, {}, Reason.UNKNOWN),
    "a photograph": ({}, {"state": "unknown", "name": None, "live": False}, {}, Reason.NOT_LIVE),
    "a photograph with a name": ({"live": False}, {"live": False}, {}, Reason.NOT_LIVE),
    "no liveness check": ({}, {"live": None}, {}, Reason.LIVENESS_UNCHECKED),
    "a name that was withdrawn": ({}, {"state": "pending", "name": None}, {}, None),
    "somebody else": ({"people": frozenset({"Grace"})}, {}, {}, Reason.NOT_LISTED),
    "two candidates": ({}, {"rival": 0.6}, {}, Reason.AMBIGUOUS),
    "a rival that is no number": ({}, {"rival": math.nan}, {}, Reason.AMBIGUOUS),
    "below the gallery's threshold": ({"similarity": 0.1}, {"similarity": 0.59}, {}, Reason.UNSURE),
    "below the rule's threshold": ({"similarity": 0.9}, {}, {}, Reason.UNSURE),
    "a similarity that is no number": ({}, {"similarity": math.nan}, {}, Reason.UNSURE),
    "no threshold": ({}, {"threshold": math.inf}, {}, Reason.UNSURE),
    "an identity of long ago": ({}, {"confirmed_at": -CONFIRMED_S - 0.01}, {}, Reason.UNCONFIRMED),
    "outside its times": ({"periods": (parse_period("Tue 00:00-24:00"),)}, {}, {}, Reason.CLOSED),
    "a stale frame": ({}, {}, {"obstacle": Reason.STALE}, Reason.STALE),
    "a clock that jumped": ({}, {}, {"obstacle": Reason.CLOCK}, Reason.CLOCK),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_the_door_stays_closed_and_says_why_once(case: str) -> None:
    rule, face, moment, reason = REFUSALS[case]
    play = Play(replace(RULE, **rule))
    told = [decision for _ in range(30) for decision in play.show(replace(ADA, **face), **moment)]
    assert reasons(told) == ([] if reason is None else [reason])


def test_too_few_frames_open_later_or_are_told_when_the_person_has_left() -> None:
    play = Play()
    assert play.show(replace(ADA, agreeing=2)) == []
    assert opened(play.show(ADA)) == [("Ada",)]
    play.wait(10)
    assert play.show(replace(ADA, track=7, agreeing=2)) == []
    assert reasons(play.wait(FORGET_S + 0.2)) == [Reason.FEW_FRAMES]


def test_one_person_on_two_tracks_opens_nothing() -> None:
    assert reasons(Play().show(ADA, replace(ADA, track=2))) == [Reason.AMBIGUOUS] * 2


def test_a_face_in_view_at_the_start_opens_only_after_it_was_away() -> None:
    """Also if its track breaks, and if it was not identified yet."""
    play = Play()
    play.memory, play.at = Memory(), 0.0
    unknown = replace(ADA, state="pending", name=None)
    assert play.show(unknown) == []
    assert reasons(play.wait(START_S + 1, ADA)) == [Reason.IN_VIEW_AT_START]
    assert reasons(play.wait(3, replace(ADA, track=4))) == [Reason.IN_VIEW_AT_START]
    play.wait(ABSENT_S - 0.5)
    assert reasons(play.show(replace(ADA, track=5))) == [Reason.IN_VIEW_AT_START]
    play.wait(ABSENT_S + 0.2)
    assert opened(play.show(replace(ADA, track=6))) == [("Ada",)]


def test_frames_after_a_gap_open_nothing_for_a_moment() -> None:
    play = Play()
    assert reasons(play.show(ADA, after=MAX_GAP_S + 0.1)) == [Reason.GAP]
    assert opened(play.wait(SETTLE_S + 0.2, ADA)) == [("Ada",)]


def test_a_second_person_within_the_cooldown_waits_for_its_end() -> None:
    play = Play()
    assert opened(play.show(ADA)) == [("Ada",)]
    start = play.at
    assert reasons(play.show(ADA, GRACE)) == [Reason.COOLDOWN]
    while not (later := play.show(ADA, GRACE)):
        continue
    assert opened(later) == [("Grace",)]
    assert play.at - start == pytest.approx(RULE.cooldown_s, abs=0.15)


def test_rules_decide_on_their_own_and_those_for_others_are_silent() -> None:
    staff = replace(RULE, name="staff", people=frozenset({"Ada"}), periods=(parse_period("Tue 00:00-24:00"),))
    vault = replace(RULE, name="vault", people=frozenset({"Grace"}), actions=("vault",))
    play = Play(staff, vault)
    assert [(one.rule, one.reason) for one in play.show(ADA)] == [("staff", Reason.CLOSED)]
    assert [(one.rule, one.actions) for one in play.show(GRACE)] == [("vault", ("vault",))]


TWO = replace(RULE, two_people_within_s=10.0)


def test_two_people_open_together_and_one_alone_does_not() -> None:
    play = Play(TWO)
    assert play.wait(2, ADA) == []
    assert opened(play.show(ADA, GRACE)) == [("Ada", "Grace")]
    assert play.wait(20, ADA, GRACE) == []


def test_the_second_person_may_come_after_the_first_but_not_too_late() -> None:
    play = Play(TWO)
    play.show(ADA)
    play.wait(6)
    assert opened(play.show(GRACE)) == [("Ada", "Grace")]
    play = Play(TWO)
    play.show(ADA)
    assert reasons(play.wait(11)) == [Reason.ALONE]
    assert opened(play.wait(3, GRACE)) == []


def test_one_track_is_not_two_people_and_a_doubtful_first_one_does_not_count() -> None:
    play = Play(TWO)
    play.show(ADA)
    assert opened(play.wait(1, replace(ADA, name="Grace"))) == []
    play = Play(TWO)
    play.show(ADA)
    assert opened(play.wait(1, replace(ADA, track=9))) == [], "Ada on another track is no second person, either"
    play = Play(TWO)
    play.show(ADA)
    play.show(replace(ADA, name="Grace"))
    assert opened(play.show(replace(GRACE, track=9))) == [], "the first track is not Ada's any more"
    play = Play(TWO)
    play.show(ADA)
    play.show(replace(ADA, state="pending", name=None))
    assert opened(play.show(GRACE)) == []


def test_a_cooldown_of_before_the_start_holds() -> None:
    play = Play()
    play.memory = replace(play.memory, opened_at={"day": play.at - 1})
    assert reasons(play.show(ADA)) == [Reason.COOLDOWN]


FACES = st.builds(
    Face,
    st.integers(1, 3),
    st.sampled_from(["pending", "identified", "unknown"]),
    st.sampled_from([None, "Ada", "Grace"]),
    *[st.floats(-1, 1)] * 3,
    st.integers(0, 6),
    st.floats(-5, 0),
    st.sampled_from([None, False, True]),
)
RULES = st.builds(
    Rule,
    st.sampled_from(["a", "b"]),
    st.sampled_from([None, frozenset({"Ada"}), frozenset[str]()]),
    st.just(ALWAYS),
    st.just(("relay",)),
    st.none() | st.floats(-1, 1),
    st.none(),
    st.booleans(),
    st.integers(2, 6),
    st.floats(0, 10),
    st.none() | st.floats(1, 10),
)
STEPS = st.lists(
    st.tuples(st.lists(FACES, max_size=3, unique_by=lambda face: face.track), st.floats(0.01, 4)), max_size=25
)


@given(st.lists(RULES, min_size=1, max_size=2, unique_by=lambda rule: rule.name), STEPS)
@settings(max_examples=150, deadline=None)
def test_whatever_happens_only_clear_evidence_opens(rules: list[Rule], steps: Any) -> None:
    play = Play(*rules)
    by_name = {rule.name: rule for rule in rules}
    last = dict[str, float]()
    for faces, after in steps:
        for decision in play.show(*faces, after=after):
            if decision.reason is not None:
                continue
            rule = by_name[decision.rule]
            (face,) = [one for one in faces if one.track == decision.tracks[-1]]
            assert face.state == "identified"
            assert face.name == decision.names[-1]
            assert rule.is_for(face.name)
            assert face.similarity >= max(face.threshold, rule.similarity or -1) > -2
            assert face.rival < face.threshold
            assert face.agreeing >= rule.frames
            assert face.live is True or (not rule.live and face.live is None)
            assert len(set(decision.names)) == len(set(decision.tracks)) == 1 + (rule.two_people_within_s is not None)
            assert play.at - last.get(rule.name, -math.inf) >= rule.cooldown_s
            last[rule.name] = play.at
    play.wait(FORGET_S + 11)
    kept = play.memory
    forgotten = [kept.seen, kept.first_tracks, kept.held, kept.passed, kept.qualified, kept.told, kept.waiting]
    assert not any(forgotten)
