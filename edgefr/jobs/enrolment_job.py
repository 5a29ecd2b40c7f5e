"""Enrol people from shards, by the same checks as from photographs."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgefr.detection.base import Face
from edgefr.errors import ImageError, InvalidArgumentError, NoFaceError, PoorFaceError
from edgefr.gallery.base import Gallery
from edgefr.gallery.enrolment import Enrolment, describe_review, enrol_new
from edgefr.gallery.enrolment_checks import check_alone, check_pose, check_quality, check_sharpness
from edgefr.gallery.enrolment_review import review_images
from edgefr.gallery.model_check import require_known
from edgefr.gallery.records import (
    MAX_IMAGES,
    FaceSample,
    Person,
    check_name,
    expiry_date,
    fuse_template,
    without_duplicates,
)
from edgefr.io.picture_files import RejectedImage
from edgefr.jobs.embedding_shards import Row, read_rows
from edgefr.jobs.job_description import read_job
from edgefr.recognition.verifier import EmbeddedFace, Verifier

BATCH_IMAGES = 2000
"""Images of new people that are enrolled in one change. Each change waits for the disk, and a kill loses one."""


@dataclass
class _Images:
    """The photographs of one folder."""

    samples: list[FaceSample] = field(default_factory=list)
    rejected: list[RejectedImage] = field(default_factory=list)
    labels: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def enrol_shards(
    gallery: Gallery,
    verifier: Verifier,
    folder: Path,
    expires_in_s: float | None,
    on_progress: Callable[[int], None],
    force: bool = False,
) -> Iterator[Enrolment]:
    """Enrol all people in the shards of a job. The name of a person is that of the folder of the photographs.

    Images that are enrolled already are left out, so that the same call resumes after an interruption.

    Args:
        gallery: The gallery.
        verifier: Its models.
        folder: Folder of the job.
        expires_in_s: As in `Gallery.enrol`.
        on_progress: Called with 1 after each photograph.
        force: As in `enrol_samples`.

    Returns:
        The result for each person.

    Raises:
        WrongModelError: The job used other models than the gallery.
        UnavailableError: The job is not complete.
        EdgefrError: The gallery cannot be written.
    """
    job = read_job(folder)
    require_known(gallery, job.binding)
    names, new = set(gallery.names()), dict[str, _Images]()
    for parent, rows in itertools.groupby(read_rows(folder, job), lambda row: Path(row.path).parent):
        images = _check_images(verifier, rows, on_progress)
        try:
            name = check_name(parent.name)
        except InvalidArgumentError as error:
            unnamed = (RejectedImage(str(parent / entry.source), str(error)) for entry in images.samples)
            yield Enrolment(parent.name, 0, (*images.rejected, *unnamed))
            continue
        if name in new or sum(len(entry.samples) for entry in new.values()) >= BATCH_IMAGES:
            for result in _enrol_new_people(gallery, verifier, new, expires_in_s, force):
                names |= {result.name} if result.images else set()
                yield result
            new.clear()
        if name in names or not images.samples:
            yield _extend_person(gallery, verifier, name, images, expires_in_s, force)
        else:
            new[name] = images
    yield from _enrol_new_people(gallery, verifier, new, expires_in_s, force)


def _enrol_new_people(
    gallery: Gallery, verifier: Verifier, people: dict[str, _Images], expires_in_s: float | None, force: bool
) -> Iterator[Enrolment]:
    """Enrol new people in one change, after comparing each with the whole gallery and with the others."""
    now = time.time()
    expires = expiry_date(now, expires_in_s)
    labels = {number: label for images in people.values() for number, label in images.labels.items()}
    unique = {name: without_duplicates([], images.samples) for name, images in people.items()}
    reviews = review_images(gallery, verifier, [(name, [], new) for name, new in unique.items()], labels)
    added = {
        name: new if force else review.accepted for (name, new), review in zip(unique.items(), reviews, strict=True)
    }
    entries = [
        (Person(0, name, now, expires, fuse_template(images), ()), images) for name, images in added.items() if images
    ]
    if entries:
        gallery.import_all(entries, f"{len(entries)} people from shards")
    for (name, images), review in zip(people.items(), reviews, strict=True):
        known = len(images.samples) - len(unique[name])
        yield _complete(describe_review(name, added[name], review, force, labels), images, known)


def _extend_person(
    gallery: Gallery, verifier: Verifier, name: str, images: _Images, expires_in_s: float | None, force: bool
) -> Enrolment:
    """Add the images that are not enrolled to a person who is."""
    if not images.samples:
        return _complete(Enrolment(name, 0, ()), images, 0)
    existing = gallery.samples(name)
    new = without_duplicates(existing, images.samples)
    known = len(images.samples) - len(new)
    if not new and expires_in_s is None:
        return _complete(Enrolment(name, 0, ()), images, known)
    added = new[: MAX_IMAGES - len(existing)]
    return _complete(
        enrol_new(gallery, verifier, name, existing, added, expires_in_s, force, images.labels), images, known
    )


def _complete(result: Enrolment, images: _Images, known: int) -> Enrolment:
    return replace(result, refused=(*images.rejected, *result.refused), known=known, notes=tuple(images.notes))


def _check_images(verifier: Verifier, rows: Iterable[Row], on_progress: Callable[[int], None]) -> _Images:
    images = _Images()
    for row in rows:
        try:
            if len(images.samples) == MAX_IMAGES:
                raise PoorFaceError(
                    f"at most {MAX_IMAGES:,} images of one person",
                    f"more in {Path(row.path).parent}",
                    "give every person a folder",
                )
            images.samples.append(_to_sample(verifier, row))
            images.labels[id(images.samples[-1])] = row.path
            if row.beside:
                images.notes.append(f"{row.path} shows several faces, and the one of the job was taken")
        except ImageError as error:
            images.rejected.append(RejectedImage(row.path, str(error)))
        on_progress(1)
    return images


def _to_sample(verifier: Verifier, row: Row) -> FaceSample:
    if row.refused is not None or row.embedding is None or row.box is None or row.landmarks is None:
        raise NoFaceError("", row.refused or f"The shard has no face for {row.path}", "embed it again")
    assert row.norm is not None
    assert row.score is not None
    assert row.sharpness is not None
    x, y, width, height = row.box.tolist()
    face = Face((x, y, width, height), row.landmarks, row.score)
    check_alone(row.path, row.beside or 0.0, bool(row.central))
    check_pose(row.path, face)
    check_sharpness(row.path, row.sharpness)
    check_quality(verifier, EmbeddedFace(row.path, face, row.embedding, row.norm, row.uncertainty, row.sharpness))
    return FaceSample(Path(row.path).name, row.embedding, row.norm, row.uncertainty, row.sharpness)
