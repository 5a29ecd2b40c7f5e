"""What the page shows and does: live picture, events, people, enrolment, comparison."""

from __future__ import annotations

import base64
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

from edgefr.camera.overlay import draw_faces, encode_jpeg
from edgefr.camera.session import Document, iso_time
from edgefr.camera.watcher import FrameResult, Watcher
from edgefr.gallery.enrolment import Enrolment, enrol_samples, sample_from_face
from edgefr.gallery.enrolment_checks import crop_for_enrolment, single_face
from edgefr.io.photo import decode_photograph
from edgefr.recognition.verifier import FoundFace, VerificationResult
from edgefr.server.kept_views import KeptViews, View
from edgefr.types import Image

MAX_EVENTS = 10_000
"""Number of events to keep for browsers that open the page later, and for downloads."""
MAX_LEFT = 8
"""Number of people who have left that are offered for enrolment."""
PICTURE_SIDE = 960
"""Longest side in pixels of the live picture."""
MAX_PHOTO_PIXELS = 32_000_000
"""Pixels of a photograph to compare or enrol. Phones take 12 to 24 megapixels, and each pixel needs three bytes."""


class FaceNotInViewError(Exception):
    """The selected face is neither in view nor among those that left a moment ago."""


class WebState:
    """Shared by the thread that watches and those that serve the page.

    Attributes:
        watcher: Recognises people.
        source: Name of the source.
        condition: "ok", "lost", "stalled" or "ended".
        reason: Reason of the condition, may be empty.
        result: The newest frame and its faces, if any.
    """

    def __init__(self, watcher: Watcher, source: str) -> None:
        self.watcher, self.source = watcher, source
        self.condition, self.reason = "ok", ""
        self.result: FrameResult | None = None
        self._views = KeptViews()
        self._picture_number = 0
        self._encoded = (0, b"")
        self._encoding = threading.Lock()
        self._events: deque[Document] = deque(maxlen=MAX_EVENTS)
        self._event_count = 0
        self._times: deque[float] = deque(maxlen=60)

    def show(self, result: FrameResult) -> None:
        """Take the newest frame."""
        self._times.append(monotonic())
        self.result = result
        self._views.update(result)
        self._picture_number += 1
        if self.condition != "ended":
            self.condition, self.reason = "ok", ""

    def send(self, document: Document) -> None:
        """Take an event, as `event_document` or `source_document` make it."""
        if document["what"] == "source":
            back = document["condition"] == "back"
            self.condition, self.reason = ("ok", "") if back else (document["condition"], document["reason"])
            if self.condition in ("lost", "stalled") and self.result is not None:
                self.result = replace(self.result, faces=())  # nobody can be enrolled from an old picture
                self._views.clear()
        self._event_count += 1
        self._events.append({"number": self._event_count, **document})

    def picture(self) -> tuple[int, bytes]:
        """Number and JPEG of the live picture, encoded once for all browsers; the number is 0 before the first."""
        with self._encoding:
            number, result = self._picture_number, self.result
            if result is not None and number != self._encoded[0]:
                self._encoded = number, encode_jpeg(draw_faces(result, PICTURE_SIDE), 80)
            return self._encoded

    def thumbnails(self) -> tuple[dict[int, str], dict[int, str]]:
        """Data URLs of the faces in view and of those that left a moment ago, by track, without drawn boxes."""
        result = self.result
        faces = result.faces if result else ()
        image = result.frame.image if result else None
        present = {face.track: _data_url(View(image, face.face).thumbnail()) for face in faces if image is not None}
        left = [track for track in self._views.tracks() if track not in present][-MAX_LEFT:]
        views = {track: self._views.get(track) for track in left}
        return present, {track: _data_url(view.thumbnail()) for track, view in views.items() if view is not None}

    def events(self) -> list[Document]:
        """The newest MAX_EVENTS events with their numbers, oldest first."""
        return list(self._events)

    def frame_rate(self) -> float:
        """Frames a second, over the last 60 frames."""
        times = list(self._times)
        return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0

    def people(self) -> list[dict[str, Any]]:
        """Name, number of images, enrolment and expiry of every person, by name."""
        return [
            {
                "name": person.name,
                "images": len(person.images),
                "enrolled": iso_time(person.enrolled),
                "expires": None if person.expires is None else iso_time(person.expires),
            }
            for person in sorted(self.watcher.gallery.people(), key=lambda person: person.name)
        ]

    def enrol(self, name: str, track: int) -> Enrolment:
        """Enrol the face of a track as the newest frame shows it, or its kept view if the person has left a moment ago.

        The person may be enrolled already.

        Raises:
            FaceNotInViewError: There is no such face.
            EdgefrError: The name is invalid, or the view is not good enough.
        """
        result = self.result
        face = next((face.face for face in result.faces if face.track == track), None) if result else None
        view = View(result.frame.image, face) if result and face else self._views.get(track)
        if view is None:
            raise FaceNotInViewError
        return self._enrol(name, lambda: crop_for_enrolment("camera", view.image, view.face))

    def enrol_photograph(self, name: str, photo: bytes, file_name: str) -> Enrolment:
        """Enrol the face of an image file, see `enrol`; `file_name` is for messages.

        Raises:
            EdgefrError: The name is invalid, or the photograph is not good enough.
        """
        source = Path(file_name).name or "the photograph"
        image = decode_photograph(photo, source, MAX_PHOTO_PIXELS)

        def crop() -> FoundFace:
            return crop_for_enrolment(source, image, single_face(source, self.watcher.verifier.detector.detect(image)))

        return self._enrol(name, crop)

    def _enrol(self, name: str, crop: Callable[[], FoundFace]) -> Enrolment:
        verifier, gallery = self.watcher.verifier, self.watcher.gallery
        with self.watcher.lock:
            sample = sample_from_face(verifier, crop(), crops=False)
            return enrol_samples(gallery, verifier, name, [sample], None, force=True)

    def compare(self, photos: Sequence[bytes]) -> tuple[VerificationResult, list[str]]:
        """Verify two image files; returns the decision, and both aligned faces as data URLs of JPEGs.

        Raises:
            ImageError: A photograph cannot be read, is too large or has no face.
        """
        names = ("the first photograph", "the second photograph")
        images = [decode_photograph(data, name, MAX_PHOTO_PIXELS) for data, name in zip(photos, names, strict=True)]
        verifier = self.watcher.verifier
        with self.watcher.lock:
            first, second = (verifier.find_in(image, name) for image, name in zip(images, names, strict=True))
            result = verifier.decide(first, second)
        return result, [_data_url(found.crop, 92) for found in (first, second)]


def _data_url(image: Image, quality: int = 85) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(encode_jpeg(image, quality)).decode()}"
