"""Events are written into files as lines, and frames into pictures and recordings."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefr.camera import event_file, recording
from edgefr.camera.base import Frame
from edgefr.camera.event_file import JsonLinesFile, JsonLinesSink
from edgefr.camera.recording import Mp4Recorder
from edgefr.camera.snapshot import SnapshotFile
from edgefr.camera.watcher import FrameResult
from edgefr.errors import UnavailableError
from tests.camera.people import frame

EVENT = {"what": "identified", "name": "Zoë", "track": 3}


def test_lines_are_written_to_a_stream_and_to_a_private_file(tmp_path: Path) -> None:
    stream, path = StringIO(), tmp_path / "events.jsonl"
    file = JsonLinesFile(path, pytest.fail)
    for sink in (JsonLinesSink(stream), file):
        sink.send(EVENT)
    file.close()
    again = JsonLinesFile(path, pytest.fail)
    again.send(EVENT)
    again.close()
    assert json.loads(stream.getvalue()) == EVENT
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == [EVENT, EVENT]
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_events_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"No such file or directory\. Choose another file"):
        JsonLinesFile(tmp_path / "no folder" / "events", pytest.fail)


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
    recorder = Mp4Recorder(Path(path.name))
    for at in (0.0, 0.3, 0.31, 2.0):
        recorder.show(FrameResult(frame(at), (), ()))
    recorder.show(FrameResult(Frame(np.zeros((720, 1280, 3), np.uint8), 3600.0), (), ()))
    recorder.close()
    read = cv2.VideoCapture(str(path))
    seconds = read.get(cv2.CAP_PROP_FRAME_COUNT) / read.get(cv2.CAP_PROP_FPS)
    read.release()
    assert 2 < seconds < 65
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_recording_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match=r"Name an \.mp4 file in a folder that you can write to"):
        Mp4Recorder(tmp_path / "file" / "a.mp4").show(FrameResult(frame(0), (), ()))


def test_a_recording_on_a_full_disk_ends_and_can_be_played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "film.mp4"
    recorder = Mp4Recorder(path)
    for number in range(20):
        recorder.show(FrameResult(frame(number / 10), (), ()))
    monkeypatch.setattr(recording, "MIN_FREE_BYTES", 1 << 60)
    for number in range(20, 25):
        with pytest.raises(UnavailableError, match=r"free space to record .* the recording ends after 2 s"):
            recorder.show(FrameResult(frame(number / 10), (), ()))
    read = cv2.VideoCapture(str(path))
    assert read.get(cv2.CAP_PROP_FRAME_COUNT) == 20
    read.release()
    recorder.close()


@pytest.fixture
def small_files() -> Iterator[Callable[[int], None]]:
    """Sets the size that files can reach. What is longer is written in part before the error, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_events_that_do_not_fit_on_the_disk_are_written_once_there_is_space(
    tmp_path: Path, small_files: Callable[[int], None]
) -> None:
    path, warnings = tmp_path / "events.jsonl", list[str]()
    length = len(json.dumps({"track": 0})) + 1
    file = JsonLinesFile(path, warnings.append)
    small_files(2 * length + 5)
    for track in range(5):
        file.send({"track": track})
    small_files(resource.RLIM_INFINITY)
    assert path.stat().st_size == 2 * length, "no half of a line"
    file.send({"track": 5})
    file.close()
    assert [json.loads(line)["track"] for line in path.read_text().splitlines()] == list(range(6))
    assert len(warnings) == 2
    assert "events cannot be written to" in warnings[0]
    assert warnings[1].endswith("again")


def test_events_that_never_fit_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_file, "MAX_WAITING", 10)
    warnings: list[str] = []
    file = JsonLinesFile(Path("/dev/full"), warnings.append)
    for track in range(30):
        file.send({"track": track})
    file.close()
    assert len(warnings) == 2
    assert "No space left on device" in warnings[0]
    assert warnings[1].startswith("30 events are lost")


def test_a_line_that_was_cut_off_spoils_no_other_one(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"track": 0}\n{"tra')
    file = JsonLinesFile(path, pytest.fail)
    file.send({"track": 1})
    file.close()
    assert path.read_bytes() == b'{"track": 0}\n{"tra\n{"track": 1}\n'
