"""Milvus's failures as sentences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgefr.errors import EdgefrError
from edgefr.gallery.address import LITE, Address

REMEDIES = (
    (("auth check failure", "unauthenticated", "permission"), "set MILVUS_TOKEN to USER:PASSWORD of who may do this"),
    (("duplicate collection", "already exists"), "somebody else has just made it; choose another name"),
    (
        ("quota", "no space", "file too large", "disk", "deny", "memory"),
        "free room at the server, or raise its quota; nothing more is written until then",
    ),
    (("rate limit",), "try again in a minute"),
    (("not loaded", "not fully loaded", "no available", "unavailable shard"), "wait until the server has loaded it"),
    (
        ("connect", "deadline", "timeout", "unavailable", "retry"),
        "see that the server runs and is reached, and try again",
    ),
)
OTHERWISE = "see the server's log"
LONGEST = 300


@contextmanager
def explained(address: Address) -> Iterator[None]:
    """Every failure of a call of pymilvus as an EdgefrError that names the remedy."""
    from grpc import RpcError
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except (MilvusException, RpcError, OSError) as error:
        told = " ".join(str(getattr(error, "message", error)).split())
        raise EdgefrError(
            f"an answer of Milvus at {address}", f"{told[:LONGEST]!r}", str(_remedy(error, told, address))
        ) from error


def _remedy(error: Exception, told: str, address: Address) -> str:
    small = told.lower()
    if address.kind == LITE and ("lock" in small or "open local milvus" in small):
        return "one process at a time can have a file of Milvus Lite open; end the other, or use a Milvus server"
    if address.kind == LITE and isinstance(error, OSError):
        return "give a FILE.db in a folder that can be written"
    return next((remedy for words, remedy in REMEDIES if any(word in small for word in words)), OTHERWISE)
