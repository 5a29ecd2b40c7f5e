"""Show a door in Home Assistant by MQTT discovery.

The messages are those of https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery for the platforms
binary_sensor and event. They are retained, decisions are not.
"""

from __future__ import annotations

import json
from time import monotonic
from typing import Any

from edgefr import __version__
from edgefr.camera import delivery
from edgefr.camera.event_queue import Entry
from edgefr.camera.mqtt_connection import MqttAddress, MqttConnection
from edgefr.camera.session import Document, Listener
from edgefr.door.door_file import HomeAssistantSettings
from edgefr.door.fresh_receiver import Action, Opener
from edgefr.errors import require_extra

PREFIX = "homeassistant"
"""Topic prefix of discovery, the default of Home Assistant."""
ONLINE, OFFLINE = b"online", b"offline"
DECISIONS = ("opened", "refused")
OFF_DELAY_S = 5
"""Seconds after an opening in which the binary sensor is on."""
SHOWN = ("rule", "reason", "name", "names", "at", "source", "id")
"""Keys of a decision that become attributes of the event."""


class HomeAssistant(Opener):
    """Stays connected, so that the broker tells Home Assistant when the connection is lost (last will)."""

    idle_s = 1.0

    def __init__(self, settings: HomeAssistantSettings) -> None:
        """Take the address.

        Raises:
            InvalidArgumentError: The URL is of another kind.
            MissingExtraError: The library paho-mqtt is not installed.
        """
        self._address = MqttAddress.parse(settings.url, "home_assistant.url", needs_topic=False)
        self.name = f"Home Assistant at {self._address.name}"
        require_extra("paho.mqtt.client", "camera")
        self._settings = settings
        self._connection: MqttConnection | None = None

    def deliver(self, entry: Entry) -> None:
        end = monotonic() + delivery.SEND_TIMEOUT_S
        connection = self._connected(end)
        document = json.loads(entry.message)
        topics = Topics(self._settings.id)
        connection.publish(topics.decision, _json(event_payload(document)), end)
        if document["what"] == "opened":
            connection.publish(topics.open, b"ON", end)

    def idle(self) -> None:
        self._connected(monotonic() + delivery.SEND_TIMEOUT_S).serve()

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:  # a broker publishes no will for a connection that is closed in order
            connection.publish(Topics(self._settings.id).availability, OFFLINE, monotonic() + 1, retain=True)
        except Exception:  # the connection has failed, and the will holds
            return
        finally:
            connection.close()

    def _connected(self, end: float) -> MqttConnection:
        """The connection; a new one announces the door first."""
        if self._connection is None:
            availability = Topics(self._settings.id).availability
            self._connection = MqttConnection(self._address, end, (availability, OFFLINE))
            for topic, payload in discovery(self._settings).items():
                self._connection.publish(topic, _json(payload), end, retain=True)
            self._connection.publish(availability, ONLINE, end, retain=True)
        return self._connection


class Topics:
    """The topics of one door."""

    def __init__(self, door: str) -> None:
        base = f"edgefr/{door}"
        self.availability, self.open, self.decision = f"{base}/availability", f"{base}/open", f"{base}/decision"


class HomeAssistantListener(Listener):
    """Hands the decisions of a door over."""

    def __init__(self, action: Action) -> None:
        self._action = action

    def send(self, document: Document) -> None:
        if document["what"] in DECISIONS:
            self._action.open(document, monotonic())


def discovery(settings: HomeAssistantSettings) -> dict[str, dict[str, Any]]:
    """Topic -> configuration of the entities of a door."""
    topics = Topics(settings.id)
    shared = {
        "availability": [
            {"topic": topics.availability, "payload_available": "online", "payload_not_available": "offline"}
        ],
        "device": {
            "identifiers": [settings.id],
            "name": settings.name,
            "manufacturer": "edgefr",
            "model": "door",
            "sw_version": __version__,
        },
        "origin": {"name": "edgefr", "sw_version": __version__},
        "qos": 1,
    }
    sensor = {
        "name": "Unlocked",
        "unique_id": f"{settings.id}_open",
        "device_class": "lock",
        "state_topic": topics.open,
        "payload_on": "ON",
        "off_delay": OFF_DELAY_S,
        **shared,
    }
    event = {
        "name": "Decision",
        "unique_id": f"{settings.id}_decision",
        "state_topic": topics.decision,
        "event_types": list(DECISIONS),
        "icon": "mdi:door",
        **shared,
    }
    return {
        f"{PREFIX}/binary_sensor/{settings.id}/open/config": sensor,
        f"{PREFIX}/event/{settings.id}/decision/config": event,
    }


def event_payload(document: Document) -> dict[str, Any]:
    """A decision as the event entity takes it."""
    return {"event_type": document["what"], **{key: document[key] for key in SHOWN}}


def _json(payload: dict[str, Any]) -> bytes:
    return json.dumps(payload, ensure_ascii=False).encode()
