"""A track is identified only if its last views are those of a living face."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edgefr.camera.identity import MAX_VIEWS
from edgefr.camera.session import event_document
from edgefr.camera.watcher import TrackEvent, Watcher
from edgefr.detection.base import Face
from edgefr.liveness.liveness_check import Liveness
from edgefr.types import Image
from tests.camera.people import frame

RATE = 25.0
ADA, GRACE = 1, 2


class Scores:
    """Gives the n-th view of a film its score."""

    def __init__(self, score: Callable[[int], float]) -> None:
        self._score, self.count = score, 0

    def check(self, _image: Image, _face: Face) -> Liveness:
        self.count += 1
        return Liveness(self._score(self.count - 1), 0.5)


def events(watcher: Watcher, score: Callable[[int], float], seconds: float = 20) -> list[TrackEvent]:
    """What happens while Ada, or something that looks like her, moves a little."""
    watcher.verifier.liveness = Scores(score)  # type: ignore[assignment]
    film = (frame(number / RATE, (ADA, 100 + number % 40, 60)) for number in range(round(seconds * RATE)))
    return [event for one in film for event in watcher.process(one).events]


def test_a_living_face_is_identified_and_its_score_is_reported(watcher: Watcher) -> None:
    (event,) = events(watcher, lambda _: 0.9)
    assert (event.what, event.name, event.live) == ("identified", "Ada", True)
    assert event.liveness == pytest.approx(0.9)
    assert event_document(event, live=False)["live"] is True


def test_a_photograph_of_ada_is_never_her(watcher: Watcher) -> None:
    (event,) = events(watcher, lambda _: 0.1)
    assert (event.what, event.name, event.live) == ("unknown", None, False)
    assert event.similarity > event.threshold, "it looks like her"


@pytest.mark.parametrize(("odd", "usual", "name"), [(0.1, 0.9, "Ada"), (0.9, 0.1, None)])
def test_single_views_do_not_decide(watcher: Watcher, odd: float, usual: float, name: str | None) -> None:
    (event,) = events(watcher, lambda view: usual if view % 4 else odd)
    assert event.name == name


def test_the_name_is_withdrawn_when_the_face_is_no_longer_alive(watcher: Watcher) -> None:
    happened = events(watcher, lambda view: 0.9 if view < MAX_VIEWS else 0.0, seconds=60)
    assert [(event.what, event.name) for event in happened] == [("identified", "Ada"), ("unknown", None)]
    assert happened[1].live is False


def test_a_print_in_the_place_of_a_living_person_does_not_pass_by_that_persons_views(watcher: Watcher) -> None:
    """The tracker takes the face of Grace on the sheet for Ada's, whose track has many living views."""
    scores = Scores(lambda _: 0.9)
    watcher.verifier.liveness = scores  # type: ignore[assignment]
    happened = [event for n in range(100) for event in watcher.process(frame(n / RATE, (ADA, 100, 60))).events]
    watcher.verifier.liveness = Scores(lambda _: 0.1)  # type: ignore[assignment]
    happened += [event for n in range(100, 300) for event in watcher.process(frame(n / RATE, (GRACE, 100, 60))).events]
    assert len({event.track for event in happened}) == 1
    assert scores.count >= MAX_VIEWS / 2
    assert [event.name for event in happened if event.what == "identified"] == ["Ada"]
    assert (happened[-1].what, happened[-1].live) == ("unknown", False)


def test_without_a_check_nothing_is_said_about_liveness(watcher: Watcher) -> None:
    happened = [event for number in range(20) for event in watcher.process(frame(number / RATE, (ADA, 100, 60))).events]
    assert [(event.what, event.live, event.liveness) for event in happened] == [("identified", None, None)]
