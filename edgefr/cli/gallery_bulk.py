"""edgefr gallery enroll --from: enrol people from the shards of `edgefr embed`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgefr.cli.gallery_options import Access
from edgefr.cli.output import print_json, progress, warn
from edgefr.errors import InvalidArgumentError

if TYPE_CHECKING:
    from edgefr.gallery.enrolment import Enrolment
    from edgefr.recognition.verifier import Verifier


def enroll_shards(
    shards: Path, access: Access, plain: bool, verifier: Verifier, expires_in_s: float | None, json: bool
) -> None:
    """Enrol all people in shards. Warnings are printed at once, because there may be millions of people."""
    from edgefr.gallery.model_binding import ModelBinding
    from edgefr.jobs.embedding_shards import check_complete
    from edgefr.jobs.enrolment_job import enrol_shards
    from edgefr.jobs.job_description import read_job

    job = read_job(shards)
    job.binding.require_compatible(ModelBinding.of(verifier), shards)
    check_complete(shards, job)  # before a gallery is created
    images = known = refused = 0
    with access.open_or_create(plain, job.binding) as opened, progress("Enrolling", job.photographs) as advance:
        before = len(opened)
        for result in enrol_shards(opened, verifier, shards, expires_in_s, advance):
            warn_about(result)
            images, known, refused = images + result.images, known + result.known, refused + len(result.refused)
        people = len(opened)
    if json:
        sums = {"images": images, "known": known, "refused": refused}
        print_json({"gallery": str(access.path), "people": people, "new": people - before, **sums})
    else:
        print(
            f"Enrolled {people - before:,} new people and {images:,} images in {access.path}, which now has "
            f"{people:,} people. {known:,} photographs had been enrolled before; {refused:,} were left out."
        )


def warn_about(result: Enrolment) -> None:
    """Warn about photographs that were left out, and about images and people that should be checked."""
    for image in result.refused:
        warn(f"edgefr: left out: {image.reason}")
    for warning in result.warnings():
        warn(f"edgefr: please check: {warning}")


def check_shards_alone(
    name: str | None, images: Sequence[str] | None, folder: Path | None, camera: str | None, crops: bool
) -> None:
    """Check that --from has no other source. Shards contain the names, and no crops to keep."""
    if name is not None or images or folder is not None or camera is not None or crops:
        raise InvalidArgumentError(
            "--from without names, photographs, --folder, --camera and --keep-crops", "one of them", "leave it out"
        )
