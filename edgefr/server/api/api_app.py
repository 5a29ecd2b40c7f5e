"""The application of the API: its routes, its OpenAPI document, and how errors become problems."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from edgefr import __version__
from edgefr.errors import EdgefrError, InternalError
from edgefr.server.api.event_routes import event_router
from edgefr.server.api.face_routes import face_router
from edgefr.server.api.gate import ApiGate
from edgefr.server.api.person_routes import person_router
from edgefr.server.api.problems import (
    KIND_OF_STATUS,
    PRIVATE_KINDS,
    PROBLEM_SCHEMA,
    ProblemError,
    problem_of_error,
    problem_response,
)
from edgefr.server.api.role_route import SECURITY_SCHEME
from edgefr.server.api.service import ApiService, service_of
from edgefr.server.api.status_routes import add_document, metrics_router, public_router

DESCRIPTION = """Verification, identification and enrolment of faces.

Requests carry a token: `Authorization: Bearer TOKEN`. `security` of each operation names the role that it needs.
Errors are problem details (RFC 9457); tell them apart by `type`."""


def create_api(service: ApiService) -> ASGIApp:
    """The ASGI application that serves the API."""
    app = FastAPI(
        title="edgefr",
        version=__version__,
        description=DESCRIPTION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.service = service
    app.router.redirect_slashes = False
    for router in (public_router(), metrics_router()):
        app.include_router(router)
    for router in (face_router(service), person_router(), event_router()):
        app.include_router(router, prefix="/v1")
    add_document(app)
    _describe(app)
    _add_handlers(app)
    return ApiGate(app, service)


def _describe(app: FastAPI) -> None:
    """Add tokens and problems to the OpenAPI document."""
    original = app.openapi

    def openapi() -> dict[str, Any]:
        document = original()
        components = document["components"]
        components["schemas"]["Problem"] = PROBLEM_SCHEMA
        components["securitySchemes"] = {SECURITY_SCHEME: {"type": "http", "scheme": "bearer"}}
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _add_handlers(app: FastAPI) -> None:
    def respond(request: Request, problem: ProblemError, error: Exception | None = None) -> Response:
        service, headers = service_of(request), None
        service.metrics.count_problem(problem.kind)
        if isinstance(error, HTTPException):
            headers = error.headers
        elif error is not None and problem.kind in PRIVATE_KINDS:
            service.log(f"edgefr: request {request.state.request_id}: {error}")
        return problem_response(problem, request.state.request_id, headers)

    @app.exception_handler(ProblemError)
    async def refuse(request: Request, error: Exception) -> Response:
        assert isinstance(error, ProblemError)
        return respond(request, error)

    @app.exception_handler(EdgefrError)
    async def refuse_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, EdgefrError)
        return respond(request, problem_of_error(error), error)

    @app.exception_handler(HTTPException)
    async def refuse_status(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return respond(
            request, ProblemError(KIND_OF_STATUS.get(error.status_code, "malformed-request"), str(error.detail)), error
        )

    @app.exception_handler(RequestValidationError)
    async def refuse_values(request: Request, error: Exception) -> Response:
        """The input is not repeated: it may hold numbers and letters that no JSON document can hold."""
        assert isinstance(error, RequestValidationError)
        faults = [
            {"at": ".".join(str(part)[:100] for part in fault["loc"]), "reason": fault["msg"]}
            for fault in error.errors()[:100]
        ]
        return respond(request, ProblemError("invalid-request", "See errors.", errors=faults))

    @app.exception_handler(Exception)
    async def fail(request: Request, error: Exception) -> Response:
        """The framework raises the error again, and the gate ends it."""
        problem = ProblemError("internal-error", "The log of the server tells more of this request id.")
        return respond(request, problem, InternalError.of(error))
