"""A local web server of model files that can be told to misbehave."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Behaviour = Callable[["Handler", bytes], None]
"""Answers one request for a file with these bytes."""


class Handler(BaseHTTPRequestHandler):
    """Serves `server.place.files`; a behaviour that is queued for a path is used once and before the usual answer."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        place = self.server.place
        place.requests.append((self.path, dict(self.headers.items())))
        queue = place.behaviours.get(self.path, [])
        behave = (queue.pop(0) if len(queue) > 1 or not place.repeat_last else queue[0]) if queue else serve
        content = place.files.get(self.path)
        if content is None and not queue and behave is serve:
            self.send_error(404)
        else:
            behave(self, content or b"")
        self.close_connection = True

    def begin(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@dataclass
class Place:
    """What a server has, and what it was asked for.

    Attributes:
        url: Its address.
        files: Path -> bytes.
        behaviours: Path -> behaviours of the next requests.
        repeat_last: Whether the last behaviour of a path is used for ever.
        requests: Path and headers of each request.
    """

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    behaviours: dict[str, list[Behaviour]] = field(default_factory=dict)
    repeat_last: bool = False
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def ranges(self) -> list[str | None]:
        """The Range header of each request."""
        return [headers.get("Range") for _, headers in self.requests]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    place: Place

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients go away, and behaviours break off


@contextmanager
def running_server(certificate: Path | None = None) -> Iterator[Place]:
    """A server on this machine, by https if there is a file with a certificate and its key."""
    server = _Server(("127.0.0.1", 0), Handler)
    scheme = "http"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    server.place = Place(f"{scheme}://localhost:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.place
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def serve(handler: Handler, content: bytes) -> None:
    """The usual answer: whole, or from the start of a range."""
    match = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    start = int(match[1]) if match else 0
    if handler.headers.get("If-Range", '"1"') != '"1"':
        match, start = None, 0
    if match and start >= len(content):
        handler.begin(416, Content_Length=0, Content_Range=f"bytes */{len(content)}")
        return
    headers: dict[str, object] = {"Content_Length": len(content) - start, "ETag": '"1"'}
    if match:
        headers["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
    handler.begin(206 if match else 200, **headers)
    handler.wfile.write(content[start:])


def broken_off(count: int) -> Behaviour:
    """The usual answer, of which only some bytes arrive."""

    def behave(handler: Handler, content: bytes) -> None:
        match = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        start = int(match[1]) if match else 0
        headers: dict[str, object] = {"Content_Length": len(content) - start, "ETag": '"1"'}
        if match:
            headers["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        handler.begin(206 if match else 200, **headers)
        handler.wfile.write(content[start : start + count])
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_RDWR)

    return behave


def without_length(count: int | None = None) -> Behaviour:
    """An answer that does not say how long it is, and ends with the connection."""

    def behave(handler: Handler, content: bytes) -> None:
        handler.begin(200, Connection="close")
        handler.wfile.write(content[:count])

    return behave


def endless(handler: Handler, content: bytes) -> None:
    """An answer that never ends."""
    handler.begin(200, Connection="close")
    while True:
        handler.wfile.write(bytes(1 << 16))


def whole(handler: Handler, content: bytes) -> None:
    """The whole file, whatever range was asked for."""
    handler.begin(200, Content_Length=len(content))
    handler.wfile.write(content)


def answer(status: int, **headers: object) -> Behaviour:
    """A status without a body."""
    return lambda handler, _: handler.begin(status, Content_Length=0, **headers)


def redirect(url: str) -> Behaviour:
    return answer(302, Location=url)
