"""What TensorRT measured of its kernels on a device: kept between builds, where the library has such a cache."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from edgefr.io.files import atomic_write
from edgefr.runtimes.engine_file import Target

LARGEST = 256 << 20
"""Bytes; measured ones are a few megabytes."""


def timings_file(folder: Path, place: Target) -> Path:
    """Where a device's are kept: library, driver and GPU make another file each."""
    return folder / f"timings-{hashlib.sha256(repr(place).encode()).hexdigest()[:16]}.cache"


def use_timings(config: Any, path: Path) -> None:
    """Give a builder's configuration what was kept in `path`; what the library refuses of it is measured anew."""
    if not hasattr(config, "create_timing_cache"):
        return  # TensorRT-RTX: it chooses kernels on the user's machine
    kept = path.read_bytes() if path.is_file() and path.stat().st_size <= LARGEST else b""
    cache = config.create_timing_cache(kept)
    if cache is None or not config.set_timing_cache(cache, False):  # damaged, or another device's
        config.set_timing_cache(config.create_timing_cache(b""), False)


def keep_timings(config: Any, path: Path) -> None:
    """Keep what the configuration has after a build; of two builds at once the later one's."""
    cache = config.get_timing_cache() if hasattr(config, "create_timing_cache") else None
    if cache is not None:
        with atomic_write(path) as temporary:
            temporary.write_bytes(memoryview(cache.serialize()))
