"""Serve the page from a thread while a session runs."""

from __future__ import annotations

import ipaddress
import secrets
import socket
import threading
from collections.abc import Callable

from edgefr.camera.session import Document, Listener
from edgefr.camera.watcher import FrameResult, Watcher
from edgefr.errors import InvalidArgumentError, UnavailableError, require_extra
from edgefr.server.web_state import WebState

MIN_TOKEN_LENGTH = 16
MAX_CONNECTIONS = 500
"""Number of clients at once; further ones are answered with 503."""


class WebServer(Listener):
    """Serves the page within a `with` block, and receives frames and events.

    Attributes:
        token: The token that clients need, if any.
        url: Address of the page without the token.
    """

    def __init__(
        self, watcher: Watcher, source: str, host: str, port: int, token: str | None, log: Callable[[str], None]
    ) -> None:
        """Listen on a port.

        Args:
            watcher: Recognises people; the page enrols and compares with its verifier.
            source: Name of the source.
            host: Address to listen on.
            port: TCP port; 0 takes any free one.
            token: Token that clients need. None needs none on this machine, and generates one for other hosts.
            log: Called with a sentence that holds the address, and a generated token.

        Raises:
            MissingExtraError: The libraries of the page are not installed.
            InvalidArgumentError: The token is too short.
            UnavailableError: The port is taken, or the host is not an address of this machine.
        """
        for module in ("uvicorn", "fastapi", "python_multipart"):
            require_extra(module, "web")
        import uvicorn

        from edgefr.server.routes import create_app
        from edgefr.server.token_check import TokenCheck

        if token is not None and len(token) < MIN_TOKEN_LENGTH:
            raise InvalidArgumentError(
                f"a token of at least {MIN_TOKEN_LENGTH} characters in $EDGEFR_WEB_TOKEN",
                str(len(token)),
                "use a longer token, or unset the variable to have one generated",
            )
        local = _is_loopback(host)
        generated = None if local or token else secrets.token_urlsafe(24)
        self.token = token or generated
        self._state = WebState(watcher, source)
        hosts = frozenset({"localhost", "127.0.0.1", "::1", host.lower()}) if local else None
        config = uvicorn.Config(
            create_app(self._state, TokenCheck(self.token), hosts),
            log_level="critical",
            lifespan="off",
            access_log=False,
            server_header=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=10,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._socket = _listen(host, port)
        self.url = f"http://{_url_host(host)}:{self._socket.getsockname()[1]}/"
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="page", daemon=True)
        # Browsers do not send the part after #, so no server can log the token.
        log(f"edgefr: the page is at {self.url}" + (f"#token={generated}" if generated else ""))

    def __enter__(self) -> WebServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(5)
        self._socket.close()

    def show(self, result: FrameResult) -> None:
        self._state.show(result)

    def send(self, document: Document) -> None:
        self._state.send(document)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        raise UnavailableError(
            f"to listen on {host}, port {port}", str(error.strerror or error), "choose another --port or --host"
        ) from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _url_host(host: str) -> str:
    """A host as a URL names it; the name of this machine for all of its addresses."""
    if host in ("0.0.0.0", "::"):  # noqa: S104 (compared, not listened on)
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host
