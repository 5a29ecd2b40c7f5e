"""The page's server: what `WebState` shows and does, over HTTP. FastAPI checks what comes in, `guard` who asks.

No template leaves it: names, similarities and pictures do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from importlib import resources
from typing import Annotated, Any

from fastapi import FastAPI, File, HTTPException, Query, Request, Response, UploadFile
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field

from edgefr.errors import EdgefrError
from edgefr.gallery.records import LONGEST_NAME
from edgefr.server.middleware import COOKIE, Guard, cookie_of
from edgefr.server.web_state import GoneError, WebState

PICTURES = 12.0
"""Pictures a second that somebody who looks on is sent at most."""
BOUNDARY = "picture"
LARGEST_PHOTO = 20 << 20


class Login(BaseModel):
    token: str = Field(max_length=1000)


class Person(BaseModel):
    name: str = Field(min_length=1, max_length=LONGEST_NAME)
    track: int = Field(ge=0, le=2**53)


def application(live: WebState, token: str | None, hosts: frozenset[str] | None) -> FastAPI:
    """The page and its API; `token` and `hosts` are as in `Guard`."""
    app = FastAPI(title="edgefr", docs_url=None, redoc_url=None)
    app.add_middleware(Guard, token=token, hosts=hosts)
    page = resources.files("edgefr").joinpath("server", "page")
    app.mount("/page", StaticFiles(directory=str(page)), name="page")
    refusals: dict[int | str, dict[str, Any]] = {
        code: {"description": "A sentence that says why."} for code in (401, 403, 404, 409, 413, 422, 429, 503)
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
        import hmac

        if token is not None and not hmac.compare_digest(given.token.encode(), token.encode()):
            raise HTTPException(401, "expected the token that was printed, found another: open that address")
        answer = Response(status_code=204)
        if token is not None:
            secure = request.url.scheme == "https"
            answer.set_cookie(COOKIE, cookie_of(token), httponly=True, samesite="strict", secure=secure)
        return answer

    _watching(app, live, token)
    _people(app, live)
    return app


def _watching(app: FastAPI, live: WebState, token: str | None) -> None:
    """What is seen."""

    @app.get("/api/state")
    def state() -> dict[str, Any]:
        watcher = live.watcher
        limit = watcher.identifier.threshold
        rate = f"at most {100 * limit.fpir:.2g} % of strangers are taken for somebody" if limit.fpir else "given"
        return {
            "source": live.source,
            "condition": live.condition,
            "reason": live.reason,
            "frames_per_second": round(live.rate(), 1),
            "people": len(watcher.gallery),
            "threshold": limit.value,
            "threshold_meaning": rate,
            "token_needed": token is not None,
            "model": watcher.verifier.model.name,
        }

    @app.get("/api/picture", response_class=Response)
    def picture() -> Response:
        number, data = live.picture()
        if number == 0:
            raise HTTPException(404, "expected a picture, found none yet: wait a moment")
        return Response(data, media_type="image/jpeg")

    @app.get("/api/live", include_in_schema=False)
    def stream() -> StreamingResponse:
        return StreamingResponse(_pictures(live), media_type=f"multipart/x-mixed-replace; boundary={BOUNDARY}")

    @app.get("/api/scene")
    def scene() -> dict[str, Any]:
        now = live.scene
        if now is None:
            return {"width": 0, "height": 0, "faces": []}
        faces = [
            {
                "track": seen.track,
                "state": seen.state,
                "name": seen.name,
                "similarity": seen.similarity,
                "box": [round(value, 1) for value in seen.face.box],
            }
            for seen in now.seen
        ]
        return {"width": now.frame.image.shape[1], "height": now.frame.image.shape[0], "faces": faces}

    @app.get("/api/events")
    def events(after: Annotated[int, Query(ge=0, le=2**53)] = 0) -> dict[str, Any]:
        found, last = live.events(after)
        return {"events": found, "last": last}


def _people(app: FastAPI, live: WebState) -> None:
    """Who is enrolled, and whether two photographs are of one person."""

    @app.get("/api/people")
    def people() -> dict[str, Any]:
        return {"people": live.people()}

    @app.post("/api/people", status_code=201)
    def enrol(person: Person) -> dict[str, Any]:
        try:
            done = live.enrol(person.name, person.track)
        except GoneError as error:
            raise HTTPException(409, "expected the chosen face in view, found it gone: choose one that is") from error
        return {"name": done.name, "images": done.images, "doubts": done.warnings()}

    @app.delete("/api/people", status_code=204)  # not in the path: browsers take `.` and `..` out of it
    def remove(name: Annotated[str, Query(max_length=LONGEST_NAME)]) -> Response:
        if name not in live.watcher.gallery:
            raise HTTPException(404, "expected somebody enrolled, found nobody of that name")
        live.watcher.gallery.remove(name)
        return Response(status_code=204)

    @app.post("/api/compare")
    def compare(first: Annotated[UploadFile, File()], second: Annotated[UploadFile, File()]) -> dict[str, Any]:
        verdict, crops = live.compare([_uploaded(first), _uploaded(second)])
        return {
            "same": verdict.same,
            "similarity": verdict.similarity,
            "threshold": verdict.threshold.value,
            "fmr": verdict.threshold.fmr,
            "reasons": list(verdict.quality_warnings or ()),
            "crops": crops,
        }


def _uploaded(photo: UploadFile) -> bytes:
    """An uploaded photograph's bytes.

    Raises:
        HTTPException: there are too many.
    """
    data = photo.file.read(LARGEST_PHOTO + 1)
    if len(data) > LARGEST_PHOTO:
        raise HTTPException(413, f"expected a photograph of at most {LARGEST_PHOTO >> 20} MiB, found a larger one")
    return data


async def _pictures(live: WebState) -> AsyncIterator[bytes]:
    """Every new picture as a part, as long as somebody looks."""
    last = 0
    while True:
        number, data = await asyncio.to_thread(live.picture)
        if number != last:
            head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            yield head.encode() + data + b"\r\n"
            last = number
        await asyncio.sleep(1 / PICTURES)
