"""Every refusal is a problem document with a request id, and tells nothing of the inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from edgefr.errors import EdgefrError, LockedError, NoThresholdError, UnavailableError
from edgefr.server.request_body import SMALL_BODY
from tests.server.api.conftest import Api
from tests.server.api.photographs import ADA, face_of, pair, photo, png

Ask = Callable[[httpx.Client], httpx.Response]
BOMB = cv2.imencode(".png", np.zeros((9000, 9000), np.uint8))[1].tobytes()
"""81 megapixels in 80 kB."""


FORM = {"Content-Type": "multipart/form-data; boundary=x"}
PART = b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a.png"\r\n\r\n'


REFUSALS: dict[str, tuple[int, str, Ask]] = {
    "nothing there": (404, "not-found", lambda client: client.get("/v1/nothing")),
    "no such version": (404, "not-found", lambda client: client.post("/v2/verify")),
    "a slash too many": (404, "not-found", lambda client: client.get("/v1/people/")),
    "wrong method": (405, "method-not-allowed", lambda client: client.get("/v1/verify")),
    "part missing": (422, "invalid-request", lambda client: client.post("/v1/verify", files=photo(face_of(ADA)))),
    "text in place of a file": (422, "invalid-request", lambda client: client.post("/v1/detect", data={"photo": "a"})),
    "JSON in place of a form": (422, "invalid-request", lambda client: client.post("/v1/detect", json={"photo": 1})),
    "malformed form": (
        400,
        "malformed-request",
        lambda client: client.post("/v1/detect", content=b"nonsense", headers=FORM),
    ),
    "malformed JSON": (
        422,
        "invalid-request",
        lambda client: client.patch(
            "/v1/people/1", content=b'{"name": "', headers={"Content-Type": "application/json"}
        ),
    ),
    "no id": (422, "invalid-request", lambda client: client.get("/v1/people/Ada")),
    "nobody's id": (404, "not-found", lambda client: client.get("/v1/people/9999999999999999999")),
    "limit": (422, "invalid-request", lambda client: client.get("/v1/people?limit=100000")),
    "no picture": (422, "unreadable-image", lambda client: client.post("/v1/detect", files=photo(b"text"))),
    "empty": (422, "unreadable-image", lambda client: client.post("/v1/detect", files=photo(b""))),
    "bomb": (422, "unreadable-image", lambda client: client.post("/v1/identify", files=photo(BOMB))),
    "no face": (422, "no-face", lambda client: client.post("/v1/verify", files=pair(face_of(ADA), png()))),
    "photograph": (413, "too-large", lambda client: client.post("/v1/detect", files=photo(b"x" * (21 << 20)))),
    "JSON": (413, "too-large", lambda client: client.patch("/v1/people/1", json={"name": "x" * SMALL_BODY.size})),
    "chunks": (
        413,
        "too-large",
        lambda client: client.post("/v1/detect", content=iter([PART, *[b"x" * (1 << 20)] * 41]), headers=FORM),
    ),
}


@pytest.mark.parametrize(("status", "kind", "ask"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_is_a_problem_document(admin: httpx.Client, status: int, kind: str, ask: Ask) -> None:
    answer = ask(admin)
    document = answer.json()
    assert (answer.status_code, document["status"], document["type"]) == (status, status, f"urn:edgefr:problem:{kind}")
    assert answer.headers["content-type"] == "application/problem+json"
    assert document["title"]
    assert document["detail"]
    assert document["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


def test_a_value_that_is_not_valid_is_named(admin: httpx.Client) -> None:
    (fault,) = admin.get("/v1/people?limit=0").json()["errors"]
    assert fault["at"] == "query.limit"
    assert fault["reason"]


@pytest.mark.parametrize(
    ("given", "is_taken"),
    [("0123456789abcdef", True), ("req_7.A-b", True), ("short", False), ("x" * 65, False), ("forged: line", False)],
)
def test_a_well_formed_request_id_is_taken(admin: httpx.Client, given: str, is_taken: bool) -> None:
    found = admin.get("/health", headers={"X-Request-Id": given}).headers["x-request-id"]
    assert (found == given) is is_taken
    assert len(found) >= 8


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (UnavailableError("the database at db.internal", "none", "start it"), 503, "unavailable"),
        (LockedError("the key of /srv/secret", "another", "give it"), 503, "unavailable"),
        (NoThresholdError("a threshold for /srv/secret", "none", "calibrate"), 503, "no-threshold"),
        (EdgefrError("a row of /srv/secret", "another", "restore it"), 500, "internal-error"),
        (KeyError("/srv/secret"), 500, "internal-error"),
    ],
)
def test_a_fault_of_the_server_is_logged_and_not_told(
    api: Api, client: httpx.Client, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, kind: str
) -> None:
    def fail(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(type(api.service.gallery), "people_after", fail)
    answer = client.get("/v1/people")
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:edgefr:problem:{kind}")
    assert "secret" not in answer.text
    assert "internal" not in answer.json()["detail"]
    (line,) = api.log
    assert answer.json()["request_id"] in line
    assert ("retry-after" in answer.headers) is (kind == "unavailable")
    assert client.get("/health").status_code == 200
