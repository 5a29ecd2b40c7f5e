"""Select events, and write them as JSON lines or CSV."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Iterable

from edgefr.camera.session import Document

COLUMNS = (
    *("number", "what", "at", "seconds", "name", "similarity", "track", "x", "y", "width", "height"),
    *("live", "liveness", "source", "condition", "rule", "reason"),
)
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of texts that a spreadsheet would run as a formula; an apostrophe is put before them."""


def select_events(events: Iterable[Document], what: str = "", name: str = "") -> list[Document]:
    """The events of a kind whose name contains a text, whatever its case and accents; "" selects all."""
    part = _fold(name)
    return [
        event
        for event in events
        if what in ("", event["what"]) and (not part or part in _fold(event.get("name") or ""))
    ]


def json_lines_from_events(events: Iterable[Document]) -> str:
    """One JSON document a line, with the keys of `edgefr watch --json`."""
    return "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events)


def csv_from_events(events: Iterable[Document]) -> str:
    """A table with a header; the box is split into x, y, width and height in pixels."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, restval="", extrasaction="ignore")
    writer.writeheader()
    for event in events:
        # Events about no face have no box.
        box = dict(zip(("x", "y", "width", "height"), event.get("box", ()), strict=False))
        writer.writerow({key: _cell(value) for key, value in {**event, **box}.items()})
    return stream.getvalue()


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value


def _fold(text: str) -> str:
    decomposed = unicodedata.normalize("NFD", text)
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter)).casefold()
