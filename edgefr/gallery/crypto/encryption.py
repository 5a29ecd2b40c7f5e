"""Authenticated encryption with AES-256-GCM.

The gallery, the kind of record and its id are associated data of every ciphertext. A record that was moved to another
row or to another gallery therefore fails to decrypt, like one that was modified.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from edgefr.errors import EdgefrError

KEY_BYTES = 32
NONCE_BYTES = 12
"""Nonces are random: up to 2**32 encryptions under one key are safe (NIST SP 800-38D, 8.3)."""
TAG_BYTES = 16
DIGEST_BYTES = 32


class DamagedError(EdgefrError):
    """A gallery or an export was changed or damaged, or was encrypted with another key."""


def damaged(what: str) -> DamagedError:
    """The error for `what`, which cannot be decrypted or does not match its digest."""
    return DamagedError(
        "",
        f"Integrity check failed for {what}: changed, damaged or encrypted with another key",
        "restore a copy of the file, or import an export into a new gallery",
    )


@dataclass(frozen=True)
class SealContext:
    """The gallery or export that ciphertexts belong to, by its random identity of hexadecimal digits."""

    identity: str

    @classmethod
    def new(cls) -> SealContext:
        """A context with a random identity."""
        return cls(os.urandom(16).hex())

    def associated_data(self, kind: str, *numbers: int) -> bytes:
        """Associated data of the record of a kind with these ids; no two records have the same."""
        return "/".join((self.identity, kind, *map(str, numbers))).encode()


def new_key() -> bytes:
    """A random key."""
    return os.urandom(KEY_BYTES)


def encrypt(key: bytes, plaintext: bytes, associated_data: bytes) -> bytes:
    """Encrypt bytes; returns nonce, ciphertext and tag."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, associated_data)


def decrypt(key: bytes, ciphertext: object, associated_data: bytes, what: str) -> bytes:
    """Decrypt what was read from a file or a database as `what`.

    Raises:
        DamagedError: It was changed, belongs to another record or key, or is not bytes.
    """
    if not isinstance(ciphertext, bytes) or len(ciphertext) <= NONCE_BYTES:
        raise damaged(what)
    try:
        return AESGCM(key).decrypt(ciphertext[:NONCE_BYTES], ciphertext[NONCE_BYTES:], associated_data)
    except InvalidTag as error:
        raise damaged(what) from error


@dataclass(frozen=True)
class Keys:
    """The keys that are derived from a gallery key, one for each use."""

    people: bytes
    log: bytes
    header: bytes
    digests: bytes

    @classmethod
    def of(cls, gallery_key: bytes) -> Keys:
        """Derive the keys by HKDF-SHA256 (RFC 5869). The gallery key is random, so the expand step is enough."""
        uses = (b"edgefr people", b"edgefr log", b"edgefr header", b"edgefr digests")
        return cls(*(HKDFExpand(SHA256(), KEY_BYTES, use).derive(gallery_key) for use in uses))

    def digest(self, *parts: bytes) -> bytes:
        """A keyed digest of the parts. Each is preceded by its length, so that bytes cannot move between parts."""
        state = hashlib.blake2b(key=self.digests, digest_size=DIGEST_BYTES)
        for part in parts:
            state.update(len(part).to_bytes(8, "big"))
            state.update(part)
        return state.digest()
