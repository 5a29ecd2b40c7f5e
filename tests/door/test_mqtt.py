"""Openings by MQTT and the door in Home Assistant, with a real broker that is restarted."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("amqtt")

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edgefr.door import fresh_receiver
from edgefr.door.door_file import HomeAssistantSettings
from edgefr.door.fresh_receiver import Action
from edgefr.door.home_assistant import HomeAssistant, HomeAssistantListener, discovery
from edgefr.door.mqtt_opener import MqttOpener
from tests.camera.brokers import broker, free_port, listens
from tests.waiting import wait_for

OPENING = {
    "what": "opened",
    "at": "2027-03-01T08:30:00.000+00:00",
    "source": "camera 0",
    "rule": "day",
    "reason": None,
    "name": "Ada",
    "names": ["Ada"],
    "id": "1",
}


@dataclass
class Subscriber:
    """What another client receives: topic, message, and whether it was retained."""

    got: list[tuple[str, bytes, bool]] = field(default_factory=list)

    def last(self, topic: str) -> bytes | None:
        return next((message for name, message, _ in reversed(self.got) if name == topic), None)

    def of(self, topic: str) -> list[bytes]:
        return [message for name, message, _ in self.got if name == topic]


@contextmanager
def subscribed(port: int) -> Iterator[Subscriber]:
    subscriber, ready = Subscriber(), threading.Event()
    client = Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _client, _data, message: subscriber.got.append(
        (message.topic, bytes(message.payload), message.retain)
    )
    client.on_subscribe = lambda *_: ready.set()
    client.connect("127.0.0.1", port)
    client.subscribe("#", 1)
    client.loop_start()
    assert ready.wait(120)
    yield subscriber
    client.disconnect()
    client.loop_stop()


def test_an_opening_is_not_replayed_after_an_outage_of_the_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fresh_receiver, "MAX_AGE_S", 1.0)
    port, warnings, failures = free_port(), list[str](), list[tuple[str, str, str]]()
    opener = MqttOpener(f"mqtt://127.0.0.1:{port}/door/open", "mqtt.lock.url")
    action = Action("lock", opener, warnings.append, lambda *failure: failures.append(failure))
    with broker(port, tmp_path), subscribed(port) as first:
        action.open(OPENING, time.monotonic())
        wait_for(lambda: first.got)
    assert [json.loads(message) for message in first.of("door/open")] == [OPENING]
    wait_for(lambda: not listens(port))
    action.open({**OPENING, "id": "2"}, time.monotonic())
    wait_for(lambda: failures)
    assert failures == [("day", "lock", "not carried out within 1 s, so it is dropped")]
    with broker(port, tmp_path), subscribed(port) as second:
        action.open({**OPENING, "id": "3"}, time.monotonic())
        wait_for(lambda: second.got)
        action.close()
    assert [json.loads(message)["id"] for message in second.of("door/open")] == ["3"]
    assert not any(retained for *_, retained in second.got)
    assert any("are lost: 1 (not carried out" in warning for warning in warnings)


SETTINGS = HomeAssistantSettings("mqtt://127.0.0.1:1", "Front door", "front")
SHARED = {"availability", "device", "origin", "qos", "name", "unique_id", "state_topic", "icon"}
"""Keys of https://www.home-assistant.io/integrations/mqtt and of both platforms, as far as they are used here."""
ALLOWED = {
    "binary_sensor": SHARED
    | {"device_class", "payload_on", "payload_off", "off_delay", "expire_after", "force_update"},
    "event": SHARED | {"device_class", "event_types"},
}
REQUIRED = {"binary_sensor": {"state_topic"}, "event": {"state_topic", "event_types"}}
DEVICE = {"identifiers", "name", "manufacturer", "model", "sw_version", "hw_version", "connections", "suggested_area"}


def test_discovery_has_the_keys_that_home_assistant_documents() -> None:
    found = discovery(SETTINGS)
    assert len(found) == 2
    for topic, payload in found.items():
        prefix, platform, node, entity, end = topic.split("/")
        assert (prefix, end) == ("homeassistant", "config")
        assert (node, bool(entity)) == ("front", True)
        assert REQUIRED[platform] <= payload.keys() <= ALLOWED[platform]
        assert {"identifiers", "name"} <= payload["device"].keys() <= DEVICE
        assert {"name"} <= payload["origin"].keys() <= {"name", "sw_version", "support_url"}
        (availability,) = payload["availability"]
        assert availability.keys() <= {"topic", "payload_available", "payload_not_available", "value_template"}
    assert len({payload["unique_id"] for payload in found.values()}) == 2
    assert len({json.dumps(payload["device"]) for payload in found.values()}) == 1


def test_home_assistant_sees_the_door_its_decisions_and_a_lost_connection(tmp_path: Path) -> None:
    port, warnings = free_port(), list[str]()
    settings = HomeAssistantSettings(f"mqtt://127.0.0.1:{port}", "Front door", "front")
    receiver = HomeAssistant(settings)
    action = Action("home_assistant", receiver, warnings.append, lambda *_: None)
    listener = HomeAssistantListener(action)
    availability, topics = "edgefr/front/availability", list(discovery(settings))
    with broker(port, tmp_path):
        with subscribed(port) as seen:
            wait_for(lambda: seen.last(availability) == b"online")
            assert [json.loads(seen.last(topic) or b"null") for topic in topics] == list(discovery(settings).values())
            refusal = {
                **OPENING,
                "id": "0",
                "what": "refused",
                "reason": "an unknown person",
                "name": None,
                "names": [],
            }
            listener.send({"what": "identified", "id": "9"})
            listener.send(refusal)
            listener.send(OPENING)
            wait_for(lambda: seen.last("edgefr/front/open"))
            decisions = [json.loads(message) for message in seen.of("edgefr/front/decision")]
            assert [one["event_type"] for one in decisions] == ["refused", "opened"]
            assert decisions[1]["name"] == "Ada"
            assert seen.of("edgefr/front/open") == [b"ON"]
        with subscribed(port) as later:
            wait_for(lambda: len(later.got) >= 3)
            assert {topic for topic, _, retained in later.got if retained} == {availability, *topics}
            assert all(retained for *_, retained in later.got), "decisions are not retained"
            lost_connection(receiver)
            wait_for(lambda: b"offline" in later.of(availability))
            wait_for(lambda: later.last(availability) == b"online")
    wait_for(lambda: not listens(port))
    with broker(port, tmp_path), subscribed(port) as seen:
        wait_for(lambda: seen.last(availability) == b"online")
        action.close()
        wait_for(lambda: seen.last(availability) == b"offline")


def lost_connection(receiver: HomeAssistant) -> None:
    """Cut the connection as a failing network does, without a farewell."""
    connection: Any = receiver._connection
    connection._client.socket().shutdown(2)


def test_settings_of_home_assistant_are_checked() -> None:
    for url in ("mqtt://host/topic", "http://host", "mqtt://me:secret@host"):
        with pytest.raises(Exception, match=r"expected mqtt://HOST\[:PORT\]") as refused:
            HomeAssistant(HomeAssistantSettings(url))
        assert "secret" not in str(refused.value)
