"""The log over HTTP: pages, and a stream of what happens."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from edgefr.gallery.file_gallery import FileGallery
from edgefr.gallery.records import Event
from tests.server.api.conftest import Api


def test_the_log_is_listed_in_pages_newest_first(client: httpx.Client, gallery: FileGallery) -> None:
    for number in range(5):
        gallery.log([Event(1e9 + number, "matched", "Ada", f"{number}")])
    found: list[dict[str, Any]] = []
    parameters: dict[str, Any] = {"limit": 3}
    while True:
        page = client.get("/v1/events", params=parameters).json()
        found += page["events"]
        if page["next"] is None:
            break
        parameters["before"] = page["next"]
    assert [event["detail"] for event in found][:5] == ["4", "3", "2", "1", "0"]
    assert found[0]["at"] == "2001-09-09T01:46:44Z"
    assert [event["what"] for event in found][-2:] == ["enrolled", "enrolled"]


def test_a_page_does_not_read_the_whole_log(
    client: httpx.Client, gallery: FileGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery.log([Event(1e9, "matched", "Ada")] * 500)
    decrypted = []
    rows = gallery._store._rows
    decrypt = rows.decrypt_event

    def counted(number: int, encrypted: object) -> Event:
        decrypted.append(number)
        return decrypt(number, encrypted)

    monkeypatch.setattr(rows, "decrypt_event", counted)
    assert len(client.get("/v1/events", params={"limit": 10}).json()["events"]) == 10
    assert len(decrypted) == 11


def events_of(answer: httpx.Response) -> Iterator[dict[str, str]]:
    """The fields of each event of a stream; comments are left out."""
    fields: dict[str, str] = {}
    for line in answer.iter_lines():
        if line.startswith(":"):
            continue
        if not line and fields:
            yield fields
            fields = {}
        elif line:
            name, _, value = line.partition(": ")
            fields[name] = value


def test_events_are_streamed_and_a_stream_is_continued(client: httpx.Client, gallery: FileGallery) -> None:
    with client.stream("GET", "/v1/events/stream") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        gallery.log([Event.now("matched", "Ada")])
        first = next(events_of(answer))
    assert (first["event"], json.loads(first["data"])["name"]) == ("matched", "Ada")
    gallery.log([Event.now("matched", "Grace")])
    for headers, parameters in (({"Last-Event-ID": first["id"]}, {}), ({}, {"after": first["id"]})):
        with client.stream("GET", "/v1/events/stream", headers=headers, params=parameters) as answer:
            missed = next(events_of(answer))
        assert json.loads(missed["data"])["name"] == "Grace"
        assert int(missed["id"]) > int(first["id"])


def test_streams_are_limited_and_end_with_the_server(
    serve_api: Callable[..., Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgefr.server.api.event_routes.MAX_STREAMS", 1)
    api = serve_api()
    with api.client() as client, client.stream("GET", "/v1/events/stream") as answer:
        lines = answer.iter_lines()
        assert next(lines) == ": connected"
        refused = client.get("/v1/events/stream")
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:edgefr:problem:busy")
        api.server.stop()
        assert all(not line or line.startswith(":") for line in lines), "and the stream ends"
    assert api.service.streams == 0
