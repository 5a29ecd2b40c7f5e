"""Publish events on an MQTT topic."""

from __future__ import annotations

from time import monotonic

from edgefr.camera import delivery
from edgefr.camera.delivery import Receiver
from edgefr.camera.event_queue import Entry
from edgefr.camera.mqtt_connection import MqttAddress, MqttConnection
from edgefr.errors import require_extra


class MqttBroker(Receiver):
    """Publishes with quality of service 1 (at least once); the key `id` of an event tells a repeated one.

    After a failure a new connection is used, so that none of its state is left. `delivery.IDLE_S` is shorter than the
    time after which a broker closes a connection without a message, so no pings are needed.
    """

    def __init__(self, url: str, setting: str = "--mqtt") -> None:
        """Take the address.

        Args:
            url: mqtt://HOST[:PORT]/TOPIC, or mqtts for TLS. User and password are read from $EDGEFR_MQTT_USER and
                $EDGEFR_MQTT_PASSWORD.
            setting: The option or key that the URL comes from, for errors.

        Raises:
            InvalidArgumentError: The URL is of another kind.
            MissingExtraError: The library paho-mqtt is not installed.
        """
        self._address = MqttAddress.parse(url, setting, needs_topic=True)
        self.name = self._address.name
        require_extra("paho.mqtt.client", "camera")
        self._connection: MqttConnection | None = None

    def deliver(self, entry: Entry) -> None:
        end = monotonic() + delivery.SEND_TIMEOUT_S
        if self._connection is None:
            self._connection = MqttConnection(self._address, end)
        self._connection.publish(self._address.path, entry.message, end)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
