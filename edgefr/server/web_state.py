"""What a watch shows to those who look on, and what they may ask of it: enrol, remove, compare."""

from __future__ import annotations

import base64
import threading
from collections import deque
from collections.abc import Sequence
from time import monotonic
from typing import Any

from edgefr.camera.overlay import draw_faces, encode_jpeg
from edgefr.camera.session import iso_time
from edgefr.camera.watcher import FrameResult, Watcher
from edgefr.gallery.enrolment import Enrolment, crop_for_enrolment, enrol_samples, sample_from_face
from edgefr.io.photo import decode_photograph
from edgefr.recognition.verifier import VerificationResult

REMEMBERED = 200
"""Events kept for who comes later."""
SIDE = 960
"""Longest side in pixels of the live picture."""
MOST_PIXELS = 32_000_000
"""Of a photograph to be compared: telephones make them of 12 to 24 megapixels, and each takes three bytes a pixel."""


class GoneError(Exception):
    """The face that was chosen is in view no more."""


class WebState:
    """Shared by the thread that watches and those that serve the page."""

    def __init__(self, watcher: Watcher, source: str) -> None:
        self.watcher, self.source = watcher, source
        self.condition, self.reason = "ok", ""
        self.scene: FrameResult | None = None
        self._number = 0
        self._encoded = (0, b"")
        self._encoding = threading.Lock()
        self._events: deque[dict[str, Any]] = deque(maxlen=REMEMBERED)
        self._count = 0
        self._times: deque[float] = deque(maxlen=60)

    def show(self, scene: FrameResult) -> None:
        """Take in what is seen now."""
        self._times.append(monotonic())
        self.scene = scene
        self._number += 1
        if self.condition != "ended":
            self.condition, self.reason = "ok", ""

    def send(self, document: dict[str, Any]) -> None:
        """Take in what happened."""
        if document["what"] == "source":
            back = document["condition"] == "back"
            self.condition, self.reason = ("ok", "") if back else (document["condition"], document["reason"])
        self._count += 1
        self._events.append({"number": self._count, **document})

    def picture(self) -> tuple[int, bytes]:
        """The newest picture's number, from 1 on, and its JPEG, which is made once for all who ask; 0 before there is
        one."""
        with self._encoding:
            number, scene = self._number, self.scene
            if scene is not None and number != self._encoded[0]:
                self._encoded = number, encode_jpeg(draw_faces(scene, SIDE), 80)
            return self._encoded

    def events(self, after: int) -> tuple[list[dict[str, Any]], int]:
        """What happened after the event of that number, and the last one's number."""
        known = list(self._events)
        return [event for event in known if event["number"] > after], known[-1]["number"] if known else 0

    def rate(self) -> float:
        """Frames a second, lately."""
        times = list(self._times)
        return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0

    def people(self) -> list[dict[str, Any]]:
        """Who is enrolled: names, numbers of images, times. No template is among it."""
        found = []
        for person in sorted(self.watcher.gallery.people(), key=lambda person: person.name):
            expires = None if person.expires is None else iso_time(person.expires)
            images = len(person.images)
            found.append(
                {"name": person.name, "images": images, "enrolled": iso_time(person.enrolled), "expires": expires}
            )
        return found

    def enrol(self, name: str, track: int) -> Enrolment:
        """Enrol the followed face as it is seen now.

        Raises:
            GoneError: it is in view no more.
            EdgefrError: the name is none, or the view is not good enough.
        """
        scene = self.scene
        seen = [seen for seen in scene.seen if seen.track == track] if scene else []
        if scene is None or not seen:
            raise GoneError
        with self.watcher.lock:
            verifier, gallery = self.watcher.verifier, self.watcher.gallery
            view = sample_from_face(
                verifier, crop_for_enrolment("camera", scene.frame.image, seen[0].face), crops=False
            )
            return enrol_samples(gallery, verifier, name, [view], None)

    def compare(self, photos: Sequence[bytes]) -> tuple[VerificationResult, list[str]]:
        """Whether two photographs show one person, and both aligned faces as URLs of JPEGs.

        Raises:
            EdgefrError: one is no photograph, too large, or has no face.
        """
        images = [
            decode_photograph(data, f"the {which} photograph", MOST_PIXELS)
            for which, data in zip(("first", "second"), photos, strict=True)
        ]
        with self.watcher.lock:
            verifier = self.watcher.verifier
            first, second = (
                verifier.find_in(image, f"the {which} photograph")
                for which, image in zip(("first", "second"), images, strict=True)
            )
            verdict = verifier.decide(first, second)
        crops = [base64.b64encode(encode_jpeg(found.crop, 92)).decode() for found in (first, second)]
        return verdict, [f"data:image/jpeg;base64,{crop}" for crop in crops]
