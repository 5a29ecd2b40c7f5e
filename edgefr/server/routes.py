"""The HTTP API of the page.

FastAPI validates the requests, and `middleware` decides who may send them. Responses hold names, similarities and
pictures, never templates.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from importlib import resources
from typing import Annotated, Any, Literal

from fastapi import FastAPI, File, Form, HTTPException, Query, Request, Response, UploadFile
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field

from edgefr.camera.identity import State
from edgefr.errors import EdgefrError
from edgefr.gallery.enrolment import Enrolment
from edgefr.gallery.records import LONGEST_NAME
from edgefr.gallery.threshold import DecisionThreshold
from edgefr.server.event_export import csv_from_events, json_lines_from_events, select_events
from edgefr.server.middleware import SecurityMiddleware, request_checks
from edgefr.server.token_check import COOKIE, TokenCheck
from edgefr.server.web_state import FaceNotInViewError, WebState

MAX_FPS = 12.0
"""Pictures a second that a browser is sent at most."""
BOUNDARY = "picture"
MAX_PHOTO_BYTES = 20 << 20
MAX_PAGE_EVENTS = 200
"""Number of events that one response for the page holds at most."""
JSON_STATES: dict[State, str] = {"pending": "looking", "identified": "known", "unknown": "unknown"}
"""State of a track -> its name in the API."""


class Login(BaseModel):
    token: str = Field(max_length=1000)


class Person(BaseModel):
    name: str = Field(min_length=1, max_length=LONGEST_NAME)
    track: int = Field(ge=0, le=2**53)


class NewName(BaseModel):
    name: str = Field(min_length=1, max_length=LONGEST_NAME)


def create_app(state: WebState, token: TokenCheck, hosts: frozenset[str] | None) -> FastAPI:
    """The application that serves the page and the API; `hosts` are as in `request_checks`."""
    app = FastAPI(title="edgefr", docs_url=None, redoc_url=None)
    app.add_middleware(SecurityMiddleware, checks=request_checks(token, hosts))
    page = resources.files("edgefr").joinpath("server", "page")
    app.mount("/page", StaticFiles(directory=str(page)), name="page")
    refusals: dict[int | str, dict[str, Any]] = {
        code: {"description": "The reason, in a sentence."} for code in (401, 403, 404, 409, 413, 422, 429, 503)
    }
    app.router.responses = refusals

    @app.exception_handler(EdgefrError)
    async def refuse(_request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 422)

    @app.get("/", include_in_schema=False)
    def index() -> Response:
        return Response(page.joinpath("index.html").read_bytes(), media_type="text/html; charset=utf-8")

    @app.post("/api/login", status_code=204)
    def login(given: Login, request: Request) -> Response:
        if not token.accepts(given.token):
            raise HTTPException(401, "The token is wrong. Open the address that `edgefr watch` printed.")
        response = Response(status_code=204)
        if token.required:
            secure = request.url.scheme == "https"
            response.set_cookie(COOKIE, token.cookie, httponly=True, samesite="strict", secure=secure)
        return response

    _add_live_routes(app, state, token.required)
    _add_event_routes(app, state)
    _add_people_routes(app, state)
    return app


def _add_live_routes(app: FastAPI, state: WebState, token_required: bool) -> None:
    """The state of the source, the live picture, the faces in view, and the events."""

    @app.get("/api/state")
    def source_state() -> dict[str, Any]:
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
            "token_needed": token_required,
            "model": watcher.verifier.model.name,
        }

    @app.get("/api/picture", response_class=Response)
    def picture() -> Response:
        number, data = state.picture()
        if number == 0:
            raise HTTPException(404, "There is no picture yet. Try again in a moment.")
        return Response(data, media_type="image/jpeg")

    @app.get("/api/live", include_in_schema=False)
    def stream() -> StreamingResponse:
        return StreamingResponse(_stream(state), media_type=f"multipart/x-mixed-replace; boundary={BOUNDARY}")

    @app.get("/api/scene")
    def scene() -> dict[str, Any]:
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
                "similarity": face.similarity,
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
    def events(after: Annotated[int, Query(ge=0, le=2**53)] = 0) -> dict[str, Any]:
        kept = state.events()
        found = [event for event in kept if event["number"] > after]
        return {"events": found[-MAX_PAGE_EVENTS:], "last": kept[-1]["number"] if kept else 0}

    @app.get("/api/events.{kind}", response_class=Response)
    def download(
        kind: Literal["jsonl", "csv"],
        what: Annotated[Literal["", "identified", "unknown", "lost", "left", "source"], Query()] = "",
        name: Annotated[str, Query(max_length=LONGEST_NAME)] = "",
    ) -> Response:
        found = select_events(state.events(), what, name)
        text = csv_from_events(found) if kind == "csv" else json_lines_from_events(found)
        disposition = {"content-disposition": f'attachment; filename="events.{kind}"'}
        media_type = "text/csv" if kind == "csv" else "application/x-ndjson"
        return Response(text.encode(), media_type=f"{media_type}; charset=utf-8", headers=disposition)


def _add_people_routes(app: FastAPI, state: WebState) -> None:
    """The enrolled people, and the comparison of two photographs."""

    @app.get("/api/people")
    def people() -> dict[str, Any]:
        return {"people": state.people()}

    @app.post("/api/people", status_code=201)
    def enrol(person: Person) -> dict[str, Any]:
        try:
            done = state.enrol(person.name, person.track)
        except FaceNotInViewError as error:
            raise HTTPException(409, "The selected face is no longer in view. Select another one.") from error
        return _enrolment_document(done)

    @app.post("/api/people/photograph", status_code=201)
    def enrol_photograph(
        name: Annotated[str, Form(min_length=1, max_length=LONGEST_NAME)], photo: Annotated[UploadFile, File()]
    ) -> dict[str, Any]:
        return _enrolment_document(state.enrol_photograph(name, _read_upload(photo), photo.filename or ""))

    @app.patch("/api/people", status_code=204)
    def rename(name: Annotated[str, Query(max_length=LONGEST_NAME)], new: NewName) -> Response:
        _require_person(state, name)
        state.watcher.gallery.rename(name, new.name)
        return Response(status_code=204)

    @app.delete("/api/people", status_code=204)  # the name is no part of the path, where browsers remove . and ..
    def remove(name: Annotated[str, Query(max_length=LONGEST_NAME)]) -> Response:
        _require_person(state, name)
        state.watcher.gallery.remove(name)
        return Response(status_code=204)

    @app.post("/api/compare")
    def compare(first: Annotated[UploadFile, File()], second: Annotated[UploadFile, File()]) -> dict[str, Any]:
        result, crops = state.compare([_read_upload(first), _read_upload(second)])
        return {
            "same": result.same,
            "similarity": result.similarity,
            "threshold": result.threshold.value,
            "fmr": result.threshold.fmr,
            "reasons": list(result.quality_warnings or ()),
            "crops": crops,
        }


def _threshold_meaning(threshold: DecisionThreshold, people: int) -> str:
    if people == 0:
        return "no one is enrolled, so everyone is unknown"
    return "given" if threshold.fpir is None else f"at most {100 * threshold.fpir:.2g} % of strangers misidentified"


def _enrolment_document(done: Enrolment) -> dict[str, Any]:
    return {"name": done.name, "images": done.images, "doubts": done.warnings()}


def _require_person(state: WebState, name: str) -> None:
    if name not in state.watcher.gallery:
        raise HTTPException(404, "No person of this name is enrolled.")


def _read_upload(photo: UploadFile) -> bytes:
    data = photo.file.read(MAX_PHOTO_BYTES + 1)
    if len(data) > MAX_PHOTO_BYTES:
        raise HTTPException(413, f"The photograph is larger than {MAX_PHOTO_BYTES >> 20} MiB. Choose a smaller one.")
    return data


async def _stream(state: WebState) -> AsyncIterator[bytes]:
    """Every new picture as one part, until the browser disconnects."""
    last = 0
    while True:
        number, data = await asyncio.to_thread(state.picture)
        if number != last:
            head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            yield head.encode() + data + b"\r\n"
            last = number
        await asyncio.sleep(1 / MAX_FPS)
