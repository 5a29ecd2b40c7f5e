"""What a role is shown of similarities: an admin two decimals, a viewer nothing.

A similarity with all of its digits tells a stranger how to change a photograph until it matches.
"""

from __future__ import annotations

import math

from edgefr.camera.session import Document
from edgefr.server.web_sessions import Role


def shown_similarity(value: float, role: Role) -> float | None:
    """A similarity cut to two decimals, so that one below a threshold of two decimals stays below it."""
    return math.floor(round(100 * value, 6)) / 100 if role == "admin" else None


def shown_event(event: Document, role: Role) -> Document:
    """An event with the similarity that a role is shown."""
    if event.get("similarity") is None:
        return event
    return {**event, "similarity": shown_similarity(event["similarity"], role)}
