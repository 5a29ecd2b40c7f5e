"""The newest frame of a live source: whoever is slow misses frames and never falls behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from edgefr.camera.base import PATIENCE, DisconnectedError, Frame, Source

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
"""Seconds before the first attempt to reach a lost source again, doubled up to the longest."""

Tell = Callable[[str, str], None]
"""Is told what became of a source, `lost`, `stalled` or `back`, and why."""


class LatestFrameReader:
    """Reads a live source in a thread of its own, again and again where it is lost."""

    def __init__(self, source: Source, tell: Tell) -> None:
        self.source, self._tell = source, tell
        self.missed = 0
        self._frame: Frame | None = None
        self._failed: BaseException | None = None
        self._change = threading.Condition()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read, name="frames", daemon=True)

    def __iter__(self) -> Iterator[Frame]:
        """Frames until `stop`, each the newest there is.

        Raises:
            EdgefrError: there is no such source.
        """
        self._thread.start()
        stalled = False
        while not self._over.is_set():
            with self._change:
                self._change.wait_for(lambda: self._frame or self._failed or self._over.is_set(), PATIENCE)
                frame, self._frame = self._frame, None
            if self._failed is not None:
                raise self._failed
            if frame is None:
                if not (stalled or self._over.is_set()):
                    self._tell("stalled", f"it gave nothing for {PATIENCE:.0f} s")
                stalled = True
                continue
            stalled = False
            yield frame

    def stop(self) -> None:
        """End; a frame that is waited for does not come."""
        self._over.set()
        with self._change:
            self._change.notify_all()

    def _read(self) -> None:
        wait, lost = FIRST_WAIT, False
        while not self._over.is_set():
            reason = "it ended"
            try:
                for frame in self.source.frames():
                    if lost:
                        self._tell("back", "it gives frames again")
                    wait, lost = FIRST_WAIT, False
                    self._put(frame)
                    if self._over.is_set():
                        return
            except DisconnectedError as error:
                reason = str(error)
            except BaseException as error:  # it is raised where frames are awaited
                with self._change:
                    self._failed = error
                    self._change.notify_all()
                return
            if not (lost or self._over.is_set()):
                self._tell("lost", reason)
            lost = True
            self._over.wait(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    def _put(self, frame: Frame) -> None:
        with self._change:
            self.missed += self._frame is not None
            self._frame = frame
            self._change.notify_all()


def paced(source: Source, over: threading.Event) -> Iterator[Frame]:
    """A recording's frames at its own speed; those that come too late are left out, as a camera's are."""
    from time import monotonic

    start = monotonic()
    for frame in source.frames():
        early = frame.at - (monotonic() - start)
        if early > 0:
            over.wait(early)
        elif early < -1 / 15:
            continue
        if over.is_set():
            return
        yield frame
