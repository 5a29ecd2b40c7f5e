"""Faults that a watch survives, such as a full disk: each is told when it begins and when it has ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

from edgefr.errors import EdgefrError, InternalError, UnavailableError

RECOVERED_S = 10.0
"""Seconds without a fault after which it counts as ended, because some listeners do nothing with most frames."""


@dataclass
class _Fault:
    count: int
    at: float


class Faults:
    """Catches errors and tells them once, not for every frame. Several threads may use it.

    Attributes:
        first: The first error that was caught.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._lock = threading.Lock()
        self._open: dict[str, _Fault] = {}
        self.first: EdgefrError | None = None

    @contextmanager
    def catch(self, what: str, kinds: tuple[type[Exception], ...] = (Exception,)) -> Iterator[None]:
        """Survive the errors of a block. A reader of stdout that has gone away ends the command, as always.

        Args:
            what: What does not work if the block fails, as a sentence without its end.
            kinds: The errors that are survived.
        """
        try:
            yield
        except BrokenPipeError:
            raise
        except kinds as error:
            self._begin(what, error)
        else:
            if self._open:
                self._end(what)

    def _begin(self, what: str, error: Exception) -> None:
        known = _as_edgefr_error(error)
        with self._lock:
            self.first = self.first or known
            fault = self._open.setdefault(what, _Fault(0, 0.0))
            fault.count, fault.at = fault.count + 1, monotonic()
            is_new = fault.count == 1
        if is_new:
            self._warn(f"{what}: {' '.join(str(known).split())}")

    def _end(self, what: str) -> None:
        with self._lock:
            fault = self._open.get(what)
            if fault is None or monotonic() - fault.at < RECOVERED_S:
                return
            del self._open[what]
        self._warn(f"this has ended after {fault.count:,} failures: {what}")


def _as_edgefr_error(error: Exception) -> EdgefrError:
    if isinstance(error, EdgefrError):
        return error
    if isinstance(error, OSError):
        return UnavailableError("", f"Failed ({error.strerror or error})", "free disk space, or choose another path")
    return InternalError.of(error)
