"""Events reach a web server in order and once, whatever it answers in between."""

from __future__ import annotations

import http.server
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgefr.camera import delivery, event_queue
from edgefr.camera.delivery import DeliveredSink, DeliveryError, ExpiredEventError, Receiver
from edgefr.camera.event_queue import Entry, EventQueue
from edgefr.camera.webhook import Webhook
from edgefr.errors import InvalidArgumentError
from tests.conftest import REPOSITORY
from tests.waiting import wait_for

Answer = Callable[[socket.socket], None]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "MIN_RETRY_S", 0.01)


def says(text: bytes) -> Answer:
    return lambda connection: connection.sendall(text)


def resets(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def drips(connection: socket.socket) -> None:
    """Sends a byte of a header now and then, for ever."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    stopped = threading.Event()
    while not stopped.wait(0.05):
        connection.sendall(b"x")


def stays_silent(connection: socket.socket) -> None:
    connection.settimeout(20)
    connection.recv(1)  # until the client gives up


BAD: dict[str, Answer] = {
    "nothing": says(b""),
    "garbage": says(b"\0\xff garbage \r\n\r\n"),
    "another protocol": says(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "no status": says(b"HTTP/1.1 \r\n\r\n"),
    "a status of letters": says(b"HTTP/1.1 abc OK\r\n\r\n"),
    "a wide status": says(b"HTTP/1.1 99999 OK\r\n\r\n"),
    "a long header": says(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n"),
    "many headers": says(b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 200 + b"\r\n"),
    "continue without end": says(b"HTTP/1.1 100 Continue\r\n\r\n" * 50),
    "a redirection": says(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n"),
    "a redirection in a circle": says(b"HTTP/1.1 307 Moved\r\nLocation: /\r\n\r\n"),
    "a redirection to a file": says(b"HTTP/1.1 301 Moved\r\nLocation: file:///etc/hostname\r\n\r\n"),
    "too many requests": says(b"HTTP/1.1 429 Slow down\r\nRetry-After: soon\r\n\r\n"),
    "a failure": says(b"HTTP/1.1 500 No\r\nContent-Length: 99\r\n\r\nshort"),
    "no such page": says(b"HTTP/1.1 404 No\r\nContent-Type: image/png\r\n\r\n<html>"),
    "a reset": resets,
    "silence": stays_silent,
    "drips": drips,
}


class Server:
    """Answers each connection with the next of `answers`, then 200, and keeps the events that it acknowledged."""

    def __init__(self, *answers: Answer) -> None:
        self.got: list[dict[str, object]] = []
        self.keys: list[str] = []
        self.requests = 0
        self._answers = list(answers)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/event?key=secret"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection:
                try:
                    self._answer(connection)
                except OSError:
                    continue

    def _answer(self, connection: socket.socket) -> None:
        head, body = read_request(connection)
        self.requests += 1
        if self._answers:
            self._answers.pop(0)(connection)
            return
        self.got.append(json.loads(body))
        self.keys += [line.split(b": ")[1].decode() for line in head.split(b"\r\n") if b"Idempotency-Key" in line]
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: 12345\r\n\r\nnot that long")


def read_request(connection: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    while len(body) < length:
        body += connection.recv(65536)
    return head, body


@pytest.fixture
def server() -> Iterator[Server]:
    opened = Server()
    yield opened
    opened.close()


def events(*tracks: int) -> list[dict[str, object]]:
    return [{"what": "identified", "name": "Zoë", "track": track, "id": f"id-{track}"} for track in tracks]


def sink_to(url: str, path: Path | None, warnings: list[str]) -> DeliveredSink:
    return DeliveredSink(Webhook(url), EventQueue(path, warnings.append), warnings.append)


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_answer_delays_an_event_and_ends_nothing(
    bad: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "SEND_TIMEOUT_S", 0.3)
    server, warnings = Server(BAD[bad]), list[str]()
    sink = sink_to(server.url, tmp_path / "a.queue", warnings)
    for document in events(0, 1, 2):
        sink.send(document)
    wait_for(lambda: len(server.got) == 3, 30)
    sink.close()
    server.close()
    assert [document["track"] for document in server.got] == [0, 1, 2]
    assert server.keys == ["id-0", "id-1", "id-2"]
    assert server.requests == 4
    assert len(warnings) == 2, warnings
    assert warnings[0].startswith("cannot send events to http://127.0.0.1:")
    assert warnings[1].endswith("again")
    assert "secret" not in "".join(warnings)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_an_event_that_the_server_refuses_is_reported_and_the_next_one_is_sent(status: int, tmp_path: Path) -> None:
    server, warnings = Server(says(b"HTTP/1.1 %d No\r\n\r\n" % status)), list[str]()
    sink = sink_to(server.url, tmp_path / "a.queue", warnings)
    for document in events(0, 1):
        sink.send(document)
    wait_for(lambda: len(server.got) == 1)
    sink.close()
    server.close()
    assert server.got[0]["track"] == 1
    assert warnings == [
        f"events for {server.url.partition('?')[0]} are lost: 1 (the server answers {status})",
    ]


def test_what_nothing_acknowledged_is_sent_at_the_next_start(server: Server, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    warnings: list[str] = []
    sink = sink_to(f"http://127.0.0.1:{port}/", tmp_path / "a.queue", warnings)
    for document in events(0, 1, 2):
        sink.send(document)
    sink.close()
    assert "Connection refused" in warnings[0]
    assert "3 events for" in warnings[1]
    assert "kept in" in warnings[1]
    warnings.clear()
    again = sink_to(server.url, tmp_path / "a.queue", warnings)
    again.send(events(3)[0])
    wait_for(lambda: len(server.got) == 4)
    again.close()
    assert [document["track"] for document in server.got] == [0, 1, 2, 3]
    assert warnings == [f"3 events of an earlier run are sent to {server.url.partition('?')[0]} first"]


def test_a_process_that_is_killed_while_it_sends_loses_nothing(server: Server, tmp_path: Path) -> None:
    """The server has got the first event and not answered: it gets it again, under the same id."""
    silent = Server(stays_silent)
    code = (
        "import sys, time; from pathlib import Path; from edgefr.camera.delivery import DeliveredSink;"
        "from edgefr.camera.event_queue import EventQueue; from edgefr.camera.webhook import Webhook;"
        "sink = DeliveredSink(Webhook(sys.argv[1]), EventQueue(Path(sys.argv[2]), print), print);"
        "[sink.send({'track': n, 'id': f'id-{n}'}) for n in range(3)]; print('sent', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, silent.url, str(tmp_path / "a.queue")]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"sent\n"
        wait_for(lambda: silent.requests == 1)
        process.kill()
    silent.close()
    again = sink_to(server.url, tmp_path / "a.queue", [])
    wait_for(lambda: len(server.got) == 3)
    again.close()
    assert server.keys == ["id-0", "id-1", "id-2"]


def test_dropped_events_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_queue, "MAX_EVENTS", 5)
    hold, started, got, warnings = threading.Event(), threading.Event(), list[int](), list[str]()

    class Slow(Receiver):
        name = "a broker"

        def deliver(self, entry: Entry) -> None:
            started.set()
            hold.wait(60)
            got.append(json.loads(entry.message)["track"])

        def close(self) -> None: ...

    sink = DeliveredSink(Slow(), EventQueue(tmp_path / "a.queue", pytest.fail), warnings.append)
    sink.send(events(0)[0])
    assert started.wait(60)
    for document in events(*range(1, 100)):
        sink.send(document)
    hold.set()
    sink.close()
    assert got == [0, 95, 96, 97, 98, 99]
    assert warnings == [
        "events for a broker are lost: 1 (too many wait)",
        "events for a broker are lost: 10 (too many wait)",
        "events for a broker are lost: 94",
    ]


def test_events_without_a_file_are_reported_as_lost(tmp_path: Path) -> None:
    warnings: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://me:secret@127.0.0.1:{free.getsockname()[1]}/?key=secret"
    sink = sink_to(url, None, warnings)
    for document in events(0, 1, 2):
        sink.send(document)
    sink.close()
    assert "lost: 3 (nothing acknowledged them)" in warnings[-1]
    assert "secret" not in "".join(warnings)


def test_a_user_and_a_password_of_the_url_are_sent(tmp_path: Path) -> None:
    headers: list[str | None] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            headers.append(self.headers["Authorization"])
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sink = sink_to(f"http://me:p%40ss@127.0.0.1:{server.server_port}/", None, [])
    sink.send(events(0)[0])
    sink.close()
    server.shutdown()
    server.server_close()
    assert headers == ["Basic bWU6cEBzcw=="]


@pytest.mark.parametrize("url", ["ftp://there/", "http://", "http://[broken/?secret", "http://host:port/?secret"])
def test_a_webhook_is_a_url_of_http(url: str) -> None:
    with pytest.raises(InvalidArgumentError, match="expected a webhook URL of http or https") as refused:
        Webhook(url)
    assert "secret" not in str(refused.value)


def test_an_event_that_has_become_too_old_is_dropped_and_is_no_sign_of_recovery(tmp_path: Path) -> None:
    class Failing(Receiver):
        name, attempts = "a broker", 0

        def deliver(self, entry: Entry) -> None:
            self.attempts += 1
            if self.attempts > 1:
                raise ExpiredEventError("too old")
            raise DeliveryError("no")

        def close(self) -> None: ...

    receiver, warnings = Failing(), list[str]()
    sink = DeliveredSink(receiver, EventQueue(None, pytest.fail), warnings.append)
    sink.send(events(0)[0])
    wait_for(lambda: receiver.attempts == 2)
    sink.close()
    assert [warning.partition(" a broker")[0] for warning in warnings] == ["cannot send events to", "events for"]
    assert warnings[1].endswith("are lost: 1 (too old)")
