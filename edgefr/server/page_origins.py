"""Under which names the page may be requested, and from which pages."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.requests import Request

from edgefr.errors import InvalidArgumentError

PUBLIC_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*\.?(:\d{1,5})?")
"""A host name, with a port if it is not 443."""


class PageOrigins:
    """Decides whether a request comes from the page itself or from a program, and not from another web site."""

    def __init__(self, hosts: Iterable[str] | None, public_names: Iterable[str]) -> None:
        """Take the names of the page.

        Args:
            hosts: Host names of this machine; None allows all of them.
            public_names: NAME or NAME:PORT of proxies with TLS in front of the page.

        Raises:
            InvalidArgumentError: A public name is none.
        """
        self._public = frozenset(name.lower() for name in public_names)
        for name in self._public:
            if not PUBLIC_NAME.fullmatch(name):
                raise InvalidArgumentError("NAME or NAME:PORT, such as door.example.org", name, "correct --public-name")
        names = frozenset(_split(name)[0] for name in self._public)
        self._hosts = None if hosts is None else frozenset(hosts) | names
        self._public_hosts = names

    def allows_host(self, request: Request) -> bool:
        """A page of another site can point its own name to this machine (DNS rebinding)."""
        return self._hosts is None or _split(request.headers.get("host", ""))[0] in self._hosts

    def allows_origin(self, request: Request) -> bool:
        """Whether no other site causes a request. Only browsers send these headers.

        A link to the page may be followed from anywhere. Other ports of this host are other sites.
        """
        headers = request.headers
        path = request.scope["path"]
        is_link = request.method == "GET" and path == "/" and headers.get("sec-fetch-mode") == "navigate"
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and not is_link:
            return False
        origin = headers.get("origin")
        return origin is None or self._is_own(origin.lower(), headers.get("host", "").lower())

    def is_public(self, request: Request) -> bool:
        """Whether a request came through a proxy with TLS that passes its name on."""
        return _split(request.headers.get("host", ""))[0] in self._public_hosts

    def _is_own(self, origin: str, host: str) -> bool:
        scheme, separator, authority = origin.partition("://")
        if not separator or _split(authority)[0] == "":
            return False
        return authority == host or (scheme == "https" and authority.removesuffix(":443") in self._public)


def _split(authority: str) -> tuple[str, int | None]:
    """Host and port of an authority in lower case; an empty host if it is malformed."""
    try:
        parts = urlsplit(f"//{authority}")
        return (parts.hostname or "").lower(), parts.port
    except ValueError:
        return "", None
