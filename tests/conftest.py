"""What many tests share: the folder of real data, where there is one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def shared_root() -> Path:
    """The folder that holds `data` and `fingerprints`: $EDGEFR_SHARED, else `../shared` beside the checkout."""
    root = Path(os.environ.get("EDGEFR_SHARED", REPOSITORY.parent / "shared"))
    if not (root / "data").is_dir():
        pytest.skip(f"no real weights and faces at {root}: set EDGEFR_SHARED")
    return root


@pytest.fixture(scope="session")
def shared(shared_root: Path) -> Path:
    """The folder of real data: weights, LFW, detectors, photographs."""
    return shared_root / "data"
