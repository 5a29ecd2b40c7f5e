"""Routes that check role, size and capacity before the body of a request is read."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from typing import Any

from fastapi import APIRouter, params
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from edgefr.server.api.problems import MEDIA_TYPE, ProblemError
from edgefr.server.api.service import service_of, token_of
from edgefr.server.api.tokens import ApiRole
from edgefr.server.request_body import SMALL_BODY, UPLOAD, BodyLimit

ALLOWED: dict[ApiRole, frozenset[ApiRole]] = {
    "monitor": frozenset({"monitor", "admin"}),
    "identify": frozenset({"identify", "enrol", "admin"}),
    "enrol": frozenset({"enrol", "admin"}),
    "admin": frozenset({"admin"}),
}
"""Role that a route needs -> roles of tokens that it accepts."""
SECURITY_SCHEME = "token"
PROBLEM_RESPONSE: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "The request was refused, or the server failed.",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
}

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def new_router() -> APIRouter:
    """A router whose routes must be declared with `needs`."""
    return APIRouter(route_class=RoleRoute, responses=PROBLEM_RESPONSE)


def needs(role: ApiRole) -> dict[str, Any]:
    """The options of a route for tokens of a role. The OpenAPI document names the role, as OpenAPI 3.1 allows."""
    return {"openapi_extra": {"security": [{SECURITY_SCHEME: [role]}]}}


class RoleRoute(APIRoute):
    """A route that refuses a request before its body is read. One without `needs` cannot be added."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()
        ((required,),) = (entry[SECURITY_SCHEME] for entry in (self.openapi_extra or {})["security"])
        takes_photos = self.body_field is not None and isinstance(self.body_field.field_info, params.Form)
        limit = UPLOAD if takes_photos else SMALL_BODY

        async def guarded(request: Request) -> Response:
            request.state.operation = self.name
            service = service_of(request)
            if token_of(request).role not in ALLOWED[required]:
                raise ProblemError("not-allowed", f"This needs a token of the role {required}.")
            if service.is_stopping:
                raise ProblemError("stopping", "The server is stopping. Try again in a moment.")
            _check_length(request, limit)
            with service.pool.place() if takes_photos else nullcontext():
                return await handle(Request(request.scope, limit.apply(request.receive)))

        return guarded


def _check_length(request: Request, limit: BodyLimit) -> None:
    length = request.headers.get("content-length", "0")
    if not (length.isascii() and length.isdecimal() and len(length) < 20 and int(length) <= limit.size):
        raise ProblemError("too-large", limit.too_large)
