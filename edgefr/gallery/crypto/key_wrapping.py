"""How a gallery key is stored: wrapped by a passphrase or a key file, or without protection."""

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

from edgefr.errors import InvalidArgumentError, LockedError, UnavailableError
from edgefr.gallery.crypto.encryption import (
    KEY_BYTES,
    NONCE_BYTES,
    TAG_BYTES,
    DamagedError,
    SealContext,
    damaged,
    decrypt,
    encrypt,
    new_key,
)
from edgefr.io.credentials import is_credential
from edgefr.io.files import sync_path
from edgefr.io.private_files import make_folder

MIN_PASSPHRASE = 8
"""Characters."""
SALT_BYTES = 16
COST, BLOCK_SIZE = 1 << 17, 8
"""N and r of scrypt from the OWASP password storage cheat sheet: 128 MiB and under half a second per guess."""
ALLOWED_COSTS = tuple(1 << n for n in range(14, 21))
"""A file that asks for less would be weak; one that asks for more would take over a GiB."""


@dataclass(frozen=True)
class Passphrase:
    """A passphrase.

    Attributes:
        text: At least 8 characters.
        cost: N of scrypt for keys that are wrapped with it.

    Raises:
        InvalidArgumentError: It is too short.
    """

    text: str = field(repr=False)
    cost: int = COST

    def __post_init__(self) -> None:
        if len(self.text) < MIN_PASSPHRASE:
            raise InvalidArgumentError(
                f"a passphrase of at least {MIN_PASSPHRASE} characters", str(len(self.text)), "choose a longer one"
            )

    def key(self, salt: bytes, cost: int) -> bytes:
        """Derive a key by scrypt (RFC 7914).

        Args:
            salt: 16 random bytes.
            cost: N of scrypt.

        Returns:
            The key, 32 bytes.
        """
        text = unicodedata.normalize("NFC", self.text).encode()
        return Scrypt(salt, KEY_BYTES, cost, BLOCK_SIZE, 1).derive(text)


@dataclass(frozen=True)
class KeyFile:
    """A file of 32 random bytes as hexadecimal digits, readable by its owner only, or a credential of the service.

    Attributes:
        path: The file.
    """

    path: Path

    @classmethod
    def create(cls, path: Path) -> KeyFile:
        """Write a new random key to a new file with mode 0600. The file is on the disk when this returns.

        Args:
            path: The file, which must not exist.

        Returns:
            The key file.

        Raises:
            UnavailableError: The file exists or cannot be written.
        """
        try:
            make_folder(path.parent, private=True)
            # A temporary name, so that a kill leaves no empty key file. mkstemp makes it readable by its owner only.
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
            try:
                with os.fdopen(handle, "w", encoding="ascii") as file:
                    file.write(new_key().hex() + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                os.link(temporary, path)  # unlike a rename, this never replaces another file
            finally:
                Path(temporary).unlink()
            sync_path(path.parent)
        except OSError as error:
            raise UnavailableError(
                "", f"The new key file {path} cannot be written: {error.strerror}", "choose another --key-file"
            ) from error
        return cls(path)

    def key(self) -> bytes:
        """Read the key.

        Raises:
            LockedError: The file cannot be read, other users can read it, or it holds no key.
        """
        try:
            with self.path.open("rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                content = file.read(2 * KEY_BYTES + 2)
        except OSError as error:
            raise LockedError(
                "",
                f"The key file {self.path} cannot be read: {error.strerror}",
                "pass the key file of the gallery as --key-file",
            ) from error
        # systemd lets a service read its credentials by an access list, which the mode shows as a right of the group.
        if mode & (0o007 if is_credential(self.path) else 0o077):
            raise LockedError(
                "a key file that only its owner can read",
                f"mode {mode:04o} at {self.path}",
                f"run: chmod 600 {self.path}",
            )
        try:
            key = bytes.fromhex(content.decode("ascii"))
        except ValueError:
            key = b""
        if len(key) != KEY_BYTES:
            raise LockedError(
                f"{2 * KEY_BYTES} hexadecimal digits in {self.path}",
                "something else",
                "pass the key file of the gallery as --key-file",
            )
        return key


@dataclass(frozen=True)
class NoSecret:
    """No secret: the gallery key is stored in the gallery itself, and anyone who can read the file can decrypt it."""


Secret = Passphrase | KeyFile | NoSecret

_LOCKS: dict[str, tuple[type, str]] = {
    "plain": (NoSecret, "no secret"),
    "key file": (KeyFile, "a key file"),
    "passphrase": (Passphrase, "a passphrase"),
}
"""Kind of lock -> the secret that opens it, and its name in messages."""


def wrap_key(gallery_key: bytes, secret: Secret, context: SealContext) -> str:
    """The lock of a gallery key: JSON with the wrapped key and what `unwrap_key` needs besides the secret."""
    if isinstance(secret, NoSecret):
        lock: dict[str, Any] = {"kind": "plain", "key": gallery_key.hex()}
    elif isinstance(secret, KeyFile):
        lock = {
            "kind": "key file",
            "key": encrypt(secret.key(), gallery_key, context.associated_data("key file")).hex(),
        }
    else:
        salt = os.urandom(SALT_BYTES)
        wrapped = encrypt(secret.key(salt, secret.cost), gallery_key, context.associated_data("passphrase"))
        lock = {"kind": "passphrase", "salt": salt.hex(), "cost": secret.cost, "key": wrapped.hex()}
    return json.dumps(lock)


def lock_kind(lock: object, source: str) -> str:
    """The kind of secret that a lock needs: "plain", "key file" or "passphrase".

    Raises:
        DamagedError: It is not a lock.
    """
    return str(_parse_lock(lock, source)["kind"])


def unwrap_key(lock: object, secret: Secret, context: SealContext, source: str) -> bytes:
    """Unwrap the gallery key from the result of `wrap_key`.

    Raises:
        LockedError: The secret is wrong or of another kind.
        DamagedError: It is not a lock.
    """
    parsed = _parse_lock(lock, source)
    kind = parsed["kind"]
    expected, name = _LOCKS[kind]
    if not isinstance(secret, expected):
        raise LockedError(f"{name} for {source}", "another kind of secret", "use the secret of this gallery")
    if isinstance(secret, NoSecret):
        return bytes.fromhex(parsed["key"])
    key = secret.key() if isinstance(secret, KeyFile) else secret.key(bytes.fromhex(parsed["salt"]), parsed["cost"])
    try:
        return decrypt(key, bytes.fromhex(parsed["key"]), context.associated_data(kind), source)
    except DamagedError as error:
        raise LockedError(
            f"the {kind} that {source} is locked with", "another one, or a damaged file", f"use the right {kind}"
        ) from error


def _parse_lock(lock: object, source: str) -> dict[str, Any]:
    """The fields of a lock. All are checked because whoever can write the file could ask for any memory and time."""
    parsed: dict[str, Any] = {}
    try:
        parsed = json.loads(lock) if isinstance(lock, str) else {}
        key, kind = bytes.fromhex(parsed["key"]), parsed["kind"]
        valid = kind in _LOCKS and len(key) == KEY_BYTES + (0 if kind == "plain" else NONCE_BYTES + TAG_BYTES)
        if kind == "passphrase":
            salt = bytes.fromhex(parsed["salt"])
            valid = valid and parsed["cost"] in ALLOWED_COSTS and len(salt) == SALT_BYTES
    except (ValueError, TypeError, KeyError, RecursionError):
        valid = False
    if not valid:
        raise damaged(f"the lock of {source}")
    return parsed
