"""Settings for a process that ends after a second: without them, much of its time is spent on being ready for more."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

BLAS_THREADS = "OPENBLAS_NUM_THREADS"
M_ARENA_MAX = -8  # of glibc's malloc.h


@contextmanager
def short_process() -> Iterator[None]:
    """Run a command that compares a few faces. numpy is imported here, if it was not before.

    - The collector of cyclic garbage, which would visit the objects of all libraries again and again, is off.
    - numpy's OpenBLAS starts no threads: they wait busily at first, and nothing large is multiplied.
    - Threads share one heap of the C library, so that memory which one has freed serves the others.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        with suppress(ImportError, OSError, AttributeError, TypeError):  # not the C library of GNU
            import ctypes

            ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
        _import_numpy_with_one_thread()
        yield
    finally:
        if was_enabled:
            gc.enable()


def _import_numpy_with_one_thread() -> None:
    given = os.environ.get(BLAS_THREADS)
    os.environ.setdefault(BLAS_THREADS, "1")
    try:
        import numpy  # noqa: F401
    finally:
        if given is None:
            del os.environ[BLAS_THREADS]  # child processes inherit it
