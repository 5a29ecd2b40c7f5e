"""A watch from its first frame to its last: frames to the watcher, what it tells to whoever listens."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from time import monotonic
from typing import Any, Protocol

from edgefr.camera.base import Frame, Source
from edgefr.camera.latest_frame import LatestFrameReader, paced
from edgefr.camera.watcher import Event, FrameResult, Watcher


class Listener(Protocol):
    """Is shown every scene, and told of every event as a document (`event_document`, `source_document`)."""

    def show(self, scene: FrameResult) -> None: ...

    def send(self, document: dict[str, Any]) -> None: ...


class Session:
    """Watches a source until it ends or `stop` is called from another thread."""

    def __init__(self, source: Source, watcher: Watcher, listener: Listener, live: bool) -> None:
        """`live` shows a recording at its own speed; without it every frame of a recording is watched."""
        self.source, self.watcher, self._listener = source, watcher, listener
        self._paced = live
        self._over = threading.Event()
        self._newest = LatestFrameReader(source, self._tell) if source.live else None
        self._telling = threading.Lock()
        self.frames = 0
        self.seconds = 0.0

    @property
    def missed(self) -> int:
        """Frames of a live source that came while another was worked on."""
        return 0 if self._newest is None else self._newest.missed

    def run(self) -> None:
        """Watch.

        Raises:
            EdgefrError: the source is none, or a listener cannot go on.
        """
        begun = monotonic()
        try:
            for frame in self._frames():
                scene = self.watcher.step(frame)
                self.frames += 1
                self.seconds = monotonic() - begun
                self._send(scene.events)
                self._listener.show(scene)
                if self._over.is_set():
                    break
        finally:
            self.stop()
            self._send(self.watcher.finish())

    def stop(self) -> None:
        """End after the frame that is worked on."""
        self._over.set()
        if self._newest is not None:
            self._newest.stop()

    def _frames(self) -> Iterator[Frame]:
        if self._newest is not None:
            return iter(self._newest)
        return paced(self.source, self._over) if self._paced else self.source.frames()

    def _send(self, events: Sequence[Event]) -> None:
        with self._telling:
            for event in events:
                self._listener.send(event_document(event, self.source.live))

    def _tell(self, condition: str, reason: str) -> None:
        with self._telling:
            self._listener.send(source_document(self.source.name, condition, reason))


def event_document(event: Event, live: bool) -> dict[str, Any]:
    """An event as it is told: `at` as a time of day where the source is live, `seconds` into the recording else."""
    told: dict[str, Any] = asdict(event)
    told["at"] = iso_time(event.at) if live else None
    told["seconds"] = None if live else round(event.at, 3)
    return told


def source_document(source: str, condition: str, reason: str) -> dict[str, Any]:
    """What became of a source: `condition` is lost, stalled, back or ended."""
    at = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    return {"what": "source", "at": at, "seconds": None, "source": source, "condition": condition, "reason": reason}


def iso_time(at: float) -> str:
    """Seconds since 1970 as ISO 8601."""
    return datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="milliseconds")
