"""A lock that keeps two runs from making the same thing at the same time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgefr.errors import UnavailableError
from edgefr.io.files import unwritable
from edgefr.io.private_files import make_folder


@contextmanager
def run_lock(path: Path, private: bool = False) -> Iterator[None]:
    """Hold a lock for a block. The lock ends with its process, however that ends; the lock file stays.

    Args:
        path: The lock file. Its folder is made if it is missing.
        private: Whether only the owner can read a folder that is made.

    Raises:
        UnavailableError: Another run holds the lock, or the file cannot be written.
    """
    try:
        make_folder(path.parent, private)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise unwritable(path, error, "choose another folder (for training: --set runs=FOLDER)") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UnavailableError(
                f"{path} to be free",
                f"another run that is making the same ({error.strerror})",
                "wait until it ends, then run the same command again to resume",
            ) from error
        yield
    finally:
        # Worker processes that were forked meanwhile have the descriptor, too, so closing it would not be enough.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)
