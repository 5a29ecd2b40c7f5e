"""Memory of training steps: what one step frees, the next one uses again."""

from __future__ import annotations

import ctypes
import sys

M_MMAP_MAX, M_TRIM_THRESHOLD = -4, -1
"""Parameters of `mallopt` in glibc's malloc.h."""


def keep_freed_memory() -> None:
    """Make this process keep the memory that it frees, as far as the C library can be told to.

    glibc returns large blocks to the system at once, which clears all their pages when the next step asks for them
    again. That takes a tenth of a step of `mini`, and a sixth of one of MobileFaceNet (`bench network_steps`).
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):  # musl has none
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, -1)
