"""Who may use the page: links, tokens, sessions, roles, and the limits on guesses."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from edgefr.camera.watcher import Watcher
from edgefr.errors import InvalidArgumentError, UnavailableError
from edgefr.server.rate_limiter import RateLimiter, client_key
from edgefr.server.web_server import WebServer
from edgefr.server.web_sessions import CODE_S, IDLE_S, LIFE_S, WebSessions
from tests.camera.conftest import TOKENS, Door
from tests.server.asking import Answer, ask
from tests.waiting import wait_for

AS_NOBODY = {"Authorization": ""}
AS_VIEWER = {"Authorization": f"Bearer {TOKENS['viewer']}"}


def sign_in(url: str, secret: str, **headers: str) -> Answer:
    return ask(url, "POST", "/api/login", {"token": secret}, **AS_NOBODY, **headers)


def cookie_of(answer: Answer) -> dict[str, str]:
    """Headers of a browser that has kept the cookie of an answer."""
    return {"Cookie": answer.headers["set-cookie"].split(";")[0], **AS_NOBODY}


def code_of(door: Door) -> str:
    return urlsplit(door.link()).fragment.removeprefix("code=")


@pytest.mark.parametrize("headers", [AS_NOBODY, {"Authorization": "Bearer wrong"}, {"Cookie": "edgefr=x", **AS_NOBODY}])
def test_nobody_gets_anything_without_a_session_or_a_token(served: str, headers: dict[str, str]) -> None:
    """Also on this machine, and whatever a client claims about its address."""
    claims = {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "https", "Forwarded": "for=127.0.0.1"}
    for path in ("/api/state", "/api/people", "/api/picture", "/api/live", "/api/events.csv", "/openapi.json"):
        assert ask(served, "GET", path, **headers).status == 401
    assert ask(served, "DELETE", "/api/people?name=Ada", **headers, **claims).status == 401
    assert ask(served, "GET", "/", **headers).status == 200


def test_a_link_signs_in_once(door: Door) -> None:
    code = code_of(door)
    answer = sign_in(door.url, code)
    cookie = answer.headers["set-cookie"]
    assert answer.status == 204
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie  # a browser would not keep it without TLS
    assert code not in cookie
    assert ask(door.url, "GET", "/api/people", **cookie_of(answer)).status == 200
    assert sign_in(door.url, code).status == 401
    assert sign_in(door.url, code_of(door)).status == 204


def test_a_code_is_no_token(door: Door) -> None:
    assert ask(door.url, "GET", "/api/people", Authorization=f"Bearer {code_of(door)}").status == 401


def test_a_token_opens_sessions_that_differ(served: str) -> None:
    first, second = (cookie_of(sign_in(served, TOKENS["admin"])) for _ in range(2))
    assert first != second
    assert ask(served, "POST", "/api/logout", {}, **first).status == 204
    assert ask(served, "GET", "/api/people", **first).status == 401
    assert ask(served, "GET", "/api/people", **second).status == 200
    assert ask(served, "POST", "/api/logout", {"everyone": True}, **second).status == 204
    assert ask(served, "GET", "/api/people", **second).status == 401


def test_signing_everyone_out_makes_links_invalid_and_ends_live_pictures(door: Door) -> None:
    code = code_of(door)
    browser = cookie_of(sign_in(door.url, code_of(door)))
    parts = urlsplit(door.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    connection.request("GET", "/api/live", headers=browser)
    live = connection.getresponse()
    assert live.read(1000)
    assert ask(door.url, "POST", "/api/logout", {"everyone": True}).status == 204
    live.read()  # to its end
    connection.close()
    assert sign_in(door.url, code).status == 401


def test_sessions_and_codes_expire() -> None:
    now = [0.0]
    sessions = WebSessions(lambda: now[0])
    code, late = sessions.create_code("viewer"), sessions.create_code("viewer")
    assert (sessions.redeem(code), sessions.redeem(code)) == ("viewer", None)
    session, unused = sessions.open("admin"), sessions.open("admin")
    now[0] = CODE_S + 1
    assert sessions.redeem(late) is None
    while now[0] < LIFE_S:
        assert sessions.role_of(session) == "admin"
        now[0] += IDLE_S - 1
    assert sessions.role_of(unused) is None
    assert sessions.role_of(session) is None


def test_the_oldest_sessions_and_codes_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgefr.server.web_sessions.MAX_SESSIONS", 2)
    sessions = WebSessions()
    opened = [sessions.open("admin") for _ in range(3)]
    assert [sessions.role_of(session) for session in opened] == [None, "admin", "admin"]


def test_a_viewer_watches_changes_nothing_and_sees_no_similarity(door: Door) -> None:
    wait_for(lambda: ask(door.url, "GET", "/api/events").json["events"])
    wait_for(lambda: ask(door.url, "GET", "/api/scene").json["faces"])
    assert ask(door.url, "GET", "/api/state", **AS_VIEWER).json["role"] == "viewer"
    for path in ("/api/scene", "/api/events", "/api/events.jsonl"):
        texts = [ask(door.url, "GET", path, **AS_VIEWER).body.decode() for _ in range(1)]
        documents = [json.loads(line) for text in texts for line in text.splitlines()]
        assert numbers(documents, "similarity") == set()
    assert ask(door.url, "GET", "/api/picture", **AS_VIEWER).status == 200
    changes: list[tuple[str, str, Any]] = [
        ("POST", "/api/people", {"name": "Ada", "track": 1}),
        ("POST", "/api/people/photograph", b""),
        ("PATCH", "/api/people?name=Ada", {"name": "Eve"}),
        ("DELETE", "/api/people?name=Ada", None),
        ("POST", "/api/compare", b""),
        ("POST", "/api/links", {"role": "admin"}),
        ("POST", "/api/logout", {"everyone": True}),
    ]
    for method, path, body in changes:
        assert ask(door.url, method, path, body, **AS_VIEWER).status == 403, path
    assert len(ask(door.url, "GET", "/api/people").json["people"]) == 2


def numbers(document: Any, key: str) -> set[float]:
    """All values of a key in a document, None left out."""
    if isinstance(document, list):
        return {number for entry in document for number in numbers(entry, key)}
    if isinstance(document, dict):
        own = {document[key]} if document.get(key) is not None else set()
        return own | {number for entry in document.values() for number in numbers(entry, key)}
    return set()


def test_an_admin_sees_similarities_with_two_decimals(served: str) -> None:
    wait_for(lambda: len(ask(served, "GET", "/api/events").json["events"]) > 1)
    documents = [ask(served, "GET", path).json for path in ("/api/scene", "/api/events")]
    found = numbers(documents, "similarity")
    assert found
    assert all(number == round(number, 2) for number in found)


def test_an_admin_makes_a_link_for_a_viewer(served: str) -> None:
    link = ask(served, "POST", "/api/links", {"role": "viewer"}).json
    viewer = cookie_of(sign_in(served, link["code"]))
    assert ask(served, "GET", "/api/state", **viewer).json["role"] == "viewer"


def test_wrong_tokens_are_limited_whatever_address_a_client_claims(served: str) -> None:
    """The right token is refused, too, or guesses would go on; who has signed in goes on working."""
    browser = cookie_of(sign_in(served, TOKENS["admin"]))
    answers = [
        ask(
            served,
            "GET",
            "/api/people",
            Authorization=f"Bearer guess {number}",
            **{"X-Forwarded-For": f"10.0.0.{number}", "X-Real-IP": f"10.0.0.{number}"},
        )
        for number in range(15)
    ]
    assert [answer.status for answer in answers] == [401] * 10 + [429] * 5
    assert answers[-1].headers["retry-after"] == "60"
    assert ask(served, "GET", "/api/people").status == 429
    assert ask(served, "GET", "/api/people", **browser).status == 200


def test_wrong_codes_are_limited(door: Door) -> None:
    code = code_of(door)
    answers = [sign_in(door.url, f"guess {number}") for number in range(10)]
    assert [answer.status for answer in answers[:5]] == [401] * 5
    assert (answers[-1].status, answers[-1].headers["retry-after"]) == (429, "60")
    assert sign_in(door.url, code).status == 429


def test_guesses_from_many_addresses_are_limited_together(watcher: Watcher) -> None:
    """An address from which somebody has signed in before is not kept out by them."""
    guess = {"Authorization": "Bearer a wrong token"}
    with Door(watcher, trusted_proxies=["127.0.0.1"]) as door:
        assert ask(door.url, "GET", "/api/people", **{"X-Forwarded-For": "10.9.9.9"}).status == 200
        statuses = [
            ask(door.url, "GET", "/api/people", **guess, **{"X-Forwarded-For": f"10.0.0.{number}"}).status
            for number in range(1, 140)
        ]
        assert statuses[:100] == [401] * 100
        assert 429 in statuses[100:]
        assert ask(door.url, "GET", "/api/people", **{"X-Forwarded-For": "10.9.9.9"}).status == 200


def test_an_ipv6_client_is_counted_by_its_network() -> None:
    assert client_key("2001:db8:0:1::1") == client_key("2001:db8:0:1:ffff::2") != client_key("2001:db8:0:2::1")
    assert client_key("::ffff:10.0.0.1") == client_key("10.0.0.1")
    limiter = RateLimiter(1, rate=0.0)
    assert limiter.would_allow("a")
    assert limiter.allow("a")
    assert not limiter.would_allow("a")


def test_another_link_is_printed_on_request(watcher: Watcher) -> None:
    log: list[str] = []
    page = WebServer(watcher, "the door", "0.0.0.0", 0, {}, log.append)  # noqa: S104
    page.print_link()
    with page:
        links = [sentence.split()[-1] for sentence in log if "the page is at" in sentence]
        assert len(set(links)) == 2
        local = f"http://127.0.0.1:{urlsplit(page.url).port}"
        for link in links:
            assert sign_in(local, urlsplit(link).fragment.removeprefix("code=")).status == 204
        assert ask(local, "GET", "/api/people", Authorization="Bearer ").status == 401


def test_settings_that_cannot_work_are_refused(watcher: Watcher, door: Door) -> None:
    def start(tokens: Any = (), port: int = 0, **options: Any) -> WebServer:
        return WebServer(watcher, "the door", "127.0.0.1", port, dict(tokens), str, **options)

    for role, variable in (("admin", "EDGEFR_WEB_TOKEN"), ("viewer", "EDGEFR_WEB_VIEWER_TOKEN")):
        with pytest.raises(InvalidArgumentError, match=rf"\${variable}, found 5"):
            start({role: "short"})
    for name in ("https://door.example", "door example", "", "door.example:port", "-door"):
        with pytest.raises(InvalidArgumentError, match="--public-name"):
            start(public_names=[name])
    for proxy in ("proxy.example", "*", "0.0.0.0/0", "10.0.0.1/8", ""):
        with pytest.raises(InvalidArgumentError, match="--trusted-proxy"):
            start(trusted_proxies=[proxy])
    with pytest.raises(UnavailableError, match="another --port"):
        start(port=urlsplit(door.url).port or 0)
