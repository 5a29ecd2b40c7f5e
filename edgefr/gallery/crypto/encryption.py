"""Sealing with AES-256-GCM: nothing opens in another place, under another kind or in another gallery than its own.

What a sealed thing is and where it belongs goes in as associated data, so that rows which were swapped are refused as
changed ones are.
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
NONCE_BYTES = 12  # drawn at random: 2**32 sealings under one key stay safe (NIST SP 800-38D, 8.3)
DIGEST_BYTES = 32


class DamagedError(EdgefrError):
    """A gallery or an export was changed or damaged, or was encrypted with another key."""


def damaged(what: str) -> DamagedError:
    """The error for `what`, which cannot be decrypted or does not match its digest."""
    return DamagedError(
        f"{what} as edgefr wrote it",
        "that it was changed, damaged or encrypted with another key",
        "restore a copy of the file, or import an export into a new gallery",
    )


@dataclass(frozen=True)
class SealContext:
    """Where sealed things belong: a gallery or an export, by its random identity of hexadecimal digits."""

    identity: str

    @classmethod
    def new(cls) -> SealContext:
        return cls(os.urandom(16).hex())

    def of(self, kind: str, *numbers: int) -> bytes:
        """Associated data for a thing of this kind with these row numbers; no two places give the same."""
        return "/".join((self.identity, kind, *map(str, numbers))).encode()


def new_key() -> bytes:
    return os.urandom(KEY_BYTES)


def encrypt(key: bytes, plain: bytes, place: bytes) -> bytes:
    """Nonce and ciphertext of `plain`, which `decrypt` gives back for the same key and place."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, place)


def decrypt(key: bytes, sealed: object, place: bytes, what: str) -> bytes:
    """What was sealed; `what` it is is said in the refusal.

    Raises:
        DamagedError: it was changed, sealed with another key or for another place, or is no bytes at all.
    """
    if not isinstance(sealed, bytes) or len(sealed) <= NONCE_BYTES:
        raise damaged(what)
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], place)
    except InvalidTag as error:
        raise damaged(what) from error


@dataclass(frozen=True)
class Keys:
    """What a gallery's key is used for, one key for each use: people's data keys, the log, the header, digests."""

    people: bytes
    log: bytes
    header: bytes
    digests: bytes

    @classmethod
    def of(cls, gallery_key: bytes) -> Keys:
        """Derived by HKDF-SHA256 (RFC 5869); the gallery's key is random, so that expanding it is enough."""
        uses = (b"edgefr people", b"edgefr log", b"edgefr header", b"edgefr digests")
        return cls(*(HKDFExpand(SHA256(), KEY_BYTES, use).derive(gallery_key) for use in uses))

    def digest(self, *parts: bytes) -> bytes:
        """A keyed digest of the parts, each with its length, so that none can lend bytes to its neighbour."""
        state = hashlib.blake2b(key=self.digests, digest_size=DIGEST_BYTES)
        for part in parts:
            state.update(len(part).to_bytes(8, "big"))
            state.update(part)
        return state.digest()
