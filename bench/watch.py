"""Measure `edgefr watch` on a film of 1280x720 pixels at 30 frames a second that is made from photographs.

Two people are enrolled from other photographs than those in the film; a third person in it is a stranger. The film is
repeated until `frames` frames were processed. The memory of the process is read on the way, because it must not grow.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

from bench.film import RATE, Shot, write
from edgefr.camera.base import Frame
from edgefr.camera.session import Listener, Session
from edgefr.camera.sources import VideoFile
from edgefr.camera.watcher import FrameResult, Watcher
from edgefr.gallery.crypto.key_wrapping import NoSecret
from edgefr.gallery.enrolment import enrol
from edgefr.gallery.file_gallery import FileGallery
from edgefr.gallery.identifier import Identifier
from edgefr.gallery.model_binding import ModelBinding
from edgefr.recognition.verifier import Verifier

ENROLLED = {"Obama": ("obama1.jpg", "obama2.jpg"), "Biden": ("biden2.jpg",)}


def shots(photos: Path) -> list[Shot]:
    """18 seconds: the people one after the other, both together, a stranger, with gaps between."""
    return [
        Shot(photos / "obama3.jpg", 4, (0.35, 0.3, 2.5), (0.65, 0.35, 1.6)),
        Shot(None, 1.5),
        Shot(photos / "biden.jpg", 4, (0.5, 0.3, 3.5), (0.5, 0.3, 1.5)),
        Shot(None, 1.5),
        Shot(photos / "obama_and_biden.jpg", 4, (0.45, 0.4, 1.2), (0.55, 0.4, 0.9)),
        Shot(None, 1.5),
        Shot(photos / "astronaut.png", 4, (0.4, 0.4, 3.0), (0.5, 0.4, 1.6)),
        Shot(None, 1.5),
    ]


class Repeated:
    """A film that is repeated until it has given a number of frames."""

    live = False

    def __init__(self, path: Path, frames: int) -> None:
        self.name, self._path, self._frames = str(path), path, frames

    def frames(self) -> Iterator[Frame]:
        count = 0
        while True:
            for frame in VideoFile(self._path).frames():
                if count == self._frames:
                    return
                yield Frame(frame.image, count / RATE)
                count += 1


class Notes(Listener):
    """Keeps the events, and the memory in use after every 500 frames."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.memory: list[int] = []
        self._count = 0

    def send(self, document: dict[str, Any]) -> None:
        self.events.append(document)

    def show(self, result: FrameResult) -> None:
        self._count += 1
        if self._count % 500 == 0:
            self.memory.append(_resident())


def run(data: Path, model: Path, detector: Path, frames: int = 3000) -> dict[str, Any]:
    """Watch the film; returns frame rate, identified people, events, and the memory in use after every 500 frames."""
    verifier = Verifier.open(model, detector, images=1)
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder, "film.mp4")
        length = write(film, shots(data / "photos"))
        with FileGallery.create(Path(folder, "people.gallery"), NoSecret(), ModelBinding.of(verifier)) as gallery:
            for name, photos in ENROLLED.items():
                paths = [data / "photos" / photo for photo in photos]
                enrol(gallery, verifier, name, paths, crops=False, expires_in_s=None, on_progress=lambda _: None)
            notes = Notes()
            session = Session(Repeated(film, frames), Watcher(Identifier(verifier, gallery)), [notes], real_time=False)
            start = monotonic()
            session.run()
            seconds = monotonic() - start
    named = [event for event in notes.events if event["what"] == "identified"]
    return {
        "frames": session.frames,
        "film_frames": length,
        "frames_per_second": session.frames / seconds,
        "named": {name: sum(event["name"] == name for event in named) for name in sorted({e["name"] for e in named})},
        "events_of_the_first_showing": [
            (event["seconds"], event["what"], event["name"], round(event["similarity"], 3))
            for event in notes.events
            if event["seconds"] is not None and event["seconds"] < length / RATE
        ],
        "megabytes_after_each_500_frames": notes.memory,
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    }


def _resident() -> int:
    """Resident memory of this process in megabytes (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() >> 20


if __name__ == "__main__":
    print(json.dumps(run(*map(Path, sys.argv[1:4]), frames=int(sys.argv[4])), indent=1))  # type: ignore[misc]
