"""Where a gallery is: a file, or a name at a Milvus server, in a file of Milvus Lite, or in a PostgreSQL database."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from edgefr.errors import EdgefrError

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
"""A gallery's name at a server: it becomes part of the names of tables and collections."""
WORD = re.compile(r"[A-Za-z0-9_.-]{1,63}")
"""A user or a database."""
HOST = re.compile(r"[a-z0-9_.:-]{1,253}")
MILVUS, LITE, POSTGRES = "milvus", "milvus-lite", "postgresql"
PORTS = {MILVUS: 19530, POSTGRES: 5432}
FORMS = "milvus://HOST:19530/NAME, milvus-lite:FILE.db/NAME or postgresql://USER@HOST:5432/DATABASE/NAME"


@dataclass(frozen=True)
class Address:
    """A gallery that a database keeps. `host` is a file for Milvus Lite, and empty where libpq's own variables say it
    (PGHOST); `database` and `user` are PostgreSQL's. It holds no password: those are MILVUS_TOKEN, PGPASSWORD and the
    file ~/.pgpass, which the databases' own clients read."""

    kind: str
    host: str
    name: str
    port: int | None = None
    database: str = ""
    user: str = ""

    def __str__(self) -> str:
        if self.kind == LITE:
            return f"{LITE}:{self.host}/{self.name}"
        user, database = (self.user and f"{self.user}@"), (self.database and f"{self.database}/")
        return f"{self.kind}://{user}{self.authority}/{database}{self.name}"

    @property
    def authority(self) -> str:
        """Host and port as a URL has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.port else host


def address_of(text: str) -> Address | Path:
    """The address that a command names, or the path of a file.

    Raises:
        EdgefrError: it begins like an address and is none, or there is a password in it.
    """
    if text.startswith(f"{LITE}:"):
        file, _, name = text.removeprefix(f"{LITE}:").rpartition("/")
        if not file.endswith(".db"):
            raise _refusal(text, "no FILE.db before the name")
        return Address(LITE, file, _checked(NAME, name, text))
    if "://" not in text:
        if text.startswith(tuple(f"{kind}:" for kind in PORTS)):  # as a file it would lie in a folder `milvus:`
            raise _refusal(text, "no // before the host")
        return Path(text)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise _refusal(text, "no host and port that could be read") from error
    if parts.password is not None or (parts.scheme == MILVUS and parts.username is not None):
        raise EdgefrError(
            "an address of a gallery without a password",
            f"one in {parts.scheme}://",
            ("set PGPASSWORD or MILVUS_TOKEN, or write ~/.pgpass, where other users of this machine cannot read it"),
        )
    if parts.scheme not in PORTS or parts.query or parts.fragment:
        raise _refusal(text, "something else")
    return _at_server(text, parts, port)


def _at_server(text: str, parts: SplitResult, port: int | None) -> Address:
    path = parts.path.removeprefix("/").split("/")
    if parts.scheme == MILVUS and len(path) == 1 and parts.hostname:
        host = _checked(HOST, parts.hostname, text)
        return Address(MILVUS, host, _checked(NAME, path[0], text), port or PORTS[MILVUS])
    if parts.scheme == POSTGRES and len(path) == 2:
        user = _checked(WORD, parts.username, text) if parts.username else ""
        host = _checked(HOST, parts.hostname, text) if parts.hostname else ""
        database, name = _checked(WORD, path[0], text), _checked(NAME, path[1], text)
        return Address(POSTGRES, host, name, port or (PORTS[POSTGRES] if host else None), database, user)
    raise _refusal(text, "no host, or too many or too few parts after it")


def _checked(pattern: re.Pattern[str], part: str, text: str) -> str:
    if not pattern.fullmatch(part):
        raise _refusal(text, f"{part.rpartition('@')[2][:60]!r} in it, which does not match {pattern.pattern}")
    return part


def _refusal(text: str, found: str) -> EdgefrError:
    shown = text.rpartition("@")[2][:200]  # what is before it may hold a password
    return EdgefrError(f"an address such as {FORMS}", f"{found} in {shown!r}", "correct --gallery")
