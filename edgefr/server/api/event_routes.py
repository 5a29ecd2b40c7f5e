"""Routes for the log of the gallery: its history in pages, and new events as they happen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from edgefr.errors import EdgefrError
from edgefr.gallery.records import NumberedEvent
from edgefr.server.api.person_documents import ID_PATTERN, number_of_id, time_document
from edgefr.server.api.problems import ProblemError
from edgefr.server.api.role_route import needs, new_router
from edgefr.server.api.service import ApiService, service_of

MAX_PAGE = 500
MAX_STREAMS = 16
"""Streams at once. Each reads the gallery once in POLL_S, because other processes may change it, too."""
POLL_S = 1.0
COMMENT_S = 15.0
"""Seconds without an event after which a comment is sent, so that proxies and clients know that the stream lives."""


class EventDocument(BaseModel):
    id: str
    at: datetime
    what: str = Field(
        description="enrolled, extended, matched, removed, image removed, expired, renamed, imported, exported, "
        "rotated, rebuilt, transformed, accepted or clock"
    )
    name: str = Field(description="the person; empty if the event concerns all; a pseudonym after a removal")
    detail: str


class EventsDocument(BaseModel):
    events: list[EventDocument] = Field(description="newest first")
    next: str | None = Field(description="`before` of the next page, which is older; null after the last one")


def event_router() -> APIRouter:
    """The routes."""
    router = new_router()
    router.add_api_route("/events", list_events, methods=["GET"], **needs("admin"))
    router.add_api_route(
        "/events/stream",
        stream_events,
        methods=["GET"],
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {}}, "description": "Server-sent events."}},
        **needs("admin"),
    )
    return router


def list_events(
    request: Request,
    before: Annotated[str | None, Query(pattern=ID_PATTERN, description="`next` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
) -> EventsDocument:
    """List the log: who was identified, enrolled, changed and removed, and when."""
    number = None if before is None else number_of_id(before)
    page = service_of(request).gallery.events_before(number, limit + 1)
    return EventsDocument(
        events=[_document(event) for event in page[:limit]],
        next=str(page[limit - 1][0]) if len(page) > limit else None,
    )


async def stream_events(
    request: Request,
    after: Annotated[str | None, Query(pattern=ID_PATTERN, description="the last event that is known")] = None,
    last_event_id: Annotated[str | None, Header(pattern=ID_PATTERN, description="as browsers send it")] = None,
) -> StreamingResponse:
    """Send new events as they happen (server-sent events): `id`, `event` (what), and `data` as in the list.

    A stream that ends is continued by a request with the header Last-Event-ID.
    """
    service, known = service_of(request), last_event_id or after
    if service.streams >= MAX_STREAMS:
        raise ProblemError("busy", f"At most {MAX_STREAMS} streams are sent at once.")
    if known is None:
        newest = await asyncio.to_thread(service.gallery.events_before, None, 1)
        number = newest[0][0] if newest else 0
    else:
        number = number_of_id(known)
    unbuffered = {"x-accel-buffering": "no"}  # nginx would collect events before it sends them
    return StreamingResponse(_stream(service, number), media_type="text/event-stream", headers=unbuffered)


async def _stream(service: ApiService, number: int) -> AsyncIterator[str]:
    """The events after a number until the client disconnects, the gallery cannot be read, or the server stops."""
    service.streams += 1
    try:
        yield ": connected\n\n"
        silent = 0.0
        while not service.is_stopping:
            events = await asyncio.to_thread(service.gallery.events_after, number, MAX_PAGE)
            for event in events:
                yield _server_sent(event)
            if events:
                number, silent = events[-1][0], 0.0
                continue
            await asyncio.sleep(POLL_S)
            silent += POLL_S
            if silent >= COMMENT_S:
                yield ": nothing new\n\n"
                silent = 0.0
    except EdgefrError as error:  # the client connects again, and is told then if it lasts
        service.log(f"edgefr: a stream of events has ended: {error}")
    finally:
        service.streams -= 1


def _server_sent(event: NumberedEvent) -> str:
    document = _document(event)
    return f"id: {document.id}\nevent: {document.what}\ndata: {document.model_dump_json()}\n\n"


def _document(numbered: NumberedEvent) -> EventDocument:
    number, event = numbered
    return EventDocument(
        id=str(number), at=time_document(event.at), what=event.what, name=event.name, detail=event.detail
    )
