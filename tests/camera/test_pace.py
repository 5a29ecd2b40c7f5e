"""Steady scenes are searched in a part of their frames, and nobody is missed or named late because of that."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edgefr.camera.pace import SETTLED, Box, Pace
from edgefr.camera.watcher import FrameResult, Watcher
from edgefr.server.page_enrolment import DoubtfulFaceError
from edgefr.server.web_state import WebState
from tests.camera.people import frame

RATE = 30.0
ADA, STRANGER = 1, 77
People = tuple[tuple[int, int, int], ...]


def watch(watcher: Watcher, seconds: float, people: Callable[[float], People]) -> list[FrameResult]:
    """The results of a film in which people stand where a function of the time says."""
    times = [number / RATE for number in range(round(seconds * RATE))]
    return [watcher.process(frame(at, *people(at))) for at in times]


def share_searched(results: list[FrameResult]) -> float:
    return sum(result.searched for result in results) / len(results)


@pytest.mark.parametrize("people", [(), ((ADA, 100, 60),), ((STRANGER, 100, 60), (ADA, 300, 60))])
def test_a_steady_scene_is_searched_in_a_third_of_its_frames(watcher: Watcher, people: People) -> None:
    results = watch(watcher, 6, lambda _: people)[round(2 * RATE) :]
    assert share_searched(results) < 0.4
    assert {len(result.faces) for result in results} == {len(people)}, "frames in between have the same faces"


def test_a_newcomer_is_named_at_most_a_tenth_of_a_second_later(watcher: Watcher) -> None:
    results = watch(watcher, 6, lambda at: ((ADA, 100, 60),) if at >= 3.01 else ())
    (named,) = [event.at for result in results for event in result.events if event.what == "identified"]
    assert named - 3.01 < 0.4, "it takes 0.25 s if every frame is searched"


def test_a_face_that_moves_is_searched_in_every_frame(watcher: Watcher) -> None:
    """20 pixels from frame to frame, to and fro, and a face is 112 pixels wide."""
    results = watch(watcher, 2, lambda at: ((ADA, int(10 + 20 * RATE * abs(at % 1 - 0.5)), 60),))[round(RATE / 2) :]
    assert share_searched(results) == 1


def test_somebody_who_replaces_another_is_never_called_by_that_name_for_longer(watcher: Watcher) -> None:
    """A face at the same place after a gap shorter than an interval: the check every 2 s withdraws the name."""
    results = watch(watcher, 12, lambda at: ((ADA if at < 3 else STRANGER, 100, 60),))
    assert {face.name for face in results[-1].faces} == {None}
    last = max(result.frame.at for result in results for face in result.faces if face.name == "Ada")
    assert last < 3 + 2 * 2.0 + 0.5


def test_frames_that_are_not_searched_are_turned_upright_as_well(watcher: Watcher) -> None:
    """The page would show every third frame upright and the others not."""
    results = watch(Watcher(watcher.identifier, rotation=90), 2, lambda _: ())
    assert share_searched(results) < 1
    assert {result.frame.image.shape for result in results} == {(480, 240, 3)}


def test_a_source_of_few_frames_is_searched_in_all(watcher: Watcher) -> None:
    assert all(watcher.process(frame(number / 10, (ADA, 100, 60))).searched for number in range(60))


def test_a_clock_that_goes_back_does_not_stop_the_search() -> None:
    pace = Pace()
    for number in range(2 * SETTLED):
        pace.note(100 + number, {}, waits=False)
    assert not pace.is_due(100 + 2 * SETTLED - 1 + 0.01)
    assert pace.is_due(3.0)


@pytest.mark.parametrize(
    ("boxes", "waits", "steady"),
    [
        ({1: (10, 10, 100, 100)}, False, True),
        ({1: (24, 10, 100, 100)}, False, True),
        ({1: (26, 10, 100, 100)}, False, False),
        ({1: (10, 10, 100, 120)}, False, False),
        ({1: (10, 10, 100, 100)}, True, False),
        ({1: (10, 10, 100, 100), 2: (300, 10, 100, 100)}, False, False),
        ({2: (10, 10, 100, 100)}, False, False),
        ({}, False, False),
    ],
)
def test_a_scene_is_no_longer_steady_when_something_waits_moves_comes_or_goes(
    boxes: dict[int, Box], waits: bool, steady: bool
) -> None:
    pace = Pace()
    for number in range(SETTLED + 1):
        pace.note(number, {1: (10, 10, 100, 100)}, waits=False)
    assert not pace.is_due(SETTLED + 0.01)
    pace.note(SETTLED + 1, boxes, waits)
    assert pace.is_due(SETTLED + 1.01) is not steady


def test_a_face_of_a_frame_that_was_not_searched_is_not_enrolled_from_it(watcher: Watcher) -> None:
    """Ada stood still, and her place shows something else in the newest frame, which was not searched."""
    state = WebState(watcher, "the door")
    results = watch(watcher, 3, lambda _: ((ADA, 100, 60),))
    for result in results:
        state.show(result)
    (track,) = {face.track for face in results[-1].faces}
    newest = FrameResult(frame(3.05, (STRANGER, 100, 60)), results[-1].faces, (), searched=False)
    state.show(newest)
    with pytest.raises(DoubtfulFaceError, match="looks like Ada"):  # a stranger would be enrolled without a question
        state.enrol("Eve", track, confirm=False)
