"""PostgreSQL's failures as sentences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgefr.errors import EdgefrError
from edgefr.gallery.address import Address

LONGEST = 300


@contextmanager
def explained(address: Address) -> Iterator[None]:
    """Every failure of psycopg as an EdgefrError that names the remedy."""
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        told = " ".join(str(error).split())
        raise EdgefrError(
            f"an answer of PostgreSQL at {address}", f"{told[:LONGEST]!r}", str(_remedy(error))
        ) from error


ROOM = "free room at the server; nothing of the change was kept"


def _remedy(error: Exception) -> str:
    from psycopg import errors

    if "disk space" in str(error):  # the server's own hint where a file cannot grow for another reason
        return ROOM
    if "database" in str(error) and "does not exist" in str(error):  # which comes without its code while connecting
        return "have the database made (createdb NAME), or correct it in the address"
    remedies: tuple[tuple[type[Exception], str], ...] = (
        (errors.DiskFull, ROOM),
        (errors.OutOfMemory, ROOM),
        (errors.ReadOnlySqlTransaction, "give the address of the primary server, or let the database be written"),
        (errors.InsufficientPrivilege, "have the rights granted, or give another user in the address"),
        (errors.UndefinedFile, "have pgvector installed at the server"),
        (errors.FeatureNotSupported, "have pgvector installed at the server"),
        (errors.UniqueViolation, "somebody else has just made the same; try again"),
        (errors.IdleInTransactionSessionTimeout, "the change paused for too long and was taken back; try again"),
        (errors.QueryCanceled, "the server is too slow, or others change the gallery all the time; try again later"),
        (errors.InvalidPassword, "set PGPASSWORD, or write the password into ~/.pgpass"),
        (errors.OperationalError, "see that the server runs, is reached and knows you (PGPASSWORD), and try again"),
    )
    return next((remedy for kind, remedy in remedies if isinstance(error, kind)), "see the server's log")
