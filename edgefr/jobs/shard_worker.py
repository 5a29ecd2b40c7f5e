"""One worker of a job. It opens the models once and makes shards, in a local process or on a cluster."""

from __future__ import annotations

import platform
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from edgefr.choices import FacePolicy
from edgefr.detection.base import select_face
from edgefr.errors import ImageError, UnavailableError, WrongModelError
from edgefr.gallery.enrolment_checks import is_central
from edgefr.gallery.model_binding import ModelBinding
from edgefr.io.photo import read_photograph
from edgefr.jobs.embedding_shards import Row, write_shard
from edgefr.jobs.job_description import FILE, Job, read_job
from edgefr.jobs.photograph_list import list_reader, printable
from edgefr.recognition.alignment import align
from edgefr.recognition.parallel_finding import find_in_order
from edgefr.recognition.verifier import EmbeddedFace, FoundFace, Verifier


@dataclass(frozen=True)
class Settings:
    """What a worker needs: folder and id of the job, and the arguments of `Verifier.open`.

    Paths are absolute, because the worker may run on another machine.
    """

    folder: Path
    job: str
    model: Path
    detector: Path | None
    runtime: str
    precision: str
    batch: int
    threads: int | None = None


@dataclass(frozen=True)
class ShardResult:
    """A shard that was written: its number, its photographs, and those without a usable face."""

    number: int
    photographs: int
    refused: int


class Worker:
    """Makes shards of a job."""

    def __init__(self, settings: Settings) -> None:
        """Open the models.

        Raises:
            UnavailableError: This machine does not see the folder of the job.
            WrongModelError: The models here are not those of the job.
        """
        self._settings = settings
        self._job = _read_job(settings)
        self._paths = list_reader(settings.folder)
        if settings.threads is not None:
            import cv2

            cv2.setNumThreads(settings.threads)
        self._verifier = Verifier.open(
            settings.model,
            settings.detector,
            settings.runtime,
            settings.precision,
            images=self._job.photographs,
            threads=settings.threads,
        )
        if (found := ModelBinding.of(self._verifier)) != self._job.binding:
            raise WrongModelError(
                f"{self._job.binding} on every machine of the job",
                f"{found} on {platform.node()}",
                "copy the same models to that machine, and give --detector and --precision",
            )

    def make(self, number: int, on_progress: Callable[[int], None]) -> ShardResult:
        """Make and write a shard; `on_progress` receives the number of photographs of each batch.

        Raises:
            UnavailableError: None of its photographs exists here.
            EdgefrError: The model fails, or the shard cannot be written.
        """
        paths = self._paths(number)
        rows = embed_rows(self._verifier, paths, self._job.face, self._settings.batch, on_progress)
        refused = sum(row.refused is not None for row in rows)
        if refused and not any(Path(path).exists() for path in paths):
            # A single file may have been removed. If all are missing, a disk is more likely not mounted.
            raise UnavailableError(
                f"the photographs from {printable(paths[0])} to {printable(paths[-1])}",
                f"none of them on {platform.node()}",
                "mount their disk there, then run the same command again; or start a new job without them",
            )
        write_shard(self._settings.folder, self._job, number, rows)
        return ShardResult(number, len(rows), refused)


def embed_rows(
    verifier: Verifier,
    paths: list[str],
    policy: FacePolicy,
    batch: int = 32,
    on_progress: Callable[[int], None] = lambda _count: None,
) -> list[Row]:
    """Embed photographs in batches; returns a row for each, and tells the number of photographs of each batch."""
    rows: list[Row] = []
    find = partial(_find_face, policy=policy)
    with closing(find_in_order(verifier, map(Path, paths), len(paths), find)) as finding:
        for start in range(0, len(paths), batch):
            part = paths[start : start + batch]
            rows += _rows_of_batch(verifier, part, list(islice(finding, len(part))))
            on_progress(len(part))
    return rows


def _rows_of_batch(verifier: Verifier, paths: list[str], entries: list[_Selected | ImageError]) -> list[Row]:
    found = [entry.found for entry in entries if isinstance(entry, _Selected)]
    faces = iter(verifier.embed(found, len(found)) if found else [])
    return [
        _to_row(path, next(faces), entry)
        if isinstance(entry, _Selected)
        else Row(printable(path), printable(str(entry)))
        for path, entry in zip(paths, entries, strict=True)
    ]


@dataclass(frozen=True)
class _Selected:
    """The selected face, the width of the widest other face as a share of it, and whether it is central."""

    found: FoundFace
    beside: float
    central: bool


def _find_face(verifier: Verifier, path: Path, policy: FacePolicy) -> _Selected:
    photo = read_photograph(path)
    faces = list(verifier.detector.detect(photo))  # a list, because Detections makes new Face objects every time
    height, width = photo.shape[:2]
    selected = select_face(faces, (height, width), policy, str(path))
    others = [face for face in faces if face is not selected]
    widest = max((face.box[2] for face in others), default=0.0)
    return _Selected(
        FoundFace(str(path), selected, align(photo, selected.landmarks)),
        widest / selected.box[2],
        is_central(selected, others, (height, width)),
    )


def _to_row(path: str, embedded: EmbeddedFace, selected: _Selected) -> Row:
    face = embedded.face
    return Row(
        printable(path),
        None,
        embedded.embedding,
        embedded.norm,
        embedded.uncertainty,
        np.array(face.box, np.float32),
        face.landmarks,
        face.score,
        embedded.sharpness,
        selected.beside,
        selected.central,
    )


def _read_job(settings: Settings) -> Job:
    """The job in the folder. On a cluster the path may exist on the disk of one machine only."""
    if not (settings.folder / FILE).is_file() or (job := read_job(settings.folder)).id != settings.job:
        raise UnavailableError(
            f"the folder of the job {settings.folder} on {platform.node()}",
            "none, or one of another job",
            "put it and the photographs on a file system that all machines have at the same path",
        )
    return job
