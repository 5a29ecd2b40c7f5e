"""Films before a door: it opens for enrolled people and nobody else, and every decision is in the log."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest

from edgefr.camera.base import Frame
from edgefr.camera.watcher import Watcher
from edgefr.door import door
from edgefr.door.clock_check import HOLD_S, ClockCheck
from edgefr.door.rules import Reason
from edgefr.door.schedule import parse_period
from edgefr.errors import UnavailableError
from edgefr.gallery.file_gallery import FileGallery
from tests.camera.people import frame
from tests.door.doors import ADA, EMPTY, GRACE, RULE, STRANGER, Film, Relay, door_of, told, watched

IN_VIEW = Reason.IN_VIEW_AT_START.value


def test_two_people_open_a_stranger_does_not_and_all_is_in_the_log(watcher: Watcher) -> None:
    film = Film(
        (2.2, EMPTY),
        (2, [(ADA, 60, 60)]),
        (2, EMPTY),
        (2, [(STRANGER, 200, 60)]),
        (2, EMPTY),
        (2, [(GRACE, 300, 60), (STRANGER, 60, 60)]),
        (2, EMPTY),
        (2, [(ADA, 60, 60)]),
    )
    relay = Relay()
    with door_of(watcher, film, opener=relay) as (session, decisions, warnings):
        session.run()
    assert [entry for entry in told(decisions) if entry[0] == "opened"] == [
        ("opened", "Ada", None),
        ("opened", "Grace", None),
        ("opened", "Ada", None),
    ]
    assert [entry for entry in told(decisions) if entry[0] == "refused"] == [
        ("refused", None, Reason.UNKNOWN.value)
    ] * 2
    assert [json.loads(message)["name"] for message in relay.opened] == ["Ada", "Grace", "Ada"]
    logged = [(event.what, event.name, event.detail) for event in watcher.gallery.events()]
    assert logged.count(("opened", "Ada", 'door, rule "day": relay')) == 2
    assert logged.count(("opened", "Grace", 'door, rule "day": relay')) == 1
    assert logged.count(("refused", "", "door: an unknown person")) == 2
    assert warnings == []


def test_a_person_in_view_at_the_start_must_come_again(watcher: Watcher) -> None:
    film = Film((6, [(ADA, 60, 60)]), (4, EMPTY), (2, [(ADA, 60, 60)]))
    assert watched(watcher, film) == [("refused", "Ada", IN_VIEW), ("opened", "Ada", None)]


def test_another_person_on_the_same_track_opens_nothing(watcher: Watcher) -> None:
    """Ada waits for the end of a cooldown; the tracker takes a stranger at her place for her."""
    rule = replace(RULE, cooldown_s=6.0)
    film = Film((2.2, EMPTY), (1, [(GRACE, 300, 60)]), (1, [(ADA, 60, 60)]), (9, [(STRANGER, 60, 60)]))
    happened = [entry for entry in watched(watcher, film, rule) if entry[0] == "opened"]
    assert happened == [("opened", "Grace", None)]


def test_two_people_are_needed(watcher: Watcher) -> None:
    rule = replace(RULE, two_people_within_s=3.0)
    alone = Film((2.2, EMPTY), (2, [(ADA, 60, 60)]), (6, [(STRANGER, 300, 60)]))
    assert ("opened", "Ada", None) not in watched(watcher, alone, rule)
    watcher = Watcher(watcher.identifier)
    together = Film((2.2, EMPTY), (2, [(ADA, 60, 60)]), (2, [(ADA, 60, 60), (GRACE, 300, 60)]))
    assert [entry[:2] for entry in watched(watcher, together, rule)] == [("opened", "Grace")]
    logged = [(event.name, event.detail) for event in watcher.gallery.events() if event.what == "opened"]
    assert logged == [(name, 'door, rule "day": relay (one of 2 people)') for name in ("Ada", "Grace")]


def test_a_rule_outside_its_times_stays_closed(watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monday = datetime(2027, 3, 1, tzinfo=timezone.utc).timestamp()  # 01:00 in Berlin
    monkeypatch.setattr(time, "time", lambda: monday)
    film = Film((2.2, EMPTY), (2, [(ADA, 60, 60)]))
    tuesday, early = (replace(RULE, periods=(parse_period(text),)) for text in ("Tue 00:00-24:00", "Mon 01:00-01:01"))
    assert watched(watcher, film, tuesday) == [("refused", "Ada", Reason.CLOSED.value)]
    watcher = Watcher(watcher.identifier)
    assert watched(watcher, film, early) == [("opened", "Ada", None)]


def test_a_restart_does_not_end_a_cooldown(watcher: Watcher) -> None:
    rule = replace(RULE, cooldown_s=3600.0)
    film = Film((2.2, EMPTY), (2, [(ADA, 60, 60)]))
    assert watched(watcher, film, rule) == [("opened", "Ada", None)]
    watcher = Watcher(watcher.identifier)
    assert watched(watcher, film, rule) == [("refused", "Ada", Reason.COOLDOWN.value)]


def test_a_gallery_that_cannot_be_read_or_written_keeps_the_door_closed(
    watcher: Watcher, gallery: FileGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise UnavailableError("the gallery", "no answer", "start the database")

    film = Film((2.2, EMPTY), (2, [(ADA, 60, 60)]))
    relay = Relay()
    with monkeypatch.context() as patch:
        patch.setattr(FileGallery, "__contains__", fail)
        with door_of(watcher, film, opener=relay) as (session, decisions, _):
            session.run()
        assert told(decisions) == [("refused", "Ada", Reason.GALLERY.value)]
    watcher = Watcher(watcher.identifier)
    with monkeypatch.context() as patch:
        patch.setattr(FileGallery, "log", fail)
        with door_of(watcher, film, opener=relay) as (session, decisions, warnings):
            session.run()
        assert decisions == []
        assert len([line for line in warnings if "the door stays closed" in line and "no answer" in line]) == 1
    assert relay.opened == []


def test_a_person_who_was_just_removed_opens_nothing(watcher: Watcher, gallery: FileGallery) -> None:
    class Removing(Film):
        def frames(self) -> Iterator[Frame]:
            for number, one in enumerate(super().frames()):
                if number == 62:
                    gallery.remove("Ada")
                yield one

    film = Removing((2.2, EMPTY), (2, [(ADA, 60, 60)]))
    assert [entry[0] for entry in watched(watcher, film, replace(RULE, frames=3))] == ["refused"]


class Camera:
    """A live source; `show` gives the image of each frame, or None for a pause."""

    name, live = "camera", True

    def __init__(self, seconds: float, people: Any) -> None:
        self._seconds, self._people = seconds, people

    def frames(self) -> Iterator[Frame]:
        start = time.monotonic()
        while (passed := time.monotonic() - start) < self._seconds:
            made = frame(passed, *self._people(passed))
            yield Frame(made.image, time.monotonic() - self.age(passed))
            time.sleep(0.04)

    def age(self, _passed: float) -> float:
        return 0.0


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faces may open soon after the start."""
    monkeypatch.setattr("edgefr.door.decision.START_S", 0.2)


def arrives(passed: float) -> list[tuple[int, int, int]]:
    return [(ADA, 60, 60)] if passed > 0.8 else []


def test_a_live_camera_opens(watcher: Watcher, at_once: None) -> None:
    with door_of(watcher, Camera(2.0, arrives)) as (session, decisions, warnings):
        session.run()
    assert told(decisions) == [("opened", "Ada", None)]
    assert decisions[0]["at"] < decisions[0]["valid_until"]
    assert warnings == []


def test_stale_frames_open_nothing(watcher: Watcher, at_once: None) -> None:
    class Late(Camera):
        def age(self, passed: float) -> float:
            return door.MAX_FRAME_AGE_S + 0.5

    with door_of(watcher, Late(2.0, arrives)) as (session, decisions, _):
        session.run()
    assert told(decisions) == [("refused", "Ada", Reason.STALE.value)]


def test_a_picture_that_stands_still_opens_nothing(watcher: Watcher, at_once: None, monkeypatch: Any) -> None:
    monkeypatch.setattr(door, "MAX_STILL_S", 0.3)
    still = frame(0.0, (ADA, 60, 60)).image

    class Frozen(Camera):
        def frames(self) -> Iterator[Frame]:
            for one in super().frames():
                yield replace(one, image=still)

    with door_of(watcher, Frozen(2.0, arrives), replace(RULE, frames=4)) as (session, decisions, _):
        session.run()
    assert "opened" not in {entry[0] for entry in told(decisions)}
    assert Reason.STALE.value in {entry[2] for entry in told(decisions)}


def test_a_clock_that_jumps_keeps_the_door_closed(
    watcher: Watcher, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, start = time.time, time.monotonic()
    monkeypatch.setattr(time, "time", lambda: clock() + 3600 * (time.monotonic() - start > 0.4))
    with door_of(watcher, Camera(2.0, arrives)) as (session, decisions, warnings):
        session.run()
    assert told(decisions) == [("refused", "Ada", Reason.CLOCK.value)]
    assert len(warnings) == 1
    assert "the clock of this machine has jumped" in warnings[0]


def test_a_clock_that_does_not_fit_the_gallery_keeps_the_door_closed(watcher: Watcher, gallery: FileGallery) -> None:
    gallery.clock_notice = "the clock says 1970-01-01 00:00 UTC, which is 20,000.0 days before the latest use"
    film = Film((2.2, EMPTY), (2, [(ADA, 60, 60)]))
    assert watched(watcher, film) == [("refused", "Ada", Reason.CLOCK.value)]


def test_a_frame_in_which_faces_were_not_searched_decides_nothing(watcher: Watcher) -> None:
    film = Film((2.2, EMPTY), (2, [(ADA, 60, 60)]))
    found = [watcher.process(one) for one in film.frames()]
    with door_of(watcher, film) as (session, decisions, _):
        (listener,) = session._listeners
        for result in found:
            listener.show(replace(result, searched=False))
        assert decisions == []


def test_the_clock_check_follows_corrections_and_finds_jumps() -> None:
    check = ClockCheck()
    for second in range(100):
        check = check.observe(float(second), 1e9 + 1.08 * second)
        assert not check.is_doubtful(float(second))
    for step in (3.0, -3.0, 1e6, float("nan")):
        jumped = check.observe(100.0, 1e9 + 108 + step)
        assert jumped.is_doubtful(100.0)
        assert jumped.is_doubtful(100.0 + HOLD_S - 1)
    assert not check.observe(100.0, 1e9 + 111.0).is_doubtful(100.0 + HOLD_S)
    crept = ClockCheck()
    for frame_number in range(100):  # 1.5 s more with each of ten frames a second
        crept = crept.observe(frame_number / 10, 1e9 + 1.6 * frame_number)
    assert crept.is_doubtful(10.0), "small steps add up"
