"""The HTTP API of the page.

FastAPI validates the requests, and `middleware` decides who may send them. Responses hold names, similarities and
pictures, never templates.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from importlib import resources
from typing import Annotated, Any, Literal

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles

from edgefr.camera.identity import State
from edgefr.errors import EdgefrError
from edgefr.gallery.records import LONGEST_NAME
from edgefr.gallery.threshold import DecisionThreshold
from edgefr.server.event_export import csv_from_events, json_lines_from_events, select_events
from edgefr.server.middleware import SecurityMiddleware, refuse, request_checks
from edgefr.server.page_origins import PageOrigins
from edgefr.server.people_routes import add_people_routes
from edgefr.server.shown_documents import shown_event, shown_similarity
from edgefr.server.sign_in import Access, SignIn
from edgefr.server.sign_in_routes import access_of, add_sign_in_routes
from edgefr.server.web_state import WebState

MAX_FPS = 12.0
"""Pictures a second that a browser is sent at most."""
BOUNDARY = "picture"
MAX_PAGE_EVENTS = 200
"""Number of events that one response for the page holds at most."""
JSON_STATES: dict[State, str] = {"pending": "looking", "identified": "known", "unknown": "unknown"}
"""State of a track -> its name in the API."""


def create_app(state: WebState, sign_in: SignIn, origins: PageOrigins) -> FastAPI:
    """The application that serves the page and the API."""
    app = FastAPI(title="edgefr", docs_url=None, redoc_url=None)
    app.add_middleware(SecurityMiddleware, checks=request_checks(sign_in, origins))
    page = resources.files("edgefr").joinpath("server", "page")
    app.mount("/page", StaticFiles(directory=str(page)), name="page")
    refusals: dict[int | str, dict[str, Any]] = {
        code: {"description": "The reason, in a sentence."}
        for code in (400, 401, 403, 404, 408, 409, 413, 422, 429, 503)
    }
    app.router.responses = refusals

    @app.exception_handler(EdgefrError)
    async def refuse_error(_request: Request, error: Exception) -> JSONResponse:
        return refuse(422, str(error))

    @app.exception_handler(RequestValidationError)
    async def refuse_fault(_request: Request, error: Exception) -> JSONResponse:
        """The input is not repeated: it may hold numbers and letters that no JSON document can hold."""
        assert isinstance(error, RequestValidationError)
        faults = [{"loc": [str(part)[:100] for part in fault["loc"]], "msg": fault["msg"]} for fault in error.errors()]
        return JSONResponse({"detail": faults}, 422)

    @app.get("/", include_in_schema=False)
    def index() -> Response:
        return Response(page.joinpath("index.html").read_bytes(), media_type="text/html; charset=utf-8")

    add_sign_in_routes(app, sign_in, origins)
    _add_live_routes(app, state, sign_in)
    _add_event_routes(app, state)
    add_people_routes(app, state)
    return app


def _add_live_routes(app: FastAPI, state: WebState, sign_in: SignIn) -> None:
    """The state of the source, the live picture, the faces in view, and the events."""

    @app.get("/api/state")
    def source_state(request: Request) -> dict[str, Any]:
        watcher = state.watcher
        threshold = watcher.identifier.threshold
        people = len(watcher.gallery)
        return {
            "source": state.source,
            "condition": state.condition,
            "reason": state.reason,
            "frames_per_second": round(state.frame_rate(), 1),
            "people": people,
            "threshold": threshold.value,
            "threshold_meaning": _threshold_meaning(threshold, people),
            "token_needed": True,
            "role": access_of(request).role,
            "model": watcher.verifier.model.name,
        }

    @app.get("/api/picture", response_class=Response)
    def picture(request: Request) -> Response:
        number, data = state.picture(access_of(request).role == "admin")
        if number == 0:
            raise HTTPException(404, "There is no picture yet. Try again in a moment.")
        return Response(data, media_type="image/jpeg")

    @app.get("/api/live", include_in_schema=False)
    def stream(request: Request) -> StreamingResponse:
        pictures = _stream(state, sign_in, access_of(request))
        return StreamingResponse(pictures, media_type=f"multipart/x-mixed-replace; boundary={BOUNDARY}")

    @app.get("/api/scene")
    def scene(request: Request) -> dict[str, Any]:
        result = state.result
        if result is None:
            return {"width": 0, "height": 0, "faces": [], "left": []}
        present, left = state.thumbnails()
        height, width = result.frame.image.shape[:2]
        faces = [
            {
                "track": face.track,
                "state": JSON_STATES[face.state],
                "name": face.name,
                "similarity": shown_similarity(face.similarity, access_of(request).role),
                "box": [round(value, 1) for value in face.face.box],
                "thumbnail": present.get(face.track),
            }
            for face in result.faces
        ]
        gone = [{"track": track, "thumbnail": thumbnail} for track, thumbnail in left.items()]
        return {"width": width, "height": height, "faces": faces, "left": gone}


def _add_event_routes(app: FastAPI, state: WebState) -> None:
    """The events, for the page and as files."""

    @app.get("/api/events")
    def events(request: Request, after: Annotated[int, Query(ge=0, le=2**53)] = 0) -> dict[str, Any]:
        kept = state.events()
        found = [event for event in kept if event["number"] > after][-MAX_PAGE_EVENTS:]
        shown = [shown_event(event, access_of(request).role) for event in found]
        return {"events": shown, "last": kept[-1]["number"] if kept else 0}

    @app.get("/api/events.{kind}", response_class=Response)
    def download(
        request: Request,
        kind: Literal["jsonl", "csv"],
        what: Annotated[Literal["", "identified", "unknown", "lost", "left", "source"], Query()] = "",
        name: Annotated[str, Query(max_length=LONGEST_NAME)] = "",
    ) -> Response:
        role = access_of(request).role
        found = [shown_event(event, role) for event in select_events(state.events(), what, name)]
        text = csv_from_events(found) if kind == "csv" else json_lines_from_events(found)
        disposition = {"content-disposition": f'attachment; filename="events.{kind}"'}
        media_type = "text/csv" if kind == "csv" else "application/x-ndjson"
        return Response(text.encode(), media_type=f"{media_type}; charset=utf-8", headers=disposition)


def _threshold_meaning(threshold: DecisionThreshold, people: int) -> str:
    if people == 0:
        return "no one is enrolled, so everyone is unknown"
    return "given" if threshold.fpir is None else f"at most {100 * threshold.fpir:.2g} % of strangers misidentified"


async def _stream(state: WebState, sign_in: SignIn, access: Access) -> AsyncIterator[bytes]:
    """Every new picture as one part, until the browser disconnects or its session ends."""
    last = 0
    while sign_in.is_valid(access):
        number, data = await asyncio.to_thread(state.picture, access.role == "admin")
        if number != last:
            head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            yield head.encode() + data + b"\r\n"
            last = number
        await asyncio.sleep(1 / MAX_FPS)
