"""edgefr gallery enroll --from: people out of shards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgefr.cli.gallery_options import Access
from edgefr.cli.output import print_json, progress, warn
from edgefr.errors import EdgefrError

if TYPE_CHECKING:
    from edgefr.gallery.enrolment import Enrolment
    from edgefr.recognition.verifier import Verifier


def enroll_from(shards: Path, access: Access, plain: bool, verifier: Verifier, keep: float | None, json: bool) -> None:
    """Enrol who is in shards, however many they are: what became of each is told at once, and in the end the sums."""
    from edgefr.gallery.model_binding import ModelBinding
    from edgefr.jobs.embedding_shards import insist_on_all
    from edgefr.jobs.enrolment_job import enrol_shards
    from edgefr.jobs.job_description import read_job

    job = read_job(shards)
    job.binding.require_compatible(ModelBinding.of(verifier), shards)
    insist_on_all(shards, job)  # before a gallery is made
    images = known = refused = 0
    with access.open_or_create(plain, job.binding) as opened, progress("Enrolling", job.photographs) as advance:
        before = len(opened)
        for entry in enrol_shards(opened, verifier, shards, keep, advance):
            tell(entry)
            images, known, refused = images + entry.images, known + entry.known, refused + len(entry.refused)
        people = len(opened)
    if json:
        sums = {"images": images, "known": known, "refused": refused}
        print_json({"gallery": str(access.path), "people": people, "new": people - before, **sums})
    else:
        print(
            f"{people:,} people are enrolled in {access.path}, {people - before:,} of them new, with {images:,} images "
            f"more; {known:,} photographs had been enrolled before, {refused:,} were left out."
        )


def tell(entry: Enrolment) -> None:
    """Name what was left out and what somebody should look at."""
    for refusal in entry.refused:
        warn(f"edgefr: left out: {refusal.reason}")
    for doubt in entry.warnings():
        warn(f"edgefr: look again: {doubt}")


def insist_on_shards_alone(
    name: str | None, images: Sequence[str] | None, folder: Path | None, camera: str | None, crops: bool
) -> None:
    """Raises EdgefrError where --from does not stand alone: shards have the names, and no crops to keep."""
    if name is not None or images or folder is not None or camera is not None or crops:
        raise EdgefrError(
            "--from without names, photographs, --folder, --camera and --keep-crops", "one of them", "leave it out"
        )
