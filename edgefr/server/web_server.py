"""The page beside a watch: a server in a thread of its own, shown and told what the watch shows and tells."""

from __future__ import annotations

import ipaddress
import secrets
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from edgefr.camera.watcher import FrameResult, Watcher
from edgefr.errors import EdgefrError
from edgefr.server.web_state import WebState

SHORTEST_TOKEN = 16
CONNECTIONS = 500
"""Clients at once; more are told to come back."""


class WebServer:
    """A context within which the page is served; also where scenes are shown and events sent to."""

    def __init__(
        self, watcher: Watcher, source: str, host: str, port: int, token: str | None, say: Callable[[str], None]
    ) -> None:
        """`token` is asked for of everybody; None asks for none on this machine, and makes one beyond it. `say` is
        told the address.

        Raises:
            EdgefrError: the libraries are missing, the token is short, or nothing can listen there.
        """
        try:
            import uvicorn

            from edgefr.server.routes import application
        except ImportError as error:
            raise EdgefrError("the page's libraries", f"{error.name} missing", "pip install 'edgefr[web]'") from error
        if token is not None and len(token) < SHORTEST_TOKEN:
            raise EdgefrError(
                f"a token of {SHORTEST_TOKEN} characters or more in $EDGEFR_WEB_TOKEN",
                str(len(token)),
                "take a longer one, or none and one is made",
            )
        here = _is_this_machine(host)
        made = None if here or token else secrets.token_urlsafe(24)
        self.token = token or made
        self._live = WebState(watcher, source)
        hosts = frozenset({"localhost", "127.0.0.1", "::1", host.lower()}) if here else None
        config = uvicorn.Config(
            application(self._live, self.token, hosts),
            log_level="critical",
            lifespan="off",
            access_log=False,
            server_header=False,
            limit_concurrency=CONNECTIONS,
            timeout_keep_alive=10,
            timeout_graceful_shutdown=1,
        )
        self._server: Any = uvicorn.Server(config)
        self._socket = _listening(host, port)
        self.url = f"http://{_shown(host)}:{self._socket.getsockname()[1]}/"
        self._thread = threading.Thread(target=self._serve, name="page", daemon=True)
        # What follows # is never sent to a server, nor logged by one.
        say(f"edgefr: the page is at {self.url}" + (f"#token={made}" if made else ""))

    def __enter__(self) -> WebServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(5)
        self._socket.close()

    def show(self, scene: FrameResult) -> None:
        self._live.show(scene)

    def send(self, document: dict[str, Any]) -> None:
        self._live.send(document)

    def close(self) -> None: ...

    def _serve(self) -> None:
        self._server.run(sockets=[self._socket])


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        EdgefrError: it cannot.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        raise EdgefrError(
            f"to listen on {host}, port {port}", str(error.strerror or error), "give another --port or --host"
        ) from error


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _shown(host: str) -> str:
    """A host as it stands in a URL; all addresses of this machine are shown as its name."""
    if host in ("0.0.0.0", "::"):  # noqa: S104 (compared, not listened on)
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host
