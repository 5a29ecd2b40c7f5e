"""Errors of the API as problem details (RFC 9457): one kind for each thing that a client can react to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse

from edgefr.errors import (
    EdgefrError,
    InvalidArgumentError,
    LockedError,
    NoFaceError,
    NoThresholdError,
    PoorFaceError,
    SeveralFacesError,
    UnavailableError,
    UnreadableImageError,
)
from edgefr.gallery.enrolment_review import DoubtfulImageError

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:edgefr:problem:"


@dataclass(frozen=True)
class Kind:
    """A kind of problem: the status of its response, and a title that never changes."""

    status: int
    title: str


KINDS = {
    "malformed-request": Kind(400, "The request is malformed."),
    "no-token": Kind(401, "The request has no valid token."),
    "not-allowed": Kind(403, "The role of the token does not allow this."),
    "tls-required": Kind(403, "The request did not come over TLS."),
    "not-found": Kind(404, "There is nothing at this address."),
    "method-not-allowed": Kind(405, "The address does not have this method."),
    "timeout": Kind(408, "The request did not arrive in time."),
    "name-taken": Kind(409, "A person of this name is enrolled already."),
    "doubtful-face": Kind(409, "The face may be somebody else's."),
    "too-large": Kind(413, "The request is too large."),
    "invalid-request": Kind(422, "A value of the request is not valid."),
    "unreadable-image": Kind(422, "A picture cannot be read."),
    "no-face": Kind(422, "A picture shows no face."),
    "several-faces": Kind(422, "A picture shows several faces."),
    "poor-face": Kind(422, "A face is not good enough."),
    "too-many-requests": Kind(429, "There were too many attempts."),
    "internal-error": Kind(500, "The server failed."),
    "busy": Kind(503, "The server is busy."),
    "stopping": Kind(503, "The server is stopping."),
    "unavailable": Kind(503, "Something that the server needs is not available."),
    "no-threshold": Kind(503, "No threshold is strict enough for the gallery."),
}
KIND_OF_STATUS = {
    400: "malformed-request",
    401: "no-token",
    403: "not-allowed",
    404: "not-found",
    405: "method-not-allowed",
    408: "timeout",
    413: "too-large",
    422: "invalid-request",
    429: "too-many-requests",
    503: "unavailable",
}
"""The kinds of the statuses that the framework gives by itself."""
KIND_OF_ERROR: tuple[tuple[type[EdgefrError], str], ...] = (
    (UnreadableImageError, "unreadable-image"),
    (NoFaceError, "no-face"),
    (SeveralFacesError, "several-faces"),
    (PoorFaceError, "poor-face"),
    (DoubtfulImageError, "doubtful-face"),
    (InvalidArgumentError, "invalid-request"),
    (NoThresholdError, "no-threshold"),
    (UnavailableError, "unavailable"),
    (LockedError, "unavailable"),
)
"""The first type that fits decides. Other errors are faults of the server, which a client cannot mend."""
PRIVATE_KINDS = ("unavailable", "no-threshold", "internal-error")
"""Errors of these kinds name files and servers: the log gets them, and clients do not."""
RETRY_S = {"busy": 1, "stopping": 5, "unavailable": 5, "too-many-requests": 60}
"""Seconds after which a client may try again."""


class ProblemError(Exception):
    """A request is refused.

    Attributes:
        kind: A key of KINDS.
        detail: A sentence for the developer of the client.
        members: Further members of the document.
    """

    def __init__(self, kind: str, detail: str, **members: Any) -> None:
        super().__init__(kind, detail)
        self.kind, self.detail, self.members = kind, detail, members


def problem_of_error(error: EdgefrError) -> ProblemError:
    """The problem that stands for an error."""
    kind = next((kind for cls, kind in KIND_OF_ERROR if isinstance(error, cls)), "internal-error")
    return ProblemError(kind, KINDS[kind].title if kind in PRIVATE_KINDS else error.problem)


def problem_response(problem: ProblemError, request_id: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The response that tells a client of a problem."""
    kind = KINDS[problem.kind]
    document = {
        "type": TYPE_PREFIX + problem.kind,
        "title": kind.title,
        "status": kind.status,
        "detail": problem.detail,
        "request_id": request_id,
        **problem.members,
    }
    retry = {"retry-after": str(RETRY_S[problem.kind])} if problem.kind in RETRY_S else {}
    return JSONResponse(document, kind.status, {**retry, **(headers or {})}, MEDIA_TYPE)


def _list_of_texts(description: str, *names: str) -> dict[str, Any]:
    item = {"type": "object", "required": [*names], "properties": {name: {"type": "string"} for name in names}}
    return {"type": "array", "description": description, "items": item}


PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string", "enum": [TYPE_PREFIX + kind for kind in KINDS]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": _list_of_texts("For invalid-request: what is wrong with which value.", "at", "reason"),
        "photos": _list_of_texts("After an enrolment without an accepted photograph: the reasons.", "photo", "reason"),
    },
}
"""For the OpenAPI document."""
