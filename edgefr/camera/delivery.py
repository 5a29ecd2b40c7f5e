"""Deliver events to a receiver that may be slow, unreachable or faulty.

Events wait in a queue on the disk until the receiver has acknowledged them, and are sent in order. Whatever a receiver
answers, the next attempt follows. The camera never waits for it.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from typing import Protocol

from edgefr.camera.event_queue import Entry, EventQueue
from edgefr.camera.session import Document, Listener

SEND_TIMEOUT_S = 5.0
"""Seconds for sending one event, from the connection to the acknowledgement."""
MIN_RETRY_S, MAX_RETRY_S = 0.5, 30.0
"""Seconds before the next attempt after a failure, doubled for each further one up to the maximum."""
IDLE_S = 20.0
"""Seconds without an event after which a connection is closed."""
CLOSE_TIMEOUT_S = 5.0
"""Seconds that closing waits for events which are not sent yet."""


class DeliveryError(Exception):
    """An event was not acknowledged and is sent again. The message is the reason."""


class RefusedEventError(Exception):
    """The receiver has refused an event for good, and the next one is sent. The message is the reason."""


class ExpiredEventError(Exception):
    """An event is too old to be sent, and is dropped. The message is the reason."""


class Receiver(Protocol):
    """Takes events.

    Attributes:
        name: For messages, without a password.
        idle_s: Seconds without an event after which `idle` is called.
    """

    name: str
    idle_s: float = IDLE_S

    def deliver(self, entry: Entry) -> None:
        """Send an event and wait until it is acknowledged, at most SEND_TIMEOUT_S.

        Raises:
            RefusedEventError: The receiver will never take this event.
            ExpiredEventError: The event is too old to be sent.
            Exception: The event may be sent again; every exception means that.
        """
        ...

    def close(self) -> None:
        """Close the connection; `deliver` opens another one."""
        ...

    def idle(self) -> None:
        """There was no event for some time. Every exception means that the connection has failed."""
        self.close()


class DeliveredSink(Listener):
    """Sends events from a thread, in order, each until it is acknowledged."""

    def __init__(self, receiver: Receiver, queue: EventQueue, warn: Callable[[str], None]) -> None:
        """Start the thread.

        Args:
            receiver: Takes the events.
            queue: Holds them until then. It is closed with the sink.
            warn: Called with a sentence when sending begins to fail, when it works again, and for events that are lost.
        """
        self._receiver, self._queue, self._warn = receiver, queue, warn
        self._losses = _LossReport(receiver.name, warn)
        self._failing = False
        self._closed = threading.Event()
        if count := len(queue):
            warn(f"{count:,} events of an earlier run are sent to {receiver.name} first")
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._thread.start()

    def send(self, document: Document) -> None:
        if dropped := self._queue.put(document):
            self._losses.add(dropped, "too many wait")

    def close(self) -> None:
        self._closed.set()
        self._queue.wake()
        self._thread.join(CLOSE_TIMEOUT_S)
        path = self._queue.path
        if count := len(self._queue):
            if path is None:
                self._losses.add(count, "nothing acknowledged them")
            else:
                self._warn(
                    f"{count:,} events for {self._receiver.name} are not acknowledged yet; they are kept in {path} "
                    "and sent at the next start"
                )
        self._losses.finish()
        self._queue.close()

    def _run(self) -> None:
        delay = MIN_RETRY_S
        while True:
            entry = self._queue.take(0 if self._closed.is_set() else self._receiver.idle_s)
            was_closed = self._closed.is_set()
            if entry is None and was_closed:
                self._receiver.close()
                return
            if self._rest() if entry is None else self._attempt(entry):
                delay = MIN_RETRY_S
            elif was_closed:
                self._receiver.close()
                return
            else:
                self._closed.wait(delay)  # closing leads to one more attempt
                delay = min(2 * delay, MAX_RETRY_S)

    def _rest(self) -> bool:
        """Let the receiver do what it does without an event; returns whether that worked."""
        try:
            self._receiver.idle()
        except Exception as error:  # as for an event
            self._fail(error)
            return False
        return True

    def _attempt(self, entry: Entry) -> bool:
        """Send an event; returns whether the queue is done with it."""
        try:
            self._receiver.deliver(entry)
        except RefusedEventError as error:
            self._losses.add(1, str(error))
        except ExpiredEventError as error:  # which says nothing about the receiver
            self._losses.add(1, str(error))
            self._queue.acknowledge()
            return True
        except Exception as error:  # one bad answer must not end the delivery
            self._fail(error)
            return False
        self._queue.acknowledge()
        if self._failing:
            self._warn(f"events are sent to {self._receiver.name} again")
            self._failing = False
            self._losses.finish()
        return True

    def _fail(self, error: Exception) -> None:
        self._receiver.close()
        if not self._failing:
            self._warn(f"cannot send events to {self._receiver.name} ({_reason(error)}); they wait and are sent again")
        self._failing = True


class _LossReport:
    """Warns of lost events: of the first one, of each tenfold, and of their number in the end."""

    def __init__(self, name: str, warn: Callable[[str], None]) -> None:
        self._name, self._warn = name, warn
        self._lock = threading.Lock()
        self._count = self._reported = 0

    def add(self, count: int, reason: str) -> None:
        with self._lock:
            self._count += count
            is_due = self._count >= max(1, 10 * self._reported)
            if is_due:
                self._reported = self._count
        if is_due:
            self._tell(f" ({reason})")

    def finish(self) -> None:
        """Tell the number that was not told yet, and count from zero again."""
        with self._lock:
            is_due = self._count > self._reported
        if is_due:
            self._tell("")
        with self._lock:
            self._count = self._reported = 0

    def _tell(self, reason: str) -> None:
        self._warn(f"events for {self._name} are lost: {self._count:,}{reason}")


def _reason(error: Exception) -> str:
    """Why an event was not acknowledged, without addresses and passwords."""
    cause = getattr(error, "reason", error)  # urllib's error has the one below it
    if isinstance(error, DeliveryError):
        return str(error)
    if isinstance(cause, TimeoutError):
        return f"no answer within {SEND_TIMEOUT_S:g} s"
    if isinstance(cause, http.client.HTTPException):
        return f"no valid answer, {type(cause).__name__}"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return type(cause if isinstance(cause, Exception) else error).__name__
