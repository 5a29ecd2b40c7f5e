"""Events arrive in files, at webhooks and at brokers, and slow receivers delay nothing; pictures and recordings."""

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
from edgefr.camera.recording import Mp4Recorder
from edgefr.camera.snapshot import SnapshotFile
from edgefr.camera.watcher import FrameResult
from edgefr.errors import InvalidArgumentError, UnavailableError
from tests.camera.people import frame

EVENT = {"what": "identified", "name": "Zoë", "track": 3}


def test_lines_are_written_to_a_stream_and_to_a_private_file(tmp_path: Path) -> None:
    stream, path = StringIO(), tmp_path / "events.jsonl"
    file = sinks.JsonLinesFile(path)
    for sink in (sinks.JsonLinesSink(stream), file):
        sink.send(EVENT)
    file.close()
    again = sinks.JsonLinesFile(path)
    again.send(EVENT)
    again.close()
    assert json.loads(stream.getvalue()) == EVENT
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == [EVENT, EVENT]
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_events_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"No such file or directory\. Choose another file"):
        sinks.JsonLinesFile(tmp_path / "no folder" / "events")


def test_a_webhook_receives_every_event_in_order() -> None:
    got: list[dict[str, object]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hook = sinks.webhook_sink(f"http://127.0.0.1:{server.server_port}/", pytest.fail)
    for track in range(5):
        hook.send({**EVENT, "track": track})
    hook.close()
    server.shutdown()
    server.server_close()
    assert [event["track"] for event in got] == list(range(5))
    assert got[0]["name"] == "Zoë"


def test_an_unreachable_webhook_causes_one_warning_without_its_password() -> None:
    warnings: list[str] = []
    hook = sinks.webhook_sink("http://me:secret@127.0.0.1:9/?key=secret", warnings.append)
    for _ in range(3):
        hook.send(EVENT)
    hook.close()
    assert len(warnings) == 1
    assert "127.0.0.1:9" in warnings[0]
    assert "secret" not in warnings[0]


def test_a_full_queue_drops_the_oldest_events_and_never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "QUEUE_SIZE", 5)
    hold, started, got = threading.Event(), threading.Event(), []

    def deliver(message: bytes) -> None:
        started.set()
        hold.wait(10)
        got.append(json.loads(message)["track"])

    slow = sinks.QueuedSink("a broker", deliver, pytest.fail)
    slow.send({"track": 0})
    assert started.wait(10)
    for track in range(1, 100):
        slow.send({"track": track})
    hold.set()
    slow.close()
    assert got == [0, 95, 96, 97, 98, 99]


@pytest.mark.parametrize("url", ["mqtt://host", "http://host/topic", "mqtt://me:pass@host/topic"])
def test_an_mqtt_url_has_a_topic_and_no_password(url: str) -> None:
    with pytest.raises(InvalidArgumentError, match="expected mqtt://") as refused:
        sinks.mqtt_sink(url, pytest.fail)
    assert "pass@" not in str(refused.value)


def test_the_snapshot_file_holds_the_frame(tmp_path: Path) -> None:
    path = tmp_path / "now.jpg"
    SnapshotFile(path).show(FrameResult(frame(0), (), ()))
    image = cv2.imread(str(path))
    assert image is not None
    assert image.shape == (240, 480, 3)


def test_a_recording_is_as_long_as_its_source_without_gaps_over_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames at irregular times, one larger than the others, and an hour without any; the name has a colon."""
    path = tmp_path / "12:30.mp4"
    monkeypatch.chdir(tmp_path)
    recording = Mp4Recorder(Path(path.name))
    for at in (0.0, 0.3, 0.31, 2.0):
        recording.show(FrameResult(frame(at), (), ()))
    recording.show(FrameResult(Frame(np.zeros((720, 1280, 3), np.uint8), 3600.0), (), ()))
    recording.close()
    read = cv2.VideoCapture(str(path))
    seconds = read.get(cv2.CAP_PROP_FRAME_COUNT) / read.get(cv2.CAP_PROP_FPS)
    read.release()
    assert 2 < seconds < 65
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_recording_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match=r"Name an \.mp4 file in a folder that you can write to"):
        Mp4Recorder(tmp_path / "file" / "a.mp4").show(FrameResult(frame(0), (), ()))
