"""Each role against each operation, and how tokens are checked."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from edgefr.server.api.tokens import ROLES, ApiRole
from tests.server.api.conftest import SECRETS, Api
from tests.server.api.photographs import ADA, STRANGER, face_of, pair, photo

Roles = frozenset[str]
IDENTIFY: Roles = frozenset({"identify", "enrol", "admin"})
ENROL: Roles = frozenset({"enrol", "admin"})
ADMIN: Roles = frozenset({"admin"})
MONITOR: Roles = frozenset({"monitor", "admin"})
EVERYONE: Roles = frozenset(ROLES)

OPERATIONS: dict[tuple[str, str], tuple[Roles, dict[str, Any]]] = {
    ("post", "/v1/verify"): (IDENTIFY, {"files": pair(face_of(ADA), face_of(ADA))}),
    ("post", "/v1/detect"): (IDENTIFY, {"files": photo(face_of(ADA))}),
    ("post", "/v1/identify"): (IDENTIFY, {"files": photo(face_of(ADA))}),
    ("post", "/v1/embed"): (ADMIN, {"files": photo(face_of(ADA))}),
    ("get", "/v1/people"): (ENROL, {}),
    ("post", "/v1/people"): (ENROL, {"data": {"name": "Eve"}, "files": photo(face_of(STRANGER))}),
    ("get", "/v1/people/{person_id}"): (ENROL, {}),
    ("patch", "/v1/people/{person_id}"): (ADMIN, {"json": {"expires_in_days": 9}}),
    ("delete", "/v1/people/{person_id}"): (ADMIN, {}),
    ("post", "/v1/people/{person_id}/images"): (ENROL, {"files": photo(face_of(ADA, 4))}),
    ("delete", "/v1/people/{person_id}/images/{image_id}"): (ADMIN, {}),
    ("get", "/v1/events"): (ADMIN, {}),
    ("get", "/v1/events/stream"): (ADMIN, {"headers": {"Last-Event-ID": "0"}}),
    ("get", "/metrics"): (MONITOR, {}),
    ("get", "/health"): (EVERYONE, {}),
    ("get", "/ready"): (EVERYONE, {}),
}
"""Operation -> the roles that may call it, and the arguments of a request that is granted to them."""
PUBLIC = {"/health", "/ready"}


def status(client: httpx.Client, method: str, path: str, **arguments: Any) -> int:
    with client.stream(method, path, **arguments) as answer:
        return answer.status_code


@pytest.mark.parametrize("role", ROLES)
def test_each_role_may_call_its_operations_and_no_others(api: Api, role: ApiRole) -> None:
    person = api.service.gallery.person("Ada")
    with api.client(role) as client:
        for (method, path), (allowed, arguments) in OPERATIONS.items():
            if (method, path) == ("delete", "/v1/people/{person_id}"):
                continue  # nothing could be asked of the person after it; the next test does
            place = path.format(person_id=person.id, image_id=person.images[0])
            expected = {200, 201, 204, 422} if role in allowed else {403}  # 422: the only image is not removed
            assert status(client, method, place, **arguments) in expected, f"{role}: {method} {path}"


@pytest.mark.parametrize("role", ROLES)
def test_only_an_admin_removes_people(api: Api, role: ApiRole) -> None:
    person = api.service.gallery.person("Ada")
    with api.client(role) as client:
        assert client.delete(f"/v1/people/{person.id}").status_code == (204 if role == "admin" else 403)
    assert ("Ada" in api.service.gallery) is (role != "admin")


def test_nothing_but_health_is_answered_without_a_token(standing: Api) -> None:
    with standing.client(None) as client:
        for (method, path), (_, arguments) in OPERATIONS.items():
            place = path.format(person_id=1, image_id=1)
            assert status(client, method, place, **arguments) == (200 if path in PUBLIC else 401), path
        assert client.get("/v1/openapi.json").status_code == 401
        assert client.get("/nowhere").status_code == 401, "a stranger does not learn what there is"


def test_the_table_and_the_openapi_document_name_the_same_operations_and_roles(admin: httpx.Client) -> None:
    document = admin.get("/v1/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    described = {
        (method, path): operation.get("security")
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    assert described.keys() == OPERATIONS.keys()
    for (method, path), security in described.items():
        if path in PUBLIC:
            assert security is None
            continue
        ((role,),) = (entry["token"] for entry in security)
        assert role in OPERATIONS[method, path][0]
        assert (
            OPERATIONS[method, path][0]
            == {"identify": IDENTIFY, "enrol": ENROL, "admin": ADMIN, "monitor": MONITOR}[role]
        )


@pytest.mark.parametrize("header", ["Bearer wrong", "Basic YTpi", "Bearer", "Bearer \u00fc", SECRETS["admin"]])
def test_a_wrong_token_is_refused(standing: Api, header: str) -> None:
    with standing.client(None) as client:
        answer = client.get("/v1/people", headers=[(b"Authorization", header.encode())])
    assert (answer.status_code, answer.json()["type"]) == (401, "urn:edgefr:problem:no-token")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_after_ten_wrong_tokens_even_a_right_one_of_the_address_is_refused(api: Api) -> None:
    with api.client(None) as client:
        statuses = [client.get("/metrics", headers={"Authorization": f"Bearer {n}"}).status_code for n in range(12)]
        assert statuses == [401] * 10 + [429] * 2
        right = client.get("/metrics", headers={"Authorization": f"Bearer {SECRETS['admin']}"})
    assert (right.status_code, right.json()["type"]) == (429, "urn:edgefr:problem:too-many-requests")
    assert "retry-after" in right.headers
