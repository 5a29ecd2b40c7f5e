"""Checks of every request before it reaches the API: host, origin, size, rate and token."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgefr.server.rate_limiter import RateLimiter
from edgefr.server.token_check import TokenCheck

MAX_BODY_BYTES = 40 << 20
"""Size of a request: two photographs of a phone."""
PUBLIC_PATHS = ("/", "/api/login")
"""Paths that need no token, besides the files of the page under /page/."""
SECURITY_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}

Check = Callable[[Request], JSONResponse | None]
"""Returns the response to a request that is refused, None for one that passes."""


class SecurityMiddleware:
    """ASGI middleware that refuses requests with a JSON document {"detail": reason}."""

    def __init__(self, app: ASGIApp, checks: tuple[Check, ...]) -> None:
        self._app, self._checks = app, checks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        refusal = next((refusal for check in self._checks if (refusal := check(request)) is not None), None)
        await (refusal or self._app)(scope, _limit_body(receive), _add_security_headers(send))


def request_checks(token: TokenCheck, hosts: frozenset[str] | None) -> tuple[Check, ...]:
    """All checks, in their order. `hosts` are the names under which the page may be requested; None allows all."""
    writes, logins = RateLimiter(30, 0.5), RateLimiter(5, 0.1)

    def check_host(request: Request) -> JSONResponse | None:
        """A page of another site can point its own name to this machine (DNS rebinding)."""
        if hosts is None or _hostname(request) in hosts:
            return None
        return _refuse(403, "This host name is not allowed. Open the address that `edgefr watch` printed.")

    def check_origin(request: Request) -> JSONResponse | None:
        if _is_read(request) or _is_same_origin(request):
            return None
        return _refuse(403, "Requests from other sites are not allowed.")

    def check_length(request: Request) -> JSONResponse | None:
        length = request.headers.get("content-length", "0")
        if _is_read(request) or (length.isdecimal() and int(length) <= MAX_BODY_BYTES):
            return None
        return _refuse(413, f"The request is larger than {MAX_BODY_BYTES >> 20} MiB. Send smaller photographs.")

    def check_rate(request: Request) -> JSONResponse | None:
        limiter = logins if request.scope["path"] == "/api/login" else writes
        client = request.client.host if request.client else ""
        if _is_read(request) or limiter.allow(client):
            return None
        return _refuse(429, "Too many requests. Try again in a minute.", {"retry-after": "60"})

    def check_token(request: Request) -> JSONResponse | None:
        path = request.scope["path"]
        if path in PUBLIC_PATHS or path.startswith("/page/") or token.is_authorised(request):
            return None
        return _refuse(401, "The token is missing or wrong. Open the address that `edgefr watch` printed.")

    return check_host, check_origin, check_length, check_rate, check_token


def _is_read(request: Request) -> bool:
    return request.method in ("GET", "HEAD")


def _hostname(request: Request) -> str:
    try:
        return (urlsplit(f"//{request.headers.get('host', '')}").hostname or "").lower()
    except ValueError:
        return ""


def _is_same_origin(request: Request) -> bool:
    """Whether a request comes from the page itself or from a program; only browsers send these headers."""
    headers = request.headers
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


def _limit_body(receive: Receive) -> Receive:
    """End a body that grows beyond the limit, whatever length its header claims."""
    received = 0

    async def limited() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        return message if received <= MAX_BODY_BYTES else {"type": "http.disconnect"}

    return limited


def _add_security_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(SECURITY_HEADERS)
        await send(message)

    return sending


def _refuse(status: int, reason: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": reason}, status, headers)
