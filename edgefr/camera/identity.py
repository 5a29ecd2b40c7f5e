"""Who a track is: its best views fused into one template, and a decision that does not flicker.

A frame decides nothing. A name is given when `AGREE` looks, fused, reach the gallery's threshold for one person; it
is kept while the fused look stays within `SLACK` of it. A look unlike all before it may be another person whom the
tracker took for the first: two such looks that follow one another begin the track anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from edgefr.detection.base import Face
from edgefr.gallery.enrolment import pose
from edgefr.gallery.identifier import Identification
from edgefr.recognition.template_fusion import fuse_by_confidence
from edgefr.recognition.verifier import EmbeddedFace
from edgefr.types import Floats

AGREE = 2
"""Looks that a name or the answer unknown needs at least."""
UNSURE = 4
"""Looks after which a face that reached no name is said to be unknown."""
KEPT = 6
"""Views kept of a track, the best ones."""
SLACK = 0.05
"""How far below the threshold a name that was given may fall before it is taken back."""
BETTER = 1.15
"""A view is looked at when it is so many times as good as the worst of those kept."""
HURRY, AGAIN = 0.15, 2.0
"""Seconds between looks while nothing is decided, and after which a decided track is looked at again: the tracker may
have gone over to somebody else."""
SMALLEST_EYES = 12.0
"""Pixels between the eyes below which a face is not looked at."""
FARTHEST_TURN = 0.45
"""As in `gallery.enrol`, where less is allowed: half profile is 0.5."""

State = Literal["looking", "known", "unknown"]


def merit(face: Face) -> float:
    """How good a view promises to be before it is looked at: the eyes' distance up to 60 pixels, less for a turned
    head; 0 where a look is not worth it."""
    eyes = float(np.linalg.norm(face.landmarks[1] - face.landmarks[0]))
    turned, _ = pose(face)
    if eyes < SMALLEST_EYES or abs(turned) > FARTHEST_TURN:
        return 0.0
    return min(eyes, 60.0) * (1 - abs(turned)) * face.score


@dataclass(frozen=True)
class View:
    """A look at a face and what it promised."""

    face: EmbeddedFace
    merit: float


@dataclass
class Identity:
    """What is known of a track so far."""

    state: State = "looking"
    name: str | None = None
    similarity: float = -1.0
    views: list[View] = field(default_factory=list)
    _looked: float = -1e9
    _looks: int = 0
    _strange: View | None = None

    def wants(self, face: Face, at: float) -> bool:
        """Whether this view of the face is worth an embedding."""
        promised, waited = merit(face), at - self._looked
        if promised == 0 or waited < HURRY:
            return False
        if self.state == "looking" or self._strange is not None or waited >= AGAIN:
            return True
        return len(self.views) < KEPT or promised > BETTER * min(view.merit for view in self.views)

    def pass_over(self, at: float) -> None:
        """A look that was too poor to tell anything: the next waits, too."""
        self._looked = at

    def look(self, face: EmbeddedFace, at: float, decide: Callable[[Floats], Identification], same: float) -> bool:
        """Add a view and decide again.

        Args:
            face: The embedded view.
            at: Time of its frame in seconds.
            decide: Identifies an embedding, see `Identifier.decide`.
            same: Two views with a lower similarity are not of one person.

        Returns:
            Whether state or name of the track changed.
        """
        self._looked = at
        view = View(face, merit(face.face))
        if self.views and float(self.fused() @ face.embedding) < same:
            if self._strange is None or float(self._strange.face.embedding @ face.embedding) < same:
                self._strange = view
                return False
            self.views, self._looks = [self._strange], 1
        self._strange = None
        self._looks += 1
        self.views = sorted([*self.views, view], key=lambda kept: -kept.merit)[:KEPT]
        return self._decide(decide(self.fused()))

    def fused(self) -> Floats:
        """One template (K,) of the views, by inverse variance where the model tells it, else by norm."""
        faces = [view.face for view in self.views]
        return fuse_by_confidence(
            [face.embedding for face in faces], [face.norm for face in faces], [face.uncertainty for face in faces]
        )

    def _decide(self, found: Identification) -> bool:
        before = self.state, self.name
        mine = next((hit.similarity for hit in found.candidates if hit.name == self.name), -1.0)
        self.similarity = found.similarity
        if self._looks >= AGREE and found.name is not None:
            self.state, self.name = "known", found.name
        elif self.state == "known" and self._looks >= AGREE and mine >= found.threshold.value - SLACK:
            self.similarity = mine
        elif self._looks >= UNSURE:
            self.state, self.name = "unknown", None
        else:
            self.state, self.name = "looking", None
        return before != (self.state, self.name)
