"""A watcher with the fake model and a gallery of two people."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgefr.camera.session import event_document
from edgefr.camera.watcher import Watcher
from edgefr.gallery.file_gallery import FileGallery
from edgefr.gallery.identifier import Identifier
from edgefr.manifest import Manifest
from edgefr.recognition.recogniser import open_recogniser
from edgefr.recognition.verifier import Verifier
from edgefr.runtimes import FAKE
from edgefr.server.web_server import WebServer
from tests.camera.people import PatchDetector, enrolled, frame
from tests.gallery.people import thresholds


def new_verifier() -> Verifier:
    """The fake model with thresholds, and the detector of patterns."""
    manifest = Manifest("onnx", "fake", thresholds=thresholds((1e-2, 0.6), (1e-3, 0.7), (1e-5, 0.8)))
    return Verifier(PatchDetector(), open_recogniser(FAKE, "fake", "auto", None), manifest)


@pytest.fixture
def verifier() -> Verifier:
    return new_verifier()


@pytest.fixture
def gallery(verifier: Verifier, tmp_path: Path) -> Iterator[FileGallery]:
    with enrolled(tmp_path / "people.gallery", verifier, {"Ada": 1, "Grace": 2}) as opened:
        yield opened


TOKENS: dict[Any, str] = {"admin": "a token of some length", "viewer": "another token of some length"}


class Door:
    """A page that is served while people, given as (person, x, y), stand in front of the camera."""

    def __init__(
        self, watcher: Watcher, people: tuple[tuple[int, int, int], ...] = ((1, 40, 60), (77, 300, 60)), **options: Any
    ) -> None:
        self.people = people
        self.log: list[str] = []
        self.page = WebServer(
            watcher, "the door", **{"host": "127.0.0.1", "port": 0, "tokens": TOKENS, "log": self._read, **options}
        )
        self.url = self.page.url
        self.watcher = watcher
        self.stopped = threading.Event()
        self._thread = threading.Thread(target=self._play, daemon=True)

    def _read(self, sentence: str) -> None:
        self.log.append(sentence)

    def link(self) -> str:
        """A link that signs in once."""
        self.page.print_link()
        return self.log[-2].split()[-1]

    def __enter__(self) -> Door:
        self.page.__enter__()
        self.step(0.0)
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.stopped.set()
        self._thread.join()
        self.page.__exit__(*error)

    def step(self, at: float) -> None:
        result = self.watcher.process(frame(at, *self.people))
        for event in result.events:
            self.page.send(event_document(event, live=True))
        self.page.show(result)

    def _play(self) -> None:
        start = time.monotonic()
        while not self.stopped.wait(0.04):
            self.step(time.monotonic() - start)


@pytest.fixture
def door(watcher: Watcher) -> Iterator[Door]:
    with Door(watcher) as opened:  # Ada and a stranger
        yield opened


@pytest.fixture
def served(door: Door) -> str:
    return door.url


@pytest.fixture
def watcher(verifier: Verifier, gallery: FileGallery) -> Watcher:
    return Watcher(Identifier(verifier, gallery))
