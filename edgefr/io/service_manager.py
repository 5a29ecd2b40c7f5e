"""Tells a service manager such as systemd how this process is, by the protocol of sd_notify(3)."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress


class ServiceManager:
    """The manager that started this process, if one did; without one, nothing is sent.

    Attributes:
        watchdog_s: The manager kills this process if `alive` is not called for so many seconds; None if it does not.
    """

    def __init__(self, address: str | None, watchdog_s: float | None = None) -> None:
        """Take the path of a datagram socket, with @ as its first letter in the abstract namespace."""
        self._address = None if not address else f"\0{address[1:]}" if address.startswith("@") else address
        self.watchdog_s = watchdog_s

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> ServiceManager:
        """The manager that $NOTIFY_SOCKET, $WATCHDOG_USEC and $WATCHDOG_PID name."""
        microseconds = environment.get("WATCHDOG_USEC", "")
        is_meant = environment.get("WATCHDOG_PID") in (None, str(os.getpid()))
        seconds = int(microseconds) / 1e6 if is_meant and microseconds.isdecimal() else 0.0
        return cls(environment.get("NOTIFY_SOCKET"), seconds or None)

    def ready(self) -> None:
        """The service can be used."""
        self._send("READY=1")

    def alive(self) -> None:
        """The service does not hang."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The service is about to end."""
        self._send("STOPPING=1")

    def _send(self, state: str) -> None:
        if self._address is None:
            return
        # A manager that does not listen any more must not end the service, nor may a full socket block it.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(1)
            sender.sendto(state.encode(), self._address)
