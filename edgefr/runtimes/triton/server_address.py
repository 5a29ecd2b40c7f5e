"""Where a Triton server is: `triton://HOST[:PORT][/MODEL]`, or `tritons://` for TLS."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from edgefr.errors import EdgefrError
from edgefr.runtimes.triton.model_fingerprint import checked_name

SCHEMES = ("triton", "tritons")
PORT = 8001
"""Triton's own port for gRPC; 8000 is HTTP, 8002 its measurements."""


@dataclass(frozen=True)
class Address:
    """A server, the model meant on it (None: the one that is called as the local file), and whether it speaks TLS."""

    host: str
    port: int
    model: str | None
    tls: bool

    @property
    def target(self) -> str:
        """As gRPC takes it; with its scheme, or a host named `unix` would be a file."""
        return f"dns:///{self._place}"

    def __str__(self) -> str:
        return f"{SCHEMES[self.tls]}://{self._place}"

    @property
    def _place(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read what `--runtime` was given.

        Raises:
            EdgefrError: it is no such address, or the model's name is none.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, PORT if parts.port is None else parts.port
        except ValueError as error:  # an unfinished IPv6 address, a port beyond 65535
            raise _unlike(url) from error
        # What is after the host is a name and nothing else; a password would be seen by whoever lists processes.
        plain = url.isascii() and url.isprintable() and not set(url) & set("@?#% \\")
        if parts.scheme not in SCHEMES or not host or not port or not plain:
            raise _unlike(url)
        name = parts.path.strip("/")
        return cls(host, port, checked_name(name) if name else None, parts.scheme == "tritons")


def is_address(runtime: str) -> bool:
    """Whether `--runtime` names a server rather than a library."""
    return "://" in runtime


def _unlike(url: str) -> EdgefrError:
    return EdgefrError(
        f"a server such as triton://host:{PORT}/mini (tritons:// for TLS)", f"--runtime {url[:200]!r}", "correct it"
    )
