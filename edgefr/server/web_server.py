"""Serve the page from a thread while a session runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from edgefr.camera.session import Document, Listener
from edgefr.camera.watcher import FrameResult, Watcher
from edgefr.errors import InvalidArgumentError, require_extra
from edgefr.server.listening import http_config, is_loopback, listen, url_host
from edgefr.server.page_thread import PageThread
from edgefr.server.trusted_proxies import TrustedProxies
from edgefr.server.web_sessions import CODE_S, Role
from edgefr.server.web_state import WebState

if TYPE_CHECKING:
    import uvicorn

    from edgefr.server.page_origins import PageOrigins
    from edgefr.server.sign_in import SignIn

MIN_TOKEN_LENGTH = 16
TOKEN_VARIABLES: dict[Role, str] = {"admin": "EDGEFR_WEB_TOKEN", "viewer": "EDGEFR_WEB_VIEWER_TOKEN"}
"""Environment variables with the tokens of the roles."""


class WebServer(Listener):
    """Serves the page within a `with` block, and receives frames and events.

    Attributes:
        url: Address of the page, without a code.
    """

    def __init__(
        self,
        watcher: Watcher,
        source: str,
        host: str,
        port: int,
        tokens: Mapping[Role, str],
        log: Callable[[str], None],
        public_names: Sequence[str] = (),
        trusted_proxies: Sequence[str] = (),
    ) -> None:
        """Listen on a port.

        Args:
            watcher: Recognises people; the page enrols and compares with its verifier.
            source: Name of the source.
            host: Address to listen on.
            port: TCP port; 0 takes any free one.
            tokens: Token of each role that has one. Without one, only links sign in.
            log: Called with a sentence that holds a link, which signs in once.
            public_names: NAME or NAME:PORT of proxies with TLS, under which the page may be requested.
            trusted_proxies: Addresses and networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed.

        Raises:
            MissingExtraError: The libraries of the page are not installed.
            InvalidArgumentError: A token is too short, or a public name or a proxy is malformed.
            UnavailableError: The port is taken, or the host is not an address of this machine.
        """
        for module in ("uvicorn", "fastapi", "python_multipart"):
            require_extra(module, "web")
        from edgefr.server.page_origins import PageOrigins
        from edgefr.server.sign_in import SignIn

        for role, token in tokens.items():
            _check_token(TOKEN_VARIABLES[role], token)
        self._log, self._host = log, host
        self._public_names = public_names
        proxies = TrustedProxies(trusted_proxies)
        origins = PageOrigins(_own_hosts(host, bool(public_names)), public_names)
        self._state = WebState(watcher, source)
        listening = listen(host, port)
        bound = listening.getsockname()[1]
        self.url = f"http://{url_host(host)}:{bound}/"
        self._sign_in = SignIn(tokens, f"edgefr-{bound}")
        self._thread = PageThread(
            listening,
            lambda: listen(host, bound),
            lambda: _http_server(self._state, self._sign_in, origins, proxies),
            lambda sentence: log(f"edgefr: {sentence}"),
        )
        self.print_link()

    def print_link(self) -> None:
        """Log a new link, which signs one browser in as an admin."""
        code = self._sign_in.sessions.create_code("admin")
        address = f"https://{self._public_names[0]}/" if self._public_names else self.url
        # Browsers do not send the part after #, so no server can log the code.
        self._log(f"edgefr: the page is at {address}#code={code}")
        self._log(
            f"edgefr: this link signs in once, within {CODE_S / 60:.0f} minutes; "
            f"`kill -USR1 {os.getpid()}` prints another one"
        )

    def __enter__(self) -> WebServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.stop(5)

    def show(self, result: FrameResult) -> None:
        self._state.show(result)

    def send(self, document: Document) -> None:
        self._state.send(document)


def _http_server(state: WebState, sign_in: SignIn, origins: PageOrigins, proxies: TrustedProxies) -> uvicorn.Server:
    import uvicorn

    from edgefr.server.routes import create_app

    return uvicorn.Server(http_config(create_app(state, sign_in, origins), proxies, timeout_graceful_shutdown=1))


def _check_token(variable: str, token: str) -> None:
    if len(token) < MIN_TOKEN_LENGTH:
        raise InvalidArgumentError(
            f"a token of at least {MIN_TOKEN_LENGTH} characters in ${variable}",
            str(len(token)),
            "use a longer token, or unset the variable and sign in with links",
        )


def _own_hosts(host: str, has_public_name: bool) -> frozenset[str] | None:
    """Names under which a page that listens on `host` may be requested; None for all.

    On other machines a page without a public name may have any name in the local network. A site with such a name has
    no cookie of the page.
    """
    if not (is_loopback(host) or has_public_name):
        return None
    return frozenset({"localhost", "127.0.0.1", "::1", host.lower(), url_host(host).strip("[]").lower()})
