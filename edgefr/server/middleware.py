"""Checks of every request before it reaches the API: host, origin, size, rate, sign-in and role."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgefr.server.guess_limits import TooManyGuessesError
from edgefr.server.page_origins import PageOrigins
from edgefr.server.rate_limiter import RateLimiter, client_key
from edgefr.server.request_body import SMALL_BODY, UPLOAD, UPLOAD_PATHS, BodyLimit, UploadQueue
from edgefr.server.sign_in import SignIn

PUBLIC_PATHS = ("/", "/api/login")
"""Paths for which nobody must be signed in, besides the files of the page under /page/."""
VIEWER_WRITES = ("/api/logout",)
"""Paths that change something and are allowed to a viewer."""
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}

Check = Callable[[Request], JSONResponse | None]
"""Returns the response to a request that is refused, None for one that passes."""


class SecurityMiddleware:
    """ASGI middleware that refuses requests with a JSON document {"detail": reason}, and limits the others."""

    def __init__(self, app: ASGIApp, checks: tuple[Check, ...]) -> None:
        self._app, self._checks = app, checks
        self._uploads = UploadQueue(slots=2, waiting=14, wait_s=90)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request, send = Request(scope), add_headers(send, SECURITY_HEADERS)
        refusal = next((refusal for check in self._checks if (refusal := check(request)) is not None), None)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        receive = body_limit(request).apply(receive)
        if scope["path"] not in UPLOAD_PATHS or is_read(request):
            await self._app(scope, receive, send)
            return
        async with self._uploads.slot() as admitted:
            busy = refuse(503, "Other photographs are being processed. Try again in a moment.", {"retry-after": "10"})
            await (self._app if admitted else busy)(scope, receive, send)


def request_checks(sign_in: SignIn, origins: PageOrigins) -> tuple[Check, ...]:
    """All checks, in their order."""
    writes, logins = RateLimiter(30, 0.5), RateLimiter(5, 0.1)

    def check_host(request: Request) -> JSONResponse | None:
        if origins.allows_host(request):
            return None
        return refuse(
            403,
            "This host name is not allowed. Open the address that `edgefr watch` printed, or start it with "
            "--public-name.",
        )

    def check_origin(request: Request) -> JSONResponse | None:
        return None if origins.allows_origin(request) else refuse(403, "Requests from other sites are not allowed.")

    def check_length(request: Request) -> JSONResponse | None:
        limit, length = body_limit(request), request.headers.get("content-length", "0")
        if length.isascii() and length.isdecimal() and len(length) < 20 and int(length) <= limit.size:
            return None
        return refuse(413, limit.too_large)

    def check_rate(request: Request) -> JSONResponse | None:
        limiter = logins if request.scope["path"] == "/api/login" else writes
        client = client_key(request.client.host if request.client else "")
        return None if is_read(request) or limiter.allow(client) else refuse_rate()

    def check_access(request: Request) -> JSONResponse | None:
        path = request.scope["path"]
        if path in PUBLIC_PATHS or path.startswith("/page/"):
            return None
        try:
            access = sign_in.authorise(request)
        except TooManyGuessesError:
            return refuse_rate()
        if access is None:
            return refuse(401, "Nobody is signed in. Open the link that `edgefr watch` printed.")
        request.state.access = access
        if access.role == "viewer" and not is_read(request) and path not in VIEWER_WRITES:
            return refuse(403, "A viewer may not change or compare anything. Sign in as an admin.")
        return None

    return check_host, check_origin, check_length, check_rate, check_access


def body_limit(request: Request) -> BodyLimit:
    """The limits of the body of a request."""
    return UPLOAD if request.scope["path"] in UPLOAD_PATHS else SMALL_BODY


def is_read(request: Request) -> bool:
    """Whether a request changes nothing."""
    return request.method in ("GET", "HEAD")


def refuse(status: int, reason: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """The response to a request that is refused."""
    return JSONResponse({"detail": reason}, status, headers)


def refuse_rate() -> JSONResponse:
    """The response to a client that sends too many requests, or too many wrong tokens."""
    return refuse(429, "Too many requests. Try again in a minute.", {"retry-after": "60"})


def add_headers(send: Send, headers: Mapping[str, str]) -> Send:
    """A `send` that adds headers to the response, or replaces them."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(headers)
        await send(message)

    return sending
