"""Clients that connect and send nothing, too slowly or too much do not keep others out."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from edgefr.camera.watcher import Watcher
from edgefr.server import connections
from edgefr.server.request_body import BodyLimit, UploadQueue
from tests.camera.conftest import Door
from tests.server.asking import ask
from tests.server.test_routes import compare, png
from tests.waiting import wait_for

LOGIN = b"POST /api/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


@contextmanager
def connected(url: str, data: bytes = b"", receive_buffer: int | None = None) -> Iterator[socket.socket]:
    parts = urlsplit(url)
    with socket.socket() as opened:
        if receive_buffer is not None:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        opened.settimeout(60)
        opened.connect((parts.hostname, parts.port))
        opened.sendall(data)
        yield opened


def everything(opened: socket.socket) -> bytes:
    """What is received until the other side ends the connection."""
    found = b""
    try:
        while part := opened.recv(1 << 16):
            found += part
    except ConnectionResetError:
        pass
    return found


@pytest.mark.parametrize("start", [b"", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"])
def test_idle_connections_give_way_to_new_ones(watcher: Watcher, monkeypatch: pytest.MonkeyPatch, start: bytes) -> None:
    monkeypatch.setattr(connections, "MAX_OF_ADDRESS", 20)
    monkeypatch.setattr(connections, "WAIT_S", 3600)
    with Door(watcher) as door, ExitStack() as stack:
        idle = [stack.enter_context(connected(door.url, start)) for _ in range(60)]
        for _ in range(30):
            assert ask(door.url, "GET", "/api/state").status == 200
        assert sum(everything(opened) == b"" for opened in idle[:40]) == 40  # those that waited longest were closed


def test_addresses_have_a_limit_together(watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections of a proxy count for all of its clients, so its address has no limit of its own."""
    monkeypatch.setattr(connections, "MAX_OF_ADDRESS", 2)
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 10)
    with Door(watcher, trusted_proxies=["127.0.0.0/8"]) as door, ExitStack() as stack:
        idle = [stack.enter_context(connected(door.url)) for _ in range(8)]
        assert ask(door.url, "GET", "/api/state").status == 200
        for opened in idle:
            opened.setblocking(False)
            with pytest.raises(BlockingIOError):  # not closed
                opened.recv(1)
        idle += [stack.enter_context(connected(door.url)) for _ in range(20)]
        assert ask(door.url, "GET", "/api/state").status == 200


def test_the_limit_leaves_descriptors_for_cameras_and_galleries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgefr.server.connections.resource.getrlimit", lambda _: (400, 4096))
    assert connections.connection_limit() + connections.RESERVED_FILES < 400
    monkeypatch.setattr("edgefr.server.connections.resource.getrlimit", lambda _: (1 << 20, 1 << 20))
    assert connections.connection_limit() == connections.MAX_CONNECTIONS


def test_headers_have_a_deadline(watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for a client that sends a letter now and then, and for the second request of a connection."""
    monkeypatch.setattr(connections, "WAIT_S", 0.5)
    with Door(watcher) as door:
        with connected(door.url) as slow, pytest.raises(OSError, match=r"reset|[Bb]roken pipe"):  # noqa: PT012
            for letter in b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"x: y\r\n" * 1000:
                slow.sendall(bytes([letter]))
                time.sleep(0.05)
        with connected(door.url, b"GET /api/none HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET / HT") as second:
            assert everything(second).startswith(b"HTTP/1.1 401")


def test_a_client_that_does_not_read_is_disconnected(watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "STALL_S", 0.5)
    requests = 1000 * b"GET /page/page.css HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with Door(watcher) as door, connected(door.url, requests, receive_buffer=4096) as deaf:
        port = deaf.getsockname()[1]
        wait_for(lambda: port in served_ports(door))
        wait_for(lambda: port not in served_ports(door))  # the kernel tells the client only once it reads


def served_ports(door: Door) -> set[int]:
    """Ports of the clients that the server has a connection with."""
    server: Any = door.page._thread._server  # that of uvicorn
    protocols = list(server.server_state.connections)
    return {protocol.client[1] for protocol in protocols if protocol.client}


def test_a_login_of_more_than_4_kb_is_refused_before_it_is_read(served: str) -> None:
    claimed = LOGIN + b"Content-Length: 40000000\r\n\r\n{"
    chunked = LOGIN + b"Transfer-Encoding: chunked\r\n\r\n" + b"1000\r\n" + 4096 * b" " + b"\r\n1\r\n{\r\n"
    for request in (claimed, chunked):
        with connected(served, request) as opened:
            assert opened.recv(1000).startswith(b"HTTP/1.1 413")


def test_an_unfinished_login_ends(watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgefr.server.middleware.SMALL_BODY", BodyLimit(4096, 0.3))
    monkeypatch.setattr(connections, "WAIT_S", 0.5)
    with Door(watcher) as door, ExitStack() as stack:
        unfinished = LOGIN + b"Content-Length: 100\r\n\r\n{"
        logins = [stack.enter_context(connected(door.url, unfinished)) for _ in range(10)]
        answers = [everything(login) for login in logins]
    statuses = [answer.split(b" ")[1] for answer in answers]
    assert statuses.count(b"408") == 5
    assert statuses.count(b"429") == 5


def test_an_upload_without_a_token_is_refused_before_it_is_read(served: str) -> None:
    with connected(
        served, b"POST /api/compare HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 40000000\r\n\r\n" + 1000 * b"x"
    ) as opened:
        assert opened.recv(1000).startswith(b"HTTP/1.1 401")


def test_ten_comparisons_at_once_take_turns(served: str) -> None:
    first, second = png((1, 30, 30)), png((1, 90, 60), at=3)
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: compare(served, first, second).json["same"], range(10)))
    assert answers == [True] * 10


def test_the_queue_of_uploads_is_bounded() -> None:
    async def fill() -> list[bool]:
        queue, done = UploadQueue(slots=1, waiting=1, wait_s=0.2), asyncio.Event()

        async def upload(wait: bool) -> bool:
            async with queue.slot() as admitted:
                if wait:
                    await done.wait()
                return admitted

        first = asyncio.create_task(upload(wait=True))
        await asyncio.sleep(0)
        others = [asyncio.create_task(upload(wait=False)) for _ in range(2)]
        refused = [await task for task in others]  # one finds the queue full, the other waits too long
        done.set()
        return [await first, *refused, await upload(wait=False)]

    assert asyncio.run(fill()) == [True, False, False, True]
