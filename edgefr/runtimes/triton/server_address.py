"""The address of a Triton server: `triton://HOST[:PORT][/MODEL]`, or `tritons://` for TLS."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from edgefr.errors import InvalidArgumentError
from edgefr.runtimes.triton.model_fingerprint import check_model_name

SCHEMES = ("triton", "tritons")
PORT = 8001
"""Triton's default port for gRPC; 8000 is HTTP, 8002 are metrics."""


@dataclass(frozen=True)
class Address:
    """A server, a model on it (None: with the name of the local file), and whether the connection is encrypted."""

    host: str
    port: int
    model: str | None
    tls: bool

    @property
    def target(self) -> str:
        """The address for gRPC. Without the scheme gRPC would take a host named `unix` for a file."""
        return f"dns:///{self._host_and_port}"

    def __str__(self) -> str:
        return f"{SCHEMES[self.tls]}://{self._host_and_port}"

    @property
    def _host_and_port(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, url: str) -> Address:
        """Parse a value of `--runtime`.

        Raises:
            InvalidArgumentError: It is not such an address, or the name of the model is not valid.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, PORT if parts.port is None else parts.port
        except ValueError as error:  # an incomplete IPv6 address, a port above 65535
            raise _invalid(url) from error
        # No user and password: everybody who lists the processes of the machine could read them.
        plain = url.isascii() and url.isprintable() and not set(url) & set("@?#% \\")
        if parts.scheme not in SCHEMES or not host or not port or not plain:
            raise _invalid(url)
        name = parts.path.strip("/")
        return cls(host, port, check_model_name(name) if name else None, parts.scheme == "tritons")


def is_address(runtime: str) -> bool:
    """Whether a value of `--runtime` is the URL of a server."""
    return "://" in runtime


def _invalid(url: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"a server such as triton://host:{PORT}/mini (tritons:// for TLS)", f"--runtime {url[:200]!r}", "correct it"
    )
