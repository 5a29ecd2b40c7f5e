"""1:N identification: embedding -> search -> threshold -> decision -> log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgefr.choices import FacePolicy
from edgefr.detection.base import Face
from edgefr.errors import UnavailableError
from edgefr.gallery.base import Gallery, Hit
from edgefr.gallery.model_check import require_model
from edgefr.gallery.records import Event
from edgefr.gallery.threshold import DEFAULT_FPIR, UNREACHABLE, DecisionThreshold, gallery_threshold
from edgefr.recognition.verifier import EmbeddedFace, Verifier
from edgefr.types import Floats

if TYPE_CHECKING:
    from edgefr.liveness.liveness_check import Liveness


@dataclass(frozen=True)
class Identification:
    """Who a face belongs to.

    Attributes:
        name: The enrolled person, or None if the face is unknown.
        candidates: The most similar enrolled people, best first.
        threshold: The threshold that decided, with the FPIR it keeps.
        face: Box, landmarks and score of the face, or None if only its embedding was given.
        liveness: Whether it is a living face; None if that was not checked. Nobody is identified by another one.
    """

    name: str | None
    candidates: tuple[Hit, ...]
    threshold: DecisionThreshold
    face: Face | None = None
    liveness: Liveness | None = None

    @property
    def similarity(self) -> float:
        """Similarity to the best candidate; -1 if nobody is enrolled."""
        return self.candidates[0].similarity if self.candidates else -1.0


class Identifier:
    """Searches a gallery for faces and decides who they are.

    Example:
        >>> with open_gallery("people.gallery", Passphrase("correct horse")) as gallery:
        ...     identifier = Identifier(Verifier.open(), gallery)
        ...     print(identifier.identify("visitor.jpg").name)
        Ada
    """

    def __init__(
        self,
        verifier: Verifier,
        gallery: Gallery,
        fpir: float = DEFAULT_FPIR,
        threshold: float | None = None,
        on_notice: Callable[[str], None] = lambda _text: None,
    ) -> None:
        """Check that the model fits the gallery.

        Args:
            verifier: Detector and recogniser; they must be those that the gallery was enrolled with. The recogniser may
                be another file of the same net, which is measured (`model_check`).
            gallery: An open gallery.
            fpir: Share of strangers that may be taken for an enrolled person, between 0 and 1.
            threshold: Similarity to decide by, instead of the threshold of the model.
            on_notice: Receives a sentence about matches that could not be logged, and about another file of the model.

        Raises:
            WrongModelError: The templates of the gallery were made by another model.
        """
        require_model(gallery, verifier, on_notice)
        self.verifier, self.gallery = verifier, gallery
        self._fpir, self._threshold = fpir, threshold
        self._on_notice = on_notice

    @property
    def threshold(self) -> DecisionThreshold:
        """The threshold for the gallery at its present size.

        Raises:
            EdgefrError: The model has no threshold that is strict enough for this gallery.
        """
        return gallery_threshold(self.verifier, len(self.gallery), self._fpir, self._threshold)

    def identify(self, photograph: str | Path, policy: FacePolicy = "largest", top: int = 5) -> Identification:
        """Identify one face of a photograph, and log a match. `identify_all` identifies everyone.

        Args:
            photograph: Path of the picture.
            policy: Which of several faces to take.
            top: Number of candidates to return.

        Returns:
            The decision with its candidates.

        Raises:
            ImageError: The photograph cannot be read or has no usable face.
            EdgefrError: The model or the gallery fails, or no threshold is strict enough.
        """
        (found,) = self.identify_faces(self.verifier.embed([self.verifier.find(photograph, policy)]), top)
        return found

    def identify_all(self, photograph: str | Path, top: int = 5) -> list[Identification]:
        """Identify all faces of a photograph that are large and certain enough, and log the matches.

        Left out are faces of less than 20 pixels, which are people in the background, and detections that are much
        less certain than another one (`detection.base.select_faces`).

        Args:
            photograph: Path of the picture.
            top: Number of candidates to return for each face.

        Returns:
            A decision for each face, the most prominent first; at least one.

        Raises:
            ImageError: The photograph cannot be read or has no face.
            EdgefrError: The model or the gallery fails, or no threshold is strict enough.
        """
        return self.identify_faces(self.verifier.embed(self.verifier.find_all(photograph)), top)

    def identify_faces(self, faces: Sequence[EmbeddedFace], top: int = 5, detail: str = "") -> list[Identification]:
        """Identify faces that are embedded already, and log the matches.

        Args:
            faces: Faces with embeddings of this model.
            top: Number of candidates to return for each.
            detail: As in `log_matches`.

        Returns:
            A decision for each face, in the same order.

        Raises:
            EdgefrError: The gallery cannot be read, or no threshold is strict enough.
        """
        threshold = self.threshold
        found = [self._decide_face(face, threshold, top) for face in faces]
        self.log_matches([entry.name for entry in found if entry.name is not None], detail)
        return found

    def decide(self, embedding: Floats, top: int = 5) -> Identification:
        """Decide for one embedding without logging.

        Args:
            embedding: (K,) float32 of unit length.
            top: Number of candidates to return.

        Returns:
            The decision with its candidates.

        Raises:
            EdgefrError: The gallery cannot be read, or no threshold is strict enough.
        """
        return self._decide(embedding, self.threshold, top)

    def search_only(self, embedding: Floats, top: int = 5) -> Identification:
        """The most similar people without a decision, for a gallery that no threshold is strict enough for.

        Args:
            embedding: (K,) float32 of unit length.
            top: Number of candidates to return.

        Returns:
            The candidates. The name is None, and the threshold is one that no similarity reaches.

        Raises:
            EdgefrError: The gallery cannot be read.
        """
        source = f"no calibrated threshold is strict enough for {len(self.gallery):,} people"
        return self._decide(embedding, DecisionThreshold(UNREACHABLE, None, source), top)

    def log_matches(self, names: Sequence[str], detail: str = "") -> None:
        """Write matches into the log of the gallery. If it cannot be written, they are reported by `on_notice`.

        Args:
            names: The people who were identified. Nothing is written if there are none.
            detail: Where they were identified, for example "camera".

        Raises:
            DamagedError: The gallery was changed by another program.
        """
        if not names:
            return
        try:
            self.gallery.log([Event.now("matched", name, detail) for name in names])
        except UnavailableError as error:  # a full disk or read-only media must not make a search fail
            self._on_notice(f"{len(names)} {'match was' if len(names) == 1 else 'matches were'} not logged: {error}")

    def _decide_face(self, face: EmbeddedFace, threshold: DecisionThreshold, top: int) -> Identification:
        found = self._decide(face.embedding, threshold, top)
        name = None if face.may_be_attack else found.name
        return replace(found, name=name, face=face.face, liveness=face.liveness)

    def _decide(self, embedding: Floats, threshold: DecisionThreshold, top: int) -> Identification:
        hits = tuple(self.gallery.search(embedding, top))
        known = hits[0].name if hits and hits[0].similarity >= threshold.value else None
        return Identification(known, hits, threshold)
