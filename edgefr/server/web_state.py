"""What the page shows and does: live picture, events, people, enrolment, comparison."""

from __future__ import annotations

import base64
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

from edgefr.camera.overlay import draw_faces, encode_jpeg
from edgefr.camera.session import Document, iso_time
from edgefr.camera.watcher import FrameResult, Watcher
from edgefr.gallery.enrolment import Enrolment
from edgefr.gallery.enrolment_checks import crop_for_enrolment, single_face
from edgefr.io.photo import decode_photograph
from edgefr.recognition.verifier import FoundFace, VerificationResult
from edgefr.server.kept_views import KeptViews, View
from edgefr.server.page_enrolment import FaceNotInViewError, PageEnrolment
from edgefr.types import Image

MAX_EVENTS = 10_000
"""Number of events to keep for browsers that open the page later, and for downloads."""
MAX_LEFT = 8
"""Number of people who have left that are offered for enrolment."""
PICTURE_SIDE = 960
"""Longest side in pixels of the live picture."""
MAX_PHOTO_PIXELS = 32_000_000
"""Pixels of a photograph to compare or enrol. Phones take 12 to 24 megapixels, and each pixel needs three bytes."""


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
        self._enrolment = PageEnrolment(watcher, self._views)
        self._picture_number = 0
        self._encoded = {True: (0, b""), False: (0, b"")}
        self._encoding = threading.Lock()
        self._decoding = threading.Lock()
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

    def picture(self, similarities: bool) -> tuple[int, bytes]:
        """Number and JPEG of the live picture, with or without similarities beside the names.

        It is encoded once for all browsers. The number is 0 before the first.
        """
        with self._encoding:
            number, result = self._picture_number, self.result
            if result is not None and number != self._encoded[similarities][0]:
                picture = draw_faces(result, PICTURE_SIDE, similarities)
                self._encoded[similarities] = number, encode_jpeg(picture, 80)
            return self._encoded[similarities]

    def thumbnails(self) -> tuple[dict[int, str], dict[int, str]]:
        """Data URLs of the faces in view and of those that left a moment ago, by track, without drawn boxes."""
        result = self.result
        faces = result.faces if result else ()
        image = result.frame.image if result else None
        present = {face.track: data_url(View(image, face.face).thumbnail()) for face in faces if image is not None}
        left = [track for track in self._views.tracks() if track not in present][-MAX_LEFT:]
        views = {track: self._views.get(track) for track in left}
        return present, {track: data_url(view.thumbnail()) for track, view in views.items() if view is not None}

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

    def enrol(self, name: str, track: int, confirm: bool) -> Enrolment:
        """Enrol the face of a track as the newest frame shows it, or its kept view if the face was not searched in that
        frame or the person has left a moment ago.

        The person may be enrolled already; `confirm` and the errors are as in `PageEnrolment.enrol`.
        """

        def find() -> FoundFace:
            result = self.result if self.result is not None and self.result.searched else None
            face = next((face.face for face in result.faces if face.track == track), None) if result else None
            view = View(result.frame.image, face) if result and face else self._views.get(track)
            if view is None:
                raise FaceNotInViewError
            return crop_for_enrolment("camera", view.image, view.face)

        return self._enrolment.enrol(name, find, confirm, track)

    def enrol_photograph(self, name: str, read: Callable[[], bytes], file_name: str, confirm: bool) -> Enrolment:
        """Enrol the face of an image file.

        Args:
            name: The person, who may be enrolled already.
            read: Reads the file.
            file_name: Its name, for messages.
            confirm: As in `PageEnrolment.enrol`.

        Raises:
            DoubtfulFaceError: As in `PageEnrolment.enrol`.
            EdgefrError: The name is invalid, or the photograph is not good enough.
        """
        source = Path(file_name).name or "the photograph"
        with self._decoding:
            image = decode_photograph(read(), source, MAX_PHOTO_PIXELS)

            def find() -> FoundFace:
                face = single_face(source, self.watcher.verifier.detector.detect(image))
                return crop_for_enrolment(source, image, face)

            return self._enrolment.enrol(name, find, confirm)

    def remove(self, name: str) -> None:
        """Remove an enrolled person; raises EdgefrError if the gallery cannot be written."""
        self.watcher.gallery.remove(name)
        self._views.forget_person(name)

    def rename(self, name: str, new: str) -> None:
        """Give an enrolled person another name; raises EdgefrError if it is invalid or taken."""
        self.watcher.gallery.rename(name, new)
        self._views.forget_person(name)

    def compare(self, first: Callable[[], bytes], second: Callable[[], bytes]) -> tuple[VerificationResult, list[str]]:
        """Verify two image files; returns the decision, and both aligned faces as data URLs of JPEGs.

        Args:
            first: Reads the first file.
            second: Reads the second file.

        Raises:
            ImageError: A photograph cannot be read, is too large or has no face.
        """
        verifier = self.watcher.verifier
        one, other = self._find_face(first, "the first photograph"), self._find_face(second, "the second photograph")
        with self.watcher.lock:
            result = verifier.decide(one, other)
        return result, [data_url(found.crop, 92) for found in (one, other)]

    def _find_face(self, read: Callable[[], bytes], source: str) -> FoundFace:
        """The face of an image file. One file is decoded at a time, because a photograph takes much memory."""
        with self._decoding:
            image = decode_photograph(read(), source, MAX_PHOTO_PIXELS)
            with self.watcher.lock:
                return self.watcher.verifier.find_in(image, source)


def data_url(image: Image, quality: int = 85) -> str:
    """A picture as the address of a JPEG, for JSON documents."""
    return f"data:image/jpeg;base64,{base64.b64encode(encode_jpeg(image, quality)).decode()}"
