"""Watch one source from its first frame to its last, and report what happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any
from uuid import uuid4

from edgefr.camera.base import Frame, Source, wall_time
from edgefr.camera.faults import Faults
from edgefr.camera.latest_frame import LatestFrameReader, play_in_real_time
from edgefr.camera.watcher import FrameResult, TrackEvent, Watcher
from edgefr.errors import UnavailableError

Document = dict[str, Any]
"""An event for JSON, as `event_document` and `source_document` make it. Its `id` is unique, so that a receiver that
gets an event twice can tell."""


class Listener:
    """Receives all frames and events; what a subclass does not override is ignored."""

    def show(self, result: FrameResult) -> None:
        """Receive a frame."""

    def send(self, document: Document) -> None:
        """Receive an event."""

    def close(self) -> None:
        """Release files and connections."""


class Session:
    """Watches a source until it ends or `stop` is called.

    Attributes:
        source: The source that is watched.
        watcher: Recognises people in its frames.
        frames: Number of frames that were watched.
        seconds: Duration until the last of them.
    """

    def __init__(
        self,
        source: Source,
        watcher: Watcher,
        listeners: Sequence[Listener],
        real_time: bool,
        once: bool = False,
        warn: Callable[[str], None] = lambda _: None,
        on_alive: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare to watch.

        Args:
            source: A live source or a recording.
            watcher: Recognises people.
            listeners: Receive frames and events, in this order.
            real_time: Play a recording at its own speed; otherwise watch every frame of it.
            once: End when a live source is disconnected; otherwise reconnect.
            warn: Called with a sentence when a listener or the watcher begins to fail, and when it works again.
            on_alive: Called at every frame, and about once a second while the source gives none, to show that the
                session does not hang.
        """
        self.source, self.watcher, self._listeners = source, watcher, listeners
        self._real_time, self._on_alive = real_time, on_alive
        self._stopped = threading.Event()
        self._reader = (
            LatestFrameReader(source, self._report_source, lambda: self._idle(time.monotonic()), reconnect=not once)
            if source.live
            else None
        )
        self._sending = threading.Lock()
        self._faults = Faults(warn)
        self.frames = 0
        self.seconds = 0.0

    @property
    def missed(self) -> int:
        """Number of frames of a live source that were dropped because the watcher was busy."""
        return 0 if self._reader is None else self._reader.missed

    def run(self) -> None:
        """Watch the source. A listener that fails misses frames and events, and nothing else ends because of it.

        Raises:
            UnavailableError: A live source that is read once is not available.
            EdgefrError: The source can never be read, the model fails, or something has failed while a recording was
                watched, which is told at its end.
        """
        start = time.monotonic()
        try:
            for frame in self._frames():
                self._on_alive()
                result = self._process(frame)
                self.frames += 1
                self.seconds = time.monotonic() - start
                if result is not None:
                    self._show(result)
                if self._stopped.is_set():
                    break
        finally:
            self.stop()
            self._send_events(self.watcher.close())
        if self._reader is not None and self._reader.ended is not None and not self.frames:
            raise UnavailableError(
                f"frames from {self.source.name}", f"none: {self._reader.ended}", "check the camera or the stream"
            )
        fault = self._faults.first or self.watcher.faults.first
        if not self.source.live and fault is not None:
            raise fault

    def stop(self) -> None:
        """End after the current frame. Other threads and signal handlers may call this."""
        self._stopped.set()
        if self._reader is not None:
            self._reader.stop()

    def _frames(self) -> Iterator[Frame]:
        if self._reader is not None:
            return iter(self._reader)
        return play_in_real_time(self.source, self._stopped, self._idle) if self._real_time else self.source.frames()

    def _process(self, frame: Frame) -> FrameResult | None:
        """Recognise the people in a frame; None if a server or a device is unavailable and the source is live."""
        if not self.source.live:
            return self.watcher.process(frame)
        results: list[FrameResult] = []
        with self._faults.catch("frames cannot be processed", (UnavailableError,)):
            results.append(self.watcher.process(frame))
        return results[0] if results else None

    def _show(self, result: FrameResult) -> None:
        self._send_events(result.events)
        for listener in self._listeners:
            with self._faults.catch(f"frames cannot be shown by {type(listener).__name__}"):
                listener.show(result)

    def publish(self, *documents: Document) -> None:
        """Send events to all listeners. Any thread may call this."""
        with self._sending:
            for document in documents:
                for listener in self._listeners:
                    with self._faults.catch(f"events cannot be sent by {type(listener).__name__}"):
                        listener.send(document)

    def _send_events(self, events: Sequence[TrackEvent]) -> None:
        self.publish(*(event_document(event, self.source.live) for event in events))

    def _report_source(self, condition: str, reason: str) -> None:
        self.publish(source_document(self.source.name, condition, reason))

    def _idle(self, now: float) -> None:
        """People are gone, too, while a source gives no frames; `now` is its time, as in `Frame`."""
        self._on_alive()
        self._send_events(self.watcher.end_tracks(now))


def event_document(event: TrackEvent, live: bool) -> Document:
    """An event of a track for JSON, with `at` in ISO 8601 for a live source and `seconds` for a recording."""
    at = iso_time(wall_time(event.at)) if live else None
    return {**asdict(event), "at": at, "seconds": None if live else round(event.at, 3), "id": uuid4().hex}


def source_document(source: str, condition: str, reason: str) -> Document:
    """A change of the source for JSON; `condition` is "lost", "stalled", "back" or "ended"."""
    at = iso_time(time.time())
    return {
        "what": "source",
        "at": at,
        "seconds": None,
        "source": source,
        "condition": condition,
        "reason": reason,
        "id": uuid4().hex,
    }


def iso_time(at: float) -> str:
    """Seconds since 1970 as ISO 8601 in UTC."""
    return datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="milliseconds")
