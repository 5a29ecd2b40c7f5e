"""Frames from cameras, files and streams, complete or damaged."""

from __future__ import annotations

import socket
import threading
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefr.camera import mjpeg, sources
from edgefr.camera.base import DisconnectedError, Frame, redact_url
from edgefr.camera.latest_frame import LatestFrameReader, play_in_real_time
from edgefr.camera.mjpeg import MjpegStream, read_pictures
from edgefr.camera.sources import FOLDER_FPS, open_source
from edgefr.errors import EdgefrError, InvalidArgumentError, UnavailableError, UnreadableImageError
from tests.camera.servers import HEAD, part, picture, sends, served


def film(path: Path, greys: list[int], rate: int = 10) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, (64, 48))
    for grey in greys:
        writer.write(np.full((48, 64, 3), (0, 0, grey), np.uint8))  # red in OpenCV's order
    writer.release()
    return path


def test_a_film_gives_all_frames_in_rgb_with_their_times(tmp_path: Path) -> None:
    source = open_source(str(film(tmp_path / "film.mp4", [50, 100, 150, 200])))
    frames = list(source.frames())
    assert [frame.at for frame in frames] == [0, 0.1, 0.2, 0.3]
    red = [frame.image[..., 0].mean() for frame in frames]
    assert red == pytest.approx([50, 100, 150, 200], abs=12)
    assert all(frame.image[..., 2].mean() < 30 for frame in frames)
    assert not source.live


def test_a_truncated_film_gives_its_complete_frames(tmp_path: Path) -> None:
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for number in range(30):
        writer.write(np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8))
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 0 < len(list(open_source(str(path)).frames())) < 30


def test_a_folder_gives_its_pictures_by_name_without_damaged_ones(tmp_path: Path) -> None:
    for number, grey in ((2, 200), (1, 100)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((32, 32, 3), grey, np.uint8))
    (tmp_path / "3.png").write_bytes(b"no picture")
    frames = list(open_source(str(tmp_path)).frames())
    assert [int(frame.image.mean()) for frame in frames] == [100, 200]
    assert frames[1].at == 1 / FOLDER_FPS


@pytest.mark.parametrize("name", ["nothing.mp4", "ftp://there/film", "page.html"])
def test_other_names_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<p>no film</p>")
    with pytest.raises(
        (InvalidArgumentError, UnreadableImageError), match=r"expected (the number of a camera|a video)"
    ):
        list(open_source(name if "://" in name else str(tmp_path / name)).frames())


@pytest.mark.parametrize("present", [("video0", "video2", "video10"), ()])
def test_a_missing_camera_is_an_error_that_lists_the_others(present, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(sources, "DEVICES", tmp_path)
    monkeypatch.setattr(sources.sys, "platform", "linux")
    for name in present:
        (tmp_path / name).touch()
    found = f"only {', '.join(str(tmp_path / name) for name in present)}" if present else f"no {tmp_path}/video*"
    for name in ("97", str(tmp_path / "video97")):
        with pytest.raises(UnavailableError) as missing:
            open_source(name)
        assert missing.value.problem == f"expected a camera at {tmp_path}/video97, found {found}"


def test_a_camera_can_be_named_by_a_stable_path_with_colons(tmp_path: Path) -> None:
    """/dev/null is a device that is not a camera, so it is disconnected and may be reconnected."""
    path = tmp_path / "pci-0000:00:14.0-usb-0:5:1.0-video-index0"
    path.symlink_to("/dev/null")
    camera = open_source(str(path))
    assert (camera.name, camera.live) == (f"camera {path}", True)
    with pytest.raises(DisconnectedError, match="cannot be opened"):
        next(camera.frames())


def test_a_file_name_may_have_a_colon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film(tmp_path / "film.mp4", [50, 100]).rename(tmp_path / "12:30.mp4")
    monkeypatch.chdir(tmp_path)
    assert len(list(open_source("12:30.mp4").frames())) == 2


def test_names_of_streams_hold_no_password() -> None:
    assert redact_url("rtsp://me:pass@door:554/live?token=1") == "rtsp://door:554/live"
    assert open_source("rtsp://me:pass@door/live").name == "rtsp://door/live"


def test_a_stream_of_jpegs() -> None:
    with served(sends(part(picture(40)), part(picture(90)))) as url:
        frames, reason = read_all(MjpegStream(url))
    assert [round(frame.image.mean()) for frame in frames] == [40, 90]
    assert reason == "it ended"


@pytest.mark.parametrize("length", [0, 5, 10**12, -1])
def test_wrong_lengths_are_ignored(length: int) -> None:
    with served(sends(part(picture(40), length), part(picture(90), length))) as url:
        assert [round(frame.image.mean()) for frame in read_all(MjpegStream(url))[0]] == [40, 90]


def test_a_camera_that_asks_for_a_password_receives_that_of_the_url() -> None:
    requests: list[bytes] = []

    def asks_for_password(connection: socket.socket) -> None:
        connection.sendall(b'HTTP/1.0 401 Who?\r\nWWW-Authenticate: Basic realm="door"\r\n\r\n')

    with served(asks_for_password, sends(part(picture(40))), requests=requests) as url:
        frames, _ = read_all(MjpegStream(url))
    assert len(frames) == 1
    assert b"Authorization: Basic dXNlcjpzZWNyZXQ=" in requests[1]  # user:secret
    assert b"secret" not in requests[0].split(b"\r\n")[0].replace(b"key=secret", b"")


def test_garbage_between_pictures_is_left_out() -> None:
    garbage = np.random.default_rng(0).bytes(5000)
    broken = picture(120)[:200] + b"\xff\xd9"
    with served(sends(garbage, part(picture(40)), part(broken), garbage, part(picture(90)))) as url:
        greys = [round(frame.image.mean()) for frame in read_all(MjpegStream(url))[0]]
    assert greys[0] == 40
    assert greys[-1] == 90


def test_endless_garbage_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mjpeg, "MAX_GARBAGE_BYTES", 1 << 20)

    def answer(connection: socket.socket) -> None:
        connection.sendall(HEAD)
        while True:
            connection.sendall(b"\xff\xd8\xff" * 20_000)

    with served(answer) as url:
        frames, reason = read_all(MjpegStream(url))
    assert frames == []
    assert reason == "it gives no pictures"


def test_a_stalled_stream_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mjpeg, "READ_TIMEOUT_S", 0.3)
    hold = threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.sendall(HEAD + part(picture(40)))
        hold.wait(10)

    with served(answer) as url:
        frames, reason = read_all(MjpegStream(url))
        hold.set()
    assert len(frames) == 1
    assert "it gave nothing for" in reason


def test_a_picture_with_an_enormous_size_in_its_header_is_left_out() -> None:
    """60,000 by 60,000 pixels, for which a decoder would allocate 10 GB."""
    bomb = bytearray(picture(40))
    at = bomb.index(b"\xff\xc0") + 5
    bomb[at : at + 4] = (60_000).to_bytes(2, "big") * 2
    with served(sends(part(bytes(bomb)), part(picture(90)))) as url:
        assert [round(frame.image.mean()) for frame in read_all(MjpegStream(url))[0]] == [90]


@given(
    st.lists(st.one_of(st.binary(max_size=300), st.just(picture(70)), st.just(b"\xff\xd8\xff"), st.just(b"\xff\xd9")))
)
def test_any_bytes_give_pictures_or_nothing(parts: list[bytes]) -> None:
    for image in read_pictures(BytesIO(b"".join(parts))):
        assert image.ndim == 3


def test_frames_that_arrive_while_the_caller_is_busy_are_dropped() -> None:
    source = Scripted([Frame(np.full((16, 16, 3), n, np.uint8), n) for n in range(50)])
    reader = LatestFrameReader(source, lambda *_: None)
    frames = iter(reader)
    first = next(frames)
    source.go_on.set()
    assert source.given.wait(10)  # all others arrive while the first one is processed
    second = next(frames)
    reader.stop()
    source.over.set()
    assert (first.at, second.at) == (0, 49)
    assert reader.missed == 48


def test_the_reader_reconnects_and_reports_it() -> None:
    """The first connection is refused, the second gives garbage, the third pictures."""
    states: list[tuple[str, str]] = []

    def refuses(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.0 503 Busy\r\n\r\n")

    def gives(connection: socket.socket) -> None:
        sends(part(picture(90)))(connection)
        hold.wait(10)

    hold = threading.Event()
    with served(refuses, sends(b"garbage"), gives) as url:
        reader = LatestFrameReader(MjpegStream(url), lambda *what: states.append(what))
        frame = next(iter(reader))
        reader.stop()
        hold.set()  # a stream that ends after `stop` is not reported
        for thread in threading.enumerate():
            if thread.name == "frames":
                thread.join(10)
    assert round(frame.image.mean()) == 90
    assert states == [("lost", "the server answers 503"), ("back", "it gives frames again")]


def test_an_error_of_the_source_is_raised_by_the_reader() -> None:
    class Wrong(Scripted):
        def frames(self):
            raise EdgefrError("a source", "none", "give one")

    with pytest.raises(EdgefrError, match="expected a source"):
        next(iter(LatestFrameReader(Wrong([]), lambda *_: None)))


def test_a_recording_at_its_own_speed_leaves_out_late_frames() -> None:
    frames = [Frame(np.zeros((16, 16, 3), np.uint8), n / 100) for n in range(60)]
    shown = []
    source = Scripted(frames)
    source.over.set()
    source.go_on.set()
    for frame in play_in_real_time(source, over := threading.Event()):
        shown.append(frame.at)
        over.wait(0.1 if len(shown) < 4 else 0)  # slow at first
    assert shown[0] == 0
    assert shown[-1] == 0.59
    assert len(shown) < 60


class Scripted:
    """A live source that gives the first frame at once, the others after `go_on`, and then waits for `over`."""

    name, live = "script", True

    def __init__(self, script: list[Frame]) -> None:
        self._script = script
        self.go_on, self.given, self.over = threading.Event(), threading.Event(), threading.Event()

    def frames(self):
        for frame in self._script:
            yield frame
            self.go_on.wait(10)
        self.given.set()
        self.over.wait(10)


def read_all(source: MjpegStream) -> tuple[list[Frame], str]:
    """All frames of a stream, and why it was disconnected."""
    frames = []
    try:
        for frame in source.frames():
            frames.append(frame)
    except DisconnectedError as error:
        return frames, str(error)
    raise AssertionError("a stream ends by a DisconnectedError")
