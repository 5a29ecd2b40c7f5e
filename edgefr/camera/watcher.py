"""Frames in, people out: detect, follow, look, decide."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgefr.camera.base import Frame
from edgefr.camera.identity import Identity, State
from edgefr.camera.tracking import LOST_AFTER, Tracker
from edgefr.detection.base import Detections, Detector, Face
from edgefr.detection.multiscale import resize_longest_side
from edgefr.errors import EdgefrError
from edgefr.gallery.identifier import Identifier
from edgefr.recognition.alignment import align
from edgefr.recognition.verifier import FoundFace, Verifier
from edgefr.types import Image

SIDE = 640
"""Longest side in pixels of what the detector sees of a frame: faces from 1/50 of it on are found, in a quarter of the
time that 1,280 pixels take."""
MOST_LOOKS = 4
"""Faces of one frame that are embedded; the others have their turn in the next."""


WHAT: dict[State, str] = {"known": "identified", "unknown": "unknown"}


@dataclass(frozen=True)
class Event:
    """Something that happened to a track: `what` is identified, unknown, lost (a name that was given is taken back) or
    left.

    `at` is the frame's time, `box` the face in its pixels.
    """

    what: str
    at: float
    track: int
    name: str | None
    similarity: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class TrackedFace:
    """A followed face in a frame, and what is known of it."""

    track: int
    face: Face
    state: State
    name: str | None
    similarity: float


@dataclass(frozen=True)
class FrameResult:
    """A frame, the faces in it, and what happened."""

    frame: Frame
    seen: tuple[TrackedFace, ...]
    events: tuple[Event, ...]


@dataclass
class _Track:
    identity: Identity
    face: Face
    at: float


class Watcher:
    """Tells who is in successive frames; decides per track, writes matches into the gallery's log.

    Who uses the verifier from another thread holds `lock`: its detector serves one thread at a time.
    """

    def __init__(self, identifier: Identifier) -> None:
        """Start without tracks.

        Args:
            identifier: Detector, recogniser, gallery and threshold.

        Raises:
            EdgefrError: The model has no threshold that is strict enough for the gallery, or the tracker is not
                installed.
        """
        self.identifier = identifier
        self.verifier, self.gallery = identifier.verifier, identifier.gallery
        self.lock = threading.Lock()
        self._tracker = Tracker()
        self._tracks: dict[int, _Track] = {}
        self._same = _apart(identifier.verifier, identifier.threshold.value)

    def step(self, frame: Frame) -> FrameResult:
        """What is seen in the next frame."""
        with self.lock:
            return self._step(frame)

    def _step(self, frame: Frame) -> FrameResult:
        faces = detect_faces(self.verifier.detector, frame.image)
        events: list[Event] = []
        present = []
        for number, face in self._tracker.follow(faces, frame.at):
            track = self._tracks.setdefault(number, _Track(Identity(), face, frame.at))
            track.face, track.at = face, frame.at
            present.append(number)
        wanted = [n for n in present if self._tracks[n].identity.wants(self._tracks[n].face, frame.at)]
        wanted.sort(key=lambda n: len(self._tracks[n].identity.views))
        events += self._look(wanted[:MOST_LOOKS], frame)
        events += self._leave(frame.at)
        self.identifier.log_matches([event.name or "" for event in events if _is_match(event)], "camera")
        return FrameResult(frame, tuple(self._seen(number) for number in present), tuple(events))

    def finish(self) -> list[Event]:
        """The end: everybody leaves."""
        return self._leave(float("inf"))

    def _look(self, numbers: Sequence[int], frame: Frame) -> list[Event]:
        if not numbers:
            return []
        found = [
            FoundFace("frame", track.face, align(frame.image, track.face.landmarks))
            for track in (self._tracks[number] for number in numbers)
        ]
        events = []
        for number, face in zip(numbers, self.verifier.embed(found), strict=True):
            identity = self._tracks[number].identity
            if self.verifier.quality_warnings([face]):
                identity.pass_over(frame.at)
                continue
            before = identity.name
            if identity.look(face, frame.at, self.identifier.decide, self._same):
                if identity.state != "looking":
                    events.append(self._event(WHAT[identity.state], number, frame.at))
                elif before is not None:
                    events.append(replace(self._event("lost", number, frame.at), name=before))
        return events

    def _leave(self, now: float) -> list[Event]:
        events = []
        for number in [number for number, track in self._tracks.items() if now - track.at > LOST_AFTER]:
            track = self._tracks[number]
            if track.identity.state != "looking":
                events.append(self._event("left", number, track.at))
            del self._tracks[number]
        return events

    def _event(self, what: str, number: int, at: float) -> Event:
        track = self._tracks[number]
        return Event(what, at, number, track.identity.name, track.identity.similarity, track.face.box)

    def _seen(self, number: int) -> TrackedFace:
        track = self._tracks[number]
        identity = track.identity
        return TrackedFace(number, track.face, identity.state, identity.name, identity.similarity)


def detect_faces(detector: Detector, image: Image) -> Detections:
    """Faces in a frame, which the detector sees at SIDE pixels, in pixels of the frame."""
    height, width = image.shape[:2]
    if max(height, width) <= SIDE:
        return detector.detect(image)
    small = resize_longest_side(image, SIDE)
    return detector.detect(small).scaled((width / small.shape[1], height / small.shape[0]))


def _apart(verifier: Verifier, limit: float) -> float:
    """The similarity below which two looks are not of one person: half the pair threshold, for a turned head lowers
    it."""
    try:
        pair = verifier.threshold().value
    except EdgefrError:  # a threshold is given, and the manifest has none
        pair = limit
    return pair / 2


def _is_match(event: Event) -> bool:
    return event.what == "identified"
