"""Recognise the people in successive frames: detect, track, embed, decide."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from edgefr.camera.base import Frame
from edgefr.camera.fail_closed import FailClosedIdentifier
from edgefr.camera.faults import Faults
from edgefr.camera.frame_detector import FrameDetector
from edgefr.camera.identity import Identity, State, view_quality
from edgefr.camera.pace import Pace
from edgefr.camera.tracking import START_SCORE, TRACK_TIMEOUT_S, Tracker
from edgefr.detection.base import Detections, Face
from edgefr.errors import UnavailableError, WrongModelError
from edgefr.gallery.identifier import Identifier
from edgefr.recognition.verifier import EmbeddedFace

MAX_EMBEDDINGS = 4
"""Number of faces of one frame that are embedded; further ones are embedded in the next frames."""


@dataclass(frozen=True)
class TrackEvent:
    """A change of a track.

    Attributes:
        what: "identified" or "unknown" after a decision, "lost" if a name is withdrawn, "left" if the track ended.
        at: Time of the frame in seconds, as in `Frame`; for "left" of the last frame with the face.
        track: Number of the track.
        name: The person who is or was identified, None for an unknown person.
        similarity: Cosine similarity to that person, or to the most similar one if there is no name.
        box: x, y, width and height of the face in pixels of the upright frame.
        threshold: Similarity from which the face counts as an enrolled person, at the last decision on the track.
        threshold_from: The data that the threshold was calibrated on, in words.
        fpir: The FPIR that is expected at the threshold, None if it was not calibrated.
        fmr: The false match rate of pairs at the threshold, None if it was not calibrated.
        live: Whether it is a living face, None if that is not checked.
        liveness: The median liveness score of the last views, None if it is not checked.
    """

    what: str
    at: float
    track: int
    name: str | None
    similarity: float
    box: tuple[float, float, float, float]
    threshold: float
    threshold_from: str
    fpir: float | None
    fmr: float | None
    live: bool | None = None
    liveness: float | None = None


@dataclass(frozen=True)
class TrackedFace:
    """A face of a frame with the number and the identity of its track.

    Attributes:
        track: Number of the track.
        face: Box, landmarks and score.
        state: Whether the track is decided.
        name: The person, if it is identified.
        similarity: Similarity to that person, or to the most similar one if there is no name.
        threshold: Similarity from which the gallery identified at the last decision; infinite before the first one.
        rival: Similarity to the most similar person other than `name`.
        agreeing: Number of views in a row that gave this person.
        decided_at: Time of the last decision in seconds, as in `Frame`.
        live: Whether it is a living face, None if that is not checked.
    """

    track: int
    face: Face
    state: State
    name: str | None
    similarity: float
    threshold: float = math.inf
    rival: float = -1.0
    agreeing: int = 0
    decided_at: float = -math.inf
    live: bool | None = None


@dataclass(frozen=True)
class FrameResult:
    """An upright frame with its tracked faces, and the events that it led to.

    Attributes:
        frame: The frame, turned upright.
        faces: Its faces, or those of the last searched frame.
        events: What changed.
        searched: Whether faces were searched in this very frame; see `Pace`.
    """

    frame: Frame
    faces: tuple[TrackedFace, ...]
    events: tuple[TrackEvent, ...]
    searched: bool = True


@dataclass
class _Track:
    """A track: the time of its first face, its last face and the time of that, and its identity."""

    number: int
    since: float
    face: Face
    at: float
    identity: Identity


class Watcher:
    """Recognises people in the frames of one source, and logs matches in the gallery.

    Attributes:
        identifier: Gallery and threshold.
        verifier: Detector and recogniser.
        gallery: The gallery of the identifier.
        faults: The faults that were survived.
        lock: Other threads hold it while they use the verifier, because a detector serves one thread at a time.
    """

    def __init__(
        self, identifier: Identifier, rotation: int | None = None, log: Callable[[str], None] = lambda _: None
    ) -> None:
        """Start without tracks.

        Args:
            identifier: Detector, recogniser, gallery and threshold.
            rotation: Degrees clockwise by which frames are turned, see `FrameDetector`.
            log: Called with a sentence when another orientation of the camera is found, and when something begins to
                fail or works again.

        Raises:
            EdgefrError: The model has no calibrated threshold and none is given, or the tracker is not installed.
        """
        self.identifier = identifier
        self.verifier, self.gallery = identifier.verifier, identifier.gallery
        self.lock = threading.Lock()
        self._detector, self._log = FrameDetector(identifier.verifier.detector, rotation), log
        self._tracker = Tracker()
        self._tracks: dict[int, _Track] = {}
        self._pace = Pace()
        self._faces: tuple[TrackedFace, ...] = ()
        self.faults = Faults(log)
        self._decisions = FailClosedIdentifier(identifier, log)
        self._same = _same_person_threshold(identifier)

    def process(self, frame: Frame) -> FrameResult:
        """Recognise the people in the next frame.

        While the scene is steady, most frames are not searched; see `Pace`.

        Args:
            frame: A frame that is later than the one before.

        Returns:
            The tracked faces, and what changed.

        Raises:
            EdgefrError: The model or the gallery fails.
        """
        with self.lock:
            if not self._pace.is_due(frame.at):
                return FrameResult(self._detector.turn(frame), self._faces, (), searched=False)
            detected = self._detector.detect(frame)
            frame = detected.frame
            events = self._restart() if detected.has_turned else []
            tracked = self._tracker.update(detected.faces, frame.at)
            present = [self._follow(number, face, frame.at) for number, face in tracked]
            certain = [track for track in present if track.since <= detected.upright_at]
            events += [*self._identify(certain, frame), *self.end_tracks(frame.at)]
            self.identifier.log_matches([e.name for e in events if e.what == "identified" and e.name], "camera")
            self._faces = tuple(_tracked_face(track) for track in present)
            waits = self._detector.suspects_turn or any(map(_waits_for_view, present))
            boxes = {track.number: track.face.box for track in present}
            self._pace.note(frame.at, boxes, waits or len(present) < _count_certain(detected.faces))
            return FrameResult(frame, self._faces, tuple(events))

    def end_tracks(self, now: float) -> list[TrackEvent]:
        """End the tracks that are without a face for TRACK_TIMEOUT_S at a time `now`, as in `Frame`; return a "left"
        event for each of them that was decided."""
        ended = [track for track in self._tracks.values() if now - track.at > TRACK_TIMEOUT_S]
        for track in ended:
            del self._tracks[track.number]
        return [_event("left", track, track.at) for track in ended if track.identity.state != "pending"]

    def close(self) -> list[TrackEvent]:
        """End all tracks, and return their events."""
        return self.end_tracks(float("inf"))

    def _restart(self) -> list[TrackEvent]:
        """End all tracks, because the frames are turned from now on, and return their events."""
        degrees = -self._detector.turns * 90 % 360
        self._log(f"faces are turned, so frames are turned by {degrees} degrees clockwise from now on")
        events = self.close()
        self._tracker.restart()
        return events

    def _follow(self, number: int, face: Face, at: float) -> _Track:
        """Add a face to its track, which may be new."""
        track = self._tracks.setdefault(number, _Track(number, at, face, at, Identity()))
        track.face, track.at = face, at
        return track

    def _identify(self, present: list[_Track], frame: Frame) -> list[TrackEvent]:
        """Embed the faces that need it, those with the fewest views first, and decide on their tracks."""
        due = [track for track in present if track.identity.needs_embedding(track.face, frame.at)]
        due = sorted(due, key=lambda track: len(track.identity.views))[:MAX_EMBEDDINGS]
        if not due:
            return []
        crops = [self.verifier.found_in(frame.image, track.face, "frame") for track in due]
        events = []
        for track, face in zip(due, self.verifier.embed(crops), strict=True):
            if self._is_poor(face):
                track.identity.skip(frame.at)
            else:
                with self.faults.catch("people are not searched in the gallery", (UnavailableError,)):
                    events += self._update(track, face, frame.at)
        return events

    def _update(self, track: _Track, face: EmbeddedFace, at: float) -> list[TrackEvent]:
        """Decide on a track with another view; returns the event of a change."""
        identity, before = track.identity, track.identity.name
        if not identity.update(face, at, self._decisions.decide, self._same):
            return []
        if identity.state != "pending":
            return [_event(identity.state, track, at)]
        return [] if before is None else [replace(_event("lost", track, at), name=before)]

    def _is_poor(self, face: EmbeddedFace) -> bool:
        """Whether a face is below the quality limit of the model. A limit of the detector's score is left out: views
        are weighted by the score already, and somebody with a covered face must be reported, too."""
        limit = self.verifier.quality_limit
        return limit is not None and limit.signal != "detector" and bool(self.verifier.quality_warnings([face]))


def _same_person_threshold(identifier: Identifier) -> float:
    """Half of the threshold for pairs, because a turned head lowers the similarity of two views of one person."""
    try:
        return identifier.verifier.threshold().value / 2
    except WrongModelError:  # the user gave a threshold because the model has none
        return identifier.threshold.value / 2


def _waits_for_view(track: _Track) -> bool:
    """Whether a track is undecided and its face is good enough for an embedding."""
    return track.identity.state == "pending" and view_quality(track.face) > 0


def _count_certain(faces: Detections) -> int:
    """Number of faces that are on a track or start one."""
    return int((faces.scores >= START_SCORE).sum())


def _event(what: str, track: _Track, at: float) -> TrackEvent:
    identity, threshold = track.identity, track.identity.threshold
    assert threshold is not None, "events are about decided tracks"
    liveness = identity.liveness
    return TrackEvent(
        what,
        at,
        track.number,
        identity.name,
        identity.similarity,
        track.face.box,
        threshold.value,
        threshold.source,
        threshold.fpir,
        threshold.fmr,
        None if liveness is None else liveness.live,
        None if liveness is None else liveness.score,
    )


def _tracked_face(track: _Track) -> TrackedFace:
    identity = track.identity
    return TrackedFace(
        track.number,
        track.face,
        identity.state,
        identity.name,
        identity.similarity,
        math.inf if identity.threshold is None else identity.threshold.value,
        identity.rival,
        identity.agreeing,
        identity.decided_at,
        None if identity.liveness is None else identity.liveness.live,
    )
