"""Requests that are generated from the OpenAPI document: no fault of the server, and answers as described."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgefr.server.rate_limiter import RateLimiter
from tests.server.api.conftest import SECRETS, Api

ADMIN = {"Authorization": f"Bearer {SECRETS['admin']}"}


def test_answers_to_generated_requests_are_as_described(
    serve_api: Callable[..., Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    monkeypatch.setattr(RateLimiter, "would_allow", lambda *_: True)
    monkeypatch.setattr("edgefr.server.api.event_routes.MAX_STREAMS", 0)  # a stream has no end
    api = serve_api()
    schema = schemathesis.openapi.from_url(f"{api.url}/v1/openapi.json", headers=ADMIN)
    requests = 0
    for operation in (found.ok() for found in schema.get_all_operations()):
        phases = settings(
            max_examples=12, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
        )

        @phases
        @given(case=operation.as_strategy())
        def fuzz(case: Any) -> None:
            nonlocal requests
            requests += 1
            answer = case.call(timeout=20, headers=ADMIN)
            assert answer.headers["x-request-id"]
            if answer.status_code != 503:  # of the streams
                case.validate_response(
                    answer,
                    checks=[
                        not_a_server_error,
                        content_type_conformance,
                        response_schema_conformance,
                        status_code_conformance,
                    ],
                )

        fuzz()
    assert requests >= 100
    assert api.log == []
