"""How long a gallery in a file with 200,000 events takes: to open it, to read its log, to remove a person."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.kills import BINDING, DIM
from edgefr.gallery.crypto.key_wrapping import KeyFile
from edgefr.gallery.file_gallery import FileGallery
from edgefr.gallery.records import Event, FaceSample

EVENTS, PER_CHANGE = 200_000, 10_000
NAMES = ("Ada", "Grace")


def run() -> dict[str, Any]:
    """Seconds for each."""
    with tempfile.TemporaryDirectory() as folder:
        key, path = KeyFile.create(Path(folder) / "key"), Path(folder) / "people.gallery"
        with FileGallery.create(path, key, BINDING) as gallery:
            for axis, name in enumerate(NAMES):
                gallery.enrol(name, [FaceSample("a.jpg", np.eye(DIM, dtype=np.float32)[axis], 20.0, None, 1.0)])
            for _ in range(EVENTS // PER_CHANGE):
                gallery.log([Event.now("matched", NAMES[number % 2], "0.8") for number in range(PER_CHANGE)])
        gallery, open_s = _timed(lambda: FileGallery.open(path, key))
        with gallery:
            _, read_s = _timed(gallery.events)
            _, remove_s = _timed(lambda: gallery.remove(NAMES[0]))
    return {"events": EVENTS, "open_s": open_s, "read_and_verify_s": read_s, "remove_s": remove_s}


def _timed(action: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    return action(), round(time.perf_counter() - start, 3)
