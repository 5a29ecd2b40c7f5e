"""An API that is served on a port of its own, with the fake model and a gallery of two people."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from edgefr.gallery.file_gallery import FileGallery
from edgefr.gallery.identifier import Identifier
from edgefr.io.service_manager import ServiceManager
from edgefr.recognition.verifier import Verifier
from edgefr.server.api.api_server import ApiServer, Binding
from edgefr.server.api.service import ApiService, ApiSettings
from edgefr.server.api.tokens import ROLES, ApiRole, Token, TokenSet
from edgefr.server.api.worker_pool import WorkerPool
from tests.camera.conftest import gallery, new_verifier, verifier  # noqa: F401
from tests.camera.people import enrolled
from tests.server.api.photographs import ADA, GRACE

SECRETS: dict[ApiRole, str] = {role: f"a token of the role {role}" for role in ROLES}


class Api:
    """A running API.

    Attributes:
        service: What it serves.
        url: Its address.
        log: What it has logged.
    """

    def __init__(self, identifier: Identifier, waiting: int | None, binding: Binding, **settings: Any) -> None:
        self.log: list[str] = []
        tokens = TokenSet(Token.of(role, role, secret) for role, secret in SECRETS.items())
        pool = WorkerPool(identifier.verifier, 1, waiting)
        needed = {"embeddings": True, "needs_tls": binding.needs_tls, **settings}
        self.service = ApiService(identifier, pool, tokens, ApiSettings(**needed), self.log.append)
        self.server = ApiServer(self.service, binding, ServiceManager(None))
        self.url = self.server.url
        self._thread = threading.Thread(target=self.server.run, name="api")
        self._thread.start()

    def client(self, role: ApiRole | None = "admin", **options: Any) -> httpx.Client:
        """A client with the token of a role."""
        headers = {} if role is None else {"Authorization": f"Bearer {SECRETS[role]}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=20, trust_env=False, verify=False, **options)  # noqa: S501 (no TLS, whose certificates take long to load)

    def stop(self) -> None:
        """Stop it, and wait until it has ended."""
        self.server.stop()
        self._thread.join()
        self.service.pool.close()


@pytest.fixture
def serve_api(verifier: Verifier, gallery: FileGallery) -> Iterator[Callable[..., Api]]:  # noqa: F811
    """Starts APIs that end with the test."""
    with ExitStack() as stack:

        def serve(waiting: int | None = None, binding: Binding | None = None, **settings: Any) -> Api:
            api = Api(Identifier(verifier, gallery), waiting, binding or Binding("127.0.0.1", 0), **settings)
            stack.callback(api.stop)
            return api

        yield serve


@pytest.fixture
def api(serve_api: Callable[..., Api]) -> Api:
    return serve_api()


@pytest.fixture
def client(api: Api) -> Iterator[httpx.Client]:
    """A client with the token of an admin."""
    with api.client() as opened:
        yield opened


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API of a whole module, for tests that change nothing."""
    one = new_verifier()
    with enrolled(tmp_path_factory.mktemp("api") / "people.gallery", one, {"Ada": ADA, "Grace": GRACE}) as opened:
        api = Api(Identifier(one, opened), None, Binding("127.0.0.1", 0))
        yield api
        api.stop()


@pytest.fixture(scope="module")
def admin(standing: Api) -> Iterator[httpx.Client]:
    """A client of it with the token of an admin."""
    with standing.client() as opened:
        yield opened
