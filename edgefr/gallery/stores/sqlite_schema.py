"""The SQLite file of a gallery: connection, tables, migrations and errors."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgefr.errors import InvalidArgumentError, UnavailableError, update_command
from edgefr.gallery.crypto.encryption import damaged

APPLICATION_ID = 0x45464747  # "EFGG"
PAGE_BYTES = 16_384
"""Of a new file. A record of 512 numbers takes 2.3 kB; pages of 4 kB, the default, would hold one each."""
LOCK_TIMEOUT_S = 30
"""How long a change waits for another process. Transactions are short."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE header (id INTEGER PRIMARY KEY, place TEXT NOT NULL, lock TEXT NOT NULL, body BLOB NOT NULL)",
        "CREATE TABLE people (id INTEGER PRIMARY KEY, key BLOB NOT NULL, record BLOB NOT NULL)",
        "CREATE TABLE images (id INTEGER PRIMARY KEY, record BLOB NOT NULL, crop BLOB NOT NULL)",
        "CREATE TABLE events (id INTEGER PRIMARY KEY, event BLOB NOT NULL)",
    ),
)
"""The statements from each version to the next. An empty file has version 0.

Beside them there can be the tables CONTRACT and `snapshot` (`sqlite_snapshot`). Versions that do not know them ignore
them.

There are no indexes: the record of a person lists its images by id, and everything else is encrypted.
"""

CONTRACT = "CREATE TABLE IF NOT EXISTS contract (id INTEGER PRIMARY KEY, body BLOB NOT NULL)"


def connect(path: Path) -> sqlite3.Connection:
    """Open or create a file. Commits wait for the disk, and deleted rows are overwritten.

    Raises:
        InvalidArgumentError: It is another database.
        UnavailableError: It cannot be opened, or a newer edgefr has written it.
    """
    with translate_errors(path):
        database = sqlite3.connect(path, timeout=LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            _prepare(database, path)
        except BaseException:
            database.close()
            raise
    return database


def connect_for_reading(path: Path) -> tuple[sqlite3.Connection, bool]:
    """Open a file that perhaps cannot be written, because it is on read-only media or the disk is full.

    Returns:
        The connection, and whether it can write. One that cannot does not see what other processes write later.

    Raises:
        InvalidArgumentError: It is another database.
        UnavailableError: It cannot be opened, or a newer edgefr has written it.
    """
    try:
        return connect(path), True
    except UnavailableError as error:
        if not isinstance(error.__cause__, sqlite3.OperationalError) or "locked" in str(error.__cause__):
            raise
        with translate_errors(path):
            return _connect_without_shared_memory(path, error)


def _connect_without_shared_memory(path: Path, obstacle: UnavailableError) -> tuple[sqlite3.Connection, bool]:
    """As `connect_for_reading`, where SQLite cannot create its shared memory, which is a file; `obstacle` says why."""
    log = Path(f"{path}-wal")
    # The last way keeps that memory in this process, which locks out all others.
    ways = [("mode=ro", "NORMAL", False), ("mode=rw", "EXCLUSIVE", True)]
    if not log.exists() or log.stat().st_size == 0:  # this way ignores changes that are only in SQLite's log
        ways.insert(0, ("mode=ro&immutable=1", "NORMAL", False))
    for options, locking, writable in ways:
        name = f"{path.absolute().as_uri()}?{options}"
        database = sqlite3.connect(name, uri=True, isolation_level=None, check_same_thread=False)
        try:
            database.execute(f"PRAGMA locking_mode = {locking}")
            _prepare(database, path, writable)
        except BaseException as error:
            database.close()
            if not isinstance(error, sqlite3.OperationalError):
                raise
        else:
            return database, writable
    if len(ways) == 2:
        raise UnavailableError(
            f"the changes in {log}, which belongs to {path}, to be readable",
            "a folder that cannot be written",
            "copy both files to a folder that can be written",
        ) from obstacle
    raise obstacle


def _prepare(database: sqlite3.Connection, path: Path, writable: bool = True) -> None:
    """Set up a connection and check what the file is."""
    database.execute("PRAGMA secure_delete = ON")  # overwrites deleted rows with zeros: keys must be erased
    database.execute("PRAGMA temp_store = MEMORY")
    database.execute("PRAGMA trusted_schema = OFF")
    _check_kind(database, path)
    if writable:
        database.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # changes nothing in a file with tables
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")  # syncs the write-ahead log at every commit


def schema_version(database: sqlite3.Connection) -> int:
    """The version of the tables; 0 for an empty file."""
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def migrate(database: sqlite3.Connection) -> None:
    """Bring the tables to the present version, within the transaction of the caller."""
    for statements in MIGRATIONS[schema_version(database) :]:
        for statement in statements:
            database.execute(statement)
    database.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    database.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def _check_kind(database: sqlite3.Connection, path: Path) -> None:
    application = database.execute("PRAGMA application_id").fetchone()[0]
    tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    version = schema_version(database)
    if tables and (application != APPLICATION_ID or version < 1):
        raise InvalidArgumentError(
            f"a gallery in {path}", "another database, or a damaged one", "choose another --gallery"
        )
    if version > len(MIGRATIONS):
        raise UnavailableError(
            f"a gallery of version {len(MIGRATIONS)} or older in {path}",
            f"version {version}",
            f"update edgefr ({update_command()}), or restore a copy if the file is damaged",
        )


@contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Raise UnavailableError if the file is locked, closed or cannot be read or written, DamagedError if it is
    damaged."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            found, fix = f"{path} is locked by another process", "wait for that process to end"
        else:
            found = f"{path} cannot be read or written: {error}"
            fix = "check the path, its permissions and the free disk space"
        raise UnavailableError("", found, fix) from error
    except sqlite3.ProgrammingError as error:
        raise UnavailableError(f"{path} to be open", "that it is closed", "open it again") from error
    except sqlite3.Error as error:
        raise damaged(str(path)) from error
