"""A gallery in one SQLite file, encrypted and authenticated as a whole.

The header proves that no row of a person was changed, moved, restored, added or deleted, and that the log is complete.
Where most people come from a snapshot (`search.index_snapshot`), it proves that the snapshot was made from these rows,
and a row is verified by its digest when it is read. The header holds the sum of keyed digests of all rows (an additive
multiset hash, Clarke et al. 2003), which takes constant time to update, and the end of the hash chain of the log.
Images are verified when they are read: the record of a person lists their ids, and ids are never reused, so no older
image can take the place of another. An older copy of the whole file is detected by a pin outside the file
(`gallery.pin`).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgefr.errors import InvalidArgumentError, LockedError, UnavailableError
from edgefr.gallery.crypto.encryption import DamagedError, Keys, SealContext, damaged, new_key
from edgefr.gallery.crypto.key_wrapping import Secret, lock_kind, unwrap_key, wrap_key
from edgefr.gallery.model_binding import ModelBinding
from edgefr.gallery.pin import GalleryState
from edgefr.gallery.record_checks import InvalidPerson
from edgefr.gallery.records import MAX_ID, Event, FaceSample, NumberedEvent, Person
from edgefr.gallery.stores.base import NoGalleryError
from edgefr.gallery.stores.row_codec import MODULUS, Header, Row, RowCodec
from edgefr.gallery.stores.sqlite_schema import (
    LOCK_TIMEOUT_S,
    MIGRATIONS,
    connect,
    connect_for_reading,
    migrate,
    schema_version,
    translate_errors,
)
from edgefr.gallery.stores.sqlite_snapshot import SnapshotTable
from edgefr.gallery.stores.sqlite_transaction import SqliteTransaction
from edgefr.io.files import sync_path, unwritable
from edgefr.io.private_files import make_folder, open_private
from edgefr.types import Floats

MIN_ROW = -(1 << 63)
"""Lowest id that SQLite can store. edgefr begins with 1."""


class SqliteStore:
    """The unlocked file of a gallery. One object serves one thread at a time.

    Every method raises `DamagedError` if the file is damaged, and `UnavailableError` if another process keeps it locked
    or it cannot be read or written.
    """

    def __init__(
        self,
        path: Path,
        database: sqlite3.Connection,
        context: SealContext,
        lock: object,
        gallery_key: bytes,
        writable: bool = True,
    ) -> None:
        self.path = path
        self._database, self._writable, self._connections = database, writable, 1
        self._context = context
        self._lock = lock
        self._rows = RowCodec(context, Keys.of(gallery_key), str(path))
        self._dim = 0
        """K of the header that was read last."""

    @classmethod
    def create(cls, path: Path, secret: Secret, binding: ModelBinding) -> SqliteStore:
        """Create an empty gallery with mode 0600.

        Raises:
            InvalidArgumentError: There is a gallery or another file already.
            UnavailableError: The file cannot be written.
        """
        try:
            make_folder(path.parent, private=True)
            os.close(open_private(path, os.O_RDWR))
        except OSError as error:
            raise UnavailableError(
                "", f"{path} cannot be written: {error.strerror}", "choose another --gallery"
            ) from error
        context, gallery_key = SealContext.new(), new_key()
        lock = wrap_key(gallery_key, secret, context)
        store = cls(path, connect(path), context, lock, gallery_key)
        try:
            with store._transaction() as database:
                if schema_version(database) != 0:
                    raise InvalidArgumentError("", f"There is a gallery at {path} already", "choose another --gallery")
                migrate(database)
                body = store._rows.encrypt_header(Header(len(MIGRATIONS), binding))
                database.execute("INSERT INTO header VALUES (1, ?, ?, ?)", (context.identity, lock, body))
            sync_path(path.parent)
        except OSError as error:
            store.close()
            raise unwritable(path, error) from error
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def open(
        cls, path: Path, secret: Secret, check: Callable[[GalleryState], None] = lambda _state: None
    ) -> SqliteStore:
        """Unlock a gallery, check its state before anything is written, migrate an older one, and check the structure
        of the file.

        Raises:
            NoGalleryError: There is no gallery.
            LockedError: The secret is wrong.
            DamagedError: The file is damaged.
        """
        database, writable = _open_existing(path)
        try:
            context, lock = _read_outer_header(database, path)
            store = cls(path, database, context, lock, unwrap_key(lock, secret, context, str(path)), writable)
            check(store.state())
            store._migrate()
            with translate_errors(path):
                has_snapshot = bool(store.snapshot.ranges())
            if not has_snapshot:  # which exists so that not the whole file has to be read
                store.check_structure()
        except BaseException:
            database.close()
            raise
        return store

    def close(self) -> None:
        self._database.close()

    def check_structure(self) -> None:
        """Read the whole file, and check that it is an intact database."""
        if self._fetch("PRAGMA integrity_check(1)") != ("ok",):
            raise damaged(str(self.path))

    @property
    def snapshot(self) -> SnapshotTable:
        """The snapshot of the search index, to be read."""
        return SnapshotTable(self._database, self._rows)

    @contextmanager
    def saving(self) -> Iterator[SnapshotTable]:
        """Write the snapshot in one transaction, which does not wait for other processes and is no change of the
        gallery.

        Raises:
            UnavailableError: The file cannot be written now.
        """
        if not self._writable:
            raise UnavailableError(f"{self.path} to be writable", "that it can only be read", "make it writable")
        self._fetch("PRAGMA busy_timeout = 0")
        try:
            with self._transaction():
                yield self.snapshot
        finally:
            self._fetch(f"PRAGMA busy_timeout = {1000 * LOCK_TIMEOUT_S}")

    def state(self) -> GalleryState:
        """Identity, kind of lock and generation."""
        return GalleryState(self._context.identity, lock_kind(self._lock, str(self.path)), self.header().turn)

    def header(self) -> Header:
        """The present header.

        Raises:
            LockedError: The gallery was locked with a new secret since it was opened.
        """
        row = self._fetch("SELECT lock, body FROM header WHERE id = 1")
        (version,) = self._fetch("PRAGMA user_version")
        if row and row[0] != self._lock:
            raise LockedError(
                "", f"{self.path} has been locked with a new secret", "start edgefr again with the new secret"
            )
        header = self._rows.decrypt_header(row and row[1])
        if header.version != version:
            raise damaged(f"the version of {self.path}")
        self._dim = header.binding.embedding_dim
        return header

    def people(self, on_invalid: Callable[[InvalidPerson], None]) -> Iterator[Person]:
        """All people in the order of enrolment. They are verified only if the iteration ends without an error.

        People with records that are not valid are left out and passed to `on_invalid`.
        """
        header, count, total = self.header(), 0, 0
        for person, digest in self.rows(MIN_ROW, MAX_ID):
            if isinstance(person, InvalidPerson):
                on_invalid(person)
            else:
                yield person
            count, total = count + 1, (total + int.from_bytes(digest, "big")) % MODULUS
        if (count, total) != (header.people, header.rows):
            raise self.wrong_people()

    def rows(self, first: int, last: int) -> Iterator[Row]:
        """The people with ids from `first` to `last`, in this order. Nothing proves that they are all."""
        query = "SELECT id, key, record FROM people WHERE id BETWEEN ? AND ? ORDER BY id"
        with translate_errors(self.path):
            for number, key, record in self._database.execute(query, (first, last)):
                yield self._rows.decrypt_row(number, self._dim, key, record)

    def wrong_people(self) -> DamagedError:
        """The error for people who do not match the header."""
        return damaged(f"the list of people in {self.path}")

    def person(self, number: int, digest: bytes) -> Person:
        """The person with this id, whose row must have this digest: an older row of the person has another."""
        return self._rows.decrypt_person(number, self._dim, *self._known_row(number, digest))

    def template(self, number: int, digest: bytes) -> Floats:
        """The template (K,) of the person with this id, like `person`, but without a check of what the record claims:
        it was checked when the digest was taken."""
        return self._rows.decrypt_template(number, self._dim, *self._known_row(number, digest))

    def samples(self, person: Person) -> list[FaceSample]:
        """The images that the record of a person lists."""
        (wrapped,) = self._row("SELECT key FROM people WHERE id = ?", person.id)
        data_key = self._rows.unwrap_data_key(person.id, wrapped)
        query = "SELECT record, crop FROM images WHERE id = ?"
        return [
            self._rows.decrypt_sample(number, self._dim, data_key, *self._row(query, number))
            for number in person.images
        ]

    def images(self) -> int:
        """Number of stored images."""
        return int(self._fetch("SELECT count(*) FROM images")[0])

    def events(self) -> Iterator[Event]:
        """The log, oldest event first. It is verified only if the iteration ends without an error."""
        header = self.header()
        link, count = header.link_before, header.first_event - 1
        with translate_errors(self.path):
            for number, encrypted in self._database.execute("SELECT id, event FROM events ORDER BY id"):
                yield self._rows.decrypt_event(number, encrypted)
                link, count = self._rows.link(link, number, encrypted), count + 1
        if (count, link) != (header.events, header.link):
            raise damaged(f"the log of {self.path}")

    def event_page(self, which: str, number: int, limit: int) -> list[NumberedEvent]:
        """Up to `limit` events; `which` is a condition of one number and an order. Gaps are not noticed."""
        query = f"SELECT id, event FROM events WHERE {which} LIMIT ?"  # noqa: S608 (`which` is a text of this package)
        with translate_errors(self.path):
            rows = self._database.execute(query, (number, limit)).fetchall()
        return [(one, self._rows.decrypt_event(one, encrypted)) for one, encrypted in rows]

    def check_log(self) -> None:
        """Verify the number of events and the latest ones. `events` verifies all of them, which takes longer."""
        header = self.header()
        link, query = header.checked_link, "SELECT id, event FROM events WHERE id > ? ORDER BY id"
        with translate_errors(self.path):
            (count,) = self._fetch("SELECT count(*) FROM events WHERE id >= ?", header.first_event)
            for number, encrypted in self._database.execute(query, (header.checked_event,)):
                link = self._rows.link(link, number, encrypted)
        if (count, link) != (header.events - header.first_event + 1, header.link):
            raise damaged(f"the log of {self.path}")

    def contract_record(self) -> bytes | None:
        """The record of the embedding contract; None if there is none, or it cannot be decrypted."""
        if self._fetch("SELECT 1 FROM sqlite_master WHERE name = 'contract'") is None:
            return None
        row = self._fetch("SELECT body FROM contract WHERE id = 1")
        return None if row is None else self._rows.decrypt_contract(row[0])

    def data_version(self) -> tuple[int, int]:
        """Numbers that change when another connection has written."""
        return self._connections, int(self._fetch("PRAGMA data_version")[0])

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read one consistent state of the file, whatever other processes write."""
        with translate_errors(self.path):
            self._database.execute("BEGIN")
        try:
            yield
        finally:
            with translate_errors(self.path):
                self._database.execute("COMMIT")

    @contextmanager
    def change(self) -> Iterator[SqliteTransaction]:
        """Write a change. All of it is on the disk when the block ends, and nothing if the block raises."""
        with self._transaction() as database:
            change = SqliteTransaction(database, self._rows, self.header())
            yield change
            change.finish()

    def erase(self) -> str:
        """Erase deleted rows and former keys from SQLite's write-ahead log, and from the file what they replaced.

        SQLite tries the same whenever the last process closes the file.

        Returns:
            Why deleted data still can be read from the disk, as a sentence; empty if it is erased.
        """
        try:
            busy = self._fetch("PRAGMA wal_checkpoint(TRUNCATE)")[0]
        except UnavailableError as error:
            return f"{error.problem}. Free disk space or repair the disk; the next use of the gallery then erases them."
        return "Another process still reads them; they are erased when it ends." if busy else ""

    def rotate(self, secret: Secret) -> None:
        """Lock with a new secret and a new gallery key: wrap all data keys and encrypt the log again, in one change.

        A copy of the former file can still be opened with the former secret.

        Raises:
            UnavailableError: The file cannot be written. The former secret opens it; if the disk failed while the
                change was written, the new one may after a crash.
        """
        gallery_key = new_key()
        rows = RowCodec(self._context, Keys.of(gallery_key), str(self.path))
        lock = wrap_key(gallery_key, secret, self._context)
        try:
            with self._transaction() as database:
                change = SqliteTransaction(database, rows, self.header())
                change.re_encrypt(self._rows, list(self.events()))
                if (record := self.contract_record()) is not None:
                    change.keep_contract(record)
                database.execute("UPDATE header SET lock = ? WHERE id = 1", (lock,))
                change.log([Event.now("rotated")])
                change.finish()
        except UnavailableError as error:
            raise UnavailableError(
                "",
                f"The former secret still opens the gallery, because {error.problem}",
                "keep both secrets, free disk space or repair the disk, and try again",
            ) from error
        self._rows, self._lock = rows, lock

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._require_writable()
        with translate_errors(self.path):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:  # SQLite itself rolls back when the disk is full
                    self._database.execute("ROLLBACK")
                raise

    def _require_writable(self) -> None:
        """Connect again if the file could not be written at the last connection."""
        if self._writable:
            return
        # Closed first, because closing a file drops the locks of all connections of this process to it.
        self._database.close()
        self._database, self._writable = connect_for_reading(self.path)
        self._connections += 1
        if not self._writable:
            raise UnavailableError(
                f"{self.path} to be writable",
                "that it can only be read, because the disk is full, read-only or not yours",
                "free disk space or make it writable; people can be searched for meanwhile",
            )

    def _migrate(self) -> None:
        if self._fetch("PRAGMA user_version") == (len(MIGRATIONS),):
            return
        with self._transaction() as database:
            change = SqliteTransaction(database, self._rows, replace(self.header(), version=len(MIGRATIONS)))
            migrate(database)
            change.finish()

    def _known_row(self, number: int, digest: bytes) -> tuple[bytes, bytes]:
        key, record = self._row("SELECT key, record FROM people WHERE id = ?", number)
        if not isinstance(key, bytes) or not isinstance(record, bytes):
            raise damaged(f"row {number} of {self.path}")
        if self._rows.digest(number, key, record) != digest:
            raise damaged(f"row {number} of {self.path}")
        return key, record

    def _row(self, query: str, number: int) -> tuple[object, ...]:
        row = self._fetch(query, number)
        if row is None:
            raise damaged(f"row {number} of {self.path}")
        return tuple(row)

    def _fetch(self, query: str, *values: object) -> Any:
        """The first row, or None."""
        with translate_errors(self.path):
            return self._database.execute(query, values).fetchone()


def required_secret(path: Path) -> str:
    """The kind of secret that a gallery needs: `plain`, `key file` or `passphrase`. Raises like `SqliteStore.open`."""
    database, _ = _open_existing(path)
    try:
        return lock_kind(_read_outer_header(database, path)[1], str(path))
    finally:
        database.close()


def is_gallery(path: Path) -> bool:
    """Whether there is a gallery. One whose creation was interrupted does not count."""
    if not path.exists():
        return False
    database, _ = connect_for_reading(path)
    try:
        with translate_errors(path):
            return schema_version(database) != 0
    finally:
        database.close()


def _open_existing(path: Path) -> tuple[sqlite3.Connection, bool]:
    if not path.is_file():
        raise NoGalleryError.at(path)
    return connect_for_reading(path)


def _read_outer_header(database: sqlite3.Connection, path: Path) -> tuple[SealContext, object]:
    """The parts of the header that are not encrypted: identity and lock."""
    with translate_errors(path):
        if schema_version(database) == 0:  # a creation that was interrupted
            raise NoGalleryError.at(path, "an empty file")
        row = database.execute("SELECT place, lock FROM header WHERE id = 1").fetchone()
    if row is None or not isinstance(row[0], str):
        raise damaged(f"the header of {path}")
    return SealContext(row[0]), row[1]
