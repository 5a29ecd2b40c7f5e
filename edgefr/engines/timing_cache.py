"""TensorRT's timing cache: measurements of its kernels on a device, kept between builds."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from edgefr.io.files import atomic_write
from edgefr.runtimes.engine_file import Target

MAX_BYTES = 256 << 20
"""Typical caches have a few megabytes."""


def timing_cache_file(folder: Path, target: Target) -> Path:
    """The file for a target: every library version, driver and GPU has its own."""
    text = repr(target).replace("Target(", "Place(")  # the name of the class in the names of existing files
    return folder / f"timings-{hashlib.sha256(text.encode()).hexdigest()[:16]}.cache"


def load_timing_cache(config: Any, path: Path) -> None:
    """Load a timing cache into a builder's configuration, or an empty one if the library rejects the file."""
    if not hasattr(config, "create_timing_cache"):
        return  # TensorRT-RTX chooses its kernels on the user's machine
    data = path.read_bytes() if path.is_file() and path.stat().st_size <= MAX_BYTES else b""
    cache = config.create_timing_cache(data)
    if cache is None or not config.set_timing_cache(cache, False):  # damaged, or of another device
        config.set_timing_cache(config.create_timing_cache(b""), False)


def save_timing_cache(config: Any, path: Path) -> None:
    """Save the timing cache of a configuration after a build. Of two builds at once the later one wins."""
    cache = config.get_timing_cache() if hasattr(config, "create_timing_cache") else None
    if cache is not None:
        with atomic_write(path) as temporary:
            temporary.write_bytes(memoryview(cache.serialize()))
