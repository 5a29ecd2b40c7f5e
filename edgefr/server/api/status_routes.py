"""Health, readiness and metrics, and the OpenAPI document."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, FastAPI, Request, Response
from pydantic import BaseModel

from edgefr.server.api.problems import ProblemError
from edgefr.server.api.role_route import PROBLEM_RESPONSE, needs, new_router
from edgefr.server.api.service import service_of


class Status(BaseModel):
    status: Literal["ok"] = "ok"


def public_router() -> APIRouter:
    """Routes for which no token is needed."""
    router = APIRouter(responses=PROBLEM_RESPONSE)

    @router.get("/health")
    async def health(request: Request) -> Status:
        """Whether the server answers and its workers do not hang; if not, it should be started again."""
        if service_of(request).pool.is_stuck:
            raise ProblemError("unavailable", "A worker hangs.")
        return Status()

    @router.get("/ready")
    def ready(request: Request) -> Status:
        """Whether people can be identified: the gallery can be read, and a threshold is strict enough for it."""
        service = service_of(request)
        if service.is_stopping:
            raise ProblemError("stopping", "The server is stopping.")
        service.identifier.threshold  # noqa: B018 (an error is the answer)
        return Status()

    return router


def metrics_router() -> APIRouter:
    """The metrics, for Prometheus."""
    router = new_router()

    @router.get(
        "/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}}, **needs("monitor")
    )
    def metrics(request: Request) -> Response:
        """Metrics in the text format of Prometheus."""
        return Response(service_of(request).metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router


def add_document(app: FastAPI) -> None:
    """Serve the OpenAPI document to every token."""

    @app.get("/v1/openapi.json", include_in_schema=False)
    def document() -> dict[str, Any]:
        return app.openapi()
