"""What a service manager is told, by the datagrams that it receives."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgefr.io.service_manager import ServiceManager


@pytest.fixture(params=["path", "abstract"])
def manager_socket(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch) -> Iterator[socket.socket]:
    """A socket as systemd has it, whose address is in the environment."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@edgefr-test-{os.getpid()}"
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        receiver.setblocking(False)
        yield receiver


def received(receiver: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(receiver.recv(4096).decode())
        except BlockingIOError:
            return found


def test_states_arrive_as_datagrams(manager_socket: socket.socket) -> None:
    manager = ServiceManager.from_environment()
    manager.ready()
    manager.status("camera 0 is lost:\nit ended" + "x" * 5000)
    manager.stopping()
    ready, status, stopping = received(manager_socket)
    assert (ready, stopping) == ("READY=1", "STOPPING=1")
    assert status.startswith("STATUS=camera 0 is lost: it ended")
    assert len(status) < 300


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({}, None),
    ],
)
def test_a_sign_of_life_is_given_only_if_it_is_expected(
    manager_socket: socket.socket, monkeypatch, variables: dict[str, str], expected: float | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    manager = ServiceManager.from_environment()
    assert manager.watchdog_s == expected
    manager.alive()
    assert received(manager_socket) == ([] if expected is None else ["WATCHDOG=1"])


def test_signs_of_life_are_given_once_in_half_an_interval(manager_socket: socket.socket, monkeypatch) -> None:
    now = 1000.0
    monkeypatch.setattr("edgefr.io.service_manager.monotonic", lambda: now)
    manager = ServiceManager(os.environ["NOTIFY_SOCKET"], 10.0)
    sent = []
    for now in (1000.0, 1001.0, 1004.9, 1005.0, 1009.9, 1010.0):  # noqa: B007 (the clock reads it)
        manager.alive()
        sent.append(len(received(manager_socket)))
    assert sent == [1, 0, 0, 1, 0, 1]


def test_a_manager_that_is_gone_or_absent_stops_nothing(tmp_path: Path, monkeypatch) -> None:
    ServiceManager(str(tmp_path / "gone"), 1.0).alive()
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    ServiceManager.from_environment().ready()


def test_a_manager_that_does_not_read_blocks_nothing(manager_socket: socket.socket) -> None:
    manager = ServiceManager.from_environment()
    for _ in range(5000):
        manager.ready()
    assert received(manager_socket)
