"""The file of a gallery: SQLite, its tables, its versions, and SQLite's failures as sentences."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgefr.errors import EdgefrError
from edgefr.gallery.crypto.encryption import damaged

APPLICATION = 0x45464747  # "EFGG"
WAIT_SECONDS = 30
"""How long a writer waits for another; transactions are short."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE header (id INTEGER PRIMARY KEY, place TEXT NOT NULL, lock TEXT NOT NULL, body BLOB NOT NULL)",
        "CREATE TABLE people (id INTEGER PRIMARY KEY, key BLOB NOT NULL, record BLOB NOT NULL)",
        "CREATE TABLE images (id INTEGER PRIMARY KEY, record BLOB NOT NULL, crop BLOB NOT NULL)",
        "CREATE TABLE events (id INTEGER PRIMARY KEY, event BLOB NOT NULL)",
    ),
)
"""Statements that lead from each version to the next; an empty file is version 0.

There is no index: a person's record names their images by row number, and nothing in the clear could be searched for.
"""


def connect(path: Path) -> sqlite3.Connection:
    """Open or create the file, with every acknowledged transaction on the disk and nothing removed left in it.

    Raises:
        EdgefrError: it cannot be opened, or is something else.
    """
    with explained(path):
        database = sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            database.execute("PRAGMA secure_delete = ON")  # zeros over what is removed: a key must be gone
            database.execute("PRAGMA temp_store = MEMORY")
            database.execute("PRAGMA trusted_schema = OFF")
            _check_kind(database, path)
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")  # the log is on the disk before a commit is acknowledged
        except BaseException:
            database.close()
            raise
    return database


def version_of(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def migrate(database: sqlite3.Connection) -> None:
    """Bring the tables to this version of edgefr, within the caller's transaction."""
    for statements in MIGRATIONS[version_of(database) :]:
        for statement in statements:
            database.execute(statement)
    database.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    database.execute(f"PRAGMA application_id = {APPLICATION}")


def _check_kind(database: sqlite3.Connection, path: Path) -> None:
    application = database.execute("PRAGMA application_id").fetchone()[0]
    tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    version = version_of(database)
    if tables and (application != APPLICATION or version < 1):
        raise EdgefrError(f"a gallery in {path}", "another or a damaged database", "choose another --gallery")
    if version > len(MIGRATIONS):
        raise EdgefrError(
            f"a gallery of version {len(MIGRATIONS)} or older in {path}",
            f"version {version}",
            "update edgefr (pip install --upgrade edgefr), or restore a copy if the file is damaged",
        )


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """SQLite's failures as sentences.

    Raises:
        EdgefrError: the file is damaged, locked by another process, or cannot be read or written.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            found, mend = "that another process keeps it locked", "wait for that process to end"
        else:
            found, mend = f"that this cannot be done ({error})", "check the path, its permissions and the room left"
        raise EdgefrError(f"to read and write {path}", found, mend) from error
    except sqlite3.Error as error:
        raise damaged(str(path)) from error
