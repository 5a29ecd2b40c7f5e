"""Read live sources without falling behind, and reconnect when the connection is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from time import monotonic

from edgefr.camera.base import READ_TIMEOUT_S, DisconnectedError, Frame, Source

MIN_RECONNECT_S, MAX_RECONNECT_S = 0.5, 30.0
"""Seconds before the first attempt to reconnect, doubled for each further one up to the maximum."""
IDLE_S = 1.0
"""Seconds without a frame between two calls of `on_idle`."""
MAX_DELAY_S = 1 / 15
"""Seconds by which a frame of a recording may be late before it is left out."""


class LatestFrameReader:
    """Iterates over the newest frames of a live source.

    A thread reads the source and reconnects when it is disconnected. Frames that arrive while the caller is busy are
    dropped and counted in `missed`.

    Attributes:
        missed: Number of frames that were dropped.
        ended: Why the source gives no more frames, if it is not reconnected.
    """

    def __init__(
        self,
        source: Source,
        on_state: Callable[[str, str], None],
        on_idle: Callable[[], None] = lambda: None,
        reconnect: bool = True,
    ) -> None:
        """Prepare to read; iterating starts the thread.

        Args:
            source: A live source.
            on_state: Called with "lost", "stalled" or "back" and the reason, from either thread.
            on_idle: Called about once a second while no frame arrives, from the thread that iterates.
            reconnect: Whether to try again after the source was disconnected or has stalled, or to end.
        """
        self.source, self._on_state, self._on_idle = source, on_state, on_idle
        self._reconnect = reconnect
        self.missed = 0
        self.ended: str | None = None
        self._frame: Frame | None = None
        self._error: BaseException | None = None
        self._change = threading.Condition()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, name="frames", daemon=True)

    def __iter__(self) -> Iterator[Frame]:
        """The newest frame each time, until `stop` is called or the source has ended for good; raises the EdgefrError
        of a source that is unusable."""
        self._thread.start()
        last, stalled = monotonic(), False
        while not self._stopped.is_set():
            with self._change:
                self._change.wait_for(self._has_news, IDLE_S)
                frame, self._frame = self._frame, None
            if self._error is not None:
                raise self._error
            if frame is not None:
                yield frame
                last, stalled = monotonic(), False
            elif self.ended is not None:
                return
            elif not self._stopped.is_set():
                self._on_idle()
                if not stalled and monotonic() - last >= READ_TIMEOUT_S:
                    reason = f"it gave nothing for {READ_TIMEOUT_S:.0f} s"
                    self._on_state("stalled", reason)
                    stalled = True
                    self.ended = None if self._reconnect else reason

    def stop(self) -> None:
        """End the iteration, also while it waits for a frame."""
        self._stopped.set()
        with self._change:
            self._change.notify_all()

    def _has_news(self) -> bool:
        return self._frame is not None or bool(self._error or self.ended or self._stopped.is_set())

    def _read(self) -> None:
        delay, disconnected = MIN_RECONNECT_S, False
        while not self._stopped.is_set():
            reason = "it ended"
            try:
                for frame in self.source.frames():
                    if disconnected:
                        self._on_state("back", "it gives frames again")
                    delay, disconnected = MIN_RECONNECT_S, False
                    self._put(frame)
                    if self._stopped.is_set():
                        return
            except DisconnectedError as error:
                reason = str(error)
            except BaseException as error:  # it is raised in the thread that iterates
                with self._change:
                    self._error = error
                    self._change.notify_all()
                return
            if not (disconnected or self._stopped.is_set()):
                self._on_state("lost", reason)
            disconnected = True
            if not self._reconnect:
                with self._change:
                    self.ended = reason
                    self._change.notify_all()
                return
            self._stopped.wait(delay)
            delay = min(2 * delay, MAX_RECONNECT_S)

    def _put(self, frame: Frame) -> None:
        with self._change:
            self.missed += self._frame is not None
            self._frame = frame
            self._change.notify_all()


def play_in_real_time(
    source: Source, stopped: threading.Event, on_idle: Callable[[float], None] = lambda _: None
) -> Iterator[Frame]:
    """The frames of a recording at its own speed, without those that would come too late, until `stopped` is set.

    Args:
        source: A recording.
        stopped: Ends the iteration, also while it waits.
        on_idle: Called about once a second, with the time in the recording, while it has no frame.
    """
    start = monotonic()
    for frame in source.frames():
        early = frame.at - (monotonic() - start)
        if early < -MAX_DELAY_S:
            continue
        while early > 0 and not stopped.wait(min(early, IDLE_S)):
            now = monotonic() - start
            early = frame.at - now
            if early > 0:
                on_idle(now)
        if stopped.is_set():
            return
        yield frame
