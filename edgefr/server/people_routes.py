"""The enrolled people, and the comparison of two photographs."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import FastAPI, File, Form, HTTPException, Query, Request, Response, UploadFile
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from edgefr.gallery.enrolment import Enrolment
from edgefr.gallery.records import LONGEST_NAME
from edgefr.server.page_enrolment import DoubtfulFaceError, FaceNotInViewError
from edgefr.server.shown_documents import shown_similarity
from edgefr.server.sign_in_routes import access_of
from edgefr.server.web_state import WebState, data_url

MAX_PHOTO_BYTES = 20 << 20
CONFIRM = "Enrol the face in spite of doubts, about which an answer with status 409 has told."


class Person(BaseModel):
    name: str = Field(min_length=1, max_length=LONGEST_NAME)
    track: int = Field(ge=0, le=2**53, strict=True)
    confirm: bool = Field(False, strict=True, description=CONFIRM)


class NewName(BaseModel):
    name: str = Field(min_length=1, max_length=LONGEST_NAME)


def add_people_routes(app: FastAPI, state: WebState) -> None:
    """Add the routes."""

    @app.exception_handler(DoubtfulFaceError)
    async def ask(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, DoubtfulFaceError)
        doubt = error.doubt
        pictures = [
            {"title": title, "picture": None if image is None else data_url(image, 92)}
            for title, image in doubt.pictures
        ]
        detail = " ".join((*doubt.reasons, "Compare the pictures, and send confirm to enrol the face all the same."))
        return JSONResponse({"detail": detail, "doubts": doubt.reasons, "pictures": pictures}, 409)

    @app.get("/api/people")
    def people() -> dict[str, Any]:
        return {"people": state.people()}

    @app.post("/api/people", status_code=201)
    def enrol(person: Person) -> dict[str, Any]:
        try:
            done = state.enrol(person.name, person.track, person.confirm)
        except FaceNotInViewError as error:
            raise HTTPException(409, "The selected face is no longer in view. Select another one.") from error
        return _enrolment_document(done)

    @app.post("/api/people/photograph", status_code=201)
    def enrol_photograph(
        name: Annotated[str, Form(min_length=1, max_length=LONGEST_NAME)],
        photo: Annotated[UploadFile, File()],
        confirm: Annotated[bool, Form(description=CONFIRM)] = False,
    ) -> dict[str, Any]:
        done = state.enrol_photograph(name, partial(_read_upload, photo), photo.filename or "", confirm)
        return _enrolment_document(done)

    @app.patch("/api/people", status_code=204)
    def rename(name: Annotated[str, Query(max_length=LONGEST_NAME)], new: NewName) -> Response:
        _require_person(state, name)
        state.rename(name, new.name)
        return Response(status_code=204)

    @app.delete("/api/people", status_code=204)  # the name is no part of the path, where browsers remove . and ..
    def remove(name: Annotated[str, Query(max_length=LONGEST_NAME)]) -> Response:
        _require_person(state, name)
        state.remove(name)
        return Response(status_code=204)

    @app.post("/api/compare")
    def compare(
        request: Request, first: Annotated[UploadFile, File()], second: Annotated[UploadFile, File()]
    ) -> dict[str, Any]:
        result, crops = state.compare(partial(_read_upload, first), partial(_read_upload, second))
        return {
            "same": result.same,
            "live": not result.attacks if result.faces[0].liveness else None,
            "similarity": shown_similarity(result.similarity, access_of(request).role),
            "threshold": result.threshold.value,
            "fmr": result.threshold.fmr,
            "reasons": [*(result.quality_warnings or ()), *result.attacks],
            "crops": crops,
        }


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
