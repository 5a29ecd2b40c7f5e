"""The small models of the backends' tests, built here."""

from __future__ import annotations

from tests.runtimes.conftest import faces, make_model, model  # noqa: F401
