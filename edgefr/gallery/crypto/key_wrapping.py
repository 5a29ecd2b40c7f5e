"""How a gallery's key is kept: under a passphrase, under a key file, or, where asked for, in plain sight."""

from __future__ import annotations

import json
import os
import stat
import tempfile
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from edgefr.errors import EdgefrError
from edgefr.gallery.crypto.encryption import KEY_BYTES, DamagedError, SealContext, damaged, decrypt, encrypt, new_key

SHORTEST = 8
"""Characters of a passphrase."""

COST, BLOCK_SIZE = 1 << 17, 8
"""scrypt's N and r as OWASP's password storage cheat sheet has them: 128 MiB and under half a second for each guess."""
COSTS = tuple(1 << n for n in range(14, 21))
"""A file may ask for no less, which would be weak, and no more, which would take over a GiB."""


@dataclass(frozen=True)
class Passphrase:
    """A passphrase; `cost` is scrypt's N where a key is locked with it.

    Raises:
        EdgefrError: it is shorter than 8 characters.
    """

    text: str = field(repr=False)
    cost: int = COST

    def __post_init__(self) -> None:
        if len(self.text) < SHORTEST:
            raise EdgefrError(
                f"a passphrase of at least {SHORTEST} characters", str(len(self.text)), "choose a longer one"
            )

    def key(self, salt: bytes, cost: int) -> bytes:
        """The key that scrypt (RFC 7914) makes of it."""
        text = unicodedata.normalize("NFC", self.text).encode()
        return Scrypt(salt, KEY_BYTES, cost, BLOCK_SIZE, 1).derive(text)


@dataclass(frozen=True)
class KeyFile:
    """A file of 32 random bytes as hexadecimal digits, for its owner alone."""

    path: Path

    @classmethod
    def create(cls, path: Path) -> KeyFile:
        """A new random key in a new file of mode 0600, which is on the disk when this returns.

        Raises:
            EdgefrError: the file is there already, or cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Written under another name, so that no kill leaves an empty key file; only its owner may read it there.
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
            try:
                with os.fdopen(handle, "w", encoding="ascii") as file:
                    file.write(new_key().hex() + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                os.link(temporary, path)  # which, unlike a rename, takes nobody's place
            finally:
                Path(temporary).unlink()
            folder = os.open(path.parent, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
        except OSError as error:
            raise EdgefrError(
                f"to write a new key file {path}",
                f"that this cannot be done ({error.strerror})",
                "choose another --key-file",
            ) from error
        return cls(path)

    def key(self) -> bytes:
        """The key in the file.

        Raises:
            EdgefrError: there is no such file, others may read it, or it holds no key.
        """
        try:
            with self.path.open("rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                content = file.read(2 * KEY_BYTES + 2)
        except OSError as error:
            raise EdgefrError(
                f"a key file at {self.path}",
                f"that it cannot be read ({error.strerror})",
                "give the one that the gallery was made with as --key-file",
            ) from error
        if mode & 0o077:
            raise EdgefrError(
                "a key file that its owner alone may read",
                f"{self.path} with mode {mode:04o}",
                f"chmod 600 {self.path}",
            )
        try:
            key = bytes.fromhex(content.decode("ascii"))
        except ValueError:
            key = b""
        if len(key) != KEY_BYTES:
            raise EdgefrError(
                f"{2 * KEY_BYTES} hexadecimal digits in {self.path}",
                "something else",
                "give the key file that the gallery was made with",
            )
        return key


@dataclass(frozen=True)
class NoSecret:
    """No secret: the key lies in the gallery itself, and protects it from accidents only."""


Secret = Passphrase | KeyFile | NoSecret


def wrap_key(gallery_key: bytes, secret: Secret, place: SealContext) -> str:
    """The gallery's key under `secret` as JSON, for the gallery at this place."""
    if isinstance(secret, NoSecret):
        lock: dict[str, Any] = {"kind": "plain", "key": gallery_key.hex()}
    elif isinstance(secret, KeyFile):
        lock = {"kind": "key file", "key": encrypt(secret.key(), gallery_key, place.of("key file")).hex()}
    else:
        salt = os.urandom(16)
        wrapped = encrypt(secret.key(salt, secret.cost), gallery_key, place.of("passphrase"))
        lock = {"kind": "passphrase", "salt": salt.hex(), "cost": secret.cost, "key": wrapped.hex()}
    return json.dumps(lock)


def lock_kind(lock: object, source: str) -> str:
    """What a lock asks for: `plain`, `key file` or `passphrase`.

    Raises:
        DamagedError: it is no lock.
    """
    return str(_read(lock, source)["kind"])


def unwrap_key(lock: object, secret: Secret, place: SealContext, source: str) -> bytes:
    """The gallery's key from what `wrap_key` gave.

    Raises:
        EdgefrError: the secret is of another kind or wrong, or the lock is damaged.
    """
    found = _read(lock, source)
    kinds = {"plain": NoSecret, "key file": KeyFile, "passphrase": Passphrase}
    if not isinstance(secret, kinds[found["kind"]]):
        raise EdgefrError(
            f"{WANTED[found['kind']]} for {source}", "another kind of secret", "give what the gallery was made with"
        )
    if isinstance(secret, NoSecret):
        return bytes.fromhex(found["key"])
    key = secret.key() if isinstance(secret, KeyFile) else secret.key(bytes.fromhex(found["salt"]), found["cost"])
    try:
        return decrypt(key, bytes.fromhex(found["key"]), place.of(found["kind"]), source)
    except DamagedError as error:
        raise EdgefrError(
            f"the {found['kind']} that {source} was locked with", "another or a damaged file", "give the right one"
        ) from error


WANTED = {"plain": "no secret", "key file": "--key-file", "passphrase": "a passphrase"}


def _read(lock: object, source: str) -> dict[str, Any]:
    """The lock with every field checked, for whoever writes the file could ask for any amount of memory and time."""
    found: dict[str, Any] = {}
    try:
        found = json.loads(lock) if isinstance(lock, str) else {}
        key, kind = bytes.fromhex(found["key"]), found["kind"]
        sound = kind in WANTED and len(key) == KEY_BYTES + (0 if kind == "plain" else 28)
        if kind == "passphrase":
            sound = sound and found["cost"] in COSTS and len(bytes.fromhex(found["salt"])) == 16
    except (ValueError, TypeError, KeyError, RecursionError):
        sound = False
    if not sound:
        raise damaged(f"the lock of {source}")
    return found
