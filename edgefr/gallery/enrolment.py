"""Enrol people from photographs, and leave out images that may show somebody else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgefr.choices import FacePolicy
from edgefr.detection.base import select_face
from edgefr.errors import ImageError
from edgefr.gallery.base import Gallery, Hit
from edgefr.gallery.enrolment_checks import check_quality, crop_for_enrolment, single_face
from edgefr.gallery.enrolment_review import Review, review_images
from edgefr.gallery.records import FaceSample, check_name, without_duplicates
from edgefr.io.photo import read_photograph
from edgefr.io.picture_files import RejectedImage
from edgefr.recognition.verifier import FoundFace, Verifier


@dataclass(frozen=True)
class Enrolment:
    """The result of an enrolment.

    Attributes:
        name: The person.
        images: Number of images that were added.
        refused: Photographs that were not good enough or may show somebody else, with the reasons.
        unlike: Sources of added images that look unlike the other images of the person.
        similar: People of other names who look the same; None if the model has no threshold to decide by.
        known: Number of images that were enrolled before.
        extended: Whether the person was enrolled before.
        notes: A sentence for each photograph in which one of several faces was taken.
    """

    name: str
    images: int
    refused: tuple[RejectedImage, ...]
    unlike: tuple[str, ...] = ()
    similar: tuple[Hit, ...] | None = None
    known: int = 0
    extended: bool = False
    notes: tuple[str, ...] = ()

    def warnings(self) -> list[str]:
        """A sentence for each added image, and each person, that should be checked."""
        return [
            *(f"{source} looks unlike the other images of {self.name}" for source in self.unlike),
            *(
                f"{self.name} looks like {hit.name} (similarity {hit.similarity:.2f}): are they the same person?"
                for hit in (self.images and self.similar) or ()
            ),
        ]


def enrol(
    gallery: Gallery,
    verifier: Verifier,
    name: str,
    photos: Sequence[Path],
    crops: bool,
    expires_in_s: float | None,
    on_progress: Callable[[int], None],
    force: bool = False,
    policy: FacePolicy | None = None,
) -> Enrolment:
    """Enrol a person with the photographs that are good enough and show nobody else.

    Args:
        gallery: The gallery.
        verifier: The models of the gallery.
        name: The person.
        photos: Photographs of the person.
        crops: Whether to keep the aligned faces, for `rebuild`.
        expires_in_s: As in `Gallery.enrol`.
        on_progress: Called with 1 after each photograph.
        force: As in `enrol_samples`.
        policy: Which of several faces to take. None takes the one that is clearly the subject, see `single_face`.

    Returns:
        What was enrolled. Nobody is enrolled if no photograph is good enough.

    Raises:
        InvalidArgumentError: The name is not valid, or the person has too many images.
        EdgefrError: The model fails, or the gallery cannot be written.
    """
    name = check_name(name)
    samples, refused, notes, labels = [], [], [], {}
    for path in photos:
        try:
            sample, note = sample_from_photograph(verifier, path, crops, policy)
        except ImageError as error:
            refused.append(RejectedImage(str(path), str(error)))
        else:
            samples.append(sample)
            notes += [note] if note else []
            labels[id(sample)] = str(path)
        on_progress(1)
    result = enrol_samples(gallery, verifier, name, samples, expires_in_s, force, labels)
    return replace(result, refused=(*refused, *result.refused), notes=tuple(notes))


def enrol_samples(
    gallery: Gallery,
    verifier: Verifier,
    name: str,
    samples: Sequence[FaceSample],
    expires_in_s: float | None,
    force: bool = False,
    labels: Mapping[int, str] | None = None,
) -> Enrolment:
    """Enrol a person with images that are embedded already.

    Args:
        gallery: The gallery.
        verifier: The models of the gallery.
        name: The person.
        samples: Images from `sample_from_face`. Images that are enrolled already are left out.
        expires_in_s: As in `Gallery.enrol`.
        force: Whether to enrol images that look unlike the others of the person or like another person, too.
        labels: `id` of an image -> its name in messages, if that is not its source.

    Returns:
        What was enrolled. Nobody is enrolled if there are no images, or none of them is accepted.

    Raises:
        InvalidArgumentError: The name is not valid, or the person has too many images.
        EdgefrError: The gallery cannot be written.
    """
    name = check_name(name)
    if not samples:
        return Enrolment(name, 0, ())
    existing = gallery.samples(name) if name in gallery else []
    new = without_duplicates(existing, samples)
    result = enrol_new(gallery, verifier, name, existing, new, expires_in_s, force, labels or {})
    return replace(result, known=len(samples) - len(new))


def enrol_new(
    gallery: Gallery,
    verifier: Verifier,
    name: str,
    existing: Sequence[FaceSample],
    new: Sequence[FaceSample],
    expires_in_s: float | None,
    force: bool,
    labels: Mapping[int, str],
) -> Enrolment:
    """Enrol images of a person whose enrolled images are known.

    Args:
        gallery: The gallery.
        verifier: The models of the gallery.
        name: The person.
        existing: All images that are enrolled.
        new: Images that are not enrolled. If there are none, only the expiry date is written.
        expires_in_s: As in `Gallery.enrol`.
        force: As in `enrol_samples`.
        labels: As in `enrol_samples`.

    Returns:
        What was enrolled.

    Raises:
        EdgefrError: The gallery cannot be written.
    """
    (review,) = review_images(gallery, verifier, [(name, existing, new)], labels)
    added = new if force else review.accepted
    if added or (existing and expires_in_s is not None):
        gallery.enrol(name, added, expires_in_s)
    return replace(describe_review(name, added, review, force, labels), extended=bool(existing))


def describe_review(
    name: str, added: Sequence[FaceSample], review: Review, force: bool, labels: Mapping[int, str]
) -> Enrolment:
    """The result of an enrolment that added these images after a review."""
    refused = (
        RejectedImage(labels.get(id(sample), sample.source), str(error))
        for sample, error in (() if force else review.doubtful)
    )
    unlike = tuple(sample.source for sample in (review.unlike if force else ()))
    return Enrolment(name, len(added), tuple(refused), unlike, review.similar)


def sample_from_photograph(
    verifier: Verifier, path: Path, crops: bool, policy: FacePolicy | None = None
) -> tuple[FaceSample, str]:
    """Read, check and embed a photograph for enrolment.

    Args:
        verifier: The models of the gallery.
        path: The photograph.
        crops: Whether to keep the aligned face.
        policy: As in `enrol`.

    Returns:
        The image to enrol, and a sentence if one of several faces was taken, else an empty text.

    Raises:
        ImageError: The photograph cannot be read or is not good enough.
    """
    photo, source = read_photograph(path), str(path)
    faces = list(verifier.detector.detect(photo))
    height, width = photo.shape[:2]
    if policy is None:
        face = single_face(source, faces, (height, width))
    else:
        face = select_face(faces, (height, width), policy, source)
    chosen = "most central" if policy == "centre" else "largest"
    note = f"{source} shows {len(faces)} faces, and the {chosen} one was taken" if len(faces) > 1 else ""
    return sample_from_face(verifier, crop_for_enrolment(source, photo, face), crops), note


def sample_from_face(verifier: Verifier, found: FoundFace, crops: bool) -> FaceSample:
    """Embed a face for enrolment.

    Args:
        verifier: The models of the gallery.
        found: A face from `crop_for_enrolment`.
        crops: Whether to keep the aligned face.

    Returns:
        The image to enrol.

    Raises:
        PoorFaceError: The face is below the quality limit of the model.
    """
    (face,) = verifier.embed([found])
    check_quality(verifier, face)
    crop = found.crop if crops else None
    return FaceSample(Path(found.source).name, face.embedding, face.norm, face.uncertainty, face.sharpness, crop)
