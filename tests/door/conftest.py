"""The fake model, a gallery of Ada and Grace, and commands."""

from __future__ import annotations

from tests.camera.conftest import gallery, verifier, watcher  # noqa: F401
from tests.cli.conftest import edgefr  # noqa: F401
