"""MJPEG servers that misbehave as cameras do."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import cv2
import numpy as np

HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=b\r\n\r\n"


def picture(grey: int, side: int = 64) -> bytes:
    """A JPEG file of one grey value."""
    return cv2.imencode(".jpg", np.full((side, side, 3), grey, np.uint8))[1].tobytes()


def part(data: bytes, length: int | None = None) -> bytes:
    """A part of a stream; `length` is the length in its header, by default the correct one."""
    claimed = len(data) if length is None else length
    return b"--b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % claimed + data + b"\r\n"


@contextmanager
def served(*answers: Callable[[socket.socket], None], requests: list[bytes] | None = None) -> Iterator[str]:
    """The URL of a server that answers one connection with each of `answers`; requests are added to `requests`."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for answer in answers:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                request = connection.recv(65536)
                if requests is not None:
                    requests.append(request)
                try:
                    answer(connection)
                except OSError:
                    continue
        listening.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://user:secret@127.0.0.1:{listening.getsockname()[1]}/video?key=secret"
    finally:
        listening.close()


def sends(*parts: bytes) -> Callable[[socket.socket], None]:
    """Sends the parts and disconnects."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(HEAD + b"".join(parts))

    return answer
