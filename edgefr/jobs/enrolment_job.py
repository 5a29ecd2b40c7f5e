"""People out of shards into a gallery: by the rules of `gallery.enrol`, but without the photographs."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from edgefr.detection.base import Face
from edgefr.errors import EdgefrError, ImageError, NoFaceError, PoorFaceError
from edgefr.gallery.base import Gallery
from edgefr.gallery.enrolment import (
    Enrolment,
    check_alone,
    check_pose,
    check_quality,
    check_sharpness,
    enrol_beside,
    enrolment_warnings,
)
from edgefr.gallery.records import MOST_IMAGES, FaceSample, Person, check_name, fuse_template, without_duplicates
from edgefr.jobs.embedding_shards import Row, read_rows
from edgefr.jobs.job_description import read_job
from edgefr.recognition.batch import RejectedImage
from edgefr.recognition.verifier import EmbeddedFace, Verifier

TOGETHER = 2000
"""Images that are enrolled in one change, for each change waits for the disk; a kill loses the one under way."""


@dataclass
class _Sitting:
    """A person's photographs: those that are good enough, and the others."""

    samples: list[FaceSample]
    refused: list[RejectedImage]


def enrol_shards(
    gallery: Gallery, verifier: Verifier, folder: Path, keep: float | None, advance: Callable[[int], None]
) -> Iterator[Enrolment]:
    """Enrol everybody in the shards of `folder`, each under the name of the folder that the photographs lie in.

    Images that are enrolled already are left out, so that the same call goes on after a kill. `keep` is as in
    `Gallery.enrol`; `advance` is told of photographs.

    Raises:
        EdgefrError: the job is not done, something else made it than the gallery, or the gallery cannot be written.
    """
    job = read_job(folder)
    gallery.binding.require_compatible(job.binding, gallery.path)
    names, new = set(gallery.names()), dict[str, _Sitting]()
    for where, rows in itertools.groupby(read_rows(folder, job), lambda row: Path(row.path).parent):
        sitting = _sitting(verifier, rows, advance)
        try:
            name = check_name(where.name)
        except EdgefrError as error:
            yield Enrolment(where.name, 0, (*sitting.refused, *_left(where, sitting.samples, str(error))))
            continue
        if name in new:  # another folder of the same name
            yield from _added(gallery, verifier, new, keep)
            names |= new.keys()
            new.clear()
        if name in names or not sitting.samples:
            yield _extended(gallery, verifier, name, sitting, keep)
            continue
        new[name] = sitting
        if sum(len(entry.samples) for entry in new.values()) >= TOGETHER:
            yield from _added(gallery, verifier, new, keep)
            names |= new.keys()
            new.clear()
    yield from _added(gallery, verifier, new, keep)


def _added(gallery: Gallery, verifier: Verifier, new: dict[str, _Sitting], keep: float | None) -> Iterator[Enrolment]:
    """Enrol new people in one change; afterwards each is compared with everybody, the others of the change, too."""
    now = time.time()
    until = None if keep is None else now + keep
    fresh = {name: without_duplicates([], entry.samples) for name, entry in new.items()}
    if fresh:
        people = ((Person(0, name, now, until, fuse_template(images), ()), images) for name, images in fresh.items())
        gallery.import_all(people, f"{len(fresh)} people from shards")
    doubts = enrolment_warnings(gallery, verifier, [(name, [], images) for name, images in fresh.items()])
    for (name, images), (unlike, similar) in zip(fresh.items(), doubts, strict=True):
        known = len(new[name].samples) - len(images)
        yield Enrolment(name, len(images), tuple(new[name].refused), unlike, similar, known)


def _extended(gallery: Gallery, verifier: Verifier, name: str, sitting: _Sitting, keep: float | None) -> Enrolment:
    """Add to somebody who is enrolled what is not enrolled yet."""
    if not sitting.samples:
        return Enrolment(name, 0, tuple(sitting.refused))
    kept = gallery.samples(name)
    fresh = without_duplicates(kept, sitting.samples)
    if not fresh and keep is None:
        return Enrolment(name, 0, tuple(sitting.refused), known=len(sitting.samples))
    done = enrol_beside(gallery, verifier, name, kept, fresh[: MOST_IMAGES - len(kept)], keep)
    return replace(done, refused=tuple(sitting.refused), known=len(sitting.samples) - len(fresh))


def _sitting(verifier: Verifier, rows: Iterable[Row], advance: Callable[[int], None]) -> _Sitting:
    """What of a person's rows may be enrolled, as `gallery.enrol.sample` says it of photographs."""
    sitting = _Sitting([], [])
    for row in rows:
        try:
            if len(sitting.samples) == MOST_IMAGES:
                raise PoorFaceError(
                    f"at most {MOST_IMAGES:,} images of one person",
                    f"more in {Path(row.path).parent}",
                    "give every person a folder",
                )
            sitting.samples.append(_sample(verifier, row))
        except ImageError as error:
            sitting.refused.append(RejectedImage(row.path, str(error)))
        advance(1)
    return sitting


def _sample(verifier: Verifier, row: Row) -> FaceSample:
    path = Path(row.path)
    if row.embedding is None or row.box is None or row.landmarks is None or row.refused is not None:
        raise NoFaceError("", row.refused or f"The shard holds no face of {path}", "embed it again")
    assert row.norm is not None
    assert row.score is not None
    assert row.sharpness is not None
    x, y, width, height = row.box.tolist()
    face = Face((x, y, width, height), row.landmarks, row.score)
    check_alone(row.path, row.beside or 0.0)
    check_pose(row.path, face)
    check_sharpness(row.path, row.sharpness)
    check_quality(verifier, EmbeddedFace(row.path, face, row.embedding, row.norm, row.uncertainty, row.sharpness))
    return FaceSample(path.name, row.embedding, row.norm, row.uncertainty, row.sharpness)


def _left(where: Path, samples: Iterable[FaceSample], reason: str) -> Iterator[RejectedImage]:
    return (RejectedImage(str(where / entry.source), reason) for entry in samples)
