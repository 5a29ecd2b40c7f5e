"""One worker of a job: it opens the models once and makes shards, in a process here or as an actor on a cluster."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgefr.detection.base import Face, FacePolicy, select_face
from edgefr.errors import EdgefrError, ImageError
from edgefr.gallery.model_binding import ModelBinding
from edgefr.io.photo import read_photograph
from edgefr.jobs.embedding_shards import Row, write_shard
from edgefr.jobs.job_description import FILE, Job, read_job
from edgefr.jobs.photograph_list import list_reader, shown
from edgefr.recognition.alignment import align
from edgefr.recognition.verifier import EmbeddedFace, FoundFace, Verifier


@dataclass(frozen=True)
class Settings:
    """What a worker needs to know; `job` is the id of the job that `folder` must hold, `threads` as in `Verifier.open`.
    Paths are absolute, for a worker may be elsewhere."""

    folder: Path
    job: str
    model: Path
    detector: Path | None
    runtime: str
    precision: str
    batch: int
    threads: int | None = None


@dataclass(frozen=True)
class Made:
    """A shard that is on the disk: its number, its photographs, and how many of them were refused."""

    number: int
    photographs: int
    refused: int


class Worker:
    """Makes shards of a job."""

    def __init__(self, settings: Settings) -> None:
        """Open the models.

        Raises:
            EdgefrError: the job's folder cannot be seen from here, or the models are others than the job's.
        """
        self._settings = settings
        self._job = _seen(settings)
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
            raise EdgefrError(
                f"{self._job.binding} on every machine of the job",
                f"{found} on {platform.node()}",
                "copy the same models there, and name --detector and --precision",
            )

    def make(self, number: int, advance: Callable[[int], None]) -> Made:
        """Make and write the shard of this number; `advance` is told of every few photographs.

        Raises:
            EdgefrError: none of its photographs is there, the model fails, or the shard cannot be written.
        """
        paths = self._paths(number)
        rows: list[Row] = []
        for start in range(0, len(paths), self._settings.batch):
            part = paths[start : start + self._settings.batch]
            rows += rows_of(self._verifier, part, self._job.face)
            advance(len(part))
        refused = sum(row.refused is not None for row in rows)
        if refused and not any(Path(path).exists() for path in paths):
            # One file may have been removed; all of them are more likely a disk that is gone.
            raise EdgefrError(
                f"the photographs from {shown(paths[0])} to {shown(paths[-1])}",
                f"none of them on {platform.node()}",
                "mount their disk there, then give the same command again; or begin a new job without them",
            )
        write_shard(self._settings.folder, self._job, number, rows)
        return Made(number, len(rows), refused)


def rows_of(verifier: Verifier, paths: list[str], policy: FacePolicy) -> list[Row]:
    """A row for each photograph, whose faces are embedded in one batch."""
    found: dict[str, tuple[FoundFace, float]] = {}
    refused: dict[str, str] = {}
    for path in paths:
        try:
            found[path] = _found(verifier, Path(path), policy)
        except ImageError as error:
            refused[path] = shown(str(error))
    faces = iter(verifier.embed([face for face, _ in found.values()], len(found)) if found else [])
    return [
        Row(shown(path), refused[path]) if path in refused else _row(path, next(faces), found[path][1])
        for path in paths
    ]


def _found(verifier: Verifier, path: Path, policy: FacePolicy) -> tuple[FoundFace, float]:
    """The face that is meant, and the width of the widest other in widths of it."""
    photo = read_photograph(path)
    faces = verifier.detector.detect(photo)
    height, width = photo.shape[:2]
    chosen = select_face(faces, (height, width), policy, str(path))
    others = [face.box[2] for face in faces if face is not chosen]
    return FoundFace(str(path), chosen, align(photo, chosen.landmarks)), max(others, default=0.0) / chosen.box[2]


def _row(path: str, face: EmbeddedFace, beside: float) -> Row:
    seen: Face = face.face
    return Row(
        shown(path),
        None,
        face.embedding,
        face.norm,
        face.uncertainty,
        np.array(seen.box, np.float32),
        seen.landmarks,
        seen.score,
        face.sharpness,
        beside,
    )


def _seen(settings: Settings) -> Job:
    """The job in the folder, if it is the one that was meant.

    Raises:
        EdgefrError: there is another, or none: on a cluster the folder may lie on one machine's own disk.
    """
    if not (settings.folder / FILE).is_file() or (job := read_job(settings.folder)).id != settings.job:
        raise EdgefrError(
            f"the job's folder {settings.folder} on {platform.node()}",
            "none or another's",
            "put it and the photographs on a file system that all machines have at the same path",
        )
    return job
