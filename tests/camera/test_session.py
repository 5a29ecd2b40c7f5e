"""A session reports what happens in a source, also while it gives nothing."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import pytest

from edgefr.camera import faults
from edgefr.camera.base import DisconnectedError, Frame
from edgefr.camera.faults import Faults
from edgefr.camera.overlay import encode_jpeg
from edgefr.camera.pace import STEADY_INTERVAL_S
from edgefr.camera.recording import Mp4Recorder
from edgefr.camera.session import Listener, Session
from edgefr.camera.sources import open_source
from edgefr.camera.watcher import Watcher
from edgefr.errors import UnavailableError
from tests.camera.films import write_matroska
from tests.camera.people import frame
from tests.camera.servers import HEAD, part, served
from tests.waiting import wait_for


class Recorder(Listener):
    """A listener that keeps the events."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def send(self, document: dict[str, Any]) -> None:
        self.events.append(document)


def test_events_of_a_recording_have_its_time(watcher: Watcher) -> None:
    class Film:
        name, live = "film", False

        def frames(self) -> Iterator[Frame]:
            yield from (frame(number / 25, (1, 100, 50)) for number in range(20))

    recorder = Recorder()
    session = Session(Film(), watcher, [recorder], real_time=False)
    session.run()
    assert session.frames == 20
    assert [(event["what"], event["name"], event["at"]) for event in recorder.events] == [
        ("identified", "Ada", None),
        ("left", "Ada", None),
    ]
    assert recorder.events[1]["seconds"] == 0.76


@pytest.mark.parametrize("live", [True, False], ids=["camera", "recording"])
def test_a_session_shows_that_it_lives_while_its_source_gives_nothing(
    watcher: Watcher, monkeypatch: pytest.MonkeyPatch, live: bool
) -> None:
    class Quiet:
        name = "quiet"

        def frames(self) -> Iterator[Frame]:
            if self.live:
                ended.wait()
            else:
                yield frame(3600.0)

    monkeypatch.setattr("edgefr.camera.latest_frame.IDLE_S", 0.01)
    source, ended, signs = Quiet(), threading.Event(), []
    source.live = live  # type: ignore[attr-defined]
    session = Session(source, watcher, [], real_time=True, on_alive=lambda: signs.append(1))  # type: ignore[arg-type]
    thread = threading.Thread(target=session.run)
    thread.start()
    try:
        wait_for(lambda: len(signs) >= 3)
    finally:
        session.stop()
        ended.set()
        thread.join()
    assert session.frames == 0


def test_people_leave_after_the_usual_delay_when_their_camera_dies(watcher: Watcher) -> None:
    class DyingCamera:
        name, live = "camera", True

        def frames(self) -> Iterator[Frame]:
            if (number := len(opened)) == 0:
                opened.append(time.monotonic())
                for number in range(25):
                    time.sleep(0.04)
                    yield frame(opened[0] + 0.04 * number, (1, 100, 50))
            raise DisconnectedError("it is unplugged")

    opened: list[float] = []
    recorder = Recorder()
    session = Session(DyingCamera(), watcher, [recorder], real_time=False)
    thread = threading.Thread(target=session.run)
    thread.start()
    wait_for(lambda: len(recorder.events) >= 3)
    happened = [(event["what"], event.get("name")) for event in recorder.events]
    session.stop()
    thread.join(10)
    assert happened == [("identified", "Ada"), ("source", None), ("left", "Ada")]
    assert recorder.events[1]["reason"] == "it is unplugged"


def test_a_pause_of_a_film_without_frames_ends_the_tracks(watcher: Watcher, tmp_path: Path) -> None:
    """Ada leaves while the film has no frames, and after 5 s a stranger stands at the same place."""
    times = [(40 * n, 1) for n in range(25)] + [(6000 + 40 * n, 77) for n in range(60)]
    path = write_matroska(tmp_path / "film.mkv", [(at, frame(at / 1000, (who, 96, 48)).image) for at, who in times])
    recorder = Recorder()
    Session(open_source(str(path)), watcher, [recorder], real_time=False).run()
    assert [(event["what"], event["name"], event["seconds"] > 6) for event in recorder.events] == [
        ("identified", "Ada", False),
        ("left", "Ada", False),
        ("unknown", None, True),
        ("left", None, True),
    ]
    assert 0.96 - STEADY_INTERVAL_S < recorder.events[1]["seconds"] <= 0.96
    assert recorder.events[1]["track"] != recorder.events[2]["track"]


def test_a_stream_that_is_read_once_and_is_missing_is_an_error(watcher: Watcher) -> None:
    recorder = Recorder()
    with served(lambda connection: connection.sendall(b"HTTP/1.0 503 Busy\r\n\r\n")) as url:
        session = Session(open_source(url), watcher, [recorder], real_time=False, once=True)
        with pytest.raises(UnavailableError, match="found none: the server answers 503"):
            session.run()
    assert [event["condition"] for event in recorder.events] == ["lost"]


def test_a_person_leaves_in_a_pause_of_a_film_that_is_played_at_its_own_speed(watcher: Watcher, tmp_path: Path) -> None:
    """The next frame comes after ten minutes, which the test does not wait for."""
    times = [*range(0, 1000, 40), 600_000]
    path = write_matroska(tmp_path / "film.mkv", [(at, frame(at / 1000, (1, 96, 48)).image) for at in times])
    recorder = Recorder()
    session = Session(open_source(str(path)), watcher, [recorder], real_time=True)
    thread = threading.Thread(target=session.run)
    thread.start()
    wait_for(lambda: len(recorder.events) >= 2)
    session.stop()
    thread.join(10)
    assert [(event["what"], event["name"]) for event in recorder.events] == [("identified", "Ada"), ("left", "Ada")]


def test_people_are_recognised_after_the_frames_have_changed_their_size(watcher: Watcher, tmp_path: Path) -> None:
    """Ada stays at her place while the picture becomes larger, then smaller than the recording began with."""
    sizes = [(240, 480)] * 20 + [(480, 960)] * 20 + [(200, 300)] * 20

    class Film:
        name, live = "film", False

        def frames(self) -> Iterator[Frame]:
            yield from (frame(number / 25, (1, 100, 50), size=size) for number, size in enumerate(sizes))

    recorder, recording = Recorder(), Mp4Recorder(tmp_path / "film.mp4")
    session = Session(Film(), watcher, [recorder, recording], real_time=False)
    session.run()
    recording.close()
    assert [(event["what"], event["name"]) for event in recorder.events] == [("identified", "Ada"), ("left", "Ada")]
    assert (tmp_path / "film.mp4").stat().st_size > 1000


class Camera:
    """A live source that shows Ada for a time."""

    name, live = "camera", True

    def frames(self) -> Iterator[Frame]:
        start = time.monotonic()
        for number in range(40):
            time.sleep(0.01)
            yield frame(start + 0.04 * number, (1, 100, 50))
        raise DisconnectedError("it is unplugged")


def test_listeners_that_fail_end_nothing_and_are_reported_once(watcher: Watcher) -> None:
    class Failing(Listener):
        def show(self, _result: object) -> None:
            raise OSError(28, "No space left on device")

        def send(self, _document: object) -> None:
            raise ValueError("a bug")

    recorder, warnings = Recorder(), list[str]()
    session = Session(Camera(), watcher, [Failing(), recorder], real_time=False, once=True, warn=warnings.append)
    session.run()
    assert [event["what"] for event in recorder.events] == ["identified", "source", "left"]
    assert len(warnings) == 2
    assert "frames cannot be shown by Failing: Failed (No space left on device)." in "".join(warnings)
    assert "events cannot be sent by Failing: Internal error: ValueError (a bug)." in "".join(warnings)


def test_a_fault_while_a_recording_is_watched_is_an_error_at_its_end(watcher: Watcher) -> None:
    class Film:
        name, live = "film", False

        def frames(self) -> Iterator[Frame]:
            yield from (frame(number / 25, (1, 100, 50)) for number in range(20))

    class Failing(Listener):
        def send(self, _document: object) -> None:
            raise OSError(28, "No space left on device")

    recorder = Recorder()
    session = Session(Film(), watcher, [Failing(), recorder], real_time=False)
    with pytest.raises(UnavailableError, match="No space left on device"):
        session.run()
    assert [event["what"] for event in recorder.events] == ["identified", "left"]


def test_a_fault_that_has_ended_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "RECOVERED_S", 0.0)
    warnings: list[str] = []
    found = Faults(warnings.append)
    for failing in (True, True, False, False):
        with found.catch("the disk is full"):
            if failing:
                raise OSError(28, "No space left on device")
    assert len(warnings) == 2
    assert warnings[1] == "this has ended after 2 failures: the disk is full"
    with pytest.raises(BrokenPipeError), found.catch("stdout"):
        raise BrokenPipeError


def test_people_are_recognised_and_recorded_after_the_clock_is_set_back(
    watcher: Watcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of the machine goes back by an hour while nobody is there. Then Ada comes."""
    clock, behind = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: clock() - behind[0])

    def camera(connection: socket.socket) -> None:
        connection.sendall(HEAD)
        for number in range(50):
            behind[0] = 3600.0 * (number >= 10)
            people = [(1, 96, 48)] if number >= 20 else []
            connection.sendall(part(encode_jpeg(frame(number / 25, *people).image)))
            time.sleep(0.04)

    recorder, recording = Recorder(), Mp4Recorder(tmp_path / "film.mp4")
    with served(camera) as url:
        Session(open_source(url), watcher, [recorder, recording], real_time=False, once=True).run()
    recording.close()
    assert [(event["what"], event.get("name")) for event in recorder.events] == [
        ("identified", "Ada"),
        ("source", None),
        ("left", "Ada"),
    ]
    told = datetime.fromisoformat(recorder.events[0]["at"]).timestamp()
    assert abs(told - (clock() - 3600)) < 600, "events tell what the clock says"
    film = cv2.VideoCapture(str(tmp_path / "film.mp4"))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) >= 12
