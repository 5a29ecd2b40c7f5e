"""What was measured of a model's candidates on this machine, so that "auto" takes the fastest: runtimes and engines.

`edgefr build-engine` without --runtime measures, and keeps one small file for each model in the user's cache. It counts
as long as the model, the processor and the library of a candidate are those that were measured.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgefr.io.files import atomic_write
from edgefr.io.user_folders import user_folder
from edgefr.runtimes.processor import processor

FORMAT = 2
MAX_BYTES = 1 << 16

BATCH = 8
"""Number of images from which they are taken to be computed in batches."""


@dataclass(frozen=True)
class Candidate:
    """A way to run a model, and how fast it was.

    Attributes:
        runtime: Name of the runtime.
        version: Version of its library.
        precision: Precision.
        engine: Absolute path of the engine. Empty if the runtime opens the model itself.
        start_ms: Time to open it.
        image_ms: Shortest time for one image.
        batch_ms: Shortest time for one of `BATCH` images that are computed together.
    """

    runtime: str
    version: str
    precision: str
    engine: str
    start_ms: float
    image_ms: float
    batch_ms: float

    def total_ms(self, images: int | None) -> float:
        """The expected time for so many images, start included. None stands for so many that the start is nothing."""
        if images is None:
            return self.batch_ms
        return self.start_ms + images * (self.image_ms if images < BATCH else self.batch_ms)


def read_candidates(model: Path, precision: str) -> tuple[Candidate, ...]:
    """What was measured of a model in a precision on this machine; empty if nothing was, or something has changed."""
    try:
        return tuple(
            Candidate(
                str(entry["runtime"]),
                str(entry["version"]),
                str(entry["precision"]),
                str(entry["engine"]),
                float(entry["start_ms"]),
                float(entry["image_ms"]),
                float(entry["batch_ms"]),
            )
            for entry in _read(model)["precisions"].get(precision, ())
        )
    except (ValueError, LookupError, TypeError, AttributeError):  # measured again, if at all
        return ()


def read_libraries(model: Path, precision: str) -> dict[str, str]:
    """Runtime -> version, of all that were there when a precision was measured, even if they cannot run the model."""
    found = _read(model).get("libraries", {})
    libraries = found.get(precision, {}) if isinstance(found, dict) else {}
    return dict(libraries) if isinstance(libraries, dict) else {}


def write_candidates(
    model: Path, precision: str, candidates: Sequence[Candidate], libraries: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Keep what was measured, beside what is known of other precisions. Without a writable cache nothing is kept.

    Args:
        model: The model.
        precision: The precision.
        candidates: What was measured.
        libraries: Runtime -> version, of all runtimes that were there.
    """
    file = _file(model)
    if file is None:
        return
    others = [other for other in ("fp32", "bf16", "fp16", "int8") if other != precision]
    known = {other: [asdict(entry) for entry in read_candidates(model, other)] for other in others}
    document = {
        "measured": circumstances(model),
        "precisions": {name: entries for name, entries in known.items() if entries}
        | {precision: [asdict(entry) for entry in candidates]},
        "libraries": {other: read_libraries(model, other) for other in others} | {precision: dict(libraries)},
    }
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with atomic_write(file, private=True) as temporary:
            temporary.write_text(json.dumps(document), encoding="utf-8")
    except OSError:
        return


def fastest(candidates: Sequence[Candidate], images: int | None = None) -> Candidate | None:
    """The candidate that finishes first."""
    return min(candidates, key=lambda entry: entry.total_ms(images), default=None)


def _file(model: Path) -> Path | None:
    folder = user_folder("cache")
    name = hashlib.sha256(str(model.resolve()).encode()).hexdigest()[:16]
    return None if folder is None else folder / "choices" / f"{name}.json"


def _read(model: Path) -> dict[str, Any]:
    """The file of a model; empty if there is none, or if it is of other circumstances."""
    file = _file(model)
    try:
        if file is None or file.stat().st_size > MAX_BYTES:
            return {}
        document = json.loads(file.read_text(encoding="utf-8"))
        is_current = isinstance(document, dict) and document.get("measured") == circumstances(model)
        return document if is_current else {}
    except (OSError, ValueError, RecursionError):
        return {}


def circumstances(model: Path) -> dict[str, Any] | None:
    """Everything but the libraries that a measurement depends on; None if the model is gone."""
    try:
        status, here = model.stat(), processor()
    except OSError:
        return None
    flags = hashlib.sha256(" ".join(sorted(here.flags)).encode()).hexdigest()[:16]
    return {
        "format": FORMAT,
        "model": str(model.resolve()),
        "bytes": status.st_size,
        "modified_ns": status.st_mtime_ns,
        "processor": here.model,
        "cores": here.cores,
        "flags": flags,
    }
