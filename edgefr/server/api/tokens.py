"""Tokens of the API, each with a name and a role. Only their SHA-256 is stored; a token is shown once, when it is made.

A token has 256 random bits, so a plain hash cannot be reversed by guessing, and no slow one is needed.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from edgefr.errors import InvalidArgumentError, UnavailableError
from edgefr.io.credentials import secret_value
from edgefr.io.files import atomic_write

ApiRole = Literal["monitor", "identify", "enrol", "admin"]
"""`identify` may compare and identify faces; `enrol` may also list and enrol people; `admin` may do everything.
`monitor` may read the metrics and nothing else."""
ROLES: tuple[ApiRole, ...] = get_args(ApiRole)

MIN_TOKEN_LENGTH = 16
MAX_TOKENS, MAX_FILE_BYTES = 1000, 1 << 18
WRITABLE_OR_PUBLIC = 0o037
"""Permissions that the file must not give. The group may read it, as credentials of systemd have it."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LINE = re.compile(rf"(?P<name>{NAME.pattern})\s+(?P<role>{'|'.join(ROLES)})\s+(?P<sha256>[0-9a-f]{{64}})")


@dataclass(frozen=True)
class Token:
    """A token without its secret.

    Attributes:
        name: What the token is for, such as the name of a door.
        role: What it allows.
        sha256: Hexadecimal SHA-256 of the secret.
    """

    name: str
    role: ApiRole
    sha256: str

    @classmethod
    def of(cls, name: str, role: ApiRole, secret: str) -> Token:
        """The token of a secret.

        Raises:
            InvalidArgumentError: The name has other characters than letters, digits, dots, hyphens and underscores.
        """
        if not NAME.fullmatch(name):
            raise InvalidArgumentError(
                "a name of letters, digits, dots, hyphens and underscores", repr(name[:64]), "choose another name"
            )
        return cls(name, role, sha256_of_secret(secret))


class TokenSet:
    """The tokens that a server accepts."""

    def __init__(self, tokens: Iterable[Token]) -> None:
        """Take the tokens.

        Raises:
            InvalidArgumentError: There is none.
        """
        self._tokens = tuple(tokens)
        if not self._tokens:
            raise InvalidArgumentError(
                "at least one token",
                "none",
                "make one with `edgefr tokens add NAME --role ROLE`, or set $EDGEFR_API_ADMIN_TOKEN",
            )

    def find(self, secret: str) -> Token | None:
        """The token of a secret, None if it is none. Every hash is compared, in constant time."""
        found, sha256 = None, sha256_of_secret(secret)
        for token in self._tokens:
            if hmac.compare_digest(sha256, token.sha256):
                found = token
        return found


def new_secret() -> str:
    """A random secret of 256 bits."""
    return secrets.token_urlsafe(32)


def sha256_of_secret(secret: str) -> str:
    """The hash by which a secret is known."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def token_variable(role: ApiRole) -> str:
    """The environment variable with the token of a role."""
    return f"EDGEFR_API_{role.upper()}_TOKEN"


def tokens_of_environment(secret_of: Callable[[str], str | None] = secret_value) -> list[Token]:
    """The tokens that environment variables or credentials give, one for each role at most.

    Args:
        secret_of: Name of a variable -> its secret, if there is one.

    Raises:
        InvalidArgumentError: A token is too short.
    """
    found = []
    for role in ROLES:
        secret = secret_of(token_variable(role)) or ""
        if 0 < len(secret) < MIN_TOKEN_LENGTH:
            raise InvalidArgumentError(
                f"a token of at least {MIN_TOKEN_LENGTH} characters in ${token_variable(role)}",
                str(len(secret)),
                "use a longer one",
            )
        if secret:
            found.append(Token.of(f"environment-{role}", role, secret))
    return found


def parse_tokens(text: str, source: str) -> list[Token]:
    """Read the lines `NAME ROLE SHA256` of a file; empty ones and those that begin with # are ignored.

    Args:
        text: The content of the file.
        source: Its name, for messages.

    Raises:
        InvalidArgumentError: A line is malformed, or a name occurs twice.
    """
    found: dict[str, Token] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        parts = LINE.fullmatch(line.strip())
        if parts is None or parts["name"] in found or len(found) == MAX_TOKENS:
            raise InvalidArgumentError(
                f"NAME ROLE SHA256 in line {number} of {source}, each name once, at most {MAX_TOKENS:,}",
                "another line",
                "correct the file, or make it again with `edgefr tokens add`",
            )
        role = next(role for role in ROLES if role == parts["role"])
        found[parts["name"]] = Token(parts["name"], role, parts["sha256"])
    return list(found.values())


def read_tokens(path: Path) -> list[Token]:
    """Read a file of tokens.

    Raises:
        UnavailableError: The file is missing or cannot be read.
        InvalidArgumentError: Others can read or write the file, or a line is malformed.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UnavailableError(
            f"a file of tokens at {path}", str(error.strerror), "make one with `edgefr tokens add`"
        ) from error
    if mode & WRITABLE_OR_PUBLIC:
        raise InvalidArgumentError(
            "a file of tokens that other users can neither read nor write",
            f"mode {mode:04o} at {path}",
            f"run chmod 600 {path}",
        )
    if len(content) > MAX_FILE_BYTES:
        raise InvalidArgumentError(f"at most {MAX_FILE_BYTES >> 10} KiB in {path}", "more", "remove old tokens")
    return parse_tokens(content.decode(errors="replace"), str(path))


def write_tokens(path: Path, tokens: Iterable[Token]) -> None:
    """Write a file of tokens that only its owner can read.

    Raises:
        UnavailableError: It cannot be written.
    """
    lines = [f"{token.name} {token.role} {token.sha256}\n" for token in tokens]
    with atomic_write(path, private=True) as temporary:
        temporary.write_text("".join(lines), encoding="ascii")
