"""The table of a gallery's file that holds a snapshot of the search index, encrypted in parts.

Versions of edgefr that do not know the table ignore it; there is none in a file without a snapshot. Each part has a key
of its own, wrapped by the gallery key like those of people. A part that is written again gets a new key, so that nobody
can decrypt what remains of the former one in worn-out flash cells, and with it people who were removed since.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from edgefr.gallery.crypto.encryption import DamagedError
from edgefr.gallery.stores.row_codec import RowCodec

Range = tuple[int, int]
"""Lowest and highest id of the people that a part stands for."""


class SnapshotTable:
    """The parts of a snapshot. Writing needs an open transaction."""

    def __init__(self, database: sqlite3.Connection, rows: RowCodec) -> None:
        self._database = database
        self._rows = rows

    def ranges(self) -> list[Range]:
        """The ranges of all parts."""
        found = self._fetch("SELECT first, last FROM snapshot ORDER BY last")
        return [(first, last) for first, last in found if isinstance(first, int)]

    def get(self, one: Range) -> bytes | None:
        """The content of a part, or None if there is none or it is damaged."""
        try:
            for key, body in self._fetch("SELECT key, body FROM snapshot WHERE first = ? AND last = ?", *one):
                return self._rows.decrypt_part(*one, key, body)
        except sqlite3.OperationalError:  # the file cannot be read
            raise
        except (DamagedError, sqlite3.DatabaseError):
            return None
        return None

    def around(self, number: int) -> Range | None:
        """The range of the part that stands for the person with this id."""
        for first, last in self._fetch(
            "SELECT first, last FROM snapshot WHERE last >= ? ORDER BY last LIMIT 1", number
        ):
            return (first, last) if isinstance(first, int) and first <= number else None
        return None

    def write(self, one: Range, data: bytes) -> None:
        """Insert a part, or replace it."""
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS snapshot "
            "(last INTEGER PRIMARY KEY, first INTEGER NOT NULL, key BLOB NOT NULL, body BLOB NOT NULL)"
        )
        values = one[1], one[0], *self._rows.encrypt_part(*one, data)
        self._database.execute("INSERT OR REPLACE INTO snapshot VALUES (?, ?, ?, ?)", values)

    def delete(self, one: Range) -> None:
        """Delete a part."""
        self._database.execute("DELETE FROM snapshot WHERE last = ?", (one[1],))

    def clear(self) -> None:
        """Delete all parts."""
        if self._exists():
            self._database.execute("DELETE FROM snapshot")

    def _fetch(self, query: str, *values: object) -> list[tuple[Any, Any]]:
        return self._database.execute(query, values).fetchall() if self._exists() else []

    def _exists(self) -> bool:
        query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'snapshot'"
        return self._database.execute(query).fetchone() is not None
