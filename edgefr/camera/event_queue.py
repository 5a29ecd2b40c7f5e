"""Events that wait until their receiver has acknowledged them, also while edgefr does not run.

They are kept in memory, and in a SQLite file for the next start. If the file cannot be written, as on a full disk, the
events still wait in memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgefr.camera.session import Document
from edgefr.io.private_files import make_folder, open_private

MAX_EVENTS = 10_000
"""Number of events that wait at most."""
MAX_BYTES = 16 << 20
"""Their total size at most. An event has about 600 bytes."""
LOCK_TIMEOUT_S = 2.0
"""Seconds to wait for another process that has the file open, which may be ending."""


def queue_path(folder: Path, receiver: str, source: str) -> Path:
    """The file for the events of one source to one receiver; both are given without passwords."""
    return folder / f"{hashlib.sha256(f'{receiver} {source}'.encode()).hexdigest()[:16]}.queue"


@dataclass(frozen=True)
class Entry:
    """An event in the queue.

    Attributes:
        number: Its place in the queue; later events have higher numbers.
        id: The event's own id, by which a receiver recognises an event that it has got already.
        message: The event as JSON.
    """

    number: int
    id: str
    message: bytes


class EventQueue:
    """A bounded queue of events, in order. Several threads may use it.

    Attributes:
        path: The file, or None if the events are kept in memory only.
    """

    def __init__(self, path: Path | None, warn: Callable[[str], None]) -> None:
        """Open the queue with the events that an earlier run left.

        Args:
            path: The file, which only its owner can read; it is made if it is missing. None keeps events in memory.
            warn: Called with a sentence if the file cannot be used.
        """
        self._path, self._warn = path, warn
        self._change = threading.Condition()
        self._waiting: deque[Entry] = deque()
        self._taken: Entry | None = None
        self._failing = False
        self._database = None if path is None else self._open(path)
        self._newest = self._stored = self._waiting[-1].number if self._waiting else 0
        self._bytes = sum(len(entry.message) for entry in self._waiting)

    @property
    def path(self) -> Path | None:
        return None if self._database is None or self._failing else self._path

    def __len__(self) -> int:
        with self._change:
            return len(self._waiting) + (self._taken is not None)

    def put(self, document: Document) -> int:
        """Add an event; returns how many old ones were dropped because the queue was full."""
        message = json.dumps(document).encode()
        dropped = 0
        with self._change:
            self._newest += 1
            self._waiting.append(Entry(self._newest, str(document.get("id", "")), message))
            self._bytes += len(message)
            while len(self._waiting) > MAX_EVENTS or (self._bytes > MAX_BYTES and len(self._waiting) > 1):
                self._bytes -= len(self._waiting.popleft().message)
                dropped += 1
            self._store()
            self._change.notify_all()
        return dropped

    def take(self, seconds: float) -> Entry | None:
        """The oldest event, which stays in the queue until it is acknowledged; None if there is none for some time.

        Args:
            seconds: How long to wait for an event. `wake` ends the wait.
        """
        with self._change:
            if self._taken is None and not self._waiting:
                self._change.wait(seconds)
            if self._taken is None and self._waiting:
                self._taken = self._waiting.popleft()
                self._bytes -= len(self._taken.message)
            return self._taken

    def acknowledge(self) -> None:
        """Remove the event that was taken."""
        with self._change:
            self._taken = None
            self._store()

    def wake(self) -> None:
        """End the wait of `take`."""
        with self._change:
            self._change.notify_all()

    def close(self) -> None:
        """Close the file. What was not acknowledged is in it for the next run."""
        with self._change:
            self._store()
            if self._database is not None:
                self._database.close()
            self._database = None

    def _open(self, path: Path) -> sqlite3.Connection | None:
        try:
            make_folder(path.parent, private=True)
            os.close(open_private(path, os.O_RDWR))
            try:
                return self._load(path)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError as error:
                aside = path.with_name(f"{path.name}.damaged")
                path.replace(aside)
                self._warn(f"{path} holds no queue of events ({error}); it was renamed to {aside}")
                os.close(open_private(path, os.O_RDWR))
                return self._load(path)
        except (OSError, sqlite3.Error) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            self._warn(f"events that wait are kept in memory only, because {path} cannot be used ({reason})")
            return None

    def _load(self, path: Path) -> sqlite3.Connection:
        database = sqlite3.connect(path, timeout=LOCK_TIMEOUT_S, check_same_thread=False)
        try:
            database.execute("PRAGMA locking_mode = EXCLUSIVE")  # one process sends the events of a file
            # Names of people are gone from the file once they are sent; by default the journal would keep them.
            database.execute("PRAGMA secure_delete = ON")
            database.execute("PRAGMA journal_mode = TRUNCATE")
            database.execute("PRAGMA synchronous = FULL")
            with database:
                database.execute("BEGIN EXCLUSIVE")
                database.execute(
                    "CREATE TABLE IF NOT EXISTS events"
                    " (number INTEGER PRIMARY KEY, id TEXT NOT NULL, message BLOB NOT NULL)"
                )
                rows = database.execute(
                    "SELECT number, id, message FROM events ORDER BY number DESC LIMIT ?", (MAX_EVENTS,)
                ).fetchall()
            if not all(isinstance(event, str) and isinstance(message, bytes) for _, event, message in rows):
                raise sqlite3.DatabaseError("it has values of another kind")
        except BaseException:
            database.close()
            raise
        self._waiting.extend(Entry(*row) for row in reversed(rows))
        return database

    def _store(self) -> None:
        """Bring the file in line with the events in memory. What fails is done with the next call."""
        if self._database is None:
            return
        taken = self._taken.number if self._taken else 0
        oldest = self._waiting[0].number if self._waiting else self._newest + 1
        pending = ([self._taken] if self._taken else []) + list(self._new())
        try:
            with self._database:
                self._database.execute("DELETE FROM events WHERE number < ? AND number != ?", (oldest, taken))
                self._database.executemany(
                    "INSERT OR IGNORE INTO events VALUES (?, ?, ?)", [(e.number, e.id, e.message) for e in pending]
                )
        except sqlite3.Error as error:
            if not self._failing:
                self._warn(f"events wait in memory only, because {self._path} cannot be written ({error})")
            self._failing = True
        else:
            self._failing, self._stored = False, self._newest

    def _new(self) -> list[Entry]:
        """The events that are not in the file yet."""
        found = []
        for entry in reversed(self._waiting):
            if entry.number <= self._stored:
                break
            found.append(entry)
        return found[::-1]
