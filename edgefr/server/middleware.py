"""What stands before every request to the page: who may ask, from where, how much, how often."""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

COOKIE = "edgefr"
LARGEST_BODY = 40 << 20
"""Bytes of a request: two photographs of a telephone."""
CLIENTS = 10_000
"""Addresses whose requests are counted; the one that was silent longest is forgotten."""
OPEN_PATHS = ("/", "/api/login")
"""What is answered without a token, beside the page's files, in which there is nothing to hide."""
HEADERS = (
    (b"content-security-policy", b"default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Bucket:
    """So many requests at once, refilled at `rate` a second, for each client (a token bucket)."""

    def __init__(self, size: float, rate: float) -> None:
        self._size, self._rate = size, rate
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> bool:
        """Whether this client may ask once more."""
        at = monotonic()
        left, before = self._left.pop(client, (self._size, at))
        left = min(self._size, left + (at - before) * self._rate)
        self._left[client] = (left - 1 if left >= 1 else left, at)
        if len(self._left) > CLIENTS:
            self._left.popitem(last=False)
        return left >= 1


class Guard:
    """ASGI middleware; a refusal is a JSON document with one sentence."""

    def __init__(self, app: App, token: str | None, hosts: frozenset[str] | None) -> None:
        """`token` is asked for where there is one; `hosts` are the names by which the page may be asked for, all
        of them where it is None. A name that is not ours tells of a foreign page that had its name point here."""
        self._app, self._token, self._hosts = app, token, hosts
        self._writes, self._logins = Bucket(30, 0.5), Bucket(5, 0.1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _refuse(send, *refusal)
            return
        await self._app(scope, _bounded(receive), _with_headers(send))

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        """Status and sentence, where the request is not to be answered."""
        path, method = scope["path"], scope["method"]
        client = (scope.get("client") or ("", 0))[0]
        if self._hosts is not None and _hostname(headers.get("host", "")) not in self._hosts:
            return 403, "expected the page's own name in the address, found another: open it as it was printed"
        if method not in ("GET", "HEAD"):
            if not _same_origin(headers):
                return 403, "expected a request of the page itself, found one of another site"
            if (
                not headers.get("content-length", "0").isdecimal()
                or int(headers.get("content-length", "0")) > LARGEST_BODY
            ):
                return 413, f"expected at most {LARGEST_BODY >> 20} MiB, found more: send smaller photographs"
            bucket = self._logins if path == "/api/login" else self._writes
            if not bucket.take(client):
                return 429, "expected fewer requests, found too many: wait a minute"
        if path not in OPEN_PATHS and not path.startswith("/page/") and not self.knows(headers):
            return 401, "expected a token, found none or a wrong one: open the address that was printed"
        return None

    def knows(self, headers: dict[str, str]) -> bool:
        """Whether a request carries the token, as its cookie or as a bearer's."""
        if self._token is None:
            return True
        given = headers.get("authorization", "").removeprefix("Bearer ")
        if given and hmac.compare_digest(given.encode(), self._token.encode()):
            return True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and hmac.compare_digest(cookie.value.encode(), cookie_of(self._token).encode())


def cookie_of(token: str) -> str:
    """What a browser keeps of the token, from which the token cannot be had."""
    return hashlib.sha256(b"edgefr page " + token.encode()).hexdigest()


def _hostname(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _same_origin(headers: dict[str, str]) -> bool:
    """Whether a request is one of our page or of a program: browsers say where one comes from."""
    site = headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


def _bounded(receive: Receive) -> Receive:
    """A body that ends, whatever was said of its length."""
    seen = 0

    async def receiving() -> MutableMapping[str, Any]:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        return message if seen <= LARGEST_BODY else {"type": "http.disconnect"}

    return receiving


def _with_headers(send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *HEADERS]
        await send(message)

    return sending


async def _refuse(send: Send, status: int, sentence: str) -> None:
    import json

    body = json.dumps({"detail": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
