"""A connection to an MQTT broker that is served by the thread that uses it.

paho's own thread would end silently if a broker sends a packet that paho cannot read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from edgefr.camera import delivery
from edgefr.camera.base import redact_url, split_url
from edgefr.camera.delivery import DeliveryError
from edgefr.errors import InvalidArgumentError, require_extra
from edgefr.io.credentials import secret_value

KEEPALIVE_S = 60
"""The broker closes a connection without a message for longer."""
POLL_S = 0.1


@dataclass(frozen=True)
class MqttAddress:
    """A broker, and the path of its URL.

    Attributes:
        name: The URL without a password, for messages.
        path: What follows the host, without slashes around it.
    """

    name: str
    host: str
    port: int
    tls: bool
    path: str

    @classmethod
    def parse(cls, url: str, setting: str, needs_topic: bool) -> MqttAddress:
        """Take the URL of a broker apart.

        Args:
            url: mqtt://HOST[:PORT][/TOPIC], or mqtts for TLS.
            setting: The option or key that it comes from, for errors.
            needs_topic: Whether it must have a topic; otherwise it must not.

        Raises:
            InvalidArgumentError: The URL is of another kind.
        """
        expected = "mqtt://HOST[:PORT]/TOPIC" if needs_topic else "mqtt://HOST[:PORT]"
        parts = split_url(url, expected, setting)
        path, tls = parts.path.strip("/"), parts.scheme == "mqtts"
        name = redact_url(url)
        is_known = parts.scheme in ("mqtt", "mqtts") and parts.hostname and not parts.username
        if not is_known or bool(path) != needs_topic or not parts.hostname:
            raise InvalidArgumentError(
                expected,
                name,
                f"correct {setting}; user and password belong in $EDGEFR_MQTT_USER and $EDGEFR_MQTT_PASSWORD",
            )
        return cls(name, parts.hostname, parts.port or (8883 if tls else 1883), tls, path)


class MqttConnection:
    """Publishes with quality of service 1 (at least once). After a failure another one is to be used.

    User and password are read from $EDGEFR_MQTT_USER and $EDGEFR_MQTT_PASSWORD.
    """

    def __init__(self, address: MqttAddress, end: float, will: tuple[str, bytes] | None = None) -> None:
        """Connect.

        Args:
            address: The broker.
            end: Time of `monotonic` until which it must have answered.
            will: Topic and message that the broker publishes, and retains, when the connection is lost.

        Raises:
            MissingExtraError: The library paho-mqtt is not installed.
            TimeoutError: The broker does not answer.
            DeliveryError: It refuses the connection.
            OSError: It cannot be reached.
        """
        self._paho: Any = require_extra("paho.mqtt.client", "camera")
        client = self._paho.Client(self._paho.CallbackAPIVersion.VERSION2)
        client.connect_timeout = delivery.SEND_TIMEOUT_S
        if user := secret_value("EDGEFR_MQTT_USER"):
            client.username_pw_set(user, secret_value("EDGEFR_MQTT_PASSWORD"))
        if address.tls:
            client.tls_set()
        if will is not None:
            client.will_set(*will, qos=1, retain=True)
        self._refusal = ""
        client.on_connect = self._on_connect
        client.connect(address.host, address.port, KEEPALIVE_S)
        self._client = client
        try:
            self._serve_until(client.is_connected, end)
        except BaseException:
            self.close()
            raise

    def publish(self, topic: str, message: bytes, end: float, retain: bool = False) -> None:
        """Publish a message and wait until the broker has acknowledged it.

        Raises:
            TimeoutError: It has not done so before the time `end`.
            DeliveryError: The connection has ended.
        """
        sent = self._client.publish(topic, message, qos=1, retain=retain)
        self._serve_until(sent.is_published, end)

    def serve(self) -> None:
        """Read and write what is due, such as a ping; raises DeliveryError if the connection has ended."""
        self._check(self._client.loop(POLL_S))

    def close(self) -> None:
        self._client.disconnect()

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._refusal = f"the broker answers {str(reason).lower()!r}" if reason.is_failure else ""

    def _serve_until(self, is_done: Callable[[], bool], end: float) -> None:
        """Read and write packets until something has happened."""
        while not is_done():
            status = self._client.loop(POLL_S)
            if not is_done():
                self._check(status)
            if monotonic() > end:
                raise TimeoutError

    def _check(self, status: int) -> None:
        if self._refusal:
            raise DeliveryError(self._refusal)
        if status != self._paho.MQTT_ERR_SUCCESS:
            raise DeliveryError(f"the broker closed the connection: {self._paho.error_string(status)}")
