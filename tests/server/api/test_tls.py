"""The API on a network: TLS of its own, or that of a proxy."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from edgefr.errors import InvalidArgumentError
from edgefr.server.api.api_server import Binding
from tests.server.api.conftest import SECRETS, Api
from tests.server.nginx import NAME, write_certificate

PROXIED = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7"}


def test_the_server_speaks_tls(serve_api: Callable[..., Api], tmp_path: Path) -> None:
    write_certificate(tmp_path)
    api = serve_api(binding=Binding("127.0.0.1", 0, tmp_path / "certificate.pem", tmp_path / "key.pem"))
    assert api.url.startswith("https://127.0.0.1:")
    trusted = ssl.create_default_context(cafile=str(tmp_path / "certificate.pem"))
    with httpx.Client(
        verify=trusted, trust_env=False, headers={"Authorization": f"Bearer {SECRETS['admin']}"}
    ) as client:
        answer = client.get(f"{api.url}/v1/people", extensions={"sni_hostname": NAME})
    assert answer.status_code == 200
    with pytest.raises(httpx.HTTPError):
        httpx.get(api.url.replace("https", "http"), trust_env=False)


def test_an_address_of_the_network_needs_a_certificate_or_a_proxy() -> None:
    with pytest.raises(InvalidArgumentError, match=r"TLS on 0\.0\.0\.0"):
        Binding("0.0.0.0", 0).check()  # noqa: S104
    with pytest.raises(InvalidArgumentError, match="Give both"):
        Binding("127.0.0.1", 0, Path("certificate.pem")).check()


def test_a_certificate_that_cannot_be_read_is_an_error(serve_api: Callable[..., Api], tmp_path: Path) -> None:
    write_certificate(tmp_path)
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    for pair in ((tmp_path / "missing", key), (key, certificate)):
        with pytest.raises(InvalidArgumentError, match="--private-key"):
            serve_api(binding=Binding("127.0.0.1", 0, *pair))


def test_behind_a_proxy_only_requests_over_tls_are_answered(serve_api: Callable[..., Api]) -> None:
    api = serve_api(binding=Binding("0.0.0.0", 0, trusted_proxies=["127.0.0.1"]))  # noqa: S104
    url = f"http://127.0.0.1:{api.url.rpartition(':')[2]}"
    headers = {"Authorization": f"Bearer {SECRETS['admin']}"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False) as client:
        direct = client.get("/v1/people")
        assert (direct.status_code, direct.json()["type"]) == (403, "urn:edgefr:problem:tls-required")
        assert client.get("/v1/people", headers=PROXIED).status_code == 200


def test_clients_of_a_proxy_are_told_apart_and_others_cannot_pretend(serve_api: Callable[..., Api]) -> None:
    """The wrong tokens of one client must not keep the others out."""
    api = serve_api(binding=Binding("127.0.0.1", 0, trusted_proxies=["127.0.0.1"]))
    with api.client("admin") as client:
        for _ in range(10):
            client.get("/metrics", headers={**PROXIED, "Authorization": "Bearer wrong"})
        assert client.get("/metrics", headers=PROXIED).status_code == 429
        assert client.get("/metrics", headers={**PROXIED, "X-Forwarded-For": "192.0.2.8"}).status_code == 200
    with serve_api().client("admin") as client:  # which trusts no proxy
        for number in range(10):
            client.get("/metrics", headers={"Authorization": "Bearer wrong", "X-Forwarded-For": f"192.0.2.{number}"})
        assert client.get("/metrics", headers={"X-Forwarded-For": "192.0.2.99"}).status_code == 429
