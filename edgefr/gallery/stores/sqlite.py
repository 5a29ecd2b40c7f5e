"""The store of record: sealed rows in SQLite, each change whole, on the disk and proven by the header.

What the header proves when a gallery is opened: no person's row was changed, swapped, put back, added or taken away,
and no line of the log. It sums keyed digests of all rows (an additive multiset hash, Clarke et al. 2003), which a
change of one row mends in constant time, and ends the chain of the log; it is sealed itself, and sealed anew with every
change. A person's record names the rows of that person's images, which are proven when they are read: no number is
used twice, so that nothing older could stand in a row's place. What is not detected is an older copy of the whole file:
there is nothing outside it to compare it with.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from edgefr.errors import EdgefrError
from edgefr.gallery.crypto.encryption import Keys, SealContext, damaged, new_key
from edgefr.gallery.crypto.key_wrapping import Secret, lock_kind, unwrap_key, wrap_key
from edgefr.gallery.model_binding import ModelBinding
from edgefr.gallery.records import Event, FaceSample, Person
from edgefr.gallery.stores.row_codec import MODULUS, Header, RowCodec
from edgefr.gallery.stores.sqlite_schema import MIGRATIONS, connect, explained, migrate, version_of
from edgefr.gallery.stores.sqlite_transaction import SqliteTransaction


class SqliteStore:
    """One gallery's file, unlocked. One object serves one thread at a time.

    Every method raises EdgefrError where the file is damaged, kept locked by another process, or cannot be written.
    """

    def __init__(
        self, path: Path, database: sqlite3.Connection, place: SealContext, lock: object, gallery_key: bytes
    ) -> None:
        self.path = path
        self._database = database
        self._place = place
        self._lock = lock
        self._rows = RowCodec(place, Keys.of(gallery_key), str(path))

    @classmethod
    def create(cls, path: Path, secret: Secret, binding: ModelBinding) -> SqliteStore:
        """Make an empty gallery, for its owner's eyes alone.

        Raises:
            EdgefrError: there is a gallery or another file already, or none can be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            raise EdgefrError(
                f"to write {path}", f"that this cannot be done ({error.strerror})", "choose another --gallery"
            ) from error
        place, gallery_key = SealContext.new(), new_key()
        lock = wrap_key(gallery_key, secret, place)
        store = cls(path, connect(path), place, lock, gallery_key)
        try:
            with store._transaction() as database:
                if version_of(database) != 0:
                    raise EdgefrError(f"no gallery at {path}", "one", "choose another --gallery")
                migrate(database)
                body = store._rows.sealed_header(Header(len(MIGRATIONS), binding))
                database.execute("INSERT INTO header VALUES (1, ?, ?, ?)", (place.identity, lock, body))
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def open(cls, path: Path, secret: Secret) -> SqliteStore:
        """Unlock a gallery, bring an older one up to date, and check the file's structure.

        Raises:
            EdgefrError: there is none, the secret is wrong, or the file is damaged.
        """
        database = _existing(path)
        try:
            place, lock = _outside(database, path)
            store = cls(path, database, place, lock, unwrap_key(lock, secret, place, str(path)))
            store._bring_up_to_date()
            with explained(path):
                if database.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",):
                    raise damaged(str(path))
        except BaseException:
            database.close()
            raise
        return store

    def close(self) -> None:
        self._database.close()

    def header(self) -> Header:
        """What the file says of itself now."""
        with explained(self.path):
            row = self._database.execute("SELECT lock, body FROM header WHERE id = 1").fetchone()
            version = version_of(self._database)
        if row and row[0] != self._lock:
            raise EdgefrError(
                f"{self.path} locked as it was when opened", "a new lock", "start edgefr again with the new secret"
            )
        header = self._rows.header(row and row[1])
        if header.version != version:
            raise damaged(f"the version of {self.path}")
        return header

    def people(self) -> Iterator[Person]:
        """Everybody in the order of enrolment; only where the iteration ends without an error are they proven."""
        header, count, rows = self.header(), 0, 0
        with explained(self.path):
            for number, key, record in self._database.execute("SELECT id, key, record FROM people ORDER BY id"):
                yield self._rows.person(number, key, record)
                count, rows = count + 1, (rows + self._rows.digest(number, key, record)) % MODULUS
        if (count, rows) != (header.people, header.rows):
            raise damaged(f"the list of people in {self.path}")

    def person(self, number: int) -> Person:
        """One person by row number."""
        return self._rows.person(number, *self._row("SELECT key, record FROM people WHERE id = ?", number))

    def samples(self, person: Person) -> list[FaceSample]:
        """All images of a person, each as the person's record names it."""
        data_key = self._rows.data_key(person.id, self._row("SELECT key FROM people WHERE id = ?", person.id)[0])
        query = "SELECT record, crop FROM images WHERE id = ?"
        return [self._rows.sample(number, data_key, *self._row(query, number)) for number in person.images]

    def images(self) -> int:
        """How many rows of images there are."""
        with explained(self.path):
            return int(self._database.execute("SELECT count(*) FROM images").fetchone()[0])

    def events(self) -> Iterator[Event]:
        """The log from its beginning; only where the iteration ends without an error is it proven."""
        header, link, count = self.header(), "", 0
        with explained(self.path):
            for number, sealed in self._database.execute("SELECT id, event FROM events ORDER BY id"):
                yield self._rows.event(number, sealed)
                link, count = self._rows.link(link, number, sealed), count + 1
        if (count, link) != (header.events, header.link):
            raise damaged(f"the log of {self.path}")

    def data_version(self) -> int:
        """A number that differs once another connection has written."""
        with explained(self.path):
            return int(self._database.execute("PRAGMA data_version").fetchone()[0])

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Hold what is read to one state of the file, whatever others write meanwhile."""
        with explained(self.path):
            self._database.execute("BEGIN")
        try:
            yield
        finally:
            with explained(self.path):
                self._database.execute("COMMIT")

    @contextmanager
    def change(self) -> Iterator[SqliteTransaction]:
        """A change: all of it is on the disk when the block ends, nothing of it where an error ends the block."""
        with self._transaction() as database:
            change = SqliteTransaction(database, self._rows, self.header())
            yield change
            change.finish()

    def forget(self) -> None:
        """Take what was removed, or locked with a former secret, out of SQLite's own log, too.

        Raises:
            EdgefrError: another process reads older pages, so that they have to stay for now.
        """
        with explained(self.path):
            busy = self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            raise EdgefrError(
                f"to clear SQLite's log beside {self.path} of what was removed",
                "that another process still reads it",
                "the change is made, and its traces go when that process ends",
            )

    def rotate(self, secret: Secret) -> None:
        """Lock with a new secret: a new gallery key, every data key and the log sealed anew under it, in one change.

        Who has the former secret and a copy of the former file still reads that copy.
        """
        gallery_key = new_key()
        rows = RowCodec(self._place, Keys.of(gallery_key), str(self.path))
        lock = wrap_key(gallery_key, secret, self._place)
        with self._transaction() as database:
            change = SqliteTransaction(database, rows, self.header())
            change.reseal(self._rows, list(self.events()))
            database.execute("UPDATE header SET lock = ? WHERE id = 1", (lock,))
            change.log([Event.now("rotated")])
            change.finish()
        self._rows, self._lock = rows, lock
        self.forget()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with explained(self.path):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:  # SQLite ends it itself where the disk is full
                    self._database.execute("ROLLBACK")
                raise

    def _bring_up_to_date(self) -> None:
        with explained(self.path):
            if version_of(self._database) == len(MIGRATIONS):
                return
        with self._transaction() as database:
            change = SqliteTransaction(database, self._rows, replace(self.header(), version=len(MIGRATIONS)))
            migrate(database)
            change.finish()

    def _row(self, query: str, number: int) -> tuple[object, ...]:
        with explained(self.path):
            row = self._database.execute(query, (number,)).fetchone()
        if row is None:
            raise damaged(f"row {number} of {self.path}")
        return tuple(row)


def secret_wanted(path: Path) -> str:
    """What opens the gallery at `path`: `plain`, `key file` or `passphrase`.

    Raises:
        EdgefrError: there is no gallery, or it is damaged.
    """
    database = _existing(path)
    try:
        return lock_kind(_outside(database, path)[1], str(path))
    finally:
        database.close()


def is_gallery(path: Path) -> bool:
    """Whether there is a gallery at `path`: one whose creation was cut short is none yet.

    Raises:
        EdgefrError: there is another file.
    """
    if not path.exists():
        return False
    database = connect(path)
    try:
        with explained(path):
            return version_of(database) != 0
    finally:
        database.close()


def _existing(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise EdgefrError(
            f"a gallery at {path}",
            "none",
            "make one with `edgefr gallery enroll NAME IMAGE`, or choose another --gallery",
        )
    return connect(path)


def _outside(database: sqlite3.Connection, path: Path) -> tuple[SealContext, object]:
    """What is not sealed: the gallery's identity and the lock."""
    with explained(path):
        if version_of(database) == 0:  # a creation that was cut short
            raise EdgefrError(
                f"a gallery at {path}", "an empty file", "make one with `edgefr gallery enroll NAME IMAGE`"
            )
        row = database.execute("SELECT place, lock FROM header WHERE id = 1").fetchone()
    if row is None or not isinstance(row[0], str):
        raise damaged(f"the header of {path}")
    return SealContext(row[0]), row[1]
