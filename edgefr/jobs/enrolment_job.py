"""Enrol people from shards, by the same checks as from photographs."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from edgefr.detection.base import Face
from edgefr.errors import ImageError, InvalidArgumentError, NoFaceError, PoorFaceError
from edgefr.gallery.base import Gallery
from edgefr.gallery.enrolment import Enrolment, enrol_new, enrolment_warnings
from edgefr.gallery.enrolment_checks import check_alone, check_pose, check_quality, check_sharpness
from edgefr.gallery.records import MAX_IMAGES, FaceSample, Person, check_name, fuse_template, without_duplicates
from edgefr.jobs.embedding_shards import Row, read_rows
from edgefr.jobs.job_description import read_job
from edgefr.recognition.batch import RejectedImage
from edgefr.recognition.verifier import EmbeddedFace, Verifier

BATCH_IMAGES = 2000
"""Images of new people that are enrolled in one change. Each change waits for the disk, and a kill loses one."""


@dataclass
class _Images:
    """The photographs of one folder."""

    samples: list[FaceSample]
    rejected: list[RejectedImage]


def enrol_shards(
    gallery: Gallery, verifier: Verifier, folder: Path, expires_in_s: float | None, on_progress: Callable[[int], None]
) -> Iterator[Enrolment]:
    """Enrol all people in the shards of a job. The name of a person is that of the folder of the photographs.

    Images that are enrolled already are left out, so that the same call resumes after an interruption.

    Args:
        gallery: The gallery.
        verifier: Its models.
        folder: Folder of the job.
        expires_in_s: As in `Gallery.enrol`.
        on_progress: Called with 1 after each photograph.

    Returns:
        The result for each person.

    Raises:
        WrongModelError: The job used other models than the gallery.
        UnavailableError: The job is not complete.
        EdgefrError: The gallery cannot be written.
    """
    job = read_job(folder)
    gallery.binding.require_compatible(job.binding, gallery.path)
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
            yield from _enrol_new_people(gallery, verifier, new, expires_in_s)
            names |= new.keys()
            new.clear()
        if name in names or not images.samples:
            yield _extend_person(gallery, verifier, name, images, expires_in_s)
        else:
            new[name] = images
    yield from _enrol_new_people(gallery, verifier, new, expires_in_s)


def _enrol_new_people(
    gallery: Gallery, verifier: Verifier, people: dict[str, _Images], expires_in_s: float | None
) -> Iterator[Enrolment]:
    """Enrol new people in one change. Then compare each with the whole gallery, which includes the others."""
    now = time.time()
    expires = None if expires_in_s is None else now + expires_in_s
    unique = {name: without_duplicates([], entry.samples) for name, entry in people.items()}
    if unique:
        entries = (
            (Person(0, name, now, expires, fuse_template(images), ()), images) for name, images in unique.items()
        )
        gallery.import_all(entries, f"{len(unique)} people from shards")
    warnings = enrolment_warnings(gallery, verifier, [(name, [], images) for name, images in unique.items()])
    for (name, images), (unlike, similar) in zip(unique.items(), warnings, strict=True):
        known = len(people[name].samples) - len(images)
        yield Enrolment(name, len(images), tuple(people[name].rejected), unlike, similar, known)


def _extend_person(
    gallery: Gallery, verifier: Verifier, name: str, images: _Images, expires_in_s: float | None
) -> Enrolment:
    """Add the images that are not enrolled to a person who is."""
    if not images.samples:
        return Enrolment(name, 0, tuple(images.rejected))
    existing = gallery.samples(name)
    new = without_duplicates(existing, images.samples)
    known = len(images.samples) - len(new)
    if not new and expires_in_s is None:
        return Enrolment(name, 0, tuple(images.rejected), known=known)
    result = enrol_new(gallery, verifier, name, existing, new[: MAX_IMAGES - len(existing)], expires_in_s)
    return replace(result, refused=tuple(images.rejected), known=known)


def _check_images(verifier: Verifier, rows: Iterable[Row], on_progress: Callable[[int], None]) -> _Images:
    images = _Images([], [])
    for row in rows:
        try:
            if len(images.samples) == MAX_IMAGES:
                raise PoorFaceError(
                    f"at most {MAX_IMAGES:,} images of one person",
                    f"more in {Path(row.path).parent}",
                    "give every person a folder",
                )
            images.samples.append(_to_sample(verifier, row))
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
    check_alone(row.path, row.beside or 0.0)
    check_pose(row.path, face)
    check_sharpness(row.path, row.sharpness)
    check_quality(verifier, EmbeddedFace(row.path, face, row.embedding, row.norm, row.uncertainty, row.sharpness))
    return FaceSample(Path(row.path).name, row.embedding, row.norm, row.uncertainty, row.sharpness)
