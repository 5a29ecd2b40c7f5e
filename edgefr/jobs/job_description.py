"""An embedding job: its photographs, models and shards. `job.json` in its folder describes it and never changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from edgefr.choices import FacePolicy
from edgefr.errors import InvalidArgumentError
from edgefr.gallery.model_binding import ModelBinding
from edgefr.io.files import atomic_write
from edgefr.jobs.photograph_list import Paths, digest, write_list

FORMAT = "edgefr embed job 1"
FILE, LOCK = "job.json", "lock"
MAX_FILE_BYTES = 1 << 16
DEFAULT_SHARD = 2048
"""Photographs per shard. When a worker dies at most one shard is lost, about ten seconds of work on one core."""


@dataclass(frozen=True)
class Job:
    """An embedding job. The names of the fields are keys of `job.json`.

    Attributes:
        photographs: Number of photographs.
        list_sha256: Digest of their paths.
        shard: Number of photographs per shard.
        face: Which of several faces is embedded.
        binding: The models.
    """

    photographs: int
    list_sha256: str
    shard: int
    face: FacePolicy
    binding: ModelBinding

    @classmethod
    def of(cls, paths: Paths, shard: int, face: FacePolicy, binding: ModelBinding) -> Job:
        """The job for a list of photographs."""
        return cls(len(paths), digest(paths), shard, face, binding)

    @classmethod
    def from_json(cls, text: str) -> Job:
        """Read the result of `to_json`. Raises ValueError, TypeError or KeyError for other text."""
        try:
            raw = json.loads(text)
        except RecursionError as error:
            raise ValueError("too many levels") from error
        if raw.pop("format") != FORMAT:
            raise ValueError("another format")
        job = cls(**{**raw, "binding": ModelBinding(**raw["binding"])})
        if not (job.shard > 0 and job.photographs > 0 and 0 < job.binding.embedding_dim <= 1 << 16):
            raise ValueError("sizes out of range")
        return job

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2, sort_keys=True)

    @property
    def id(self) -> str:
        """Digest that identifies the job."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.photographs // self.shard)

    def rows(self, number: int) -> int:
        """Number of photographs in a shard."""
        return min(self.shard, self.photographs - number * self.shard)


def read_job(folder: Path) -> Job:
    """Read the job of a folder.

    Raises:
        InvalidArgumentError: There is none, or its file is damaged.
    """
    path = folder / FILE
    try:
        with path.open("rb") as file:
            return Job.from_json(file.read(MAX_FILE_BYTES).decode())
    except OSError as error:
        raise InvalidArgumentError(
            f"the folder of an `edgefr embed` job at {folder}",
            f"no {FILE} in it ({error.strerror})",
            f"make it with `edgefr embed PHOTOGRAPHS -o {folder}`",
        ) from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InvalidArgumentError(
            f"the description of an `edgefr embed` job in {path}", "something else", "start again in another folder"
        ) from error


def begin_or_resume(folder: Path, job: Job, paths: Paths) -> None:
    """Write the description of a new job, or check that the folder holds this job.

    Raises:
        InvalidArgumentError: The folder holds another job.
    """
    if (folder / FILE).exists():
        _check_same(folder, read_job(folder), job)
        return
    if any(folder.glob("part-*.parquet")):
        raise InvalidArgumentError(
            f"{FILE} with the shards in {folder}", "none", "choose another folder, or remove the shards"
        )
    write_list(folder, paths, job.shard)
    with atomic_write(folder / FILE, private=True) as temporary:
        temporary.write_text(job.to_json() + "\n", encoding="utf-8")


def _check_same(folder: Path, existing: Job, requested: Job) -> None:
    for what, before, now in _properties(existing, requested):
        if before != now:
            raise InvalidArgumentError(
                f"the {what} of the job in {folder}, {before}",
                str(now),
                "run the command of that job to resume it, or start a new job in another folder",
            )


def _properties(existing: Job, requested: Job) -> Iterator[tuple[str, object, object]]:
    """Names of the properties in which jobs can differ, with both values."""
    yield "number of photographs", f"{existing.photographs:,}", f"{requested.photographs:,}"
    yield "list of photographs", existing.list_sha256[:12], requested.list_sha256[:12]
    yield "--shard", existing.shard, requested.shard
    yield "--face", existing.face, requested.face
    for field in fields(ModelBinding):
        name = field.name.replace("_", " ")
        yield name, getattr(existing.binding, field.name), getattr(requested.binding, field.name)
