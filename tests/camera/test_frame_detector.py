"""Cameras that are mounted upside down or on their side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from matplotlib import cbook
from skimage import data

from edgefr.camera.base import Frame
from edgefr.camera.camera_enrolment import samples_from_camera
from edgefr.camera.frame_detector import DETECTION_SIDE, FrameDetector
from edgefr.camera.watcher import FrameResult, Watcher
from edgefr.errors import PoorFaceError
from edgefr.gallery.crypto.key_wrapping import NoSecret
from edgefr.gallery.enrolment import enrol_samples
from edgefr.gallery.file_gallery import FileGallery
from edgefr.gallery.identifier import Identifier
from edgefr.gallery.model_binding import ModelBinding
from edgefr.io.photo import read_photograph
from edgefr.recognition.verifier import Verifier
from edgefr.types import TEMPLATE, Image
from tests.camera.people import PatchDetector, frame

RATE = 10


@pytest.fixture(scope="module")
def shipped() -> Verifier:
    """The models that ship."""
    return Verifier.open(images=1)


def astronaut(number: int) -> Image:
    """Her face as a camera shows it, in a frame of 400 by 320 pixels, a little to the side in each frame."""
    return np.ascontiguousarray(data.astronaut()[0:320, 20 + 2 * (number % 10) : 420 + 2 * (number % 10)])


def admiral(number: int) -> Image:
    photo = read_photograph(Path(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)))
    return np.ascontiguousarray(photo[0:480, 5 + 2 * (number % 10) : 485 + 2 * (number % 10)])


class Film:
    """A recording of a person by a camera that is turned by quarter turns counterclockwise."""

    name, live = "film", False

    def __init__(self, person=astronaut, turns: int = 0, seconds: float = 3) -> None:
        self._person, self._turns, self._count = person, turns, round(seconds * RATE)

    def frames(self, start: float = 0) -> Iterator[Frame]:
        for number in range(self._count):
            yield Frame(np.ascontiguousarray(np.rot90(self._person(number), self._turns)), start + number / RATE)


@pytest.fixture
def enrolled(shipped: Verifier, tmp_path: Path) -> Iterator[FileGallery]:
    """A gallery of the astronaut, enrolled upright."""
    with FileGallery.create(tmp_path / "people.gallery", NoSecret(), ModelBinding.of(shipped)) as gallery:
        views = samples_from_camera(Film(), shipped, False, pytest.fail, lambda _: None)
        enrol_samples(gallery, shipped, "Eileen Collins", views, None)
        yield gallery


def names(results: list[FrameResult]) -> list[tuple[str, str | None]]:
    return [(event.what, event.name) for result in results for event in result.events]


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_camera_is_turned_upright_and_identifies_who_is_enrolled(shipped, enrolled, turns: int) -> None:
    log: list[str] = []
    watcher = Watcher(Identifier(shipped, enrolled), log=log.append)
    results = [watcher.process(frame) for frame in Film(turns=turns).frames()]
    assert names(results) == [("identified", "Eileen Collins")]
    assert len(log) == 1
    assert f"by {90 * turns} degrees" in log[0]
    last = results[-1]
    np.testing.assert_array_equal(last.frame.image, astronaut(29))  # the picture and the box are upright, too
    upright = FrameDetector(shipped.detector, 0).detect(Frame(astronaut(29), 0)).faces[0]
    np.testing.assert_allclose(last.faces[0].face.box, upright.box, atol=1)


@pytest.mark.parametrize("turns", [0, 2])
def test_a_stranger_before_a_turned_camera_is_unknown(shipped, enrolled, turns: int) -> None:
    watcher = Watcher(Identifier(shipped, enrolled))
    assert names([watcher.process(frame) for frame in Film(admiral, turns).frames()]) == [("unknown", None)]


def test_a_fixed_rotation_is_used_from_the_first_frame(shipped, enrolled) -> None:
    watcher = Watcher(Identifier(shipped, enrolled), rotation=180, log=pytest.fail)
    results = [watcher.process(frame) for frame in Film(turns=2, seconds=1).frames()]
    np.testing.assert_array_equal(results[0].frame.image, astronaut(0))
    assert names(results) == [("identified", "Eileen Collins")]


def test_a_camera_that_is_turned_while_it_runs_gets_new_tracks(shipped, enrolled) -> None:
    watcher = Watcher(Identifier(shipped, enrolled))
    results = [watcher.process(frame) for frame in Film(seconds=2).frames()]
    results += [watcher.process(frame) for frame in Film(turns=2).frames(start=2)]
    assert [what for what, _ in names(results)] in (
        ["identified", "left", "identified"],
        ["identified", "lost", "identified"],
    )
    assert results[-1].faces[0].track != results[19].faces[0].track
    assert {name for _, name in names(results)} == {"Eileen Collins"}


def test_a_camera_that_saw_nobody_yet_is_searched(shipped, enrolled) -> None:
    """Nobody is there for five seconds, then somebody whom the detector does not find upside down."""
    watcher = Watcher(Identifier(shipped, enrolled))
    empty = np.full((320, 400, 3), 120, np.uint8)
    results = [watcher.process(Frame(empty, number / RATE)) for number in range(50)]
    results += [watcher.process(frame) for frame in Film(turns=2, seconds=6).frames(start=5)]
    assert names(results) == [("identified", "Eileen Collins")]


def test_a_person_is_enrolled_by_a_turned_camera_as_by_an_upright_one(shipped, enrolled) -> None:
    log: list[str] = []
    views = samples_from_camera(Film(turns=2), shipped, False, log.append, lambda _: None)
    (upright,) = enrolled.search(views[-1].embedding, 1)
    assert upright.similarity > 0.9
    assert len(log) == 1
    assert "expected an upright face in film, found one that seems to be turned" in log[0]


def test_nobody_is_enrolled_by_a_film_that_ends_before_its_orientation_is_known(shipped) -> None:
    with pytest.raises(PoorFaceError, match="expected an upright face in film"):
        samples_from_camera(Film(turns=2, seconds=0.5), shipped, False, str, lambda _: None)


def test_faces_of_a_large_frame_have_its_coordinates() -> None:
    large = frame(0, (1, 600, 300), size=(720, 1280))
    (face,) = FrameDetector(PatchDetector()).detect(large).faces
    assert max(large.image.shape) > DETECTION_SIDE
    np.testing.assert_allclose(face.box, (600, 300, 112, 112), atol=3)
    np.testing.assert_allclose(face.landmarks, TEMPLATE + np.array([600, 300]), atol=3)
