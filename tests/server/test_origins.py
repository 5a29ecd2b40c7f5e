"""Requests that another web site causes are refused, and responses tell browsers to keep other sites out."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from edgefr.camera.watcher import Watcher
from edgefr.server.page_origins import PageOrigins
from tests.camera.conftest import Door
from tests.server.asking import ask


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "//"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},  # another port of this host
    ],
)
@pytest.mark.parametrize(("method", "path"), [("DELETE", "/api/people?name=Ada"), ("GET", "/api/picture")])
def test_another_site_can_neither_read_nor_change_anything(
    served: str, headers: dict[str, str], method: str, path: str
) -> None:
    assert ask(served, method, path, **headers).status == 403
    assert "Ada" in str(ask(served, "GET", "/api/people").json)


def test_a_link_of_another_site_opens_the_page(served: str) -> None:
    link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert ask(served, "GET", "/", **link).status == 200
    assert ask(served, "GET", "/api/people", **link).status == 403
    assert ask(served, "GET", "/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors").status == 403


def test_an_unknown_host_name_is_refused(served: str) -> None:
    """Another site could let its name point to 127.0.0.1 and would then be the same origin (DNS rebinding)."""
    port = urlsplit(served).port
    for host in ("evil.example", "[", "127.0.0.1.evil.example", "", "door.example"):
        assert ask(served, "GET", "/api/people", Host=host).status in (400, 403)
    assert ask(served, "GET", "/api/people", Host=f"localhost:{port}").status == 200


def test_a_public_name_is_a_host_and_an_origin(watcher: Watcher) -> None:
    """A proxy may pass its name on as Host, or not."""
    with Door(watcher, public_names=["Door.example", "hall.example:8443"]) as door:
        assert "https://Door.example/#code=" in door.log[0]
        for host in ("door.example", "door.example:443", "hall.example:8443", None):
            named = {} if host is None else {"Host": host}
            for origin in ("https://door.example", "https://hall.example:8443", "https://door.example:443"):
                assert ask(door.url, "POST", "/api/links", {}, Origin=origin, **named).status == 201
            for origin in (
                "http://hall.example",
                "https://hall.example",
                "https://evil.example",
                "https://door.example.evil",
            ):
                assert ask(door.url, "POST", "/api/links", {}, Origin=origin, **named).status == 403
        assert ask(door.url, "GET", "/api/people", Host="evil.example").status == 403


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 200), ("/page/page.js", 200), ("/api/state", 200), ("/api/none", 404), ("/page/none", 404)],
)
def test_every_response_keeps_other_sites_out(served: str, path: str, status: int) -> None:
    answer = ask(served, "GET", path)
    refused = ask(served, "GET", path, Host="evil.example")
    assert (answer.status, refused.status) == (status, 403)
    for headers in (answer.headers, refused.headers):
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]


HEADER = st.text(st.characters(max_codepoint=255), max_size=40)


@given(HEADER | st.sampled_from(["http://[", "https://door.example", "http://door.example:99999999"]), HEADER)
def test_any_origin_and_host_is_answered(origin: str, host: str) -> None:
    headers = [(b"origin", origin.encode("latin-1")), (b"host", host.encode("latin-1"))]
    request = Request({"type": "http", "method": "POST", "path": "/api/people", "headers": headers})
    origins = PageOrigins({"127.0.0.1"}, ["door.example"])
    assert origins.allows_host(request) in (True, False)
    assert origins.allows_origin(request) in (True, False)
