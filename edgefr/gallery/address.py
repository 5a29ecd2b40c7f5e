"""Addresses of galleries, and the kinds of database that can store them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from edgefr.errors import EdgefrError, InvalidArgumentError

GALLERY_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
"""Name of a gallery in a database. It becomes part of the names of tables and collections."""
IDENTIFIER = re.compile(r"[A-Za-z0-9_.-]{1,63}")
"""Name of a user or a database."""
HOST = re.compile(r"[a-z0-9_.:-]{1,253}")
MILVUS, LITE, POSTGRES = "milvus", "milvus-lite", "postgresql"


@dataclass(frozen=True)
class StoreType:
    """A kind of database that can store galleries.

    Attributes:
        example: An address of this kind, for messages.
        store: Module and name of the class that implements `GalleryStore`. It is imported when it is first used.
        port: Default port of the server, or None if the store is a local file.
        has_database: Whether an address names a database and may name a user.
    """

    example: str
    store: str
    port: int | None = None
    has_database: bool = False


STORES = {
    MILVUS: StoreType(f"{MILVUS}://HOST:19530/NAME", "edgefr.gallery.stores.milvus.MilvusStore", 19530),
    LITE: StoreType(f"{LITE}:FILE.db/NAME", "edgefr.gallery.stores.milvus.MilvusStore"),
    POSTGRES: StoreType(
        f"{POSTGRES}://USER@HOST:5432/DATABASE/NAME", "edgefr.gallery.stores.postgres.PostgresStore", 5432, True
    ),
}
"""Scheme of an address -> kind of store. A new store is one file with its class and one entry here."""


@dataclass(frozen=True)
class Address:
    """The address of a gallery in a database.

    It never holds a password. The clients of the databases read passwords from MILVUS_TOKEN, PGPASSWORD and ~/.pgpass.

    Attributes:
        kind: Key of `STORES`.
        host: Host of the server, or the file of a local store. If it is empty, PostgreSQL takes $PGHOST.
        name: Name of the gallery.
        port: Port of the server, if it is known.
        database: Name of the database, for PostgreSQL.
        user: Name of the user, for PostgreSQL.
    """

    kind: str
    host: str
    name: str
    port: int | None = None
    database: str = ""
    user: str = ""

    def __str__(self) -> str:
        if STORES[self.kind].port is None:
            return f"{self.kind}:{self.host}/{self.name}"
        user, database = (self.user and f"{self.user}@"), (self.database and f"{self.database}/")
        return f"{self.kind}://{user}{self.authority}/{database}{self.name}"

    @property
    def authority(self) -> str:
        """Host and port as in a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.port else host


def parse_address(text: str) -> Address | Path:
    """Parse the value of `--gallery`.

    Args:
        text: An address of one of the `STORES`, or the path of a file.

    Returns:
        The address, or the path if the text does not begin like an address.

    Raises:
        InvalidArgumentError: The address is malformed or contains a password.
    """
    scheme = text.partition(":")[0]
    if scheme in STORES and STORES[scheme].port is None:
        return _parse_local(text, scheme)
    if "://" not in text:
        if scheme in STORES and scheme != text:  # as a path it would be in a folder such as `milvus:`
            raise _malformed(text, "no // before the host")
        return Path(text)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise _malformed(text, "no readable host and port") from error
    store = STORES.get(parts.scheme)
    if parts.password is not None or (store and parts.username is not None and not store.has_database):
        raise InvalidArgumentError(
            "an address of a gallery without a password",
            f"one in {parts.scheme}://",
            "set PGPASSWORD or MILVUS_TOKEN, or write it into ~/.pgpass, which other users of this machine cannot read",
        )
    if store is None or store.port is None or parts.query or parts.fragment:
        raise _malformed(text, "another form")
    return _parse_server(text, parts, port, store, store.port)


def _parse_local(text: str, scheme: str) -> Address:
    file, _, name = text.removeprefix(f"{scheme}:").rpartition("/")
    if not file.endswith(".db"):
        raise _malformed(text, "no FILE.db before the name")
    return Address(scheme, file, _match(GALLERY_NAME, name, text))


def _parse_server(text: str, parts: SplitResult, port: int | None, store: StoreType, default_port: int) -> Address:
    *database, name = parts.path.removeprefix("/").split("/")
    host = _match(HOST, parts.hostname, text) if parts.hostname else ""
    if len(database) != int(store.has_database) or not (host or store.has_database):
        raise _malformed(text, "no host, or the wrong number of parts after it")
    user = _match(IDENTIFIER, parts.username, text) if parts.username else ""
    databases = [_match(IDENTIFIER, part, text) for part in database]
    port = port or (default_port if host else None)
    return Address(parts.scheme, host, _match(GALLERY_NAME, name, text), port, "".join(databases), user)


def _match(pattern: re.Pattern[str], part: str, text: str) -> str:
    if not pattern.fullmatch(part):
        raise _malformed(text, f"{part.rpartition('@')[2][:60]!r}, which does not match {pattern.pattern},")
    return part


def _malformed(text: str, found: str) -> EdgefrError:
    *examples, last = (store.example for store in STORES.values())
    visible = text.rpartition("@")[2][:200]  # the part before the @ may contain a password
    return InvalidArgumentError(
        f"an address such as {', '.join(examples)} or {last}", f"{found} in {visible!r}", "correct --gallery"
    )
