"""Limit the rate of requests of each client."""

from __future__ import annotations

from collections import OrderedDict
from time import monotonic

MAX_CLIENTS = 10_000
"""Number of clients to remember; the one that was silent longest is forgotten first."""


class RateLimiter:
    """A token bucket for each client."""

    def __init__(self, burst: int, rate: float) -> None:
        """Allow `burst` requests at once, and `rate` requests a second in the long run."""
        self._burst, self._rate = burst, rate
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allow(self, client: str) -> bool:
        """Count a request of a client, and decide whether it is allowed."""
        now = monotonic()
        left, counted_at = self._buckets.pop(client, (float(self._burst), now))
        left = min(self._burst, left + (now - counted_at) * self._rate)
        self._buckets[client] = (left - 1 if left >= 1 else left, now)
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return left >= 1
