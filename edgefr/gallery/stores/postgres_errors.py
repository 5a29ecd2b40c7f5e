"""Translate errors of PostgreSQL, with advice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgefr.errors import UnavailableError
from edgefr.gallery.address import Address

MAX_TEXT = 300
FREE_SPACE = "free space on the server; nothing of the change was saved"


@contextmanager
def translate_postgres_errors(address: Address) -> Iterator[None]:
    """Raise an UnavailableError for every error of psycopg."""
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        text = " ".join(str(error).split())
        raise UnavailableError("", f"PostgreSQL at {address} failed: {text[:MAX_TEXT]!r}", _advice(error)) from error


def _advice(error: Exception) -> str:
    from psycopg import errors

    if "disk space" in str(error):  # the server's hint if a file cannot grow for another reason than a full disk
        return FREE_SPACE
    if "database" in str(error) and "does not exist" in str(error):  # psycopg has no error code while connecting
        return "create the database (createdb NAME), or correct it in the address"
    advice: tuple[tuple[type[Exception], str], ...] = (
        (errors.DiskFull, FREE_SPACE),
        (errors.OutOfMemory, FREE_SPACE),
        (errors.ReadOnlySqlTransaction, "give the address of the primary server, or make the database writable"),
        (errors.InsufficientPrivilege, "grant the rights, or give another user in the address"),
        (errors.UndefinedFile, "install pgvector on the server"),
        (errors.FeatureNotSupported, "install pgvector on the server"),
        (errors.UniqueViolation, "try again: another client has just written the same"),
        (errors.IdleInTransactionSessionTimeout, "try again: the change paused for too long and was rolled back"),
        (errors.QueryCanceled, "try again later: the server is too slow, or other clients are changing the gallery"),
        (errors.InvalidPassword, "set PGPASSWORD, or write the password into ~/.pgpass"),
        (
            errors.OperationalError,
            "check that the server runs, can be reached and accepts the password (PGPASSWORD), and try again",
        ),
    )
    return next((text for kind, text in advice if isinstance(error, kind)), "see the server's log")
