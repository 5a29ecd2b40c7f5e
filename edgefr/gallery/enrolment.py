"""Enrol people from photographs, and warn about images that do not fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgefr.errors import ImageError
from edgefr.gallery.base import Gallery, Hit
from edgefr.gallery.enrolment_checks import check_quality, crop_for_enrolment, single_face
from edgefr.gallery.records import FaceSample, check_name, fuse_template, without_duplicates
from edgefr.gallery.threshold import strictest_threshold
from edgefr.io.photo import read_photograph
from edgefr.recognition.batch import RejectedImage
from edgefr.recognition.verifier import FoundFace, Verifier


@dataclass(frozen=True)
class Enrolment:
    """The result of an enrolment.

    Attributes:
        name: The person.
        images: Number of images that were added.
        refused: Photographs that were not good enough, with the reasons.
        unlike: Sources of images that look unlike the other images of the person.
        similar: People of other names who look the same; None if the model has no threshold to decide by.
        known: Number of images that were enrolled before.
        extended: Whether the person was enrolled before.
    """

    name: str
    images: int
    refused: tuple[RejectedImage, ...]
    unlike: tuple[str, ...] = ()
    similar: tuple[Hit, ...] | None = None
    known: int = 0
    extended: bool = False

    def warnings(self) -> list[str]:
        """A sentence for each image or person that should be checked."""
        return [
            *(f"{source} looks unlike the other images of {self.name}" for source in self.unlike),
            *(
                f"{self.name} looks like {hit.name} (similarity {hit.similarity:.3f}): are they the same person?"
                for hit in self.similar or ()
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
) -> Enrolment:
    """Enrol a person with the photographs that are good enough.

    Args:
        gallery: The gallery.
        verifier: The models of the gallery.
        name: The person.
        photos: Photographs of the person.
        crops: Whether to keep the aligned faces, for `rebuild`.
        expires_in_s: As in `Gallery.enrol`.
        on_progress: Called with 1 after each photograph.

    Returns:
        What was enrolled. Nobody is enrolled if no photograph is good enough.

    Raises:
        InvalidArgumentError: The name is not valid, or the person has too many images.
        EdgefrError: The model fails, or the gallery cannot be written.
    """
    name = check_name(name)
    samples, refused = [], []
    for path in photos:
        try:
            samples.append(sample_from_photograph(verifier, path, crops))
        except ImageError as error:
            refused.append(RejectedImage(str(path), str(error)))
        on_progress(1)
    return replace(enrol_samples(gallery, verifier, name, samples, expires_in_s), refused=tuple(refused))


def enrol_samples(
    gallery: Gallery, verifier: Verifier, name: str, samples: Sequence[FaceSample], expires_in_s: float | None
) -> Enrolment:
    """Enrol a person with images that are embedded already.

    Args:
        gallery: The gallery.
        verifier: The models of the gallery.
        name: The person.
        samples: Images from `sample_from_face`. Images that are enrolled already are left out.
        expires_in_s: As in `Gallery.enrol`.

    Returns:
        What was enrolled. Nobody is enrolled if there are no images.

    Raises:
        InvalidArgumentError: The name is not valid, or the person has too many images.
        EdgefrError: The gallery cannot be written.
    """
    name = check_name(name)
    if not samples:
        return Enrolment(name, 0, ())
    existing = gallery.samples(name) if name in gallery else []
    new = without_duplicates(existing, samples)
    return replace(enrol_new(gallery, verifier, name, existing, new, expires_in_s), known=len(samples) - len(new))


def enrol_new(
    gallery: Gallery,
    verifier: Verifier,
    name: str,
    existing: Sequence[FaceSample],
    new: Sequence[FaceSample],
    expires_in_s: float | None,
) -> Enrolment:
    """Enrol images of a person whose enrolled images are known.

    Args:
        gallery: The gallery.
        verifier: The models of the gallery.
        name: The person.
        existing: All images that are enrolled.
        new: Images that are not enrolled. If there are none, only the expiry date is written.
        expires_in_s: As in `Gallery.enrol`.

    Returns:
        What was enrolled.

    Raises:
        EdgefrError: The gallery cannot be written.
    """
    ((unlike, similar),) = enrolment_warnings(gallery, verifier, [(name, existing, new)])
    if new or expires_in_s is not None:
        gallery.enrol(name, new, expires_in_s)
    return Enrolment(name, len(new), (), unlike, similar, extended=bool(existing))


def sample_from_photograph(verifier: Verifier, path: Path, crops: bool) -> FaceSample:
    """Read, check and embed a photograph for enrolment.

    Args:
        verifier: The models of the gallery.
        path: The photograph.
        crops: Whether to keep the aligned face.

    Returns:
        The image to enrol.

    Raises:
        ImageError: The photograph cannot be read or is not good enough.
    """
    photo = read_photograph(path)
    face = single_face(str(path), verifier.detector.detect(photo))
    return sample_from_face(verifier, crop_for_enrolment(str(path), photo, face), crops)


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


def enrolment_warnings(
    gallery: Gallery, verifier: Verifier, people: Sequence[tuple[str, Sequence[FaceSample], Sequence[FaceSample]]]
) -> list[tuple[tuple[str, ...], tuple[Hit, ...] | None]]:
    """Find images that do not fit their person, and people who look the same.

    Images are compared by the threshold of `verify`. People are compared by the strictest calibrated threshold,
    because the new template is compared with the whole gallery.

    Args:
        gallery: The gallery.
        verifier: The models of the gallery.
        people: Name, enrolled images and new images of each person.

    Returns:
        For each person the sources of unlike images, and the similar people of other names or None if the model has
        no threshold.
    """
    strict = strictest_threshold(verifier)
    if strict is None or not people:
        return [((), None) for _ in people]
    templates = np.stack([fuse_template([*existing, *new]) for _, existing, new in people])
    return [
        (
            _unlike(verifier, existing, new),
            tuple(hit for hit in hits if hit.name != name and hit.similarity >= strict.value),
        )
        for (name, existing, new), hits in zip(people, gallery.search_all(templates, top=2), strict=True)
    ]


def _unlike(verifier: Verifier, existing: Sequence[FaceSample], new: Sequence[FaceSample]) -> tuple[str, ...]:
    unlike = []
    for entry in new:
        others = [other for other in (*existing, *new) if other is not entry]
        if others and float(entry.embedding @ fuse_template(others)) < verifier.threshold().value:
            unlike.append(entry.source)
    return tuple(unlike)
