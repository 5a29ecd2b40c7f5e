"""Who is named, when, and who is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgefr.camera.overlay import COLOURS, draw_faces
from edgefr.camera.watcher import SIDE, Watcher, detect_faces
from edgefr.errors import EdgefrError
from edgefr.gallery.file_gallery import FileGallery
from edgefr.gallery.identifier import Identifier
from edgefr.recognition.verifier import Verifier
from edgefr.types import TEMPLATE
from tests.camera.people import PatchDetector, frame, pattern

RATE = 25.0
ADA, GRACE, STRANGER = 1, 2, 77


def told(watcher: Watcher, film: list[list[tuple[int, int, int]]], begin: float = 0.0) -> list[tuple[str, str | None]]:
    """What happened in a film of frames, each who stands where; without its end."""
    return [
        (event.what, event.name)
        for number, people in enumerate(film)
        for event in watcher.step(frame(begin + number / RATE, *people)).events
    ]


def test_two_people_who_walk_are_each_named_once(watcher: Watcher) -> None:
    film = [[(ADA, 10 + 2 * n, 20), (GRACE, 300 - 2 * n, 120)] for n in range(40)]
    assert sorted(told(watcher, film)) == [("identified", "Ada"), ("identified", "Grace")]
    assert sorted((event.what, event.name) for event in watcher.finish()) == [("left", "Ada"), ("left", "Grace")]


def test_a_stranger_is_unknown_and_nobody_else(watcher: Watcher) -> None:
    film = [[(STRANGER, 60, 40)]] * 60
    assert told(watcher, film) == [("unknown", None)]


def test_a_gap_ends_a_track_and_who_comes_back_is_named_again(watcher: Watcher) -> None:
    here, gone = [[(ADA, 100, 50)]] * 15, [[]] * 40
    assert told(watcher, [*here, *gone, *here]) == [("identified", "Ada"), ("left", "Ada"), ("identified", "Ada")]


def test_a_frame_without_the_face_changes_nothing(watcher: Watcher) -> None:
    film = [[(ADA, 100, 50)] if n % 5 else [] for n in range(40)]
    assert told(watcher, film) == [("identified", "Ada")]


def test_a_name_does_not_stay_with_whom_the_tracker_took_for_the_first(watcher: Watcher) -> None:
    """Another face in the very same place: the tracker follows on, the name must not."""
    film = [[(ADA, 100, 50)]] * 25 + [[(STRANGER, 100, 50)]] * 150
    happened = told(watcher, film)
    assert happened[0] == ("identified", "Ada")
    assert happened[-1] == ("unknown", None)
    assert [name for _, name in happened if name] == ["Ada"] * (len(happened) - 1)
    assert watcher.step(frame(7.04, (STRANGER, 100, 50))).seen[0].name is None


def test_one_look_is_not_enough_for_a_name(watcher: Watcher) -> None:
    film = [[(ADA, 100, 50)]] * 3  # 0.08 s, within which there is one look
    assert told(watcher, film) == []


def test_few_frames_are_embedded(watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded = []
    embed = watcher.verifier.embed
    monkeypatch.setattr(watcher.verifier, "embed", lambda found: (embedded.append(len(found)), embed(found))[1])
    told(watcher, [[(ADA, 100, 50)]] * 250)
    assert 2 <= sum(embedded) <= 15  # of 250 frames in 10 seconds


def test_a_face_too_small_is_followed_and_not_judged(watcher: Watcher) -> None:
    for number in range(30):
        scene = frame(number / RATE)
        scene.image[50:80, 60:90] = pattern(ADA)[:30, :30]
        seen = watcher.step(scene).seen
    assert [(one.state, one.name) for one in seen] == [("looking", None)]


def test_matches_go_into_the_log_of_the_gallery(watcher: Watcher) -> None:
    told(watcher, [[(ADA, 100, 50)]] * 20)
    assert [(event.what, event.name) for event in watcher.gallery.events()][-1] == ("matched", "Ada")


def test_who_is_enrolled_meanwhile_is_known_and_who_is_removed_is_not(watcher: Watcher) -> None:
    assert told(watcher, [[(ADA, 100, 50)]] * 20) == [("identified", "Ada")]
    watcher.gallery.remove("Ada")
    happened = told(watcher, [[(ADA, 100, 50)]] * 100, begin=20 / RATE)
    assert ("unknown", None) in happened
    assert ("identified", "Ada") not in happened


def test_faces_of_a_large_frame_are_found_where_they_are() -> None:
    large = frame(0, (ADA, 600, 300), size=(720, 1280))
    (face,) = detect_faces(PatchDetector(), large.image)
    assert max(large.image.shape) > SIDE
    np.testing.assert_allclose(face.box, (600, 300, 112, 112), atol=3)
    np.testing.assert_allclose(face.landmarks, TEMPLATE + np.array([600, 300]), atol=3)


def test_a_gallery_of_another_model_is_refused(verifier: Verifier, gallery: FileGallery) -> None:
    verifier.model = Path(__file__)
    with pytest.raises(EdgefrError, match="gallery rebuild"):
        Watcher(Identifier(verifier, gallery))


def test_boxes_are_drawn_in_the_colour_of_what_is_known(watcher: Watcher) -> None:
    for number in range(20):
        scene = watcher.step(frame(number / RATE, (ADA, 100, 80)))
    picture = draw_faces(scene)
    assert tuple(picture[130, 100]) == COLOURS["known"]
    assert picture.shape == scene.frame.image.shape
    assert scene.frame.image[130, 100].tolist() != list(COLOURS["known"])  # the frame itself is as it was
    assert max(draw_faces(scene, side=240).shape) == 240
