"""The HTTP API: its answers, and the requests that it refuses."""

from __future__ import annotations

import csv
import http.client
import json
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from typing import Any
from urllib.parse import quote, urlsplit

import cv2
import numpy as np
import pytest

from edgefr.camera.session import source_document
from edgefr.camera.watcher import Watcher
from edgefr.detection.base import Face
from edgefr.gallery.file_gallery import FileGallery
from edgefr.gallery.identifier import Identifier
from edgefr.liveness.liveness_check import Liveness
from edgefr.recognition.verifier import Verifier
from edgefr.server.event_export import csv_from_events
from edgefr.server.page_enrolment import FaceNotInViewError
from edgefr.server.rate_limiter import RateLimiter
from edgefr.server.request_body import UPLOAD
from edgefr.server.web_state import WebState
from edgefr.types import Image
from tests.camera.conftest import Door
from tests.camera.people import frame
from tests.server.asking import AS_ADMIN, Answer, ask
from tests.waiting import wait_for


def png(*people: tuple[int, int, int], at: float = 0) -> bytes:
    return cv2.imencode(".png", cv2.cvtColor(frame(at, *people).image, cv2.COLOR_RGB2BGR))[1].tobytes()


def form(**files: bytes) -> tuple[bytes, str]:
    """A multipart body and its content type."""
    parts = [
        b'--xyz\r\nContent-Disposition: form-data; name="%s"; filename="a.png"\r\n\r\n%s\r\n' % (name.encode(), data)
        for name, data in files.items()
    ]
    return b"".join(parts) + b"--xyz--\r\n", "multipart/form-data; boundary=xyz"


def enrol_photograph(url: str, name: str, data: bytes, **fields: str) -> Answer:
    body, kind = form(photo=data)
    parts = [
        b'--xyz\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (field.encode(), value.encode())
        for field, value in {"name": name, **fields}.items()
    ]
    return ask(url, "POST", "/api/people/photograph", b"".join(parts) + body, Content_Type=kind)


def compare(url: str, first: bytes, second: bytes) -> Answer:
    body, kind = form(first=first, second=second)
    return ask(url, "POST", "/api/compare", body, Content_Type=kind)


def faces(url: str) -> dict[int, dict[str, Any]]:
    return {face["track"]: face for face in ask(url, "GET", "/api/scene").json["faces"]}


def test_state_picture_and_events(served: str) -> None:
    picture = ask(served, "GET", "/api/picture")
    assert cv2.imdecode(np.frombuffer(picture.body, np.uint8), cv2.IMREAD_COLOR).shape == (240, 480, 3)
    known = wait_for(lambda: [face for face in faces(served).values() if face["state"] == "known"])
    assert [face["name"] for face in known] == ["Ada"]
    events = ask(served, "GET", "/api/events").json
    assert ("identified", "Ada") in [(event["what"], event["name"]) for event in events["events"]]
    assert ask(served, "GET", f"/api/events?after={events['last']}").json["events"] == []
    state = ask(served, "GET", "/api/state").json
    assert (state["source"], state["condition"], state["people"], state["token_needed"]) == ("the door", "ok", 2, True)
    assert state["threshold"] == pytest.approx(0.63, abs=1e-3)  # between those at 1e-2 and 1e-3, for two people


def test_the_live_picture_is_a_stream(served: str) -> None:
    parts = urlsplit(served)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    connection.request("GET", "/api/live", headers=AS_ADMIN)
    answer = connection.getresponse()
    assert "multipart/x-mixed-replace" in (answer.getheader("content-type") or "")
    assert answer.read(200_000).count(b"\xff\xd8\xff") >= 2
    connection.close()


@pytest.mark.parametrize("name", ["Émilie/Ü", ".."])
def test_the_face_in_view_is_enrolled_then_known_then_removed(served: str, name: str) -> None:
    stranger = wait_for(lambda: [face for face in faces(served).values() if face["state"] == "unknown"])[0]
    enrolled = ask(served, "POST", "/api/people", {"name": name, "track": stranger["track"]})
    assert enrolled.status == 201, enrolled.body
    assert enrolled.json == {"name": name, "images": 1, "doubts": []}
    wait_for(lambda: [face for face in faces(served).values() if face["name"] == name])
    people = ask(served, "GET", "/api/people")
    assert {person["name"] for person in people.json["people"]} == {"Ada", "Grace", name}
    assert b"template" not in people.body
    assert ask(served, "DELETE", f"/api/people?name={quote(name, safe='')}").status == 204
    assert ask(served, "DELETE", f"/api/people?name={quote(name, safe='')}").status == 404
    wait_for(lambda: all(face["name"] != name for face in faces(served).values()))


def named(url: str, name: str | None) -> int:
    """The track of the face in view that has this name, or of the unknown one."""
    state = "unknown" if name is None else "known"
    return wait_for(lambda: [t for t, face in faces(url).items() if (face["name"], face["state"]) == (name, state)])[0]


def test_a_face_that_looks_like_somebody_else_is_enrolled_only_after_a_question(served: str) -> None:
    person = {"name": "Countess", "track": named(served, "Ada")}
    doubt = ask(served, "POST", "/api/people", person)
    assert (doubt.status, doubt.json["doubts"]) == (409, ["The new face looks like Ada, who is enrolled."])
    assert [picture["title"] for picture in doubt.json["pictures"]] == ["The new face", "Ada"]
    assert all(picture["picture"].startswith("data:image/jpeg") for picture in doubt.json["pictures"])
    assert "Countess" not in ask(served, "GET", "/api/people").body.decode()
    done = ask(served, "POST", "/api/people", {**person, "confirm": True})
    assert done.status == 201
    assert "Countess looks like Ada (similarity 1.00)" in done.json["doubts"][0]


def test_a_stranger_gets_the_name_of_an_enrolled_person_only_after_a_question(
    watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Door(watcher) as door:
        stranger = {"name": "Ada", "track": named(door.url, None)}
        named(door.url, "Ada")
        doubt = ask(door.url, "POST", "/api/people", stranger)
        assert doubt.status == 409
        assert doubt.json["doubts"] == ["The new face does not look like the enrolled images of Ada."]
        assert [picture["title"] for picture in doubt.json["pictures"]] == ["The new face", "Ada"]
        assert len(watcher.gallery.samples("Ada")) == 1
        door.people = ()  # the answer is about the face that was shown, not about one that is in view later
        wait_for(lambda: not faces(door.url))
        monkeypatch.setattr("edgefr.server.kept_views.MAX_AGE_S", 0.0)
        assert ask(door.url, "POST", "/api/people", {**stranger, "confirm": True}).status == 201
    assert len(watcher.gallery.samples("Ada")) == 2


def test_a_photograph_of_somebody_else_is_enrolled_only_after_a_question(watcher: Watcher, served: str) -> None:
    assert enrol_photograph(served, "Ada", png((5, 90, 60))).status == 409
    assert len(watcher.gallery.samples("Ada")) == 1
    assert enrol_photograph(served, "Ada", png((5, 90, 60)), confirm="true").status == 201
    assert len(watcher.gallery.samples("Ada")) == 2


def test_a_model_without_thresholds_asks_before_every_further_image(verifier: Verifier, gallery: FileGallery) -> None:
    verifier.manifest = None
    with Door(Watcher(Identifier(verifier, gallery, threshold=0.7))) as door:
        first = enrol_photograph(door.url, "Eve", png((5, 90, 60)))
        again = enrol_photograph(door.url, "Eve", png((5, 30, 30), at=2))
    assert (first.status, again.status) == (201, 409)
    assert "no threshold" in again.json["detail"]


def test_a_face_that_left_and_an_invalid_name_are_refused(served: str) -> None:
    gone = ask(served, "POST", "/api/people", {"name": "Eve", "track": 9999})
    assert (gone.status, gone.json["detail"]) == (409, "The selected face is no longer in view. Select another one.")
    track = next(iter(wait_for(lambda: faces(served))))
    refused = ask(served, "POST", "/api/people", {"name": "\u0007", "track": track})
    assert refused.status == 422
    assert "printable characters" in refused.json["detail"]


def test_a_person_is_enrolled_by_a_photograph(served: str) -> None:
    done = enrol_photograph(served, "Eve", png((5, 90, 60)))
    assert (done.status, done.json) == (201, {"name": "Eve", "images": 1, "doubts": []})
    assert enrol_photograph(served, "Eve", png((5, 30, 30), at=2)).json["images"] == 1
    people = {person["name"]: person["images"] for person in ask(served, "GET", "/api/people").json["people"]}
    assert people == {"Ada": 1, "Grace": 1, "Eve": 2}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"no picture", "found no picture of these kinds"),
        (png(), "found none"),
        (png((5, 20, 60), (6, 300, 60)), "found two"),
    ],
)
def test_an_unusable_photograph_enrols_nobody(served: str, data: bytes, reason: str) -> None:
    refused = enrol_photograph(served, "Eve", data)
    assert refused.status == 422
    assert reason in refused.json["detail"]
    assert "a.png" in refused.json["detail"]
    assert len(ask(served, "GET", "/api/people").json["people"]) == 2


def test_a_person_gets_another_name(served: str) -> None:
    assert ask(served, "PATCH", "/api/people?name=Ada", {"name": "Ada Lovelace"}).status == 204
    taken = ask(served, "PATCH", "/api/people?name=Grace", {"name": "Ada Lovelace"})
    assert taken.status == 422
    assert "Choose another name" in taken.json["detail"]
    assert ask(served, "PATCH", "/api/people?name=Ada", {"name": "Eve"}).status == 404
    wait_for(lambda: [face for face in faces(served).values() if face["name"] == "Ada Lovelace"])


def test_a_person_who_left_a_moment_ago_is_enrolled_by_the_kept_view(watcher: Watcher) -> None:
    with Door(watcher, people=((77, 300, 60),)) as door:
        (track,) = wait_for(lambda: faces(door.url))
        assert faces(door.url)[track]["thumbnail"].startswith("data:image/jpeg;base64,")
        door.people = ((1, 40, 60),)
        left = wait_for(lambda: ask(door.url, "GET", "/api/scene").json["left"])
        assert [view["track"] for view in left] == [track]
        assert ask(door.url, "POST", "/api/people", {"name": "Eve", "track": track}).status == 201
        door.people = ((77, 300, 60),)
        wait_for(lambda: [face for face in faces(door.url).values() if face["name"] == "Eve"])


def test_events_are_downloaded_as_json_lines_and_csv(watcher: Watcher) -> None:
    with Door(watcher) as door:
        watcher.gallery.rename("Ada", "=Áda")
        wait_for(lambda: [face for face in faces(door.url).values() if face["name"] == "=Áda"])
        door.page.send(source_document("the door", "lost", "it ended"))
        lines = ask(door.url, "GET", "/api/events.jsonl")
        documents = [json.loads(line) for line in lines.body.decode().splitlines()]
        assert lines.headers["content-disposition"] == 'attachment; filename="events.jsonl"'
        assert documents == ask(door.url, "GET", "/api/events").json["events"]
        table = ask(door.url, "GET", f"/api/events.csv?what=identified&name={quote('=ada')}").body.decode()
        assert ask(door.url, "GET", "/api/events.xml").status in (404, 422)
    (row,) = csv.DictReader(StringIO(table))
    assert row["name"] == "'=Áda"  # a spreadsheet does not run it as a formula
    assert (float(row["width"]), row["what"]) == (112, "identified")
    assert {"source", "identified"} <= {document["what"] for document in documents}


def test_the_table_of_events_tells_attacks_and_decisions_of_a_door() -> None:
    attack = {"what": "unknown", "name": None, "live": False, "liveness": 0.12}
    refused = {"what": "refused", "name": "Ada", "rule": "staff", "reason": "outside the times of the rule"}
    first, second = csv.DictReader(StringIO(csv_from_events([attack, refused])))
    assert (first["what"], first["live"], first["liveness"]) == ("unknown", "False", "0.12")
    assert (second["name"], second["rule"], second["reason"]) == ("Ada", "staff", "outside the times of the rule")


def test_two_photographs_are_compared(served: str) -> None:
    same = compare(served, png((1, 30, 30)), png((1, 90, 60), at=3)).json
    assert same["same"] is True
    assert same["threshold"] == 0.7
    assert all(crop.startswith("data:image/jpeg;base64,") for crop in same["crops"])
    assert compare(served, png((1, 30, 30)), png((2, 30, 30))).json["same"] is False


class RightIsNotAlive:
    """A liveness check that refuses faces in the right part of a picture."""

    def check(self, _image: Image, face: Face) -> Liveness:
        return Liveness(0.9 if face.box[0] < 50 else 0.1, 0.5)


def test_a_photograph_of_a_photograph_is_not_accepted(door: Door) -> None:
    assert compare(door.url, png((1, 30, 30)), png((1, 90, 60), at=3)).json["live"] is None
    door.watcher.verifier.liveness = RightIsNotAlive()  # type: ignore[assignment]
    found = compare(door.url, png((1, 30, 30)), png((1, 90, 60), at=3)).json
    assert (found["same"], found["live"]) == (False, False)
    assert found["similarity"] > found["threshold"]
    assert found["reasons"] == ["the second photograph is not live: its liveness score 0.10 is below 0.50"]


def test_unusable_photographs_are_refused_with_the_reason(served: str) -> None:
    assert "the second photograph" in compare(served, png((1, 30, 30)), b"no picture").json["detail"]
    empty = compare(served, png(), png((1, 30, 30)))
    assert empty.status == 422
    assert "expected a face in the first photograph" in empty.json["detail"]


def test_a_decompression_bomb_is_refused_before_it_is_decoded(served: str) -> None:
    bomb = cv2.imencode(".png", np.zeros((9000, 9000), np.uint8))[1].tobytes()  # 81 megapixels in 80 kB
    refused = compare(served, bomb, png((1, 30, 30)))
    assert refused.status == 422
    assert "expected at most 32 megapixels" in refused.json["detail"]


def test_a_body_that_is_too_large_is_refused(served: str) -> None:
    assert ask(served, "POST", "/api/compare", Content_Length=str(UPLOAD.size + 1)).status == 413
    assert compare(served, b"x" * (21 << 20), b"y").status == 413


@pytest.mark.parametrize("path", ["/page/../web.py", "/page/%2e%2e/web.py", "/page/..%2fweb.py", "/page//etc/passwd"])
def test_only_the_files_of_the_page_are_served(served: str, path: str) -> None:
    answer = ask(served, "GET", path)
    assert answer.status == 404
    assert b"FastAPI" not in answer.body


def test_a_hundred_clients_at_once_are_served(served: str) -> None:
    def client(number: int) -> int:
        path = ("/api/picture", "/api/events", "/api/people", "/api/state")[number % 4]
        return ask(served, "GET", path).status

    with ThreadPoolExecutor(100) as pool:
        assert set(pool.map(client, range(300))) == {200}


def test_the_rate_limiter_allows_a_burst_and_forgets_silent_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    at = [0.0]
    monkeypatch.setattr("edgefr.server.rate_limiter.monotonic", lambda: at[0])
    monkeypatch.setattr("edgefr.server.rate_limiter.MAX_CLIENTS", 3)
    limiter = RateLimiter(2, rate=0.5)
    assert [limiter.allow("a") for _ in range(3)] == [True, True, False]
    assert limiter.allow("b")
    at[0] = 2.0
    assert [limiter.allow("a") for _ in range(2)] == [True, False]
    for client in "cdef":
        limiter.allow(client)
    assert limiter.allow("a")  # forgotten, so it starts anew


def test_no_request_of_the_openapi_schema_causes_a_server_error(watcher: Watcher, monkeypatch) -> None:
    """Requests are generated from the schema."""
    schemathesis = pytest.importorskip("schemathesis")
    monkeypatch.setattr(RateLimiter, "allow", lambda *_: True)
    from hypothesis import HealthCheck, Phase, given, settings

    with Door(watcher) as door:
        schema = schemathesis.openapi.from_url(f"{door.url}openapi.json", headers=AS_ADMIN)
        requests = 0
        for operation in (found.ok() for found in schema.get_all_operations()):
            checks = settings(
                max_examples=25, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
            )

            @checks
            @given(case=operation.as_strategy())
            def fuzz(case: Any) -> None:
                nonlocal requests
                requests += 1
                answer = case.call(timeout=20, headers=AS_ADMIN)
                assert answer.status_code < 500, f"{case.method} {case.path}: {answer.text[:500]}"

            fuzz()
    assert requests >= 100


def test_no_face_is_in_view_while_the_source_is_lost(watcher: Watcher) -> None:
    """Faces of an old picture cannot be enrolled; they are back with the next frame."""
    page = WebState(watcher, "the door")
    page.show(watcher.process(frame(0.0, (1, 40, 60))))
    page.show(watcher.process(frame(0.04, (1, 40, 60))))
    assert page.result is not None
    assert len(page.result.faces) == 1
    page.send(source_document("the door", "lost", "it ended"))
    assert (page.condition, page.result.faces) == ("lost", ())
    with pytest.raises(FaceNotInViewError):
        page.enrol("Eve", 0, confirm=False)
    page.show(watcher.process(frame(0.08, (1, 40, 60))))
    assert (page.condition, len(page.result.faces)) == ("ok", 1)
