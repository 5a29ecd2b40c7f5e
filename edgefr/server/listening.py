"""Listening sockets, and the settings of uvicorn that the page and the API share."""

from __future__ import annotations

import ipaddress
import socket
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from edgefr.errors import UnavailableError
from edgefr.server.trusted_proxies import TrustedProxies

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp


def listen(host: str, port: int) -> socket.socket:
    """Listen on a TCP port; 0 takes any free one.

    Raises:
        UnavailableError: The port is taken, or the host is not an address of this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        raise UnavailableError(
            f"to listen on {host}, port {port}", str(error.strerror or error), "choose another --port or --host"
        ) from error


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def url_host(host: str) -> str:
    """A host as a URL names it; the name of this machine for all of its addresses."""
    if host in ("0.0.0.0", "::"):  # noqa: S104 (compared, not listened on)
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def http_config(app: ASGIApp, proxies: TrustedProxies, **options: Any) -> uvicorn.Config:
    """The settings of a server that limits its connections, and logs nothing.

    Args:
        app: The application.
        proxies: Proxies whose X-Forwarded-For and X-Forwarded-Proto are believed.
        options: Further settings.
    """
    import uvicorn

    from edgefr.server.connections import BACKLOG, ConnectionLimits, LimitedProtocol, connection_limit

    limits = ConnectionLimits(connection_limit(), proxies)
    return uvicorn.Config(
        app,
        http=cast(Any, partial(LimitedProtocol, limits)),
        ws="none",
        log_config=None,  # its own would close the log files of the program
        log_level="critical",
        lifespan="off",
        access_log=False,
        server_header=False,
        proxy_headers=bool(proxies.names),
        forwarded_allow_ips=proxies.names,
        backlog=BACKLOG,
        timeout_keep_alive=5,
        **options,
    )
