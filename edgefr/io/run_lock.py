"""One run at a time: two that make the same thing would write over each other."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgefr.errors import EdgefrError


@contextmanager
def run_lock(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, which stays; the lock goes with its process, however that ends.

    Raises:
        EdgefrError: another run holds it, or it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise EdgefrError(
            f"to write {path}",
            f"that this cannot be done ({error.strerror})",
            "choose another folder (of training: --set runs=FOLDER)",
        ) from error
    try:
        _lock(descriptor, path)
        yield
    finally:
        # Closing alone does not free it: worker processes forked meanwhile have the descriptor, too.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise EdgefrError(
            f"{path} to be free",
            f"another run that is making the same ({error.strerror})",
            "wait until it is done, then run the same command again, which goes on from there",
        ) from error
