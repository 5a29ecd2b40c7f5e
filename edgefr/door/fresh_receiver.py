"""Openings that are carried out at once or never."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol

from edgefr.camera.delivery import DeliveredSink, ExpiredEventError, Receiver, RefusedEventError
from edgefr.camera.event_queue import Entry, EventQueue

MAX_AGE_S = 5.0
"""Seconds after a decision in which it is carried out. An opening that a dead broker or server delays is dropped."""


class Opener(Receiver, Protocol):
    """Opens a door. Unlike other receivers it can be stopped from another thread."""

    def stop(self) -> None:
        """End what is under way, such as the pulse of a relay. An attempt to send something ends by itself."""
        return


class Action:
    """One action of a door, which a thread carries out.

    Openings wait in memory only, so that none outlives the process.
    """

    def __init__(
        self, name: str, opener: Opener, warn: Callable[[str], None], on_failure: Callable[[str, str, str], None]
    ) -> None:
        """Start the thread.

        Args:
            name: Name of the action.
            opener: Carries it out.
            warn: Called with a sentence when it begins to fail, when it works again, and for openings that are dropped.
            on_failure: Called with the rule, the name of the action and a reason for each opening that failed.
        """
        self.name, self._opener = name, opener
        self._fresh = _FreshReceiver(name, opener, on_failure)
        self._sink = DeliveredSink(self._fresh, EventQueue(None, warn), warn)

    def open(self, document: dict[str, Any], at: float) -> None:
        """Open, if that is possible within MAX_AGE_S.

        Args:
            document: The opening as JSON, with a unique `id`.
            at: Time of the decision, of `time.monotonic`.
        """
        self._fresh.note(document, at)
        self._sink.send(document)

    def close(self) -> None:
        """Stop at once, and end the thread."""
        self._fresh.stop()
        self._sink.close()
        self._opener.stop()


class _FreshReceiver(Receiver):
    """Hands over openings that are recent, and drops all others."""

    def __init__(self, name: str, opener: Opener, on_failure: Callable[[str, str, str], None]) -> None:
        self.name, self.idle_s = opener.name, opener.idle_s
        self._action, self._opener, self._on_failure = name, opener, on_failure
        self._lock = threading.Lock()
        self._decided: dict[str, tuple[str, float]] = {}
        self._is_stopped = False

    def note(self, document: dict[str, Any], at: float) -> None:
        with self._lock:
            self._decided[document["id"]] = document["rule"], at

    def deliver(self, entry: Entry) -> None:
        with self._lock:
            rule, at = self._decided[entry.id]
        try:
            if self._is_stopped:
                raise ExpiredEventError("edgefr has ended")
            if monotonic() - at > MAX_AGE_S:
                raise ExpiredEventError(f"not carried out within {MAX_AGE_S:g} s, so it is dropped")
            self._opener.deliver(entry)
        except (RefusedEventError, ExpiredEventError) as error:
            self._forget(entry)
            self._on_failure(rule, self._action, str(error))
            raise
        self._forget(entry)

    def stop(self) -> None:
        self._is_stopped = True
        self._opener.stop()

    def close(self) -> None:
        self._opener.close()

    def idle(self) -> None:
        self._opener.idle()

    def _forget(self, entry: Entry) -> None:
        with self._lock:
            del self._decided[entry.id]
