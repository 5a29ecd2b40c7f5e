"""Verification, identification, detection and embeddings over HTTP."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import numpy as np
import pytest

from edgefr.detection.base import Face
from edgefr.gallery.file_gallery import FileGallery
from edgefr.liveness.liveness_check import Liveness
from edgefr.server.api.face_documents import shown
from edgefr.types import Image
from tests.server.api.conftest import Api
from tests.server.api.photographs import ADA, STRANGER, face_of, pair, photo, png


def test_two_pictures_are_verified(admin: httpx.Client) -> None:
    same = admin.post("/v1/verify", files=pair(face_of(ADA), face_of(ADA, at=3)))
    assert same.status_code == 200, same.text
    document = same.json()
    assert (document["same"], document["threshold"], document["fmr"]) == (True, 0.7, 1e-3)
    assert document["similarity"] > 0.7
    assert [face["faces_found"] for face in document["faces"]] == [1, 1]
    other = admin.post("/v1/verify", files=pair(face_of(ADA), face_of(STRANGER))).json()
    assert (other["same"], other["similarity"] < 0.7) == (False, True)


def test_everyone_on_a_picture_is_identified(client: httpx.Client, gallery: FileGallery) -> None:
    document = client.post("/v1/identify", files=photo(png((ADA, 20, 60), (STRANGER, 300, 60)))).json()
    found = {face["name"]: face["decision"] for face in document["faces"]}
    assert found == {"Ada": "identified", None: "unknown"}
    assert (document["width"], document["height"], document["faces_found"]) == (480, 240, 2)
    assert document["faces"][0]["candidates"][0]["name"] in ("Ada", "Grace")
    last = gallery.events()[-1]
    assert (last.what, last.name, last.detail) == ("matched", "Ada", "token admin")


def test_a_picture_without_a_face_identifies_nobody(admin: httpx.Client) -> None:
    answer = admin.post("/v1/identify", files=photo(png()))
    assert (answer.status_code, answer.json()["faces"], answer.json()["faces_found"]) == (200, [], 0)


def test_faces_are_found(admin: httpx.Client) -> None:
    document = admin.post("/v1/detect", files=photo(png((ADA, 20, 60), (STRANGER, 300, 60)))).json()
    assert sorted(face["box"][0] for face in document["faces"]) == [20, 300]
    assert len(document["faces"][0]["landmarks"]) == 5
    assert document["faces"][0]["liveness"] is None
    assert admin.post("/v1/detect", files=photo(png())).json()["faces"] == []


def test_embeddings_are_those_that_verify_compares(admin: httpx.Client) -> None:
    one, other = (
        np.array(admin.post("/v1/embed", files=photo(face_of(ADA, at))).json()["faces"][0]["embedding"])
        for at in (0, 3)
    )
    similarity = admin.post("/v1/verify", files=pair(face_of(ADA), face_of(ADA, 3))).json()["similarity"]
    assert float(one @ other) == pytest.approx(similarity, abs=1e-5)


def test_embeddings_are_off_unless_the_operator_allows_them(serve_api: Callable[..., Api]) -> None:
    with serve_api(embeddings=False).client() as client:
        assert client.post("/v1/embed", files=photo(face_of(ADA))).status_code == 404
        assert "/v1/embed" not in client.get("/v1/openapi.json").json()["paths"]


def test_who_only_identifies_learns_no_candidates_and_only_tenths_of_similarities(standing: Api) -> None:
    """A similarity with all of its digits tells how to change a picture until it matches."""
    with standing.client("identify") as client:
        face = client.post("/v1/identify", files=photo(face_of(ADA))).json()["faces"][0]
        assert (face["name"], face["candidates"]) == ("Ada", [])
        verified = client.post("/v1/verify", files=pair(face_of(ADA), face_of(STRANGER))).json()
        for value in (face["similarity"], verified["similarity"]):
            assert value == pytest.approx(round(10 * value) / 10, abs=1e-9)
    with standing.client("enrol") as client:
        face = client.post("/v1/identify", files=photo(face_of(ADA))).json()["faces"][0]
        assert [hit["name"] for hit in face["candidates"]] == ["Ada", "Grace"]


@pytest.mark.parametrize(
    ("value", "rounded"), [(0.69, 0.6), (0.7, 0.7), (1.0, 1.0), (-0.01, -0.1), (0.3 - 1e-9, 0.3), (-1.0, -1.0)]
)
def test_similarities_are_rounded_down(value: float, rounded: float) -> None:
    assert shown(value, "identify") == pytest.approx(rounded)
    assert shown(value, "enrol") == value


class RightIsNotAlive:
    """A liveness check that refuses faces in the right part of a picture."""

    def check(self, _image: Image, face: Face) -> Liveness:
        return Liveness(0.93 if face.box[0] < 200 else 0.12, 0.5)


def test_a_face_that_is_not_alive_is_neither_identified_nor_verified(api: Api, client: httpx.Client) -> None:
    api.service.identifier.verifier.liveness = RightIsNotAlive()  # type: ignore[assignment]
    (face,) = client.post("/v1/identify", files=photo(png((ADA, 300, 60)))).json()["faces"]
    assert (face["decision"], face["name"], face["liveness"]["live"]) == ("not-live", None, False)
    assert face["liveness"]["score"] == pytest.approx(0.12)
    verified = client.post("/v1/verify", files=pair(face_of(ADA), png((ADA, 300, 60)))).json()
    assert (verified["same"], [face["liveness"]["live"] for face in verified["faces"]]) == (False, [True, False])
    assert verified["similarity"] > verified["threshold"]
    with api.client("identify") as door:
        (face,) = door.post("/v1/identify", files=photo(png((ADA, 300, 60)))).json()["faces"]
        assert face["liveness"]["score"] == pytest.approx(0.1), "small steps of it would tell how to seem alive"


def test_which_of_several_faces_is_compared(admin: httpx.Client) -> None:
    two = png((ADA, 20, 60), (STRANGER, 300, 60))
    refused = admin.post("/v1/verify", files=pair(two, face_of(ADA)), data={"face": "only"})
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:edgefr:problem:several-faces")
    assert admin.post("/v1/verify", files=pair(two, face_of(ADA))).json()["faces"][0]["faces_found"] == 2
