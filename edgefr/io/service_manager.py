"""Tells a service manager how the process is: the notification protocol of systemd, sd_notify(3).

Without a service manager nothing is told. The protocol is one datagram for each state to the socket $NOTIFY_SOCKET.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from time import monotonic

MAX_STATUS = 200
"""Characters of a status."""


class ServiceManager:
    """What the process tells a service manager. Several threads may use it.

    Attributes:
        watchdog_s: Seconds without a sign of life after which the process is killed and started again; None if no
            signs are expected.
    """

    def __init__(self, address: str | None, watchdog_s: float | None = None) -> None:
        """Prepare to tell.

        Args:
            address: Path of the socket; one that begins with @ is in the abstract namespace. None tells nothing.
            watchdog_s: Seconds without a sign of life after which the process counts as hung; None if none is expected.
        """
        self._address = address.replace("@", "\0", 1) if address and address.startswith("@") else address
        self.watchdog_s = watchdog_s
        self._last = float("-inf")

    @classmethod
    def from_environment(cls) -> ServiceManager:
        """The service manager that started this process, as $NOTIFY_SOCKET, $WATCHDOG_USEC and $WATCHDOG_PID say."""
        interval = os.environ.get("WATCHDOG_USEC", "")
        is_ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        expected = interval.isascii() and interval.isdigit() and int(interval) > 0 and is_ours
        return cls(os.environ.get("NOTIFY_SOCKET"), int(interval) / 1e6 if expected else None)

    def ready(self) -> None:
        """Tell that the process has started and works."""
        self._tell("READY=1")

    def stopping(self) -> None:
        """Tell that the process is ending."""
        self._tell("STOPPING=1")

    def status(self, text: str) -> None:
        """Tell in one line what the process is doing, for `systemctl status`."""
        self._tell(f"STATUS={' '.join(text.split())[:MAX_STATUS]}")

    def alive(self) -> None:
        """Give a sign of life. The working loop calls it as often as it likes: it is sent when half of the interval is
        over."""
        if self.watchdog_s is not None and monotonic() - self._last >= self.watchdog_s / 2:
            self._last = monotonic()
            self._tell("WATCHDOG=1")

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        # A service manager that does not listen must not end the work.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            sender.sendto(state.encode(), self._address)
