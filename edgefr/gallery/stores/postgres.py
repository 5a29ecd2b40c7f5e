"""A gallery in two tables of a PostgreSQL database with pgvector. Every change is one transaction."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from edgefr.errors import EdgefrError, InvalidArgumentError, require_extra
from edgefr.gallery.address import Address
from edgefr.gallery.records import MAX_ID
from edgefr.gallery.stores.base import (
    CALL_TIMEOUT_S,
    HEADER,
    IMAGE,
    PAGE_ROWS,
    Blob,
    NoGalleryError,
    PendingWrite,
    PersonRow,
    Recover,
    gallery_exists_already,
    privacy_notice,
)
from edgefr.gallery.stores.postgres_errors import translate_postgres_errors
from edgefr.gallery.stores.postgres_vector import Vector, register_vector
from edgefr.io.credentials import secret_value
from edgefr.types import Floats

if TYPE_CHECKING:
    from psycopg import Connection

PERSON_COLUMNS = ("id", "token", "due", "key", "record")
"""Columns of a `PersonRow`, in the order of its attributes."""
BLOB_COLUMNS = ("kind", "id", "owner", "body", "extra")
"""Columns of a `Blob`, in the order of its attributes."""
SESSION_SETTINGS = {
    "statement_timeout": f"{CALL_TIMEOUT_S:g}s",
    "synchronous_commit": "on",  # overrides the server's default: an acknowledged change is on its disk
}
MAX_INLINE_DIM = 1500
"""Longest template that fits into a row, whose limit is 8 KB."""
BATCH = 100
"""Rows that are sent within one timeout. An image with its crop has 40 KB."""
IDLE_TIMEOUT_S = 60.0
"""The server rolls back a change that pauses for longer. A client that lost power or network does not close its
connection, and by default the server would lock out all other writers for two hours. Reading the next people of an
import takes a few seconds."""
GRACE_S = 5.0
"""The connection is closed this long after the server's own timeout."""


class PostgresStore:
    """Implements `GalleryStore` with PostgreSQL."""

    def __init__(self, address: Address) -> None:
        """Connect.

        Raises:
            MissingExtraError: psycopg is not installed.
            UnavailableError: The server does not respond.
        """
        self.address = address
        self.privacy_notice = privacy_notice(f"The administrator of the PostgreSQL server of {address}")
        self._people, self._blobs = f"{address.name}_people", f"{address.name}_things"
        self._connection = _connect(address)
        self._in_transaction = False
        """A transaction ends with its connection, so there is no reconnect within one."""

    def close(self) -> None:
        self._connection.close()

    def exists(self) -> bool:
        found = {table: self._columns(table) for table in (self._people, self._blobs)}
        if not any(found.values()):
            return False
        expected = {self._people: {*PERSON_COLUMNS, "template"}, self._blobs: {*BLOB_COLUMNS}}
        for table, columns in found.items():
            if columns != expected[table]:
                names = ", ".join(sorted(columns))[:200] or "none"
                raise InvalidArgumentError(
                    f"the gallery {self.address.name} at {self.address}",
                    f"something else in the table {table} (with the columns {names})",
                    "choose another name",
                )
        return True

    def create(self, dim: int, header: Blob) -> None:
        with self._transaction():
            # Two clients that create the gallery wait for each other here, and the second finds the gallery.
            self._run("SELECT pg_advisory_xact_lock(hashtext(%s))", self._people)
            if self.exists():
                raise gallery_exists_already(self.address)
            self._run("CREATE EXTENSION IF NOT EXISTS vector")
            self._run(
                f"CREATE TABLE {self._people} (id bigint PRIMARY KEY, token text NOT NULL UNIQUE, due bigint NOT NULL, "
                f"key bytea NOT NULL, record bytea NOT NULL, template vector({int(dim)}) NOT NULL)"
            )
            # A template outside its row takes 3.6 times as long to read (200,000 people), and a search reads all.
            storage = "PLAIN" if dim <= MAX_INLINE_DIM else "EXTERNAL"
            self._run(f"ALTER TABLE {self._people} ALTER template SET STORAGE {storage}")
            self._run(
                f"CREATE TABLE {self._blobs} (id bigint PRIMARY KEY, kind text NOT NULL, owner bigint NOT NULL, "
                "body bytea NOT NULL, extra bytea NOT NULL)"
            )
            self._run(f"CREATE INDEX ON {self._people} (due) WHERE due > 0")
            self._run(f"CREATE INDEX ON {self._blobs} (owner) WHERE kind = '{IMAGE}'")
            self.put_blobs([header])

    def header(self) -> Blob:
        if not self.exists():
            raise NoGalleryError.at(self.address)
        return self._select_blobs("kind = %s", HEADER)[0]

    def count(self, now: int) -> int:
        return int(self._run(f"SELECT count(*) FROM {self._people} WHERE due = 0 OR due > %s", now)[0][0])

    def find(self, name_hashes: Sequence[str]) -> list[PersonRow]:
        return self._select_people("WHERE token = ANY(%s)", list(name_hashes))

    def get(self, number: int) -> PersonRow | None:
        return next(iter(self._select_people("WHERE id = %s", number)), None)

    def nearest(self, queries: Floats, top: int) -> list[list[PersonRow]]:
        clause = "ORDER BY template <#> %s::vector LIMIT %s"
        return [self._select_people(clause, Vector(query), top) for query in queries]

    def people_page(self, after: int) -> list[PersonRow]:
        return self._select_people("WHERE id > %s ORDER BY id LIMIT %s", after, PAGE_ROWS)

    def expired(self, now: int) -> list[PersonRow]:
        return self._select_people("WHERE due > 0 AND due <= %s ORDER BY id LIMIT %s", now, PAGE_ROWS)

    def blobs(self, kind: str, owners: Sequence[int]) -> list[Blob]:
        return self._select_blobs("kind = %s AND owner = ANY(%s)", kind, list(owners))

    def blob_page(self, kind: str, after: int, before: int = MAX_ID) -> list[Blob]:
        condition = "kind = %s AND id > %s AND id < %s"
        query = f"SELECT kind, id, owner, body FROM {self._blobs} WHERE {condition} ORDER BY id LIMIT %s"
        return [Blob(*row) for row in self._run(query, kind, after, before, PAGE_ROWS)]

    @contextmanager
    def changing(self, recover: Recover, wait: float) -> Iterator[None]:
        """One transaction that locks the header. `recover` is not needed."""
        with self._transaction():
            self._run(f"SET LOCAL statement_timeout = '{wait:g}s'")
            self._run(f"SELECT 1 FROM {self._blobs} WHERE kind = '{HEADER}' FOR UPDATE", seconds=wait)
            self._run(f"SET LOCAL statement_timeout = '{CALL_TIMEOUT_S:g}s'")
            yield

    def begin(self, pending: PendingWrite) -> None:
        """Does nothing: the server rolls back an interrupted transaction."""

    def put_people(self, people: Sequence[PersonRow], templates: Sequence[Floats]) -> None:
        rows = [
            (row.id, row.name_hash, row.expires_at, row.key, row.record, Vector(template))
            for row, template in zip(people, templates, strict=True)
        ]
        self._upsert(self._people, (*PERSON_COLUMNS, "template"), rows)

    def put_blobs(self, blobs: Sequence[Blob]) -> None:
        rows = [(blob.kind, blob.id, blob.owner, blob.body, blob.extra) for blob in blobs]
        self._upsert(self._blobs, BLOB_COLUMNS, rows)

    def delete_range(self, first: int, last: int) -> None:
        self._run(f"DELETE FROM {self._people} WHERE id BETWEEN %s AND %s", first, last)
        self._run(f"DELETE FROM {self._blobs} WHERE kind = '{IMAGE}' AND owner BETWEEN %s AND %s", first, last)

    def delete_people(self, ids: Sequence[int]) -> None:
        self._run(f"DELETE FROM {self._blobs} WHERE kind = '{IMAGE}' AND owner = ANY(%s)", list(ids))
        self._run(f"DELETE FROM {self._people} WHERE id = ANY(%s)", list(ids))

    def delete_blobs(self, kind: str, ids: Sequence[int]) -> None:
        self._run(f"DELETE FROM {self._blobs} WHERE kind = %s AND id = ANY(%s)", kind, list(ids))

    def vacuum(self) -> None:
        """VACUUM lets the server overwrite deleted rows. A user without the right leaves it to the autovacuum."""
        with suppress(EdgefrError):
            self._run(f"VACUUM {self._people}")
            self._run(f"VACUUM {self._blobs}")

    def _columns(self, table: str) -> set[str]:
        query = "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped"
        return {row[0] for row in self._run(query, table)}

    def _select_people(self, clause: str, *values: object) -> list[PersonRow]:
        query = f"SELECT {', '.join(PERSON_COLUMNS)} FROM {self._people} {clause}"
        return [PersonRow(*row) for row in self._run(query, *values)]

    def _select_blobs(self, condition: str, *values: object) -> list[Blob]:
        query = f"SELECT {', '.join(BLOB_COLUMNS)} FROM {self._blobs} WHERE {condition}"
        return [Blob(*row) for row in self._run(query, *values)]

    def _upsert(self, table: str, columns: Sequence[str], rows: Sequence[tuple[object, ...]]) -> None:
        names, marks = ", ".join(columns), ", ".join("%s" for _ in columns)
        updates = ", ".join(f"{column} = excluded.{column}" for column in columns if column != "id")
        query = f"INSERT INTO {table} ({names}) VALUES ({marks}) ON CONFLICT (id) DO UPDATE SET {updates}"
        for start in range(0, len(rows), BATCH):
            with self._live_connection() as connection, connection.cursor() as cursor:
                cursor.executemany(query, rows[start : start + BATCH])

    def _run(self, query: str, *values: object, seconds: float | None = None) -> list[tuple[Any, ...]]:
        with self._live_connection(seconds) as connection:
            cursor = connection.execute(query, values)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._run("BEGIN")
        self._in_transaction = True
        try:
            self._run(f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_TIMEOUT_S:g}s'")
            yield
            self._run("COMMIT")
        except BaseException:
            with suppress(EdgefrError):  # a server that does not respond rolls back by itself
                self._run("ROLLBACK")
            raise
        finally:
            self._in_transaction = False

    @contextmanager
    def _live_connection(self, seconds: float | None = None) -> Iterator[Connection]:
        """The connection, after a reconnect if it was lost. psycopg has no timeout for a call, so a timer closes it."""
        if self._connection.closed and not self._in_transaction:
            self._connection = _connect(self.address)
        timeout = (seconds or CALL_TIMEOUT_S) + GRACE_S
        with translate_postgres_errors(self.address), _close_after(self._connection, timeout):
            yield self._connection


def _connect(address: Address) -> Connection:
    psycopg = require_extra("psycopg", "scale")
    with translate_postgres_errors(address):
        connection: Connection = psycopg.connect(
            dbname=address.database,
            host=address.host or None,
            port=address.port,
            user=address.user or None,
            password=secret_value("PGPASSWORD"),
            connect_timeout=max(2, int(CALL_TIMEOUT_S)),
            options=" ".join(f"-c {name}={value}" for name, value in SESSION_SETTINGS.items()),
            application_name="edgefr",
            autocommit=True,
        )
        register_vector(connection)
        return connection


@contextmanager
def _close_after(connection: Connection, seconds: float) -> Iterator[None]:
    def close() -> None:
        with suppress(OSError), socket.socket(fileno=os.dup(connection.pgconn.socket)) as line:
            line.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, close)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
