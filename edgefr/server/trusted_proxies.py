"""Addresses of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from edgefr.errors import InvalidArgumentError


class TrustedProxies:
    """A set of addresses and networks.

    Attributes:
        names: The addresses and networks as text.
    """

    def __init__(self, names: Iterable[str]) -> None:
        """Parse addresses and networks; raises InvalidArgumentError for others, and for one that holds everybody."""
        self._networks = [_parse(name) for name in names]
        self.names = [str(network) for network in self._networks]

    def __contains__(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)


def _parse(name: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        network = ipaddress.ip_network(name)
    except ValueError:
        network = None
    if network is None or network.prefixlen == 0:
        raise InvalidArgumentError(
            "the address or the network of a proxy, such as 127.0.0.1 or 10.0.0.0/24", name, "correct --trusted-proxy"
        )
    return network
