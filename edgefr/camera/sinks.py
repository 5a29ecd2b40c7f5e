"""Send events to files, standard output, webhooks and MQTT brokers.

A webhook or broker that is slow or unreachable must not delay the camera. Its events wait in a queue, and the oldest
ones are dropped when the queue is full.
"""

from __future__ import annotations

import json
import os
import threading
import urllib.request
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

from edgefr.camera.base import redact_url
from edgefr.camera.session import Document, Listener
from edgefr.errors import InvalidArgumentError, UnavailableError, require_extra
from edgefr.io.private_files import open_private

QUEUE_SIZE = 1000
"""Number of events that wait at most."""
SEND_TIMEOUT_S = 5.0
"""Seconds for sending one event."""
CLOSE_TIMEOUT_S = 5.0
"""Seconds that closing waits for events which are not sent yet."""


class JsonLinesSink(Listener):
    """Writes one line of JSON per event to a stream, without buffering."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def send(self, document: Document) -> None:
        print(json.dumps(document, ensure_ascii=False), file=self._stream, flush=True)


class JsonLinesFile(JsonLinesSink):
    """Appends to a file that only its owner can read, because the events hold names; also to one that others could."""

    def __init__(self, path: Path) -> None:
        """Open or create the file; raises UnavailableError if it cannot be written."""
        try:
            descriptor = open_private(path, os.O_WRONLY | os.O_APPEND)
        except OSError as error:
            raise UnavailableError(f"to write events to {path}", str(error.strerror), "choose another file") from error
        super().__init__(os.fdopen(descriptor, "a", encoding="utf-8"))

    def close(self) -> None:
        self._stream.close()


class QueuedSink(Listener):
    """Sends events from a thread, in order."""

    def __init__(self, name: str, deliver: Callable[[bytes], None], warn: Callable[[str], None]) -> None:
        """Start the thread.

        Args:
            name: Name of the receiver for warnings.
            deliver: Sends one event; an OSError or ValueError means that it is lost.
            warn: Called with a sentence when sending begins to fail.
        """
        self._name, self._deliver, self._warn = name, deliver, warn
        self._queue: deque[bytes] = deque(maxlen=QUEUE_SIZE)
        self._ready = threading.Condition()
        self._closed = self._failing = False
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._thread.start()

    def send(self, document: Document) -> None:
        with self._ready:
            self._queue.append(json.dumps(document).encode())
            self._ready.notify()

    def close(self) -> None:
        with self._ready:
            self._closed = True
            self._ready.notify()
        self._thread.join(CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._queue or self._closed)
                if not self._queue:
                    return
                message = self._queue.popleft()
            try:
                self._deliver(message)
                self._failing = False
            except (OSError, ValueError) as error:
                if not self._failing:
                    self._warn(f"cannot send events to {self._name} ({type(error).__name__}); they are lost")
                self._failing = True


def webhook_sink(url: str, warn: Callable[[str], None]) -> QueuedSink:
    """Post events as JSON to a URL.

    Args:
        url: A URL of http or https.
        warn: Called with a sentence when posting begins to fail.

    Returns:
        The sink.

    Raises:
        InvalidArgumentError: The URL is of another kind.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise InvalidArgumentError("a webhook URL of http or https", redact_url(url), "correct --hook")

    def deliver(message: bytes) -> None:
        request = urllib.request.Request(url, message, {"Content-Type": "application/json"})  # noqa: S310 (checked)
        with urllib.request.urlopen(request, timeout=SEND_TIMEOUT_S):  # noqa: S310
            pass

    return QueuedSink(redact_url(url), deliver, warn)


def mqtt_sink(url: str, warn: Callable[[str], None]) -> QueuedSink:
    """Publish events on an MQTT topic with quality of service 1 (at least once).

    Args:
        url: mqtt://HOST[:PORT]/TOPIC, or mqtts for TLS. User and password are read from $EDGEFR_MQTT_USER and
            $EDGEFR_MQTT_PASSWORD.
        warn: Called with a sentence when publishing begins to fail.

    Returns:
        The sink.

    Raises:
        InvalidArgumentError: The URL is of another kind.
        MissingExtraError: The library paho-mqtt is not installed.
    """
    parts = urlsplit(url)
    topic = parts.path.strip("/")
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or not topic or parts.username:
        raise InvalidArgumentError(
            "mqtt://HOST[:PORT]/TOPIC",
            redact_url(url),
            "correct --mqtt; user and password belong in $EDGEFR_MQTT_USER and $EDGEFR_MQTT_PASSWORD",
        )
    client = require_extra("paho.mqtt.client", "camera")
    connection = client.Client(client.CallbackAPIVersion.VERSION2)
    if user := os.environ.get("EDGEFR_MQTT_USER"):
        connection.username_pw_set(user, os.environ.get("EDGEFR_MQTT_PASSWORD"))
    if parts.scheme == "mqtts":
        connection.tls_set()
    host, port = parts.hostname, parts.port or (8883 if parts.scheme == "mqtts" else 1883)

    def deliver(message: bytes) -> None:
        if not connection.is_connected():
            connection.connect(host, port, keepalive=30)
            connection.loop_start()
        sent = connection.publish(topic, message, qos=1)
        sent.wait_for_publish(SEND_TIMEOUT_S)
        if not sent.is_published():
            raise TimeoutError("the broker does not acknowledge")

    return QueuedSink(redact_url(url), deliver, warn)
