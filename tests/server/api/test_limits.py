"""What one client, and all clients together, may ask of the server; health, metrics, and its end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from edgefr.detection.base import Detections
from edgefr.errors import NoThresholdError, UnavailableError
from edgefr.gallery.identifier import Identifier
from edgefr.server.request_body import UPLOAD
from edgefr.types import Image
from tests.server.api.conftest import SECRETS, Api
from tests.server.api.photographs import ADA, STRANGER, face_of, photo, png
from tests.server.asking import ask
from tests.waiting import wait_for


class Gate:
    """Holds a detector until it is opened."""

    def __init__(self, detector: Any) -> None:
        self.name, self._detector = detector.name, detector
        self.opened = threading.Event()

    def detect(self, image: Image) -> Detections:
        assert self.opened.wait(30)
        found: Detections = self._detector.detect(image)
        return found


@contextmanager
def busy(api: Api, requests: int) -> Iterator[tuple[Gate, list[Future[httpx.Response]]]]:
    """So many requests that a worker works on, or that wait."""
    verifier = api.service.identifier.verifier
    verifier.detector = gate = Gate(verifier.detector)
    with ThreadPoolExecutor(requests) as threads, api.client() as client:
        answers = [threads.submit(client.post, "/v1/detect", files=photo(face_of(ADA))) for _ in range(requests)]
        try:
            wait_for(lambda: api.service.pool.admitted == requests and api.service.pool.busy == 1)
            yield gate, answers
        finally:
            gate.opened.set()


def test_a_full_queue_refuses_and_what_was_admitted_is_answered(serve_api: Callable[..., Api]) -> None:
    api = serve_api(waiting=2)
    with busy(api, 3) as (gate, answers), api.client() as client:
        refused = client.post("/v1/identify", files=photo(face_of(ADA)))
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:edgefr:problem:busy")
        assert int(refused.headers["retry-after"]) >= 1
        assert client.get("/v1/people").status_code == 200, "what needs no picture needs no worker"
        gate.opened.set()
        assert [answer.result().status_code for answer in answers] == [200] * 3
        assert client.post("/v1/identify", files=photo(face_of(ADA))).status_code == 200


def test_what_runs_is_finished_when_the_server_stops(serve_api: Callable[..., Api]) -> None:
    api = serve_api()

    def refuses_connections() -> bool:
        try:
            httpx.get(f"{api.url}/health", trust_env=False)
        except httpx.TransportError:
            return True
        return False

    with busy(api, 2) as (gate, answers):
        api.server.stop()
        wait_for(refuses_connections)
        gate.opened.set()
        assert [answer.result().status_code for answer in answers] == [200] * 2


def test_a_server_that_stops_begins_nothing(api: Api, client: httpx.Client) -> None:
    api.service.is_stopping = True
    for answer in (client.get("/v1/people"), client.get("/ready")):
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:edgefr:problem:stopping")


def test_failed_attempts_of_a_token_are_limited(serve_api: Callable[..., Api]) -> None:
    """Who may try for ever can change a picture until it matches (hill climbing)."""
    api = serve_api(attempts_per_minute=4)
    with api.client("identify") as client:
        assert [client.post("/v1/identify", files=photo(face_of(ADA))).status_code for _ in range(6)] == [200] * 6
        strangers = photo(png((STRANGER, 20, 60), (STRANGER + 1, 300, 60)))
        assert [client.post("/v1/identify", files=strangers).status_code for _ in range(3)] == [200, 200, 429]
        refused = client.post("/v1/verify", files={"first": face_of(ADA), "second": face_of(ADA)})
        assert (refused.status_code, refused.json()["type"]) == (429, "urn:edgefr:problem:too-many-requests")
        assert client.post("/v1/detect", files=strangers).status_code == 200
    with api.client("enrol") as other:
        assert other.post("/v1/identify", files=strangers).status_code == 200, "another token is not affected"


def test_a_body_that_is_announced_as_too_large_is_not_waited_for(api: Api) -> None:
    token = f"Bearer {SECRETS['identify']}"
    answer = ask(api.url, "POST", "/v1/detect", Authorization=token, Content_Length=str(UPLOAD.size + 1))
    assert (answer.status, answer.json["type"]) == (413, "urn:edgefr:problem:too-large")


def test_faces_beyond_a_limit_are_only_counted(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("uploads", "face_routes"):
        monkeypatch.setattr(f"edgefr.server.api.{module}.MAX_FACES", 1)
    two = photo(png((ADA, 20, 60), (STRANGER, 300, 60)))
    for path in ("/v1/identify", "/v1/detect"):
        document = client.post(path, files=two).json()
        assert (document["faces_found"], len(document["faces"])) == (2, 1)


def test_the_server_is_ready_while_people_can_be_identified(
    api: Api, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.get("/ready").json() == {"status": "ok"}
    for error, kind in ((UnavailableError("", "", ""), "unavailable"), (NoThresholdError("", "", ""), "no-threshold")):

        def fail(_: Identifier, error: Exception = error) -> Any:
            raise error

        monkeypatch.setattr(Identifier, "threshold", property(fail))
        answer = client.get("/ready")
        assert (answer.status_code, answer.json()["type"]) == (503, f"urn:edgefr:problem:{kind}")
    assert client.get("/health").status_code == 200


def test_a_worker_that_hangs_is_not_healthy(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    with busy(api, 1), api.client() as client:
        assert client.get("/health").status_code == 200
        monkeypatch.setattr("edgefr.server.api.worker_pool.STUCK_S", 0.0)
        assert client.get("/health").status_code == 503


def test_metrics_count_requests_decisions_and_people_and_name_nobody(api: Api, client: httpx.Client) -> None:
    client.post("/v1/identify", files=photo(png((ADA, 20, 60), (STRANGER, 300, 60))))
    client.get("/v1/people/Ada")
    client.get("/a path/that nobody/knows")
    with api.client("monitor") as monitor:
        text = monitor.get("/metrics").text
    lines = set(text.splitlines())
    assert 'edgefr_decisions_total{decision="identified",operation="identify"} 1.0' in lines
    assert 'edgefr_decisions_total{decision="unknown",operation="identify"} 1.0' in lines
    assert 'edgefr_requests_total{operation="identify",status="200"} 1.0' in lines
    assert 'edgefr_requests_total{operation="none",status="404"} 1.0' in lines
    assert 'edgefr_problems_total{kind="invalid-request"} 1.0' in lines
    assert "edgefr_people 2.0" in lines
    assert "Ada" not in text
    assert "nobody" not in text, "paths that clients invent must not fill the memory"
