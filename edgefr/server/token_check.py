"""Check the token of the page."""

from __future__ import annotations

import hashlib
import hmac

from starlette.requests import Request

COOKIE = "edgefr"


class TokenCheck:
    """Compares the tokens of requests with that of the page, in constant time; None requires no token."""

    def __init__(self, token: str | None) -> None:
        self._token = token
        self.required = token is not None
        # A browser that has signed in keeps a digest, from which the token cannot be derived.
        self.cookie = hashlib.sha256(b"edgefr page " + (token or "").encode()).hexdigest()

    def accepts(self, token: str) -> bool:
        """Whether this is the token of the page; any is accepted where none is required."""
        return self._token is None or hmac.compare_digest(token.encode(), self._token.encode())

    def is_authorised(self, request: Request) -> bool:
        """Whether a request carries the token as a bearer token, or the cookie."""
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        cookie = request.cookies.get(COOKIE, "")
        return self.accepts(bearer) or hmac.compare_digest(cookie.encode(), self.cookie.encode())
