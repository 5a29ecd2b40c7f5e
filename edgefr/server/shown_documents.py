"""What a role is shown of similarities and liveness scores: an admin two decimals, a viewer nothing.

A similarity with all of its digits tells a stranger how to change a photograph until it matches, and a liveness score
how to change a print until it passes.
"""

from __future__ import annotations

import math

from edgefr.camera.session import Document
from edgefr.server.web_sessions import Role


def shown_similarity(value: float, role: Role) -> float | None:
    """A similarity or a score cut to two decimals, so that one below a threshold of two decimals stays below it."""
    return math.floor(round(100 * value, 6)) / 100 if role == "admin" else None


def shown_event(event: Document, role: Role) -> Document:
    """An event with the similarity and the liveness score that a role is shown."""
    given = {key: event[key] for key in ("similarity", "liveness") if event.get(key) is not None}
    return {**event, **{key: shown_similarity(value, role) for key, value in given.items()}}
