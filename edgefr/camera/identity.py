"""Decide who a track shows, from several views and with hysteresis.

No single frame decides. A track is identified once the template that is fused from at least `MIN_VOTES` views reaches
the threshold of the gallery, and keeps the name until the similarity falls by more than `HYSTERESIS` below it. A view
unlike all views before may show another person, if the tracker confused two faces; after two such views in
a row the track starts anew. If liveness is checked, most of the last views must be those of a living face, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from edgefr.detection.base import Face
from edgefr.gallery.identifier import Identification
from edgefr.gallery.threshold import DecisionThreshold
from edgefr.liveness.liveness_check import Liveness
from edgefr.recognition.pose import pose
from edgefr.recognition.template_fusion import fuse_by_confidence
from edgefr.recognition.verifier import EmbeddedFace
from edgefr.types import Floats

MIN_VOTES = 2
"""Number of embedded views that a name, or the answer "unknown", needs at least."""
MAX_VOTES = 4
"""Number of embedded views after which a face without a name is unknown."""
MAX_VIEWS = 6
"""Number of views that are kept of a track, the best ones."""
HYSTERESIS = 0.05
"""Distance below the threshold at which an identified track loses its name."""
MIN_GAIN = 1.15
"""A view is embedded if its quality is this many times that of the worst view kept."""
MIN_INTERVAL_S = 0.15
"""Seconds between two embeddings of a track."""
RECHECK_S = 2.0
"""Seconds after which a decided track is embedded again, because the tracker may have switched to another person."""
MIN_EYE_DISTANCE = 12.0
"""Smallest distance between the eyes, in pixels, of a face that is embedded."""
MAX_EYE_DISTANCE = 60.0
"""Distance between the eyes, in pixels, beyond which a larger face is no better."""
MAX_TURN = 0.45
"""Largest turn of the head, as `pose` measures it, of a face that is embedded; half profile is 0.5."""

State = Literal["pending", "identified", "unknown"]


def view_quality(face: Face) -> float:
    """Estimate from the detection alone how good an embedding will be: distance between the eyes times score, less for
    a turned head; 0 for a face that is too small or turned too far."""
    eyes = float(np.linalg.norm(face.landmarks[1] - face.landmarks[0]))
    turn = abs(pose(face)[0])
    if eyes < MIN_EYE_DISTANCE or turn > MAX_TURN:
        return 0.0
    return min(eyes, MAX_EYE_DISTANCE) * (1 - turn) * face.score


@dataclass(frozen=True)
class View:
    """An embedded view of a track and its `view_quality`."""

    face: EmbeddedFace
    quality: float


@dataclass
class Identity:
    """The identity of one track.

    Attributes:
        state: "pending" before the first decision.
        name: The person, if the state is "identified".
        similarity: Similarity to that person, or to the most similar one if there is no name.
        views: The best views so far, best first.
        threshold: The threshold of the last decision, None before the first one.
        rival: Similarity to the most similar person other than `name`.
        agreeing: Number of views in a row that gave the same person, up to the last one; 0 if that one gave nobody.
        decided_at: Time of the last decision.
        liveness: The median liveness of the last MAX_VIEWS views, the lower one of two; None if it is not checked.
    """

    state: State = "pending"
    name: str | None = None
    similarity: float = -1.0
    views: list[View] = field(default_factory=list)
    threshold: DecisionThreshold | None = None
    rival: float = -1.0
    agreeing: int = 0
    decided_at: float = -1e9
    _agreed: str | None = None
    _embedded_at: float = -1e9
    _votes: int = 0
    _outlier: View | None = None
    _liveness: deque[Liveness] = field(default_factory=lambda: deque(maxlen=MAX_VIEWS))

    @property
    def liveness(self) -> Liveness | None:
        if not self._liveness:
            return None
        scores = sorted(one.score for one in self._liveness)
        return Liveness(scores[(len(scores) - 1) // 2], self._liveness[-1].threshold)

    def needs_embedding(self, face: Face, at: float) -> bool:
        """Whether to embed this view, of a frame at a time in seconds."""
        quality, waited = view_quality(face), at - self._embedded_at
        if quality == 0 or waited < MIN_INTERVAL_S:
            return False
        if self.state == "pending" or self._outlier is not None or waited >= RECHECK_S:
            return True
        return len(self.views) < MAX_VIEWS or quality > MIN_GAIN * min(view.quality for view in self.views)

    def skip(self, at: float) -> None:
        """Leave out a view of too poor quality; the next one waits MIN_INTERVAL_S, too."""
        self._embedded_at = at

    def update(self, face: EmbeddedFace, at: float, decide: Callable[[Floats], Identification], same: float) -> bool:
        """Add a view and decide again.

        Args:
            face: The embedded view.
            at: Time of its frame in seconds.
            decide: Identifies an embedding, see `Identifier.decide`.
            same: Similarity below which two views are not of the same person.

        Returns:
            Whether state or name changed.
        """
        self._embedded_at = at
        view = View(face, view_quality(face.face))
        if self.views and float(self.template() @ face.embedding) < same:
            if self._outlier is None or float(self._outlier.face.embedding @ face.embedding) < same:
                self._outlier = view
                self._agreed, self.agreeing = None, 0
                return False
            self.views, self._votes = [self._outlier], 1
            self._liveness.clear()
            self._note_liveness(self._outlier.face)
        self._outlier = None
        self._note_liveness(face)
        self._votes += 1
        self.views = sorted([*self.views, view], key=lambda view: -view.quality)[:MAX_VIEWS]
        found = decide(self.template())
        self.decided_at = at
        return self._decide(found)

    def template(self) -> Floats:
        """The embeddings of the views fused into one, (K,) of unit length; see `fuse_by_confidence`."""
        faces = [view.face for view in self.views]
        return fuse_by_confidence(
            [face.embedding for face in faces], [face.norm for face in faces], [face.uncertainty for face in faces]
        )

    def _note_liveness(self, face: EmbeddedFace) -> None:
        if face.liveness is not None:
            self._liveness.append(face.liveness)

    def _decide(self, found: Identification) -> bool:
        before = self.state, self.name
        self.threshold = found.threshold
        present = next((hit.similarity for hit in found.candidates if hit.name == self.name), -1.0)
        self.similarity = found.similarity
        if self.liveness is not None and not self.liveness.live:
            found, present = replace(found, name=None), -1.0
        if self._votes >= MIN_VOTES and found.name is not None:
            self.state, self.name = "identified", found.name
        elif self.state == "identified" and self._votes >= MIN_VOTES and present >= found.threshold.value - HYSTERESIS:
            self.similarity = present
        elif self._votes >= MAX_VOTES:
            self.state, self.name = "unknown", None
        else:
            self.state, self.name = "pending", None
        self.rival = max((hit.similarity for hit in found.candidates if hit.name != self.name), default=-1.0)
        self.agreeing = 0 if found.name is None else self.agreeing + 1 if found.name == self._agreed else 1
        self._agreed = found.name
        return before != (self.state, self.name)
