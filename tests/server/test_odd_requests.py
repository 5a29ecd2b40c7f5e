"""Malformed requests are refused with a sentence, and never cause an error of the server (5xx)."""

from __future__ import annotations

import json
import socket
from itertools import product
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgefr.camera.watcher import Watcher
from edgefr.server.rate_limiter import RateLimiter
from tests.camera.conftest import TOKENS, Door
from tests.server.asking import AS_ADMIN, Answer, ask

NUMBERS = ("1e999", "-1e999", "NaN", "Infinity", "1" * 400, "1" * 4000, "0.5", "true", "null", "[]", "{}", '""')
TEXTS = (r'"\ud800"', r'"\udfff\ud800"', r'"\u0000"', '"\\', '"' + 300 * "a" + '"', "1e999", "[" * 1500, '{"a":' * 600)
BODIES = [
    *(f'{{"name": "Eve", "track": {number}}}' for number in NUMBERS),
    *(f'{{"name": {text}, "track": 1}}' for text in TEXTS),
    *(f'{{"name": {text}, "token": {text}, "role": {text}, "everyone": {text}}}' for text in TEXTS),
    *NUMBERS,
    *TEXTS,
    "",
]
ODD_BYTES = [b"\xff\xfe{}", b'{"name": "\xff", "track": 1}', b'{"name": "\xed\xa0\x80", "track": 1}']
ROUTES = [
    ("POST", "/api/login"),
    ("POST", "/api/logout"),
    ("POST", "/api/links"),
    ("POST", "/api/people"),
    ("PATCH", "/api/people?name=Ada"),
    ("DELETE", "/api/people?name=%ff"),
    ("POST", "/api/people/photograph"),
    ("POST", "/api/compare"),
]


@pytest.fixture
def url(watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(RateLimiter, "allow", lambda *_: True)
    with Door(watcher) as door:
        yield door.url


def check(answer: Answer) -> None:
    assert answer.status < 500, answer.body[:300]
    if answer.status >= 400:
        detail = answer.json["detail"]
        assert isinstance(detail, str) or all(fault["msg"] for fault in detail)


def test_bodies_with_impossible_numbers_and_texts(url: str) -> None:
    for (method, path), body in product(ROUTES, [*BODIES, *ODD_BYTES]):
        data = body if isinstance(body, bytes) else body.encode()
        for kind in ("application/json", "multipart/form-data; boundary=x", "multipart/form-data", "text/\xff"):
            check(ask(url, method, path, data, Content_Type=kind))
    assert len(ask(url, "GET", "/api/people").json["people"]) == 2


ODD_HEADERS: list[dict[str, str]] = [
    {"Origin": "http://["},
    {"Origin": "http://[::1"},
    {"Origin": "http://a:b:c"},
    {"Origin": "http://\xff"},
    {"Origin": "http://x:99999999"},
    {"Host": "["},
    {"Host": "a:99999999999"},
    {"Host": "\xff"},
    {"Cookie": "\xff=\xff; edgefr"},
    {"Cookie": "edgefr-1=" + 3000 * "\xfe"},
    {"Authorization": "Bearer \xff\xfe"},
    {"Authorization": "Bearer"},
    {"Authorization": "Basic =="},
    {"Sec-Fetch-Site": "\xff"},
    {"Content-Type": "application/json; charset=\xff"},
    {"Content-Type": "application/json; charset=none"},
    {"X-Forwarded-For": "[, ,,\xff"},
    {"X-Forwarded-Proto": "\xff"},
    {"Accept": "\xff"},
    {"If-None-Match": "\xff"},
    {"If-Modified-Since": "Thu, 99 Foo 99999999999 00:00:00 GMT"},
    {"Range": "bytes=-1e999,\xff"},
    {"Range": "bytes=" + "0-1," * 500},
]


@pytest.mark.parametrize("proxies", [[], ["127.0.0.1"]], ids=["direct", "proxy"])
def test_malformed_headers(watcher: Watcher, proxies: list[str]) -> None:
    with Door(watcher, trusted_proxies=proxies) as door:
        for headers in ODD_HEADERS:
            for path in ("/", "/page/page.js", "/api/state"):
                answer = ask(door.url, "GET", path, **headers)
                assert answer.status < 500, (headers, answer.body)
            check(ask(door.url, "POST", "/api/links", {}, **headers))


ODD_PATHS = [
    *(f"/api/events?after={quote(number)}" for number in NUMBERS),
    *(f"/api/events?after={text}" for text in ("%ff", "%00", "%ed%a0%80", "1&after=2", "%", "%zz")),
    *(
        f"/api/events.{kind}"
        for kind in ("csv?name=%ff", "csv?what=%00", "jsonl?name=%ed%a0%80", "%00", "%ff", "csv%0a")
    ),
    *(f"/page/{name}" for name in ("%00", "%ff", "..%00", 300 * "a", 3000 * "a/", "page.js%00", "%2e%2e/")),
    "/%ff",
    "/api/%ed%a0%80",
]


def test_malformed_addresses(url: str) -> None:
    for path, method in product(ODD_PATHS, ("GET", "HEAD", "OPTIONS", "PUT", "TRACE")):
        answer = ask(url, method, path)
        assert answer.status < 500, (method, path, answer.body)


def raw(url: str, request: bytes) -> bytes:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return connection.recv(1 << 16)


ODD_REQUESTS = [
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a client that speaks TLS
    b"POST /api/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1e999\r\n\r\n{}",
    b"POST /api/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: " + 5000 * b"9" + b"\r\n\r\n{}",
    b"POST /api/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n{}",
    b"POST /api/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    b"POST /api/login HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: " + 70_000 * b"a" + b"\r\n\r\n",
    b"GET /api/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
]


def test_malformed_requests(served: str) -> None:
    refusals = (b"HTTP/1.1 400", b"HTTP/1.1 401", b"HTTP/1.1 403", b"HTTP/1.1 413")
    for request in ODD_REQUESTS:
        assert raw(served, request)[:12] in refusals, request[:100]
    assert ask(served, "GET", "/api/state").status == 200


ODD_TEXT = st.text(st.characters(), max_size=30) | st.sampled_from(["\ud800", "\x00", "\u202e", "٣"])
ODD_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ODD_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD_TEXT, inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(["name", "track", "confirm", "token", "role", "everyone", "first", "photo"])


def test_any_json_document_is_answered(url: str) -> None:
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(route=st.sampled_from(ROUTES), document=ODD_JSON | st.dictionaries(FIELDS, ODD_JSON))
    def send(route: tuple[str, str], document: Any) -> None:
        method, path = route
        check(ask(url, method, path, json.dumps(document).encode(), Content_Type="application/json"))

    send()


def test_secrets_are_not_repeated_in_refusals(served: str) -> None:
    answer = ask(served, "POST", "/api/login", {"token": [TOKENS["admin"]]}, Authorization="")
    assert answer.status == 422
    assert TOKENS["admin"].encode() not in answer.body
    assert AS_ADMIN["Authorization"].encode() not in ask(served, "GET", "/api/none").body
