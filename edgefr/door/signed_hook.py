"""Post openings to a URL with a signature (Standard Webhooks 1.0.0, standardwebhooks.com)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import stat
import time
from pathlib import Path

from edgefr.camera.event_queue import Entry
from edgefr.camera.webhook import Webhook
from edgefr.door.door_file import HookSettings
from edgefr.door.fresh_receiver import Opener
from edgefr.errors import InvalidArgumentError, UnavailableError
from edgefr.io.private_files import OTHERS

PREFIX = "whsec_"
MIN_BYTES, MAX_BYTES = 24, 64
"""Size of a secret, as Standard Webhooks has it."""
NEW_FILE = "(umask 077; echo whsec_$(openssl rand -base64 32) > FILE)"


class SignedHook(Webhook, Opener):
    """Signs each attempt with its time, so that a message which somebody has recorded is of no use a moment later."""

    def __init__(self, name: str, settings: HookSettings) -> None:
        """Read the secret.

        Raises:
            InvalidArgumentError: The URL or the secret is none.
            UnavailableError: The secret cannot be read, or other users can read it.
        """
        super().__init__(settings.url, f"hook.{name}.url")
        self._secret = read_secret(settings.secret_file)

    def headers_of(self, entry: Entry) -> dict[str, str]:
        sent_at = int(time.time())
        return {
            **super().headers_of(entry),
            "webhook-id": entry.id,
            "webhook-timestamp": str(sent_at),
            "webhook-signature": signature(self._secret, entry.id, sent_at, entry.message),
        }


def signature(secret: bytes, number: str, sent_at: int, message: bytes) -> str:
    """The value of the header webhook-signature: HMAC-SHA256 over id, time and message.

    Args:
        secret: The shared secret.
        number: The header webhook-id.
        sent_at: The header webhook-timestamp, in seconds since 1970.
        message: The body.
    """
    signed = f"{number}.{sent_at}.".encode() + message
    return "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()


def read_secret(path: Path) -> bytes:
    """Read a secret of 24 to 64 bytes in base64 after `whsec_`.

    Raises:
        InvalidArgumentError: The file has another content.
        UnavailableError: The file cannot be read, or other users can read it.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(4 * MAX_BYTES)
    except OSError as error:
        raise UnavailableError(
            f"a secret in {path}", str(error.strerror), f"make one with {NEW_FILE} and give it to the server"
        ) from error
    if mode & OTHERS:
        raise UnavailableError(f"a secret in {path} that only you can read", f"mode {mode:o}", f"run: chmod 600 {path}")
    try:
        secret = base64.b64decode(text.strip().removeprefix(PREFIX.encode()), validate=True)
    except binascii.Error:
        secret = b""
    if not (text.startswith(PREFIX.encode()) and MIN_BYTES <= len(secret) <= MAX_BYTES):
        raise InvalidArgumentError(
            f"{PREFIX} and {MIN_BYTES} to {MAX_BYTES} bytes in base64 in {path}",
            "another text",
            f"make one with {NEW_FILE}",
        )
    return secret
