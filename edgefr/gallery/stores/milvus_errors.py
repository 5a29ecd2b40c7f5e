"""Translate errors of Milvus, with advice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgefr.errors import UnavailableError
from edgefr.gallery.address import LITE, Address

ADVICE = (
    (
        ("auth check failure", "unauthenticated", "permission"),
        "set MILVUS_TOKEN to USER:PASSWORD of a permitted user",
    ),
    (("duplicate collection", "already exists"), "choose another name: another client has just created this gallery"),
    (
        ("quota", "no space", "file too large", "disk", "deny", "memory"),
        "free space on the server or raise its quota; nothing more is written until then",
    ),
    (("rate limit",), "try again in a minute"),
    (("not loaded", "not fully loaded", "no available", "unavailable shard"), "wait until the server has loaded it"),
    (
        ("connect", "deadline", "timeout", "unavailable", "retry"),
        "check that the server runs and can be reached, and try again",
    ),
)
"""Words of an error message, which Milvus has no stable codes for, and the advice."""
MAX_TEXT = 300


@contextmanager
def translate_milvus_errors(address: Address) -> Iterator[None]:
    """Raise an UnavailableError for every error of pymilvus."""
    from grpc import RpcError
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except (MilvusException, RpcError, OSError) as error:
        text = " ".join(str(getattr(error, "message", error)).split())
        raise UnavailableError(
            "", f"Milvus at {address} failed: {text[:MAX_TEXT]!r}", _advice(error, text.lower(), address)
        ) from error


def _advice(error: Exception, text: str, address: Address) -> str:
    if address.kind == LITE and ("lock" in text or "open local milvus" in text):
        return "end the other process that has the file open, or use a Milvus server: Milvus Lite admits one process"
    if address.kind == LITE and isinstance(error, OSError):
        return "give a FILE.db in a folder that can be written"
    return next((advice for words, advice in ADVICE if any(word in text for word in words)), "see the server's log")
