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
from edgefr.camera.base import DisconnectedError, Frame, Source, redact_url
from edgefr.camera.latest_frame import LatestFrameReader, play_in_real_time
from edgefr.camera.mjpeg import MjpegStream, read_pictures
from edgefr.camera.sources import FOLDER_FPS, FilmClock, open_source
from edgefr.errors import EdgefrError, InvalidArgumentError, UnavailableError, UnreadableImageError
from tests.camera.films import write_matroska
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


def test_frames_of_a_variable_frame_rate_have_the_times_of_the_film(tmp_path: Path) -> None:
    """A phone or a door camera records few frames while nothing moves."""
    times = [0, 40, 80, 5000, 5033, 9000]
    grey = np.full((48, 64, 3), 90, np.uint8)
    film = write_matroska(tmp_path / "film.mkv", [(at, grey) for at in times])
    assert [round(1000 * frame.at) for frame in open_source(str(film)).frames()] == times


@pytest.mark.parametrize(
    ("stamps", "times"),
    [
        ([0.0] * 4, [0.0, 0.1, 0.2, 0.3]),
        ([float("nan")] * 4, [0.0, 0.1, 0.2, 0.3]),
        ([-9e15, 0.0, 0.1, 0.2], [0.0, 0.1, 0.2, 0.3]),
        ([0.0, float("inf"), 0.3, 0.4], [0.0, 0.1, 0.3, 0.4]),
        ([0.0, 0.1, 0.1, 0.4, 0.3, 9.0], [0.0, 0.1, 0.2, 0.4, 0.5, 9.0]),  # frames repeated or in a wrong order
        ([5.0, 6.0, 0.0, 2.0, 2.1], [5.0, 6.0, 6.1, 8.1, 8.2]),  # two films joined
    ],
)
def test_without_usable_time_stamps_frames_are_counted(stamps: list[float], times: list[float]) -> None:
    clock = FilmClock(fps=10)
    assert [clock.advance(stamp) for stamp in stamps] == pytest.approx(times)


def test_a_film_whose_frames_cannot_be_decoded_is_an_error(tmp_path: Path) -> None:
    film = write_matroska(tmp_path / "film.mkv", [(0, np.full((48, 64, 3), 90, np.uint8))])
    data = film.read_bytes()
    film.write_bytes(data[: data.index(b"\xff\xd8\xff")])
    with pytest.raises(UnreadableImageError, match="found a file that OpenCV cannot decode"):
        list(open_source(str(film)).frames())


def test_a_truncated_film_gives_its_complete_frames(tmp_path: Path) -> None:
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for number in range(30):
        writer.write(np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8))
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 0 < len(list(open_source(str(path)).frames())) < 30


def test_a_folder_gives_its_pictures_by_name_and_reports_damaged_ones(tmp_path: Path) -> None:
    for number, grey in ((2, 200), (1, 100)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((32, 32, 3), grey, np.uint8))
    (tmp_path / "3.png").write_bytes(b"no picture")
    log: list[str] = []
    frames = list(open_source(str(tmp_path), log.append).frames())
    assert [int(frame.image.mean()) for frame in frames] == [100, 200]
    assert frames[1].at == 1 / FOLDER_FPS
    assert len(log) == 1
    assert log[0].startswith("left out: expected a JPEG")
    assert str(tmp_path / "3.png") in log[0]


def test_a_folder_without_a_readable_picture_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"no picture")
    with pytest.raises(UnreadableImageError, match=r"1\.png"):
        list(open_source(str(tmp_path)).frames())


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


def test_a_pipeline_without_appsink_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match=r"a GStreamer pipeline that ends in appsink.*Add ! videoconvert"):
        open_source("v4l2src ! videoconvert")


def test_a_pipeline_needs_an_opencv_with_gstreamer() -> None:
    pipeline = "rtspsrc location=rtsp://me:secret@door ! decodebin ! videoconvert ! appsink"
    if cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        source = open_source(pipeline)
        assert (source.name, source.live) == ("GStreamer pipeline", True)
    else:
        with pytest.raises(UnavailableError, match="expected GStreamer to play a pipeline, found OpenCV") as missing:
            open_source(pipeline)
        assert "secret" not in str(missing.value)


@pytest.mark.skipif(not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER), reason="this OpenCV has no GStreamer")
def test_a_pipeline_gives_frames() -> None:
    source = open_source("videotestsrc num-buffers=3 pattern=red ! videoconvert ! appsink")
    assert len(read_all(source)[0]) == 3


def test_names_of_streams_hold_no_password() -> None:
    assert redact_url("rtsp://me:pass@door:554/live?token=1") == "rtsp://door:554/live"
    assert open_source("rtsp://me:pass@door/live").name == "rtsp://door/live"


@pytest.mark.parametrize(
    ("frame", "is_given"),
    [
        (np.full((48, 64), 90, np.uint8), True),
        (np.full((48, 64, 1), 90, np.uint8), True),
        (np.full((96, 128, 4), 90, np.uint8), True),
        (np.full((48, 64), 90 << 8, np.uint16), True),
        (np.full((48, 64, 3), 0.5, np.float32), False),
        (np.full((48, 64, 2), 90, np.uint8), False),  # a raw format of a camera
        (np.full((2, 2, 3), 90, np.uint8), False),
        (None, False),
    ],
)
def test_a_capture_may_change_the_kind_of_its_frames(frame, is_given: bool) -> None:
    usual = np.full((48, 64, 3), (0, 0, 90), np.uint8)

    frames = [usual, frame, usual]

    class Capture:
        def read(self):
            if not frames:
                raise cv2.error("the decoder failed")
            return True, frames.pop(0)

    found = list(sources._read_frames(Capture()))
    assert all(image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 for image in found)
    assert len(found) == 2 + is_given
    assert found[0][0, 0].tolist() == found[-1][0, 0].tolist() == [90, 0, 0]
    assert not is_given or found[1][0, 0].tolist() == [90, 90, 90]


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


def test_a_source_that_is_read_once_is_not_reconnected() -> None:
    states: list[tuple[str, str]] = []
    with served(sends(part(picture(90))), sends(part(picture(40)))) as url:
        reader = LatestFrameReader(MjpegStream(url), lambda *what: states.append(what), reconnect=False)
        frames = list(reader)
    assert [round(frame.image.mean()) for frame in frames] == [90]
    assert (states, reader.ended) == ([("lost", "it ended")], "it ended")


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


def read_all(source: Source) -> tuple[list[Frame], str]:
    """All frames of a stream, and why it was disconnected."""
    frames = []
    try:
        for frame in source.frames():
            frames.append(frame)
    except DisconnectedError as error:
        return frames, str(error)
    raise AssertionError("a stream ends by a DisconnectedError")
