"""Enrolment and care of people over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from io import BytesIO
from typing import Any

import httpx
import pytest
from fastapi import UploadFile

from edgefr.gallery.base import Hit
from edgefr.gallery.file_gallery import FileGallery
from edgefr.server.api.problems import ProblemError
from edgefr.server.api.upload_enrolment import Order, enrol_uploads
from edgefr.types import Floats
from tests.server.api.conftest import Api
from tests.server.api.photographs import ADA, STRANGER, face_of, photo, png


def enrol(client: httpx.Client, name: str, *photos: bytes, **fields: Any) -> httpx.Response:
    files = [("photo", (f"{number}.png", data)) for number, data in enumerate(photos)]
    return client.post("/v1/people", data={"name": name, **fields}, files=files)


def moment(text: str) -> datetime:
    """A time of a document; Python 3.10 does not read a Z."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def id_of(client: httpx.Client, name: str) -> str:
    (person,) = client.get("/v1/people", params={"name": name}).json()["people"]
    found: str = person["id"]
    return found


def test_a_person_is_enrolled_identified_renamed_and_removed(client: httpx.Client) -> None:
    done = enrol(client, "Émilie/Ü", face_of(STRANGER), face_of(STRANGER, at=2))
    assert done.status_code == 201, done.text
    assert (done.json()["added"], done.json()["person"]["images"], done.json()["refused"]) == (2, 2, [])
    place = done.headers["location"]
    shown = client.get(place).json()
    assert (shown["name"], [image["source"] for image in shown["image_list"]]) == ("Émilie/Ü", ["0.png", "1.png"])
    assert client.post("/v1/identify", files=photo(face_of(STRANGER, 5))).json()["faces"][0]["name"] == "Émilie/Ü"
    assert client.patch(place, json={"name": "Emmy"}).json()["name"] == "Emmy"
    assert client.get(place).json()["name"] == "Emmy", "the id stays"
    assert client.delete(place).status_code == 204
    assert client.get(place).status_code == client.delete(place).status_code == 404
    assert client.post("/v1/identify", files=photo(face_of(STRANGER, 6))).json()["faces"][0]["name"] is None


def test_people_are_listed_in_pages(client: httpx.Client) -> None:
    for number in range(3):
        assert enrol(client, f"person {number}", face_of(10 + number)).status_code == 201
    names: list[str] = []
    after: str | None = "0"
    while after is not None:
        page = client.get("/v1/people", params={"after": after, "limit": 2}).json()
        names += [person["name"] for person in page["people"]]
        after = page["next"]
    assert names == ["Ada", "Grace", "person 0", "person 1", "person 2"]
    assert client.get("/v1/people", params={"name": "nobody"}).json() == {"people": [], "next": None}


def test_images_are_added_and_removed(client: httpx.Client, gallery: FileGallery) -> None:
    place = f"/v1/people/{id_of(client, 'Ada')}"
    assert client.post(f"{place}/images", files=photo(face_of(ADA, 4))).json()["added"] == 1
    again = client.post(f"{place}/images", files=photo(face_of(ADA, 4))).json()
    assert (again["added"], again["known"]) == (0, 1)
    first, second = client.get(place).json()["image_list"]
    assert second["source"] == "a.png"
    assert client.delete(f"{place}/images/{first['id']}").status_code == 204
    assert [sample.source for sample in gallery.samples("Ada")] == ["a.png"]
    assert client.delete(f"{place}/images/{first['id']}").status_code == 404
    last = client.delete(f"{place}/images/{second['id']}")
    assert (last.status_code, "the only image" in last.json()["detail"]) == (422, True)


def test_a_person_expires(client: httpx.Client) -> None:
    done = enrol(client, "visitor", face_of(STRANGER), expires_in_days=2).json()["person"]
    in_two_days = datetime.now(timezone.utc) + timedelta(days=2)
    assert abs(moment(done["expires"]) - in_two_days) < timedelta(minutes=1)
    place = f"/v1/people/{done['id']}"
    later = moment(client.patch(place, json={"expires_in_days": 9}).json()["expires"])
    assert later - in_two_days > timedelta(days=6)
    assert client.patch(place, json={"expires_in_days": 1e-7}).status_code in (200, 404)
    assert client.get("/v1/people", params={"name": "visitor"}).json()["people"] == []
    assert client.post("/v1/identify", files=photo(face_of(STRANGER, 5))).json()["faces"][0]["name"] is None


def test_a_taken_name_is_refused(client: httpx.Client) -> None:
    for answer in (
        enrol(client, "Ada", face_of(STRANGER)),
        client.patch(f"/v1/people/{id_of(client, 'Grace')}", json={"name": "Ada"}),
    ):
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:edgefr:problem:name-taken")
    same = client.patch(f"/v1/people/{id_of(client, 'Ada')}", json={"name": "Ada"})
    assert (same.status_code, same.json()["name"]) == (200, "Ada")


def test_a_doubtful_face_is_enrolled_only_by_an_admin_who_forces_it(api: Api, client: httpx.Client) -> None:
    doubt = enrol(client, "Countess", face_of(ADA, 3))
    assert (doubt.status_code, doubt.json()["type"]) == (409, "urn:edgefr:problem:doubtful-face")
    assert "looks like Ada" in doubt.json()["photos"][0]["reason"]
    stranger = client.post(f"/v1/people/{id_of(client, 'Ada')}/images", files=photo(face_of(STRANGER)))
    assert stranger.status_code == 409
    with api.client("enrol") as desk:
        assert enrol(desk, "Countess", face_of(ADA, 3), force="true").status_code == 403
    forced = enrol(client, "Countess", face_of(ADA, 3), force="true")
    assert forced.status_code == 201
    assert "looks like Ada" in forced.json()["warnings"][0]


def test_bad_photographs_are_left_out_and_named(client: httpx.Client) -> None:
    done = enrol(client, "Eve", b"no picture", face_of(STRANGER), png())
    assert done.status_code == 201
    assert [(entry["photo"], done.json()["added"]) for entry in done.json()["refused"]] == [
        ("photo 1", 1),
        ("photo 3", 1),
    ]
    nobody = enrol(client, "Mallory", png(), b"no picture")
    assert (nobody.status_code, nobody.json()["type"]) == (422, "urn:edgefr:problem:no-face")
    assert [entry["photo"] for entry in nobody.json()["photos"]] == ["photo 1", "photo 2"]
    assert client.get("/v1/people", params={"name": "Mallory"}).json()["people"] == []


@pytest.mark.parametrize("name", ["\u0007", " ", "x" * 201, ""])
def test_an_invalid_name_is_refused(admin: httpx.Client, name: str) -> None:
    answer = enrol(admin, name, face_of(STRANGER))
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:edgefr:problem:invalid-request")
    assert admin.patch(f"/v1/people/{id_of(admin, 'Ada')}", json={"name": name}).status_code == 422


def test_at_most_ten_photographs_are_enrolled_at_once(admin: httpx.Client) -> None:
    assert enrol(admin, "Eve", *[face_of(STRANGER)] * 11).status_code == 422


def test_the_name_of_a_file_is_kept_as_the_source_and_cannot_stand_for_a_number(client: httpx.Client) -> None:
    """`#1` as a source would be the first image of a person."""
    for number, name in enumerate(("#1", "../../etc/passwd", "x" * 1000, "tab\there")):
        files = {"photo": (name, face_of(20 + number))}
        assert client.post("/v1/people", data={"name": f"p{number}"}, files=files).status_code == 201
    sources = [
        client.get(f"/v1/people/{id_of(client, f'p{number}')}").json()["image_list"][0]["source"] for number in range(4)
    ]
    assert sources[:2] == ["1", "passwd"]
    assert len(sources[2]) == 200
    assert "\t" not in sources[3]


@pytest.mark.parametrize("keep", [True, False])
def test_crops_are_kept_only_if_the_operator_wants_them(
    serve_api: Callable[..., Api], gallery: FileGallery, keep: bool
) -> None:
    with serve_api(keep_crops=keep).client() as client:
        enrol(client, "Eve", face_of(STRANGER))
    assert (gallery.samples("Eve")[0].crop is not None) is keep


def test_no_enrolment_of_twenty_clients_at_once_is_lost(serve_api: Callable[..., Api], gallery: FileGallery) -> None:
    """Each acknowledged one is in the gallery, and a refused one is not."""
    api = serve_api(waiting=6)

    def client(number: int) -> dict[str, int]:
        with api.client("enrol") as opened:
            return {
                name: enrol(opened, name, face_of(1000 + 10 * number + turn)).status_code
                for turn, name in enumerate((f"{number} a", f"{number} b", f"{number} c"))
            }

    with ThreadPoolExecutor(20) as pool:
        answers = {name: status for part in pool.map(client, range(20)) for name, status in part.items()}
    assert set(answers.values()) <= {201, 503}
    enrolled = {name for name, status in answers.items() if status == 201}
    assert len(enrolled) >= 10
    assert set(gallery.names()) - {"Ada", "Grace"} == enrolled


def test_of_two_enrolments_of_one_face_at_once_the_second_is_doubtful(
    api: Api, gallery: FileGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither may look for people who look the same before the other is enrolled."""
    search, both = gallery.search_all, threading.Barrier(2)

    def search_together(embeddings: Floats, top: int = 5) -> list[list[Hit]]:
        with suppress(threading.BrokenBarrierError):
            both.wait(0.5)
        return search(embeddings, top)

    monkeypatch.setattr(gallery, "search_all", search_together)

    def worker(name: str) -> str:
        upload = UploadFile(BytesIO(face_of(STRANGER)), filename="a.png")
        try:
            enrol_uploads(api.service, api.service.identifier.verifier, Order([upload], name))
        except ProblemError as error:
            return error.kind
        return "enrolled"

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(worker, ("Eve", "Mallory"))) == ["doubtful-face", "enrolled"]
