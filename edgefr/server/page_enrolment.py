"""Enrolment from the page: it asks before a face gets a name that may not be its own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

from edgefr.camera.watcher import Watcher
from edgefr.gallery.enrolment import Enrolment, enrol_samples, sample_from_face
from edgefr.gallery.enrolment_review import Limits, review_images
from edgefr.gallery.records import FaceSample, check_name, without_duplicates
from edgefr.recognition.verifier import FoundFace
from edgefr.server.kept_views import KeptViews
from edgefr.types import Image

MAX_QUESTIONS = 32
ANSWER_S = 300.0
"""Number of questions that wait for an answer, and seconds until one is forgotten."""
MAX_PICTURES = 4


class FaceNotInViewError(Exception):
    """The selected face is neither in view nor among those that left a moment ago."""


@dataclass(frozen=True)
class Doubt:
    """Why a face may not be the person under whose name it shall be enrolled.

    Attributes:
        reasons: Sentences.
        pictures: The new face and those it is confused with, each with a title; None where no picture is known.
    """

    reasons: tuple[str, ...]
    pictures: tuple[tuple[str, Image | None], ...]


class DoubtfulFaceError(Exception):
    """A face is not enrolled before somebody has confirmed it."""

    def __init__(self, doubt: Doubt) -> None:
        super().__init__(*doubt.reasons)
        self.doubt = doubt


class PageEnrolment:
    """Enrols one face at a time."""

    def __init__(self, watcher: Watcher, views: KeptViews) -> None:
        self._watcher, self._views = watcher, views
        self._questions: OrderedDict[tuple[str, int], tuple[float, FaceSample]] = OrderedDict()

    def enrol(self, name: str, find: Callable[[], FoundFace], confirm: bool, track: int | None = None) -> Enrolment:
        """Enrol a face.

        Args:
            name: The person, who may be enrolled already.
            find: Finds the face; called while no other thread uses the detector.
            confirm: Whether to enrol it in spite of doubts. The face of a track is then the one that was shown.
            track: The track, None for a photograph.

        Raises:
            DoubtfulFaceError: There are doubts, and nobody has confirmed them.
            FaceNotInViewError: `find` finds no such face.
            EdgefrError: The name is invalid, or the face is not good enough.
        """
        name = check_name(name)
        verifier, gallery = self._watcher.verifier, self._watcher.gallery
        with self._watcher.lock:
            sample = self._take_shown(name, track) if confirm else None
            if sample is None:
                found = find()
                sample = sample_from_face(verifier, found, crops=False)
                if not confirm:
                    self._ask_if_doubtful(name, sample, found.crop, track)
            return enrol_samples(gallery, verifier, name, [sample], None, force=True)

    def _take_shown(self, name: str, track: int | None) -> FaceSample | None:
        """The face of a track that a question has shown, because another one may be in its place now."""
        asked_at, sample = self._questions.pop((name, -1 if track is None else track), (0.0, None))
        return sample if monotonic() - asked_at <= ANSWER_S else None

    def _ask_if_doubtful(self, name: str, sample: FaceSample, crop: Image, track: int | None) -> None:
        verifier, gallery = self._watcher.verifier, self._watcher.gallery
        existing = gallery.samples(name) if name in gallery else []
        new = without_duplicates(existing, [sample])
        (review,) = review_images(gallery, verifier, [(name, existing, new)], {})
        limits = Limits.of(verifier.manifest, verifier.recogniser.description.precision)
        reasons = []
        if existing and new and limits is None:
            reasons.append(f"{name} is enrolled already, and this model has no threshold to check that it is the same.")
        if review.unlike:
            reasons.append(f"The new face does not look like the enrolled images of {name}.")
        others: list[str] = []
        if review.doubtful and limits is not None:
            (hits,) = gallery.search_all(sample.embedding[None], top=MAX_PICTURES)
            others = [hit.name for hit in hits if hit.similarity >= limits.gallery and hit.name != name]
            others += [hit.name for hit in review.similar or () if hit.name not in others]
            reasons += [f"The new face looks like {other}, who is enrolled." for other in others]
        if not reasons:
            return
        if track is not None:
            self._questions[name, track] = monotonic(), sample
            if len(self._questions) > MAX_QUESTIONS:
                self._questions.popitem(last=False)
        people = [name, *others] if existing else others
        pictures = [(person, self._picture(person)) for person in people[:MAX_PICTURES]]
        raise DoubtfulFaceError(Doubt(tuple(reasons), (("The new face", crop), *pictures)))

    def _picture(self, name: str) -> Image | None:
        """An enrolled crop of a person if the gallery keeps them, or else the face last recognised as this person."""
        crop = _first_crop(self._watcher.gallery.samples(name))
        return self._views.person(name) if crop is None else crop


def _first_crop(samples: Sequence[FaceSample]) -> Image | None:
    return next((sample.crop for sample in samples if sample.crop is not None), None)
