"""Events reach a real broker, also after it was unreachable."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest

pytest.importorskip("amqtt")

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edgefr.camera import sinks
from tests.waiting import wait_for

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
        wait_for(lambda: listens(port))
        yield
    finally:
        process.kill()
        process.wait()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def subscribed(port: int) -> Iterator[list[int]]:
    """The track numbers of events that another client receives."""
    got: list[int] = []
    ready = Event()
    client = Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda *message: got.append(json.loads(message[2].payload)["track"])
    client.on_subscribe = lambda *_: ready.set()
    client.connect("127.0.0.1", port)
    client.subscribe(TOPIC, 1)
    client.loop_start()
    assert ready.wait(120)
    yield got
    client.disconnect()
    client.loop_stop()


def test_events_arrive_in_order_and_again_after_a_restart_of_the_broker(port: int, tmp_path: Path) -> None:
    warnings: list[str] = []
    sink = sinks.mqtt_sink(f"mqtt://127.0.0.1:{port}/{TOPIC}", warnings.append)
    with broker(port, tmp_path), subscribed(port) as got:
        for track in range(5):
            sink.send({"track": track})
        wait_for(lambda: len(got) == 5)
    assert got == list(range(5))
    assert warnings == []
    wait_for(lambda: not listens(port))
    sink.send({"track": 5})
    wait_for(lambda: len(warnings) == 1)
    assert f"127.0.0.1:{port}/{TOPIC}" in warnings[0]
    with broker(port, tmp_path), subscribed(port) as got:
        for track in range(6, 9):
            sink.send({"track": track})
        wait_for(lambda: got[-3:] == [6, 7, 8])
        sink.close()
    assert got in ([6, 7, 8], [5, 6, 7, 8])  # an event in transit when the broker stopped may arrive late
    assert len(warnings) == 1


def test_a_broker_that_does_not_acknowledge_causes_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """It accepts the connection and never answers."""
    monkeypatch.setattr(sinks, "SEND_TIMEOUT_S", 0.2)
    warnings: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sink = sinks.mqtt_sink(f"mqtt://127.0.0.1:{silent.getsockname()[1]}/{TOPIC}", warnings.append)
        sink.send({"track": 0})
        wait_for(lambda: len(warnings) == 1)
        sink.close()
    assert "TimeoutError" in warnings[0]
