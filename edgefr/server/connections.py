"""Limits on connections, for uvicorn, which has none for clients that connect and send nothing or too slowly.

uvicorn's HTTP protocol for asyncio gets a deadline for the headers of a request, one for a client that does not read
its response, and a limit for each address and in total. A connection beyond a limit takes the place of one that waits
for a request, so idle connections cannot keep others out. The limit leaves descriptors for cameras and galleries.
"""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from edgefr.server.rate_limiter import client_key
from edgefr.server.trusted_proxies import TrustedProxies

MAX_CONNECTIONS = 256
MAX_OF_ADDRESS = 128
"""Connections at once, in total and of one address; that of a proxy has the total."""
BACKLOG = 64
"""Connections that are accepted before the limit is checked, and those that wait in the kernel."""
RESERVED_FILES = 64 + 2 * BACKLOG
"""Descriptors that are left for cameras, galleries and files."""
WAIT_S = 10.0
"""Seconds until the headers of a request have arrived."""
STALL_S = 30.0
"""Seconds in which a client must read a part of its response."""


def connection_limit() -> int:
    """Number of connections that this process can serve, given its limit of open files."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    descriptors = Path("/proc/self/fd")
    opened = len(list(descriptors.iterdir())) if descriptors.is_dir() else 64
    return max(8, min(MAX_CONNECTIONS, limit - opened - RESERVED_FILES))


class ConnectionLimits:
    """The connections of a server, and which of them must end. Only the thread of the event loop uses it."""

    def __init__(self, total: int, proxies: TrustedProxies, wait_s: float = WAIT_S, stall_s: float = STALL_S) -> None:
        """Take the limits.

        Args:
            total: Number of connections at once.
            proxies: Clients for which the limit of an address does not hold, because they speak for many.
            wait_s: As WAIT_S.
            stall_s: As STALL_S.
        """
        self._total, self._wait_s, self._stall_s = total, wait_s, stall_s
        self._proxies = proxies
        self._open: dict[LimitedProtocol, str] = {}
        self._check: asyncio.TimerHandle | None = None

    def add(self, connection: LimitedProtocol) -> None:
        """Take a new connection; it, or one that waits, ends if there are too many."""
        address = connection.client[0] if connection.client else ""
        client = client_key(address)
        crowd = [other for other, owner in self._open.items() if owner == client]
        if address in self._proxies or len(crowd) < min(MAX_OF_ADDRESS, self._total):
            crowd = list(self._open) if len(self._open) >= self._total else []
        if crowd:
            idle = min((other for other in crowd if other.is_waiting()), key=lambda other: other.since, default=None)
            self._end(connection if idle is None else idle)
            if idle is None:
                return
        self._open[connection] = client
        if self._check is None:
            self._check = connection.loop.call_later(1.0, self._end_overdue, connection.loop)

    def remove(self, connection: LimitedProtocol) -> None:
        """Forget a connection that has ended."""
        self._open.pop(connection, None)

    def _end(self, connection: LimitedProtocol) -> None:
        self.remove(connection)
        connection.transport.abort()

    def _end_overdue(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in list(self._open):
            if connection.is_overdue(now):
                self._end(connection)
        self._check = loop.call_later(1.0, self._end_overdue, loop) if self._open else None


class LimitedProtocol(H11Protocol):
    """A connection whose client must send its requests, and read its responses, in time.

    Attributes:
        since: Time of the event loop at which the connection began, or its last request was answered.
    """

    def __init__(self, limits: ConnectionLimits, **options: Any) -> None:
        super().__init__(**options)
        self._limits = limits
        self.since = self.loop.time()
        self._stalled_at: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._limits.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._limits.remove(self)
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self.since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        self._stalled_at = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stalled_at = None
        super().resume_writing()

    def is_waiting(self) -> bool:
        """Whether no request is being answered: its headers have not arrived, or it was answered before its end."""
        return self.cycle is None or self.cycle.response_complete

    def is_overdue(self, now: float) -> bool:
        """Whether the client takes too long."""
        if self._stalled_at is not None and now - self._stalled_at > STALL_S:
            return True
        return self.is_waiting() and now - self.since > WAIT_S
