"""edgefr gallery enroll --from: enrol people from the shards of `edgefr embed`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgefr.cli.gallery_options import Access
from edgefr.cli.output import print_json, progress, warn
from edgefr.errors import InvalidArgumentError

if TYPE_CHECKING:
    from edgefr.choices import FacePolicy
    from edgefr.gallery.enrolment import Enrolment
    from edgefr.recognition.verifier import Verifier


def enroll_shards(
    shards: Path,
    access: Access,
    plain: bool,
    transform: bool,
    verifier: Verifier,
    expires_in_s: float | None,
    force: bool,
    json: bool,
) -> None:
    """Enrol all people in shards. Warnings are printed at once, because there may be millions of people."""
    from edgefr.gallery.model_binding import ModelBinding
    from edgefr.jobs.embedding_shards import check_complete
    from edgefr.jobs.enrolment_job import enrol_shards
    from edgefr.jobs.job_description import read_job

    job = read_job(shards)
    job.binding.require_compatible(ModelBinding.of(verifier), shards)
    check_complete(shards, job)  # before a gallery is created
    images = known = refused = several = 0
    with (
        access.open_to_enrol(plain, verifier, transform) as opened,
        progress("Enrolling", job.photographs) as advance,
    ):
        before = len(opened)
        for result in enrol_shards(opened, verifier, shards, expires_in_s, advance, force):
            warn_about(replace(result, notes=()))
            several += len(result.notes)
            images, known, refused = images + result.images, known + result.known, refused + len(result.refused)
        people = len(opened)
    if json:
        sums = {"images": images, "known": known, "refused": refused, "several_faces": several}
        print_json({"gallery": str(access.path), "people": people, "new": people - before, **sums})
    else:
        if several:
            warn(f"edgefr: {several:,} photographs show several faces; the one that the job selected was taken")
        print(
            f"Enrolled {people - before:,} new people and {images:,} images in {access.path}, which now has "
            f"{people:,} people. {known:,} photographs had been enrolled before; {refused:,} were left out."
        )


def warn_about(result: Enrolment) -> None:
    """Warn about photographs that were left out, and about images and people that should be checked."""
    for note in result.notes:
        warn(f"edgefr: {note}")
    for image in result.refused:
        warn(f"edgefr: left out: {image.reason}")
    for warning in result.warnings():
        warn(f"edgefr: please check: {warning}")


def check_shards_alone(
    name: str | None,
    images: Sequence[str] | None,
    folder: Path | None,
    camera: str | None,
    crops: bool,
    face: FacePolicy | None,
) -> None:
    """Check that --from has no other source. Shards contain the names and the selected faces, and no crops to keep."""
    if (name, folder, camera, face) != (None, None, None, None) or images or crops:
        raise InvalidArgumentError(
            "--from without names, photographs, --folder, --camera, --keep-crops and --face",
            "one of them",
            "leave it out",
        )
