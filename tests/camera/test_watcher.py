"""Who is identified, when, and who is not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgefr.camera.overlay import COLOURS, draw_faces
from edgefr.camera.session import event_document
from edgefr.camera.watcher import Watcher
from edgefr.errors import EdgefrError, UnavailableError
from edgefr.gallery.file_gallery import FileGallery
from edgefr.gallery.identifier import Identifier
from edgefr.recognition.verifier import Verifier
from edgefr.types import Floats
from tests.camera.people import frame, pattern

RATE = 25.0
ADA, GRACE, STRANGER = 1, 2, 77


def events_of(
    watcher: Watcher, film: list[list[tuple[int, int, int]]], start: float = 0.0
) -> list[tuple[str, str | None]]:
    """The events of a film, each frame given as (person, x, y); its tracks are not ended."""
    return [
        (event.what, event.name)
        for number, people in enumerate(film)
        for event in watcher.process(frame(start + number / RATE, *people)).events
    ]


def test_two_people_who_walk_are_identified_once_each(watcher: Watcher) -> None:
    film = [[(ADA, 10 + 2 * n, 20), (GRACE, 300 - 2 * n, 120)] for n in range(40)]
    assert sorted(events_of(watcher, film)) == [("identified", "Ada"), ("identified", "Grace")]
    assert sorted((event.what, event.name) for event in watcher.close()) == [("left", "Ada"), ("left", "Grace")]


def test_a_stranger_is_unknown(watcher: Watcher) -> None:
    film = [[(STRANGER, 60, 40)]] * 60
    assert events_of(watcher, film) == [("unknown", None)]


def test_a_gap_ends_a_track_and_a_person_who_returns_is_identified_again(watcher: Watcher) -> None:
    here, gone = [[(ADA, 100, 50)]] * 15, [[]] * 40
    assert events_of(watcher, [*here, *gone, *here]) == [("identified", "Ada"), ("left", "Ada"), ("identified", "Ada")]


def test_single_frames_without_the_face_do_not_end_the_track(watcher: Watcher) -> None:
    film = [[(ADA, 100, 50)] if n % 5 else [] for n in range(40)]
    assert events_of(watcher, film) == [("identified", "Ada")]


def test_a_name_does_not_stay_when_the_tracker_switches_to_another_person(watcher: Watcher) -> None:
    """Another face at the same place: the tracker continues the track, but the name must not stay."""
    film = [[(ADA, 100, 50)]] * 25 + [[(STRANGER, 100, 50)]] * 150
    happened = events_of(watcher, film)
    assert happened[0] == ("identified", "Ada")
    assert happened[-1] == ("unknown", None)
    assert [name for _, name in happened if name] == ["Ada"] * (len(happened) - 1)
    assert watcher.process(frame(7.04, (STRANGER, 100, 50))).faces[0].name is None


def test_one_view_is_not_enough_for_a_name(watcher: Watcher) -> None:
    film = [[(ADA, 100, 50)]] * 3  # 0.08 s, in which one view is embedded
    assert events_of(watcher, film) == []


def test_few_frames_are_embedded(watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded = []
    embed = watcher.verifier.embed
    monkeypatch.setattr(watcher.verifier, "embed", lambda found: (embedded.append(len(found)), embed(found))[1])
    events_of(watcher, [[(ADA, 100, 50)]] * 250)
    assert 2 <= sum(embedded) <= 15  # of 250 frames in 10 seconds


def test_a_face_that_is_too_small_is_tracked_and_not_decided(watcher: Watcher) -> None:
    for number in range(30):
        scene = frame(number / RATE)
        scene.image[50:80, 60:90] = pattern(ADA)[:30, :30]
        faces = watcher.process(scene).faces
    assert [(one.state, one.name) for one in faces] == [("pending", None)]


def test_matches_are_logged_in_the_gallery(watcher: Watcher) -> None:
    events_of(watcher, [[(ADA, 100, 50)]] * 20)
    assert [(event.what, event.name) for event in watcher.gallery.events()][-1] == ("matched", "Ada")


def test_a_person_who_is_removed_is_no_longer_identified(watcher: Watcher) -> None:
    assert events_of(watcher, [[(ADA, 100, 50)]] * 20) == [("identified", "Ada")]
    watcher.gallery.remove("Ada")
    happened = events_of(watcher, [[(ADA, 100, 50)]] * 100, start=20 / RATE)
    assert ("unknown", None) in happened
    assert ("identified", "Ada") not in happened


def test_a_gallery_of_another_model_is_refused(verifier: Verifier, gallery: FileGallery) -> None:
    verifier.model = Path(__file__)
    with pytest.raises(EdgefrError, match="gallery rebuild"):
        Watcher(Identifier(verifier, gallery))


def test_boxes_are_drawn_in_the_colour_of_the_state(watcher: Watcher) -> None:
    for number in range(20):
        result = watcher.process(frame(number / RATE, (ADA, 100, 80)))
    picture = draw_faces(result)
    assert tuple(picture[130, 100]) == COLOURS["identified"]
    assert picture.shape == result.frame.image.shape
    assert result.frame.image[130, 100].tolist() != list(COLOURS["identified"])  # the frame is not changed
    assert max(draw_faces(result, side=240).shape) == 240


def test_nobody_is_identified_while_the_gallery_is_too_large_for_the_model(
    verifier: Verifier, gallery: FileGallery
) -> None:
    """The strictest calibrated rate of 1e-5 suffices for 1,000 people at an FPIR of 0.01, and for two at 2e-5."""
    log: list[str] = []
    watcher = Watcher(Identifier(verifier, gallery, fpir=2.1e-5), log=log.append)
    here, gone = [[(ADA, 100, 50)]] * 60, [[]] * 40
    assert events_of(watcher, here)[0] == ("identified", "Ada")
    (sample,) = gallery.samples("Grace")
    gallery.enrol("Eve", [replace(sample, embedding=-sample.embedding)])
    result = [watcher.process(frame(10 + number / RATE, (ADA, 100, 50))) for number in range(60)]
    assert {face.name for frame_result in result[-20:] for face in frame_result.faces} == {None}
    (event,) = [event for each in result for event in each.events if event.what == "unknown"]
    assert event.threshold > 1
    assert event.threshold_from == "no calibrated threshold is strict enough for 3 people"
    assert json.dumps(event_document(event, live=True), allow_nan=False)
    assert events_of(Watcher(Identifier(verifier, gallery, fpir=2.1e-5)), here) == [("unknown", None)], "at a start"
    gallery.remove("Eve")
    assert ("identified", "Ada") in events_of(watcher, [*gone, *here], 20)
    assert len(log) == 2, log
    assert log[0].startswith("nobody is identified from now on. No calibrated threshold is strict enough")
    assert "people are identified again" in log[1]


def test_a_gallery_whose_log_cannot_be_written_still_identifies(verifier: Verifier, gallery: FileGallery) -> None:
    class FullDisk:
        def __getattr__(self, name: str) -> object:
            return getattr(gallery, name)

        def __len__(self) -> int:
            return len(gallery)

        def log(self, _events: object) -> None:
            raise UnavailableError("", "The disk is full", "free some space")

    notices: list[str] = []
    identifier = Identifier(verifier, FullDisk(), on_notice=notices.append)  # type: ignore[arg-type]
    assert events_of(Watcher(identifier), [[(ADA, 100, 50)]] * 25) == [("identified", "Ada")]
    assert len(notices) == 1


def test_a_search_that_fails_costs_no_event_of_others(verifier: Verifier, gallery: FileGallery) -> None:
    class Interrupted:
        fails = True

        def __getattr__(self, name: str) -> object:
            return getattr(gallery, name)

        def __len__(self) -> int:
            return len(gallery)

        def search(self, embedding: Floats, top: int) -> object:
            if self.fails:
                raise UnavailableError("", "The server is gone", "start it")
            return gallery.search(embedding, top)

    log, database = list[str](), Interrupted()
    watcher = Watcher(Identifier(verifier, database), log=log.append)  # type: ignore[arg-type]
    assert events_of(watcher, [[(ADA, 100, 50)]] * 25) == []
    database.fails = False
    assert events_of(watcher, [[(ADA, 100, 50)]] * 60, 1.0) == [("identified", "Ada")]
    assert log == ["people are not searched in the gallery: The server is gone. Start it."]
