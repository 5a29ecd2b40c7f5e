"""Limit the rate of requests of each client."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from time import monotonic

MAX_CLIENTS = 10_000
"""Number of clients to remember; the one that was silent longest is forgotten first."""
IPV6_PREFIX = 64
"""Bits of an IPv6 address that name a client: whoever has a network of this size has all of its addresses."""


def client_key(address: str) -> str:
    """The name under which a client is counted.

    Args:
        address: IP address of the peer, or what a trusted proxy calls it.

    Returns:
        An IPv4 address as it is, the network of an IPv6 address, and the first letters of anything else.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if parsed.version == 4:
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    # The bits after the prefix are those of one device of the network, and are cut off.
    return str(ipaddress.ip_network((int(parsed), IPV6_PREFIX), strict=False))


class RateLimiter:
    """A token bucket for each client."""

    def __init__(self, burst: int, rate: float) -> None:
        """Allow `burst` requests at once, and `rate` requests a second in the long run."""
        self._burst, self._rate = burst, rate
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allow(self, client: str) -> bool:
        """Count a request of a client, and decide whether it is allowed."""
        left = self._left(client)
        self._buckets.pop(client, None)
        self._buckets[client] = (left - 1 if left >= 1 else left, monotonic())
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return left >= 1

    def would_allow(self, client: str) -> bool:
        """Whether a request of a client would be allowed; it is not counted."""
        return self._left(client) >= 1

    def _left(self, client: str) -> float:
        now = monotonic()
        left, counted_at = self._buckets.get(client, (float(self._burst), now))
        return min(self._burst, left + (now - counted_at) * self._rate)
