"""Events reach a real broker, and go on reaching it after it was away."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest

pytest.importorskip("amqtt")

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edgefr.camera import sinks

TOPIC = "door/events"
CONFIG = """
listeners:
  default:
    type: tcp
    bind: 127.0.0.1:{port}
plugins:
  amqtt.plugins.authentication.AnonymousAuthPlugin:
    allow_anonymous: true
"""


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        number: int = free.getsockname()[1]
        return number


@contextmanager
def broker(port: int, folder: Path) -> Iterator[None]:
    config = folder / "broker.yaml"
    config.write_text(CONFIG.format(port=port))
    program = shutil.which("amqtt", path=str(Path(sys.executable).parent)) or "amqtt"
    silent = subprocess.DEVNULL
    process = subprocess.Popen([program, "-c", str(config)], stdout=silent, stderr=silent)
    try:
        until(lambda: listens(port))
        yield
    finally:
        process.kill()
        process.wait()


def listens(port: int) -> bool:
    with socket.socket() as door:
        return door.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def subscribed(port: int) -> Iterator[list[int]]:
    """The numbers of events that arrive at another client."""
    got: list[int] = []
    ready = Event()
    client = Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda *heard: got.append(json.loads(heard[2].payload)["track"])
    client.on_subscribe = lambda *_: ready.set()
    client.connect("127.0.0.1", port)
    client.subscribe(TOPIC, 1)
    client.loop_start()
    assert ready.wait(120)
    yield got
    client.disconnect()
    client.loop_stop()


def until(reached: Callable[[], bool]) -> None:
    end = time.monotonic() + 120  # a busy machine takes its time; only a hang does not end
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_events_arrive_in_order_and_again_after_the_broker_was_away(port: int, tmp_path: Path) -> None:
    told: list[str] = []
    sink = sinks.mqtt(f"mqtt://127.0.0.1:{port}/{TOPIC}", told.append)
    with broker(port, tmp_path), subscribed(port) as got:
        for track in range(5):
            sink.send({"track": track})
        until(lambda: len(got) == 5)
    assert got == list(range(5))
    assert told == []
    until(lambda: not listens(port))
    sink.send({"track": 5})
    until(lambda: len(told) == 1)
    assert f"127.0.0.1:{port}/{TOPIC}" in told[0]
    with broker(port, tmp_path), subscribed(port) as got:
        for track in range(6, 9):
            sink.send({"track": track})
        until(lambda: got[-3:] == [6, 7, 8])
        sink.close()
    assert got in ([6, 7, 8], [5, 6, 7, 8])  # what was under way when the broker went may come late
    assert len(told) == 1


def test_a_broker_that_does_not_acknowledge_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes the connection and says no more."""
    monkeypatch.setattr(sinks, "HOOK_SECONDS", 0.2)
    told: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as mute:
        sink = sinks.mqtt(f"mqtt://127.0.0.1:{mute.getsockname()[1]}/{TOPIC}", told.append)
        sink.send({"track": 0})
        until(lambda: len(told) == 1)
        sink.close()
    assert "TimeoutError" in told[0]
