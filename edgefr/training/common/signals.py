"""Stopping a training by a signal without losing work."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

GRACE_SECONDS = 30
"""How long a loading process survives SIGTERM."""


@contextmanager
def deferred_signals(repeatable: bool) -> Iterator[Callable[[], bool]]:
    """Record SIGINT and SIGTERM instead of acting on them, so that a step is never interrupted halfway.

    Yields whether one has arrived. If `repeatable`, a second SIGINT interrupts at once; torchrun, which forwards the
    Ctrl-C that its processes already received, needs it off. Only the main thread can handle signals.
    """
    received: list[int] = []

    def record(number: int, _frame: FrameType | None) -> None:
        if received and repeatable and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    main = threading.current_thread() is threading.main_thread()
    previous = {number: signal.signal(number, record) for number in (signal.SIGINT, signal.SIGTERM) if main}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def delay_termination(_worker: int) -> None:
    """Let a loading process ignore SIGINT and survive SIGTERM for a while, so that its parent can finish a step.

    Both signals often reach all processes of a group. torch raises an error in the parent wherever it is when a loading
    process dies.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda _number, _frame: signal.alarm(GRACE_SECONDS))
