"""Where events go: lines of JSON in a file or on stdout, an HTTP hook, an MQTT topic.

A hook or a broker that is slow or away must not hold up the camera: what it is sent waits in a queue of its own, and
where that is full the oldest goes.
"""

from __future__ import annotations

import json
import os
import threading
import urllib.request
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TextIO
from urllib.parse import urlsplit

from edgefr.camera.base import without_secret
from edgefr.errors import EdgefrError

WAITING = 1000
"""Events that wait for a hook or a broker at most."""
HOOK_SECONDS = 5.0
LEAVE_SECONDS = 5.0
"""How long the end waits for events that are not sent yet."""

Document = dict[str, Any]


class Sink(Protocol):
    """Takes events; `close` waits a little until they are sent."""

    def send(self, document: Document) -> None: ...

    def close(self) -> None: ...


class Lines:
    """A line of JSON for each event, written at once, to `stream`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def send(self, document: Document) -> None:
        print(json.dumps(document, ensure_ascii=False), file=self._stream, flush=True)

    def close(self) -> None:
        self._stream.flush()


class LinesFile(Lines):
    """A file to whose end lines of JSON are added; it holds names, so only its owner may read it."""

    def __init__(self, path: Path) -> None:
        """Raises EdgefrError where the file cannot be written."""
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as error:
            raise EdgefrError(f"to write events to {path}", str(error.strerror), "choose another file") from error
        super().__init__(os.fdopen(descriptor, "a", encoding="utf-8"))

    def close(self) -> None:
        self._stream.close()


class Posted:
    """Events that a thread delivers one after another by `deliver`; `warn` is told when that begins to fail."""

    def __init__(self, where: str, deliver: Callable[[bytes], None], warn: Callable[[str], None]) -> None:
        self._where, self._deliver, self._warn = where, deliver, warn
        self._queue: deque[bytes] = deque(maxlen=WAITING)
        self._ready = threading.Condition()
        self._over = self._failing = False
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._thread.start()

    def send(self, document: Document) -> None:
        with self._ready:
            self._queue.append(json.dumps(document).encode())
            self._ready.notify()

    def close(self) -> None:
        with self._ready:
            self._over = True
            self._ready.notify()
        self._thread.join(LEAVE_SECONDS)

    def _run(self) -> None:
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._queue or self._over)
                if not self._queue:
                    return
                message = self._queue.popleft()
            try:
                self._deliver(message)
                self._failing = False
            except (OSError, ValueError) as error:
                if not self._failing:
                    self._warn(f"events are not taken by {self._where} ({type(error).__name__}); they are lost")
                self._failing = True


def hook(url: str, warn: Callable[[str], None]) -> Posted:
    """Events posted as JSON to a URL.

    Raises:
        EdgefrError: it is none of http or https.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise EdgefrError("a hook by http or https", str(without_secret(url)), "give such a URL")

    def deliver(message: bytes) -> None:
        request = urllib.request.Request(url, message, {"Content-Type": "application/json"})  # noqa: S310 (checked)
        with urllib.request.urlopen(request, timeout=HOOK_SECONDS):  # noqa: S310
            pass

    return Posted(without_secret(url), deliver, warn)


def mqtt(url: str, warn: Callable[[str], None]) -> Posted:
    """Events published on `mqtt://HOST[:PORT]/TOPIC`, each at least once. User and password come from $EDGEFR_MQTT_USER
    and $EDGEFR_MQTT_PASSWORD; `mqtts` encrypts.

    Raises:
        EdgefrError: the URL is no such one, or the library is missing.
    """
    parts = urlsplit(url)
    topic = parts.path.strip("/")
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or not topic or parts.username:
        raise EdgefrError(
            "mqtt://HOST[:PORT]/TOPIC",
            str(without_secret(url)),
            "give such a URL, and user and password in $EDGEFR_MQTT_USER and $EDGEFR_MQTT_PASSWORD",
        )
    try:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError as error:
        raise EdgefrError("paho-mqtt", "it missing", "pip install 'edgefr[camera]'") from error
    client = Client(CallbackAPIVersion.VERSION2)
    if user := os.environ.get("EDGEFR_MQTT_USER"):
        client.username_pw_set(user, os.environ.get("EDGEFR_MQTT_PASSWORD"))
    if parts.scheme == "mqtts":
        client.tls_set()
    host, port = parts.hostname, parts.port or (8883 if parts.scheme == "mqtts" else 1883)

    def deliver(message: bytes) -> None:
        if not client.is_connected():
            client.connect(host, port, keepalive=30)
            client.loop_start()
        sent = client.publish(topic, message, qos=1)
        sent.wait_for_publish(HOOK_SECONDS)
        if not sent.is_published():
            raise TimeoutError("the broker does not acknowledge")

    return Posted(without_secret(url), deliver, warn)
