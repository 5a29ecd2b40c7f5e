"""What the routes of the API share: gallery, workers, tokens, limits and settings."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request

from edgefr.gallery.base import Gallery
from edgefr.gallery.identifier import Identifier
from edgefr.server.api.api_metrics import ApiMetrics
from edgefr.server.api.problems import ProblemError
from edgefr.server.api.tokens import Token, TokenSet
from edgefr.server.api.worker_pool import WorkerPool
from edgefr.server.rate_limiter import RateLimiter, client_key


@dataclass(frozen=True)
class ApiSettings:
    """What an operator decides.

    Attributes:
        fmr: False match rate whose threshold decides a verification; None for the default of the model.
        threshold: Similarity that decides a verification, instead.
        embeddings: Whether embeddings may be read.
        keep_crops: Whether the aligned faces of enrolled people are kept.
        attempts_per_minute: Faces that were not accepted, of one token and one address.
        needs_tls: Whether a request must have come over TLS.
    """

    fmr: float | None = None
    threshold: float | None = None
    embeddings: bool = False
    keep_crops: bool = False
    attempts_per_minute: int = 300
    needs_tls: bool = False


class ApiService:
    """Shared by all requests.

    Attributes:
        identifier: Gallery and threshold.
        gallery: The gallery of the identifier.
        pool: The workers.
        tokens: Who may send requests.
        settings: What the operator has decided.
        metrics: Counters.
        log: Called with a sentence about a fault.
        changing: Held by a change of people, so that two enrolments of one face cannot overlook each other.
        streams: Number of streams of events that are sent now.
        is_stopping: Whether the server finishes what runs, and begins nothing.
    """

    def __init__(
        self,
        identifier: Identifier,
        pool: WorkerPool,
        tokens: TokenSet,
        settings: ApiSettings,
        log: Callable[[str], None],
    ) -> None:
        self.identifier, self.pool, self.tokens, self.settings, self.log = identifier, pool, tokens, settings, log
        self.gallery: Gallery = identifier.gallery
        self.metrics = ApiMetrics(self.gallery, pool)
        self.changing = threading.Lock()
        self.streams, self.is_stopping = 0, False
        self._attempts = RateLimiter(settings.attempts_per_minute, settings.attempts_per_minute / 60)

    def check_attempts(self, request: Request) -> None:
        """Check that a client has not failed too often: who may try for ever can change a picture until it matches.

        Raises:
            ProblemError: It has.
        """
        if not self._attempts.would_allow(_client(request)):
            raise ProblemError("too-many-requests", "Too many faces were not accepted. Try again in a minute.")

    def count_failure(self, request: Request) -> None:
        """Count a face that was not accepted."""
        self._attempts.allow(_client(request))


def service_of(request: Request) -> ApiService:
    """The service that a request belongs to."""
    service: ApiService = request.app.state.service
    return service


def token_of(request: Request) -> Token:
    """The token of a request, as the gate has found it."""
    token: Token = request.state.token
    return token


def address_of(request: Request) -> str:
    """The key under which the address of a client is counted."""
    return client_key(request.client.host if request.client else "")


def _client(request: Request) -> str:
    return f"{token_of(request).name} {address_of(request)}"
