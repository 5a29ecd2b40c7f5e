"""What a job is: which photographs, by what, in how many shards. `job.json` in its folder says so and never changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from edgefr.detection.base import FacePolicy
from edgefr.errors import EdgefrError
from edgefr.gallery.model_binding import ModelBinding
from edgefr.io.files import atomic_write
from edgefr.jobs.photograph_list import Paths, digest_of, write_list

FORMAT = "edgefr embed job 1"
FILE, LOCK = "job.json", "lock"
LARGEST_FILE = 1 << 16
SHARD = 2048
"""Photographs of a shard: what is lost at most when a worker dies, some ten seconds of one core's work."""


@dataclass(frozen=True)
class Job:
    """So many `photographs`, whose list has the digest `list_sha256`, in shards of `shard`; of each the face that the
    policy `face` means is embedded by what `binding` says."""

    photographs: int
    list_sha256: str
    shard: int
    face: FacePolicy
    binding: ModelBinding

    @classmethod
    def of(cls, paths: Paths, shard: int, face: FacePolicy, binding: ModelBinding) -> Job:
        return cls(len(paths), digest_of(paths), shard, face, binding)

    @classmethod
    def from_json(cls, text: str) -> Job:
        """What `to_json` gave; ValueError, TypeError or KeyError where it is something else."""
        raw = json.loads(text)
        if raw.pop("format") != FORMAT:
            raise ValueError("another format")
        job = cls(**{**raw, "binding": ModelBinding(**raw["binding"])})
        if not (job.shard > 0 and job.photographs > 0 and 0 < job.binding.embedding_dim <= 1 << 16):
            raise ValueError("sizes that no job has")
        return job

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2, sort_keys=True)

    @property
    def id(self) -> str:
        """Tells the job from others."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def shards(self) -> int:
        return -(-self.photographs // self.shard)

    def rows(self, number: int) -> int:
        """Photographs of the shard of this number."""
        return min(self.shard, self.photographs - number * self.shard)


def read_job(folder: Path) -> Job:
    """The job of a folder.

    Raises:
        EdgefrError: there is none, or its file is damaged.
    """
    path = folder / FILE
    try:
        with path.open("rb") as file:
            return Job.from_json(file.read(LARGEST_FILE).decode())
    except OSError as error:
        raise EdgefrError(
            f"a job's folder at {folder}",
            f"no {FILE} in it ({error.strerror})",
            f"make it with `edgefr embed PHOTOGRAPHS -o {folder}`",
        ) from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise EdgefrError(
            f"what `edgefr embed` wrote in {path}", "something else", "begin again in another folder"
        ) from error


def begin(folder: Path, job: Job, paths: Paths) -> None:
    """Write down the job of a new folder; in a folder that has one, insist that it is this one.

    Raises:
        EdgefrError: the folder's is another, or the folder cannot be written.
    """
    if (folder / FILE).exists():
        _insist_on_the_same(folder, read_job(folder), job)
        return
    if any(folder.glob("part-*.parquet")):
        raise EdgefrError(
            f"{FILE} beside the shards in {folder}", "none", "choose another folder, or remove the shards"
        )
    write_list(folder, paths, job.shard)
    with atomic_write(folder / FILE) as temporary:
        temporary.write_text(job.to_json() + "\n", encoding="utf-8")


def _insist_on_the_same(folder: Path, there: Job, wanted: Job) -> None:
    for what, made, found in _parts(there, wanted):
        if made != found:
            raise EdgefrError(
                f"the same {what} as the job in {folder} was begun with, {made}",
                str(found),
                "give the same command to go on, or another folder to begin a new job",
            )


def _parts(there: Job, wanted: Job) -> Iterator[tuple[str, object, object]]:
    """Names of what jobs may differ in, and what it is in both."""
    yield "number of photographs", f"{there.photographs:,}", f"{wanted.photographs:,}"
    yield "list of photographs", there.list_sha256[:12], wanted.list_sha256[:12]
    yield "--shard", there.shard, wanted.shard
    yield "--face", there.face, wanted.face
    for field in fields(ModelBinding):
        name = field.name.replace("_", " ")
        yield name, getattr(there.binding, field.name), getattr(wanted.binding, field.name)
