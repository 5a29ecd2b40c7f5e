"""The page behind a proxy with TLS, as docs/watch.md advises."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgefr.camera.watcher import Watcher
from tests.camera.conftest import TOKENS, Door
from tests.server.asking import AS_ADMIN, Answer
from tests.server.nginx import FORWARDED, MISSING, NAME, NGINX, nginx

pytestmark = pytest.mark.skipif(NGINX is None, reason=MISSING)


class Visitor:
    """A browser or a program that reaches the page by the name of the proxy."""

    def __init__(self, port: int, trust: ssl.SSLContext, source: str = "127.0.0.1") -> None:
        self._port, self._trust, self._source = port, trust, source

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        connection = http.client.HTTPSConnection(NAME, self._port, timeout=20, context=self._trust)
        plain = socket.create_connection(("127.0.0.1", self._port), source_address=(self._source, 0))
        connection.sock = self._trust.wrap_socket(plain, server_hostname=NAME)
        given = {"Host": NAME, "Content-Type": "application/json"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, None if body is None else json.dumps(body).encode(), given)
        answer = connection.getresponse()
        found = Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        connection.close()
        return found


@pytest.fixture(params=[FORWARDED, ""], ids=["forwarded headers", "headers of nginx"])
def headers(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "nginx"
    path.mkdir()
    return path


@pytest.fixture
def visitor(watcher: Watcher, folder: Path, headers: str) -> Iterator[tuple[Visitor, Door]]:
    with (
        Door(watcher, public_names=[NAME], trusted_proxies=["127.0.0.1"]) as door,
        nginx(folder, door.url, headers) as (port, trust),
    ):
        yield Visitor(port, trust), door


def test_a_browser_signs_in_and_out_behind_the_proxy(visitor: tuple[Visitor, Door]) -> None:
    browser, door = visitor
    own = {"Origin": f"https://{NAME}", "Sec_Fetch_Site": "same-origin"}
    for claim in ({}, {"X-Forwarded-For": "127.0.0.1"}, {"X-Forwarded-Host": "127.0.0.1"}):
        assert browser.ask("GET", "/api/people", **claim).status == 401
        assert browser.ask("DELETE", "/api/people?name=Ada", **own, **claim).status == 401
    login = browser.ask("POST", "/api/login", {"token": door.link().partition("#code=")[2]}, **own)
    assert login.status == 204
    cookie = login.headers["set-cookie"]
    assert cookie.startswith("__Host-")
    assert "Secure" in cookie
    signed_in = {**own, "Cookie": cookie.split(";")[0]}
    assert browser.ask("GET", "/api/people", **signed_in).status == 200
    assert browser.ask("PATCH", "/api/people?name=Ada", {"name": "Eve"}, **signed_in).status == 204
    assert (
        browser.ask("DELETE", "/api/people?name=Eve", **{**signed_in, "Origin": "https://evil.example"}).status == 403
    )
    assert browser.ask("POST", "/api/logout", {}, **signed_in).status == 204
    assert browser.ask("GET", "/api/people", **signed_in).status == 401


def test_guesses_through_the_proxy_are_counted_by_client(watcher: Watcher, folder: Path) -> None:
    """What a client writes into X-Forwarded-For does not count, because the proxy appends its address."""
    with (
        Door(watcher, public_names=[NAME], trusted_proxies=["127.0.0.1"]) as door,
        nginx(folder, door.url, FORWARDED) as (port, trust),
    ):
        attacker, admin = Visitor(port, trust, "127.0.0.66"), Visitor(port, trust, "127.0.0.77")
        guesses = [
            attacker.ask(
                "GET", "/api/people", Authorization="Bearer a wrong token", **{"X-Forwarded-For": f"10.0.0.{number}"}
            ).status
            for number in range(14)
        ]
        assert guesses == [401] * 10 + [429] * 4
        assert admin.ask("GET", "/api/people", **AS_ADMIN).status == 200
        login = admin.ask("POST", "/api/login", {"token": TOKENS["viewer"]}, Origin=f"https://{NAME}")
        assert login.status == 204


def test_without_its_public_name_the_page_refuses_the_proxy(watcher: Watcher, folder: Path) -> None:
    with Door(watcher) as door, nginx(folder, door.url, FORWARDED) as (port, trust):
        refused = Visitor(port, trust).ask("GET", "/api/people", **AS_ADMIN)
    assert refused.status == 403
    assert "--public-name" in json.loads(refused.body)["detail"]
