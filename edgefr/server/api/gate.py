"""What happens to every request around the application: request id, TLS, token, metrics, and faults of edgefr itself.

Requests carry a token in a header, which no other web site can make a browser send. So hosts and origins need not be
checked, as they are for the page, whose sessions are cookies.
"""

from __future__ import annotations

import re
from time import monotonic
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgefr.errors import InternalError
from edgefr.server.api.problems import ProblemError, problem_response
from edgefr.server.api.service import ApiService, address_of
from edgefr.server.api.tokens import Token
from edgefr.server.guess_limits import GuessLimits, TooManyGuessesError
from edgefr.server.middleware import add_headers

PUBLIC_PATHS = ("/health", "/ready")
"""Paths for which no token is needed. They tell nothing about people."""
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
"""Request ids that are taken from a client; others could forge lines of a log."""
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
}


class ApiGate:
    """The outermost ASGI application."""

    def __init__(self, app: ASGIApp, service: ApiService) -> None:
        self._app, self._service, self._guesses = app, service, GuessLimits()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        start, status = monotonic(), 500
        given = Request(scope).headers.get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid4().hex
        scope["state"] = state = {"request_id": request_id, "operation": "none"}

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        sending_all = add_headers(sending, {**HEADERS, "x-request-id": request_id})
        refusal = self._refuse(Request(scope), request_id)
        try:
            await (self._app if refusal is None else refusal)(scope, receive, sending_all)
        except Exception as error:
            if status != 500:  # otherwise the application has logged it before it sent the response
                self._service.log(f"edgefr: request {request_id}: {InternalError.of(error)}")
        finally:
            self._service.metrics.count_request(state["operation"], status, monotonic() - start)

    def _refuse(self, request: Request, request_id: str) -> JSONResponse | None:
        """The response to a request without TLS or without a token; None for one that passes."""
        path = request.scope["path"]
        if path in PUBLIC_PATHS:
            return None
        try:
            if self._service.settings.needs_tls and request.url.scheme != "https":
                raise ProblemError("tls-required", "Send requests through the proxy with TLS. Replace this token.")
            request.state.token = self._authenticate(request)
        except TooManyGuessesError:
            problem = ProblemError("too-many-requests", "Too many wrong tokens were sent. Try again in a minute.")
        except ProblemError as error:
            problem = error
        else:
            return None
        self._service.metrics.count_problem(problem.kind)
        challenge = {"www-authenticate": "Bearer"} if problem.kind == "no-token" else {}
        return problem_response(problem, request_id, challenge)

    def _authenticate(self, request: Request) -> Token:
        client = address_of(request)
        self._guesses.check(client)
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        token = self._service.tokens.find(secret.strip()) if scheme.lower() == "bearer" else None
        if token is None:
            if secret:
                self._guesses.count_wrong(client)
            raise ProblemError("no-token", "Send the header Authorization: Bearer TOKEN with a valid token.")
        self._guesses.note_right(client)
        return token
