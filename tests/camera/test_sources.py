"""Frames from files and streams, whole or broken."""

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

from edgefr.camera import mjpeg
from edgefr.camera.base import DisconnectedError, Frame, without_secret
from edgefr.camera.latest_frame import LatestFrameReader, paced
from edgefr.camera.mjpeg import Mjpeg, pictures
from edgefr.camera.sources import FOLDER_RATE, open_source
from edgefr.errors import EdgefrError
from tests.camera.servers import HEAD, part, picture, sends, served


def film(path: Path, greys: list[int], rate: int = 10) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, (64, 48))
    for grey in greys:
        writer.write(np.full((48, 64, 3), (0, 0, grey), np.uint8))  # red in OpenCV's order
    writer.release()
    return path


def test_a_film_is_every_frame_of_it_in_rgb_with_its_time(tmp_path: Path) -> None:
    source = open_source(str(film(tmp_path / "film.mp4", [50, 100, 150, 200])))
    frames = list(source.frames())
    assert [frame.at for frame in frames] == [0, 0.1, 0.2, 0.3]
    red = [frame.image[..., 0].mean() for frame in frames]
    assert red == pytest.approx([50, 100, 150, 200], abs=12)
    assert all(frame.image[..., 2].mean() < 30 for frame in frames)
    assert not source.live


def test_a_film_cut_short_gives_what_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for number in range(30):
        writer.write(np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8))
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 0 < len(list(open_source(str(path)).frames())) < 30


def test_a_folder_is_its_pictures_by_name_without_the_broken(tmp_path: Path) -> None:
    for number, grey in ((2, 200), (1, 100)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((32, 32, 3), grey, np.uint8))
    (tmp_path / "3.png").write_bytes(b"no picture")
    frames = list(open_source(str(tmp_path)).frames())
    assert [int(frame.image.mean()) for frame in frames] == [100, 200]
    assert frames[1].at == 1 / FOLDER_RATE


@pytest.mark.parametrize("name", ["nothing.mp4", "ftp://there/film", "page.html"])
def test_what_is_no_source_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<p>no film</p>")
    with pytest.raises(EdgefrError, match="expected a"):
        list(open_source(name if "://" in name else str(tmp_path / name)).frames())


def test_a_camera_that_is_not_there_is_lost_and_not_an_error() -> None:
    """It may be plugged in later."""
    with pytest.raises(DisconnectedError):
        next(open_source("97").frames())


def test_names_of_streams_tell_no_secret() -> None:
    assert without_secret("rtsp://me:pass@door:554/live?token=1") == "rtsp://door:554/live"
    assert open_source("rtsp://me:pass@door/live").name == "rtsp://door/live"


def test_a_stream_of_jpegs() -> None:
    with served(sends(part(picture(40)), part(picture(90)))) as url:
        frames, lost = seen(Mjpeg(url))
    assert [round(frame.image.mean()) for frame in frames] == [40, 90]
    assert lost == "it ended"


@pytest.mark.parametrize("length", [0, 5, 10**12, -1])
def test_lengths_that_lie_are_not_believed(length: int) -> None:
    with served(sends(part(picture(40), length), part(picture(90), length))) as url:
        assert [round(frame.image.mean()) for frame in seen(Mjpeg(url))[0]] == [40, 90]


def test_a_camera_that_asks_for_a_password_is_given_the_urls() -> None:
    asked: list[bytes] = []

    def asks(connection: socket.socket) -> None:
        connection.sendall(b'HTTP/1.0 401 Who?\r\nWWW-Authenticate: Basic realm="door"\r\n\r\n')

    def listens(connection: socket.socket) -> None:
        sends(part(picture(40)))(connection)

    with served(asks, listens, heard=asked) as url:
        frames, _ = seen(Mjpeg(url))
    assert len(frames) == 1
    assert b"Authorization: Basic dXNlcjpzZWNyZXQ=" in asked[1]  # user:secret
    assert b"secret" not in asked[0].split(b"\r\n")[0].replace(b"key=secret", b"")


def test_garbage_between_pictures_is_left_out() -> None:
    garbage = np.random.default_rng(0).bytes(5000)
    broken = picture(120)[:200] + b"\xff\xd9"
    with served(sends(garbage, part(picture(40)), part(broken), garbage, part(picture(90)))) as url:
        greys = [round(frame.image.mean()) for frame in seen(Mjpeg(url))[0]]
    assert greys[0] == 40
    assert greys[-1] == 90


def test_endless_garbage_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mjpeg, "MOST_GARBAGE", 1 << 20)

    def answer(connection: socket.socket) -> None:
        connection.sendall(HEAD)
        while True:
            connection.sendall(b"\xff\xd8\xff" * 20_000)

    with served(answer) as url:
        frames, lost = seen(Mjpeg(url))
    assert frames == []
    assert lost == "it gives no pictures"


def test_a_stream_that_stalls_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mjpeg, "PATIENCE", 0.3)
    hold = threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.sendall(HEAD + part(picture(40)))
        hold.wait(10)

    with served(answer) as url:
        frames, lost = seen(Mjpeg(url))
        hold.set()
    assert len(frames) == 1
    assert "it gave nothing for" in lost


def test_a_picture_that_claims_to_be_enormous_is_left_out() -> None:
    """60,000 by 60,000 pixels, of which a decoder would take 10 GB."""
    bomb = bytearray(picture(40))
    at = bomb.index(b"\xff\xc0") + 5
    bomb[at : at + 4] = (60_000).to_bytes(2, "big") * 2
    with served(sends(part(bytes(bomb)), part(picture(90)))) as url:
        assert [round(frame.image.mean()) for frame in seen(Mjpeg(url))[0]] == [90]


@given(
    st.lists(st.one_of(st.binary(max_size=300), st.just(picture(70)), st.just(b"\xff\xd8\xff"), st.just(b"\xff\xd9")))
)
def test_any_bytes_give_pictures_or_nothing(parts: list[bytes]) -> None:
    for image in pictures(BytesIO(b"".join(parts))):
        assert image.ndim == 3


def test_the_newest_frame_wins() -> None:
    source = Scripted([Frame(np.full((16, 16, 3), n, np.uint8), n) for n in range(50)])
    newest = LatestFrameReader(source, lambda *_: None)
    frames = iter(newest)
    first = next(frames)
    source.go_on.set()
    assert source.given.wait(10)  # all the others came while the first was worked on
    second = next(frames)
    newest.stop()
    source.over.set()
    assert (first.at, second.at) == (0, 49)
    assert newest.missed == 48


def test_a_lost_source_is_reached_again_and_told_of() -> None:
    """Through two servers' worth of trouble: refused, garbage, then pictures."""
    told: list[tuple[str, str]] = []

    def refuses(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.0 503 Busy\r\n\r\n")

    def gives(connection: socket.socket) -> None:
        sends(part(picture(90)))(connection)
        hold.wait(10)

    hold = threading.Event()
    with served(refuses, sends(b"garbage"), gives) as url:
        newest = LatestFrameReader(Mjpeg(url), lambda *what: told.append(what))
        frame = next(iter(newest))
        newest.stop()
        hold.set()  # what ends after that was not lost
        for thread in threading.enumerate():
            if thread.name == "frames":
                thread.join(10)
    assert round(frame.image.mean()) == 90
    assert told == [("lost", "the server answers 503"), ("back", "it gives frames again")]


def test_a_source_that_is_none_ends_the_watch() -> None:
    class Wrong(Scripted):
        def frames(self):
            raise EdgefrError("a source", "none", "give one")

    with pytest.raises(EdgefrError, match="expected a source"):
        next(iter(LatestFrameReader(Wrong([]), lambda *_: None)))


def test_a_recording_at_its_own_speed_leaves_out_what_comes_too_late() -> None:
    frames = [Frame(np.zeros((16, 16, 3), np.uint8), n / 100) for n in range(60)]
    shown = []
    source = Scripted(frames)
    source.over.set()
    source.go_on.set()
    for frame in paced(source, over := threading.Event()):
        shown.append(frame.at)
        over.wait(0.1 if len(shown) < 4 else 0)  # slow at first
    assert shown[0] == 0
    assert shown[-1] == 0.59
    assert len(shown) < 60


class Scripted:
    """A live source of these frames, the first before it is told to go on; then it waits, as a camera may."""

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


def seen(source: Mjpeg) -> tuple[list[Frame], str]:
    """All frames of a stream, and why it was lost."""
    frames = []
    try:
        for frame in source.frames():
            frames.append(frame)
    except DisconnectedError as error:
        return frames, str(error)
    raise AssertionError("a stream ends by being lost")
