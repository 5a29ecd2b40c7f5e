"""Faces of many photographs are found in threads, as if one photograph came after the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

import cv2
import numpy as np
import pytest

from edgefr.demo import demo_photos
from edgefr.errors import EdgefrError, ImageError, UnreadableImageError
from edgefr.io.opencv import one_thread_of_opencv, silence_opencv
from edgefr.jobs.shard_worker import embed_rows
from edgefr.recognition.batch import embed_photographs
from edgefr.recognition.parallel_finding import AHEAD, MOST_THREADS, find_in_order
from edgefr.recognition.verifier import Verifier

COUNT = 24
BROKEN = 7


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Small photographs of different sizes; one is no picture."""
    pytest.importorskip("skimage")
    pytest.importorskip("matplotlib")
    folder, photos = tmp_path_factory.mktemp("photographs"), list(demo_photos().values())
    paths = [folder / f"{number}.png" for number in range(COUNT)]
    for number, path in enumerate(paths):
        photo = cv2.cvtColor(photos[number % len(photos)], cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(path), cv2.resize(photo, (200 + 4 * number, 240), interpolation=cv2.INTER_AREA))
    paths[BROKEN].write_text("no picture")
    return paths


@pytest.fixture(scope="module")
def verifiers() -> dict[int, Verifier]:
    return {threads: Verifier.open("fake", threads=threads) for threads in (1, 3)}


def test_faces_and_reasons_are_those_of_one_photograph_after_the_other(
    photographs: list[Path], verifiers: dict[int, Verifier]
) -> None:
    one, several = (embed_photographs(verifiers[threads], photographs, "all", 5, lambda _: None) for threads in (1, 3))
    assert [image.path for image in several[1]] == [str(photographs[BROKEN])]
    assert several[1] == one[1]
    assert len(several[0]) == len(one[0]) >= COUNT - 1
    for face, other in zip(several[0], one[0], strict=True):
        assert (face.source, face.face.box, face.face.score) == (other.source, other.face.box, other.face.score)
        np.testing.assert_array_equal(face.face.landmarks, other.face.landmarks)
        np.testing.assert_array_equal(face.embedding, other.embedding)


def test_rows_of_shards_are_those_of_one_photograph_after_the_other(
    photographs: list[Path], verifiers: dict[int, Verifier]
) -> None:
    told: list[int] = []
    paths = [str(path) for path in photographs]
    one = embed_rows(verifiers[1], paths, "largest", 5)
    several = embed_rows(verifiers[3], paths, "largest", 5, told.append)
    assert told == [5, 5, 5, 5, 4]
    assert [(row.path, row.refused, row.score) for row in several] == [
        (row.path, row.refused, row.score) for row in one
    ]


def calls_of(verifier: Verifier, count: int, find: Callable[[Verifier, Path], Any]) -> list[Any]:
    return list(find_in_order(verifier, (Path(str(number)) for number in range(count)), count, find))


def test_no_detector_serves_two_threads_at_once(verifiers: dict[int, Verifier]) -> None:
    busy: set[int] = set()
    lock, together, met = Lock(), Event(), []

    def find(finder: Verifier, path: Path) -> str:
        with lock:
            assert id(finder.detector) not in busy
            busy.add(id(finder.detector))
            met.append(len(busy))
            if len(busy) == 3:
                together.set()
        assert together.wait(30), "photographs are not read side by side"
        with lock:
            busy.remove(id(finder.detector))
        return path.name

    assert calls_of(verifiers[3], COUNT, find) == [str(number) for number in range(COUNT)]
    assert max(met) == 3 <= MOST_THREADS


def test_photographs_are_not_read_far_ahead(verifiers: dict[int, Verifier]) -> None:
    read: list[str] = []

    def find(_finder: Verifier, path: Path) -> None:
        read.append(path.name)

    finding = find_in_order(verifiers[3], (Path(str(number)) for number in range(1000)), 1000, find)
    next(finding)
    assert len(read) <= AHEAD + 1
    finding.close()
    assert len(read) <= AHEAD + 1


def test_a_photograph_that_cannot_be_used_is_an_answer_and_another_failure_ends_it(
    verifiers: dict[int, Verifier],
) -> None:
    def refuse(_finder: Verifier, path: Path) -> None:
        raise UnreadableImageError("a picture", path.name, "leave it out")

    assert all(isinstance(answer, ImageError) for answer in calls_of(verifiers[3], COUNT, refuse))

    def fail(_finder: Verifier, path: Path) -> None:
        if path.name == "3":
            raise EdgefrError("a detector", "none", "install it")

    before = cv2.getNumThreads()
    with pytest.raises(EdgefrError, match="expected a detector"):
        calls_of(verifiers[3], COUNT, fail)
    assert cv2.getNumThreads() == before


def test_the_log_of_opencv_is_as_before_when_threads_have_silenced_it() -> None:
    logging = cv2.utils.logging
    before, entered, leave = logging.getLogLevel(), Event(), Event()

    def silence() -> None:
        with silence_opencv():
            entered.set()
            leave.wait(30)

    thread = Thread(target=silence)
    with silence_opencv():
        thread.start()
        entered.wait(30)
    assert logging.getLogLevel() == logging.LOG_LEVEL_SILENT
    leave.set()
    thread.join()
    assert logging.getLogLevel() == before


def test_overlapping_searches_leave_opencv_its_threads() -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        first, second = one_thread_of_opencv(), one_thread_of_opencv()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert cv2.getNumThreads() == 1
        second.__exit__(None, None, None)
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)
