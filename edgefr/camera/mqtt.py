"""Publish events on an MQTT topic."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from edgefr.camera import delivery
from edgefr.camera.base import redact_url, split_url
from edgefr.camera.delivery import DeliveryError
from edgefr.camera.event_queue import Entry
from edgefr.errors import InvalidArgumentError, require_extra
from edgefr.io.credentials import secret_value

KEEPALIVE_S = 60
"""The broker closes a connection without a message for longer. `delivery.IDLE_S` is shorter, so no pings are needed."""
POLL_S = 0.1


class MqttBroker:
    """Publishes with quality of service 1 (at least once); the key `id` of an event tells a repeated one.

    The connection is served by the thread that delivers. paho's own thread would end silently if a broker sends a
    packet that paho cannot read. After a failure a new client is used, so that none of its state is left.
    """

    def __init__(self, url: str) -> None:
        """Take the address.

        Args:
            url: mqtt://HOST[:PORT]/TOPIC, or mqtts for TLS. User and password are read from $EDGEFR_MQTT_USER and
                $EDGEFR_MQTT_PASSWORD.

        Raises:
            InvalidArgumentError: The URL is of another kind.
            MissingExtraError: The library paho-mqtt is not installed.
        """
        expected = "mqtt://HOST[:PORT]/TOPIC"
        parts = split_url(url, expected, "--mqtt")
        self._topic = parts.path.strip("/")
        self.name = redact_url(url)
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or not self._topic or parts.username:
            raise InvalidArgumentError(
                expected,
                self.name,
                "correct --mqtt; user and password belong in $EDGEFR_MQTT_USER and $EDGEFR_MQTT_PASSWORD",
            )
        self._paho: Any = require_extra("paho.mqtt.client", "camera")
        self._tls = parts.scheme == "mqtts"
        self._host, self._port = parts.hostname, parts.port or (8883 if self._tls else 1883)
        self._client: Any = None
        self._refusal = ""

    def deliver(self, entry: Entry) -> None:
        end = monotonic() + delivery.SEND_TIMEOUT_S
        if self._client is None:
            self._connect(end)
        sent = self._client.publish(self._topic, entry.message, qos=1)
        self._serve_until(sent.is_published, end)

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()

    def _connect(self, end: float) -> None:
        client = self._paho.Client(self._paho.CallbackAPIVersion.VERSION2)
        client.connect_timeout = delivery.SEND_TIMEOUT_S
        if user := secret_value("EDGEFR_MQTT_USER"):
            client.username_pw_set(user, secret_value("EDGEFR_MQTT_PASSWORD"))
        if self._tls:
            client.tls_set()
        self._refusal = ""
        client.on_connect = self._on_connect
        client.connect(self._host, self._port, KEEPALIVE_S)
        self._client = client
        self._serve_until(client.is_connected, end)

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._refusal = f"the broker answers {str(reason).lower()!r}" if reason.is_failure else ""

    def _serve_until(self, is_done: Callable[[], bool], end: float) -> None:
        """Read and write packets until something has happened.

        Raises:
            TimeoutError: It has not happened before the time `end`.
            DeliveryError: The connection has ended.
        """
        while not is_done():
            status = self._client.loop(POLL_S)
            if self._refusal:
                raise DeliveryError(self._refusal)
            if status != self._paho.MQTT_ERR_SUCCESS and not is_done():
                raise DeliveryError(f"the broker closed the connection: {self._paho.error_string(status)}")
            if monotonic() > end:
                raise TimeoutError
