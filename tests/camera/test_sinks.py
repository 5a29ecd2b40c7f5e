"""Events arrive: in files, at hooks, at brokers; and what is slow or away holds nothing up."""

from __future__ import annotations

import http.server
import json
import threading
from io import StringIO
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefr.camera import sinks
from edgefr.camera.base import Frame
from edgefr.camera.recording import Picture, Recording
from edgefr.camera.session import Session
from edgefr.camera.watcher import FrameResult, Watcher
from edgefr.errors import EdgefrError
from tests.camera.people import frame

EVENT = {"what": "identified", "name": "Zoë", "track": 3}


def test_lines_on_a_stream_and_in_a_private_file(tmp_path: Path) -> None:
    stream, path = StringIO(), tmp_path / "events.jsonl"
    path_lines = sinks.LinesFile(path)
    for sink in (sinks.Lines(stream), path_lines):
        sink.send(EVENT)
    path_lines.close()
    again = sinks.LinesFile(path)
    again.send(EVENT)
    again.close()
    assert json.loads(stream.getvalue()) == EVENT
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == [EVENT, EVENT]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EdgefrError, match="choose another file"):
        sinks.LinesFile(tmp_path / "no folder" / "events")


def test_a_hook_is_posted_every_event_in_order() -> None:
    got: list[dict[str, object]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hook = sinks.hook(f"http://127.0.0.1:{server.server_port}/", pytest.fail)
    for track in range(5):
        hook.send({**EVENT, "track": track})
    hook.close()
    server.shutdown()
    server.server_close()
    assert [event["track"] for event in got] == list(range(5))
    assert got[0]["name"] == "Zoë"


def test_a_hook_that_is_away_is_told_of_once_without_its_secret() -> None:
    told: list[str] = []
    hook = sinks.hook("http://me:secret@127.0.0.1:9/?key=secret", told.append)
    for _ in range(3):
        hook.send(EVENT)
    hook.close()
    assert len(told) == 1
    assert "127.0.0.1:9" in told[0]
    assert "secret" not in told[0]


def test_a_queue_that_is_full_drops_the_oldest_and_never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "WAITING", 5)
    hold, begun, got = threading.Event(), threading.Event(), []

    def deliver(message: bytes) -> None:
        begun.set()
        hold.wait(10)
        got.append(json.loads(message)["track"])

    slow = sinks.Posted("a broker", deliver, pytest.fail)
    slow.send({"track": 0})
    assert begun.wait(10)
    for track in range(1, 100):
        slow.send({"track": track})
    hold.set()
    slow.close()
    assert got == [0, 95, 96, 97, 98, 99]


@pytest.mark.parametrize("url", ["mqtt://host", "http://host/topic", "mqtt://me:pass@host/topic"])
def test_a_broker_is_named_with_its_topic_and_without_a_password(url: str) -> None:
    with pytest.raises(EdgefrError, match="expected mqtt://") as refused:
        sinks.mqtt(url, pytest.fail)
    assert "pass@" not in str(refused.value)


def test_the_picture_file_is_always_whole(tmp_path: Path) -> None:
    path = tmp_path / "now.jpg"
    Picture(path).show(FrameResult(frame(0), (), ()))
    image = cv2.imread(str(path))
    assert image is not None
    assert image.shape == (240, 480, 3)


def test_a_recording_lasts_as_long_as_what_it_shows(tmp_path: Path) -> None:
    """Frames at odd times, one larger than the others, and an hour in which nothing came."""
    path = tmp_path / "a.mp4"
    recording = Recording(path)
    for at in (0.0, 0.3, 0.31, 2.0):
        recording.show(FrameResult(frame(at), (), ()))
    recording.show(FrameResult(Frame(np.zeros((720, 1280, 3), np.uint8), 3600.0), (), ()))
    recording.close()
    read = cv2.VideoCapture(str(path))
    seconds = read.get(cv2.CAP_PROP_FRAME_COUNT) / read.get(cv2.CAP_PROP_FPS)
    read.release()
    assert 2 < seconds < 65
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_session_tells_events_with_the_recordings_time(watcher: Watcher) -> None:
    class Film:
        name, live = "film", False

        def frames(self):
            yield from (frame(number / 25, (1, 100, 50)) for number in range(20))

    told: list[dict[str, object]] = []

    class Listener:
        def show(self, scene: FrameResult) -> None: ...

        def send(self, document: dict[str, object]) -> None:
            told.append(document)

    session = Session(Film(), watcher, Listener(), live=False)
    session.run()
    assert session.frames == 20
    assert [(event["what"], event["name"], event["at"]) for event in told] == [
        ("identified", "Ada", None),
        ("left", "Ada", None),
    ]
    assert told[1]["seconds"] == 0.76
