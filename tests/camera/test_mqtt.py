"""Events reach a real broker, also after it was unreachable, and a faulty one ends nothing."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest

pytest.importorskip("amqtt")

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edgefr.camera import delivery
from edgefr.camera.delivery import DeliveredSink
from edgefr.camera.event_queue import EventQueue
from edgefr.camera.mqtt import MqttBroker
from edgefr.errors import InvalidArgumentError
from tests.camera.brokers import CONFIG, broker, free_port, listens
from tests.waiting import wait_for

TOPIC = "door/events"


@pytest.fixture
def port() -> int:
    return free_port()


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


def sink_to(port: int, queue: Path | None, warnings: list[str]) -> DeliveredSink:
    broker = MqttBroker(f"mqtt://127.0.0.1:{port}/{TOPIC}")
    return DeliveredSink(broker, EventQueue(queue, warnings.append), warnings.append)


def event(track: int) -> dict[str, object]:
    return {"track": track, "id": f"id-{track}"}


def test_events_arrive_in_order_and_none_is_lost_while_the_broker_is_restarted(port: int, tmp_path: Path) -> None:
    warnings: list[str] = []
    sink = sink_to(port, tmp_path / "a.queue", warnings)
    with broker(port, tmp_path), subscribed(port) as got:
        for track in range(5):
            sink.send(event(track))
        wait_for(lambda: len(got) == 5)
    assert got == list(range(5))
    assert warnings == []
    wait_for(lambda: not listens(port))
    for track in range(5, 8):
        sink.send(event(track))
    wait_for(lambda: len(warnings) == 1)
    assert f"cannot send events to mqtt://127.0.0.1:{port}/{TOPIC}" in warnings[0]
    sink.close()
    assert "3 events for" in warnings[1]
    with broker(port, tmp_path), subscribed(port) as got:
        sink = sink_to(port, tmp_path / "a.queue", warnings)
        sink.send(event(8))
        wait_for(lambda: len(got) == 4)
        sink.close()
    assert got == [5, 6, 7, 8]
    assert len(warnings) == 3, warnings


def test_a_broker_that_wants_a_password_is_tried_again(port: int, tmp_path: Path) -> None:
    warnings: list[str] = []
    refusing = CONFIG.replace("allow_anonymous: true", "allow_anonymous: false")
    with broker(port, tmp_path, refusing):
        sink = sink_to(port, tmp_path / "a.queue", warnings)
        sink.send(event(0))
        wait_for(lambda: len(warnings) == 1)
    assert "the broker" in warnings[0]
    with broker(port, tmp_path), subscribed(port) as got:
        wait_for(lambda: got == [0])
        sink.close()


CONNECTED = b"\x20\x02\x00\x00"
BAD = {
    "nothing": b"",
    "garbage": b"HTTP/1.0 400 Bad Request\r\n\r\n",
    "a length without end": b"\x20\xff\xff\xff\xff\xff",
    "a short answer": b"\x20\x00",
    "a refusal": b"\x20\x02\x00\x05",
    "an unknown refusal": b"\x20\x02\x00\xfe",
    "another packet first": b"\x90\x03\x00\x01\x00",
    "a packet of a client": CONNECTED + b"\x10\x00",
    "a topic longer than its packet": CONNECTED + b"\x30\x03\xff\xff\x41",
    "a topic that is no text": CONNECTED + b"\x30\x04\x00\x02\xff\xfe",
    "a short acknowledgement": CONNECTED + b"\x40\x00",
    "an acknowledgement of another event": CONNECTED + b"\x40\x02\x77\x77",
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_answer_delays_an_event_and_ends_nothing(
    bad: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The first connection gets a bad answer; the next ones get correct acknowledgements, as from a broker."""
    monkeypatch.setattr(delivery, "SEND_TIMEOUT_S", 0.5)
    monkeypatch.setattr(delivery, "MIN_RETRY_S", 0.01)
    got, warnings = list[int](), list[str]()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            first, _ = listening.accept()
            with first, contextlib.suppress(OSError):
                first.recv(1000)
                first.sendall(BAD[bad])
                if bad != "nothing":
                    first.settimeout(20)
                    while first.recv(1000):  # until the client gives up
                        continue
            with contextlib.suppress(OSError):  # until the test closes the socket
                while True:
                    second, _ = listening.accept()
                    with second, contextlib.suppress(OSError):
                        acknowledge(second, got)

        threading.Thread(target=serve, daemon=True).start()
        sink = sink_to(listening.getsockname()[1], tmp_path / "a.queue", warnings)
        for track in range(3):
            sink.send(event(track))
        wait_for(lambda: len(got) == 3, 30)
        sink.close()
    assert got == [0, 1, 2]
    assert [warning.partition(" mqtt:")[0] for warning in warnings] == [
        "cannot send events to",
        "events are sent to",
    ], warnings
    assert capfd.readouterr().err == ""


def acknowledge(connection: socket.socket, got: list[int]) -> None:
    """Answer as a broker does: CONNACK, and PUBACK for every PUBLISH of less than 128 bytes."""
    connection.settimeout(20)
    data = b""
    while True:
        while len(data) >= 2 and len(data) >= 2 + data[1]:
            kind, packet, data = data[0] >> 4, data[2 : 2 + data[1]], data[2 + data[1] :]
            if kind == 1:
                connection.sendall(CONNECTED)
            elif kind == 3:
                length = int.from_bytes(packet[:2], "big")
                got.append(json.loads(packet[4 + length :])["track"])
                connection.sendall(b"\x40\x02" + packet[2 + length : 4 + length])
        if not (received := connection.recv(1000)):
            return
        data += received


def test_a_broker_that_does_not_answer_causes_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """It accepts the connection and stays silent."""
    monkeypatch.setattr(delivery, "SEND_TIMEOUT_S", 0.2)
    warnings: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sink = sink_to(silent.getsockname()[1], None, warnings)
        sink.send(event(0))
        wait_for(lambda: len(warnings) == 1)
        sink.close()
    assert "no answer within 0.2 s" in warnings[0]


@pytest.mark.parametrize(
    "url", ["mqtt://host", "http://host/topic", "mqtt://me:pass@host/topic", "mqtt://[pass@host/topic"]
)
def test_an_mqtt_url_has_a_topic_and_no_password(url: str) -> None:
    with pytest.raises(InvalidArgumentError, match="expected mqtt://") as refused:
        MqttBroker(url)
    assert "pass@" not in str(refused.value)
