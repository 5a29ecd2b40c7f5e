"""Small photographs with and without faces, in folders of people."""

from __future__ import annotations

import random
from pathlib import Path

from bench.bulk import make


def photographs(folder: Path, count: int, seed: int = 0) -> tuple[list[str], set[str]]:
    """Write photographs; returns the sorted paths of all and the paths of the damaged ones."""
    bad = make(folder, count, random.Random(seed))  # noqa: S311
    return sorted(str(path) for path in folder.rglob("*.jpg")), bad
