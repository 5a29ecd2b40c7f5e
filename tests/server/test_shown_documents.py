"""Events show nobody how to come closer to a threshold."""

from __future__ import annotations

from edgefr.server.shown_documents import shown_event

EVENT = {"what": "unknown", "similarity": 0.87654, "live": False, "liveness": 0.4999, "threshold": 0.31}


def test_an_admin_sees_two_decimals_and_a_viewer_none() -> None:
    assert shown_event(EVENT, "admin") == EVENT | {"similarity": 0.87, "liveness": 0.49}
    assert shown_event(EVENT, "viewer") == EVENT | {"similarity": None, "liveness": None}


def test_an_event_about_no_face_stays_as_it_is() -> None:
    event = {"what": "source", "condition": "lost"}
    assert shown_event(event, "viewer") == event
