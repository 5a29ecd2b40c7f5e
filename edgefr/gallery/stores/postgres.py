"""A gallery's rows in two tables of a PostgreSQL database with pgvector; every change is one transaction."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from edgefr.errors import EdgefrError, require_extra
from edgefr.gallery.address import Address
from edgefr.gallery.stores.base import (
    HEADER,
    IMAGE,
    PAGE,
    SECONDS,
    Blob,
    Mend,
    PendingWrite,
    PersonRow,
)
from edgefr.gallery.stores.postgres_errors import explained
from edgefr.gallery.stores.postgres_vector import Vector, take_vectors
from edgefr.types import Floats

if TYPE_CHECKING:
    from psycopg import Connection

PERSON = ("id", "token", "due", "key", "record")
THING = ("kind", "id", "owner", "body", "extra")
SETTINGS = {
    "statement_timeout": f"{SECONDS:g}s",
    "synchronous_commit": "on",  # whatever the server's default: what is acknowledged is on its disk
}
INLINE = 1500
"""Numbers of a template that fit into a row, which may have 8 KB."""
PART = 100
"""Rows that are sent together, within one time limit; an image with its crop is 40 KB."""
IDLE_SECONDS = 60.0
"""How long a change may pause before the server takes it back: a client that lost its power or its line says no
goodbye, and by the server's own means would keep all other writers out for two hours. Reading the next people of an
import takes a few seconds."""
SLACK = 5.0
"""Seconds after the server's own time limit until the connection is cut off."""


class PostgresStore:
    """As `shelf.Shelf` says."""

    def __init__(self, address: Address) -> None:
        """Connect.

        Raises:
            EdgefrError: psycopg is missing, or nobody answers.
        """
        self.address = address
        self.sees = (
            f"Whoever administers the PostgreSQL server of {address} sees every template in clear, how many images "
            "each person has and when each is to be removed; names, images, times and the log are sealed, unless the "
            "gallery is --plain"
        )
        self._people, self._things = f"{address.name}_people", f"{address.name}_things"
        self._connection = _connected(address)
        self._within = False
        """Whether a transaction is open, which ends with its connection."""

    def close(self) -> None:
        self._connection.close()

    def exists(self) -> bool:
        found = {table: self._columns(table) for table in (self._people, self._things)}
        if not any(found.values()):
            return False
        expected = {self._people: {*PERSON, "template"}, self._things: {*THING}}
        for table, columns in found.items():
            if columns != expected[table]:
                raise EdgefrError(
                    f"the gallery {self.address.name} at {self.address}",
                    (
                        f"something else in the table {table} (with the columns "
                        f"{', '.join(sorted(columns))[:200] or 'none'})"
                    ),
                    "choose another name",
                )
        return True

    def create(self, dim: int, header: Blob) -> None:
        with self._transaction():
            # Two who create at once wait here for each other, and the second sees what the first has made.
            self._run("SELECT pg_advisory_xact_lock(hashtext(%s))", self._people)
            if self.exists():
                raise EdgefrError(f"no gallery at {self.address}", "one", "choose another name")
            self._run("CREATE EXTENSION IF NOT EXISTS vector")
            self._run(
                f"CREATE TABLE {self._people} (id bigint PRIMARY KEY, token text NOT NULL UNIQUE, due bigint NOT NULL, "
                f"key bytea NOT NULL, record bytea NOT NULL, template vector({int(dim)}) NOT NULL)"
            )
            # Kept beside its row a template takes 3.6 times as long to read (200,000 people), and a search reads all.
            storage = "PLAIN" if dim <= INLINE else "EXTERNAL"
            self._run(f"ALTER TABLE {self._people} ALTER template SET STORAGE {storage}")
            self._run(
                f"CREATE TABLE {self._things} (id bigint PRIMARY KEY, kind text NOT NULL, owner bigint NOT NULL, "
                "body bytea NOT NULL, extra bytea NOT NULL)"
            )
            self._run(f"CREATE INDEX ON {self._people} (due) WHERE due > 0")
            self._run(f"CREATE INDEX ON {self._things} (owner) WHERE kind = '{IMAGE}'")
            self.put_things([header])

    def header(self) -> Blob:
        if not self.exists():
            raise EdgefrError(
                f"a gallery at {self.address}",
                "none",
                (
                    f"make one with `edgefr gallery enroll NAME IMAGE --gallery {self.address}`, or choose another "
                    "--gallery"
                ),
            )
        return self._select_things("kind = %s", HEADER)[0]

    def count(self) -> int:
        return int(self._run(f"SELECT count(*) FROM {self._people}")[0][0])

    def named(self, tokens: Sequence[str]) -> list[PersonRow]:
        return self._select_people("WHERE token = ANY(%s)", list(tokens))

    def numbered(self, number: int) -> PersonRow | None:
        return next(iter(self._select_people("WHERE id = %s", number)), None)

    def nearest(self, queries: Floats, top: int) -> list[list[PersonRow]]:
        clause = "ORDER BY template <#> %s::vector LIMIT %s"
        return [self._select_people(clause, Vector(query), top) for query in queries]

    def page(self, after: int) -> list[PersonRow]:
        return self._select_people("WHERE id > %s ORDER BY id LIMIT %s", after, PAGE)

    def due(self, now: int) -> list[PersonRow]:
        return self._select_people("WHERE due > 0 AND due <= %s ORDER BY id LIMIT %s", now, PAGE)

    def things(self, kind: str, owners: Sequence[int]) -> list[Blob]:
        return self._select_things("kind = %s AND owner = ANY(%s)", kind, list(owners))

    def thing_page(self, kind: str, after: int) -> list[Blob]:
        query = f"SELECT kind, id, owner, body FROM {self._things} WHERE kind = %s AND id > %s ORDER BY id LIMIT %s"
        return [Blob(*row) for row in self._run(query, kind, after, PAGE)]

    @contextmanager
    def changing(self, mend: Mend, wait: float) -> Iterator[None]:
        """One transaction, in which the header is locked."""
        with self._transaction():
            self._run(f"SET LOCAL statement_timeout = '{wait:g}s'")
            self._run(f"SELECT 1 FROM {self._things} WHERE kind = '{HEADER}' FOR UPDATE", seconds=wait)
            self._run(f"SET LOCAL statement_timeout = '{SECONDS:g}s'")
            yield

    def intend(self, intent: PendingWrite) -> None:
        """Nothing: what a transaction leaves is taken back by the server."""

    def put(self, people: Sequence[PersonRow], templates: Sequence[Floats]) -> None:
        rows = [
            (row.id, row.token, row.due, row.key, row.record, Vector(template))
            for row, template in zip(people, templates, strict=True)
        ]
        self._replace(self._people, (*PERSON, "template"), rows)

    def put_things(self, things: Sequence[Blob]) -> None:
        rows = [(thing.kind, thing.id, thing.owner, thing.body, thing.extra) for thing in things]
        self._replace(self._things, THING, rows)

    def drop(self, first: int, last: int) -> None:
        self._run(f"DELETE FROM {self._people} WHERE id BETWEEN %s AND %s", first, last)
        self._run(f"DELETE FROM {self._things} WHERE kind = '{IMAGE}' AND owner BETWEEN %s AND %s", first, last)

    def drop_people(self, numbers: Sequence[int]) -> None:
        self._run(f"DELETE FROM {self._things} WHERE kind = '{IMAGE}' AND owner = ANY(%s)", list(numbers))
        self._run(f"DELETE FROM {self._people} WHERE id = ANY(%s)", list(numbers))

    def drop_things(self, kind: str, numbers: Sequence[int]) -> None:
        self._run(f"DELETE FROM {self._things} WHERE kind = %s AND id = ANY(%s)", kind, list(numbers))

    def forget(self) -> None:
        """VACUUM lets the room of deleted rows be written over; who may not do that leaves it to the server's own."""
        with suppress(EdgefrError):
            self._run(f"VACUUM {self._people}")
            self._run(f"VACUUM {self._things}")

    def _columns(self, table: str) -> set[str]:
        query = "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped"
        return {row[0] for row in self._run(query, table)}

    def _select_people(self, clause: str, *values: object) -> list[PersonRow]:
        return [
            PersonRow(*row) for row in self._run(f"SELECT {', '.join(PERSON)} FROM {self._people} {clause}", *values)
        ]

    def _select_things(self, clause: str, *values: object) -> list[Blob]:
        return [
            Blob(*row) for row in self._run(f"SELECT {', '.join(THING)} FROM {self._things} WHERE {clause}", *values)
        ]

    def _replace(self, table: str, columns: Sequence[str], rows: Sequence[tuple[object, ...]]) -> None:
        names, marks = ", ".join(columns), ", ".join("%s" for _ in columns)
        anew = ", ".join(f"{column} = excluded.{column}" for column in columns if column != "id")
        query = f"INSERT INTO {table} ({names}) VALUES ({marks}) ON CONFLICT (id) DO UPDATE SET {anew}"
        for start in range(0, len(rows), PART):
            with self._answering() as connection, connection.cursor() as cursor:
                cursor.executemany(query, rows[start : start + PART])

    def _run(self, query: str, *values: object, seconds: float | None = None) -> list[tuple[Any, ...]]:
        with self._answering(seconds) as connection:
            cursor = connection.execute(query, values)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._run("BEGIN")
        self._within = True
        try:
            self._run(f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_SECONDS:g}s'")
            yield
            self._run("COMMIT")
        except BaseException:
            with suppress(EdgefrError):  # where nobody answers the server takes it back by itself
                self._run("ROLLBACK")
            raise
        finally:
            self._within = False

    @contextmanager
    def _answering(self, seconds: float | None = None) -> Iterator[Connection]:
        """The connection, which is cut off where the server does not answer in time: it cannot time out itself."""
        if self._connection.closed and not self._within:
            self._connection = _connected(self.address)
        with explained(self.address), _cut_off(self._connection, (seconds or SECONDS) + SLACK):
            yield self._connection


def _connected(address: Address) -> Connection:
    psycopg = require_extra("psycopg", "scale")
    with explained(address):
        connection: Connection = psycopg.connect(
            dbname=address.database,
            host=address.host or None,
            port=address.port,
            user=address.user or None,
            connect_timeout=max(2, int(SECONDS)),
            options=" ".join(f"-c {name}={value}" for name, value in SETTINGS.items()),
            application_name="edgefr",
            autocommit=True,
        )
        take_vectors(connection)
        return connection


@contextmanager
def _cut_off(connection: Connection, seconds: float) -> Iterator[None]:
    def cut() -> None:
        with suppress(OSError), socket.socket(fileno=os.dup(connection.pgconn.socket)) as line:
            line.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
