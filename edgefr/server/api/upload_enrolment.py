"""Enrolment of people from photographs that clients upload."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from fastapi import UploadFile

from edgefr.errors import ImageError
from edgefr.gallery.enrolment import Enrolment, enrol_samples, sample_from_face
from edgefr.gallery.enrolment_checks import crop_for_enrolment, single_face
from edgefr.gallery.records import FaceSample, Person
from edgefr.io.picture_files import RejectedImage
from edgefr.recognition.verifier import Verifier
from edgefr.server.api.problems import ProblemError, problem_of_error
from edgefr.server.api.service import ApiService
from edgefr.server.api.uploads import decode

LONGEST_FILE_NAME = 200


@dataclass(frozen=True)
class Order:
    """What to enrol.

    Attributes:
        photos: At least one photograph.
        name: Name of a new person; None to add images to one who is enrolled.
        number: Id of that person.
        force: Whether to enrol faces that may be somebody else's.
        expires_in_s: Seconds until a new person is removed; None for never.
    """

    photos: Sequence[UploadFile]
    name: str | None = None
    number: int = 0
    force: bool = False
    expires_in_s: float | None = None


def enrol_uploads(service: ApiService, verifier: Verifier, order: Order) -> tuple[Person, Enrolment]:
    """Enrol the photographs that are good enough and show nobody else.

    Args:
        service: Gallery and settings.
        verifier: Finds and embeds the faces.
        order: What to enrol.

    Returns:
        The person, and what was enrolled.

    Raises:
        ProblemError: The name is taken, nobody has the id, or no photograph was accepted.
        EdgefrError: The name is not valid, or the gallery cannot be written.
    """
    _name_of(service, order)  # before the work on the photographs
    samples, labels, errors = _samples_of(service, verifier, order.photos)
    with service.changing:
        name = _name_of(service, order)
        done = enrol_samples(service.gallery, verifier, name, samples, order.expires_in_s, order.force, labels)
        refused = [*(RejectedImage(label, error.problem) for label, error in errors), *done.refused]
        if not done.images and not done.known:
            kind = "doubtful-face" if done.refused else problem_of_error(errors[0][1]).kind
            photos = [{"photo": entry.path, "reason": entry.reason} for entry in refused]
            raise ProblemError(kind, refused[0].reason, photos=photos)
        return service.gallery.person(name), replace(done, refused=tuple(refused))


def person_of(service: ApiService, number: int) -> Person:
    """The person with an id; raises ProblemError if there is none."""
    person = service.gallery.person_of_id(number)
    if person is None:
        raise ProblemError("not-found", "Nobody has this id.")
    return person


def require_free(service: ApiService, name: str) -> None:
    """Check that nobody has a name; raises ProblemError."""
    if name in service.gallery:
        raise ProblemError(
            "name-taken", f"{name} is enrolled already. Add images to that person, or choose another name."
        )


def _name_of(service: ApiService, order: Order) -> str:
    if order.name is None:
        return person_of(service, order.number).name
    require_free(service, order.name)
    return order.name


def _samples_of(
    service: ApiService, verifier: Verifier, photos: Sequence[UploadFile]
) -> tuple[list[FaceSample], dict[int, str], list[tuple[str, ImageError]]]:
    """The faces that are good enough, what they are called in messages, and what is wrong with the others."""
    samples: list[FaceSample] = []
    labels: dict[int, str] = {}
    errors: list[tuple[str, ImageError]] = []
    for number, photo in enumerate(photos, 1):
        label = f"photo {number}"
        try:
            image = decode(photo, label)
            face = single_face(label, verifier.detector.detect(image), (image.shape[0], image.shape[1]))
            found = crop_for_enrolment(label, image, face)
            sample = sample_from_face(verifier, found, service.settings.keep_crops)
        except ImageError as error:
            errors.append((label, error))
        else:
            samples.append(replace(sample, source=_source(photo.filename) or label))
            labels[id(samples[-1])] = label
    return samples, labels, errors


def _source(file_name: str | None) -> str:
    """The name of a file as the source of an image. One that begins with # would stand for the number of an image."""
    return PurePosixPath(file_name or "").name[:LONGEST_FILE_NAME].lstrip("#")
