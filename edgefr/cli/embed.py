"""edgefr embed"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefr.cli.options import (
    DetectorOption,
    FaceOption,
    JsonOption,
    ModelOption,
    PrecisionOption,
    RuntimeOption,
    chosen_model,
)
from edgefr.cli.output import print_json, progress, remark, warn
from edgefr.detection.base import FacePolicy
from edgefr.errors import EdgefrError
from edgefr.models import SPOT

if TYPE_CHECKING:
    from edgefr.jobs.embedding_job import Means
    from edgefr.recognition.verifier import Verifier

SHOWN = 10
"""Refused photographs of a job that are named on stderr; all are in its shards."""


def embed(
    output: Annotated[Path, typer.Option("--output", "-o", help="The .npz file, or the folder of shards, to write.")],
    images: Annotated[list[str] | None, typer.Argument(help="Photographs, folders of photographs, or globs.")] = None,
    listed: Annotated[
        Path | None, typer.Option("--list", help="Shards: a file of photographs, one path a line; - for stdin.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Shards: processes; by default one, of a cluster all it can.")
    ] = None,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Shards: by the Ray cluster at auto, local or host:port.")
    ] = None,
    shard: Annotated[
        int | None, typer.Option(min=1, max=1 << 20, help="Shards: photographs in each; by default 2,048.")
    ] = None,
    model: ModelOption = None,
    detector: DetectorOption = None,
    batch: Annotated[int, typer.Option(min=1, max=1024, help="Faces embedded at a time.")] = 32,
    face: FaceOption = "largest",
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = "auto",
    json: JsonOption = False,
) -> None:
    """Embeddings of many photographs into one .npz file, or of millions into a folder of Parquet shards.

    The .npz file holds path, embedding, norm, uncertainty, box and landmarks. A photograph without a usable face is
    named on stderr and left out; exit 2 if there was any.

    A folder (-o NAME without a suffix) gets shards, each whole or absent, with a row for every photograph: its face, or
    why there is none. A job that was stopped or killed goes on when the same command is given again; exit 0 when it is
    done.
    """
    from edgefr.jobs.embedding_job import Means
    from edgefr.jobs.job_description import SHARD

    by = _By(chosen_model(model), detector, batch, face, runtime, precision)
    if not output.suffix or output.is_dir():
        _into_folder(images or [], listed, output, shard or SHARD, Means(workers, ray), by, json)
    elif output.suffix.lower() != ".npz":
        raise EdgefrError("an output that ends in .npz, or a folder", str(output), "choose another name with -o")
    elif (listed, workers, ray, shard) != (None, None, None, None):
        raise EdgefrError(
            "a folder for what --list, --workers, --ray and --shard are about", str(output), "give -o FOLDER"
        )
    else:
        _into_file(images or [], output, by, json)


@dataclass(frozen=True)
class _By:
    """What the options say of models and faces."""

    model: Path
    detector: Path | None
    batch: int
    face: FacePolicy
    runtime: str
    precision: str

    def open(self, images: int) -> Verifier:
        from edgefr.recognition.verifier import Verifier

        return Verifier.open(self.model, self.detector, self.runtime, self.precision, images=images)


def _into_file(images: Sequence[str], output: Path, by: _By, json: bool) -> None:
    from edgefr.recognition.batch import embed_photographs, list_photographs, save_npz

    photos = list_photographs(images)
    if not photos:
        raise EdgefrError("photographs", "none", "name files, folders or globs")
    verifier = by.open(len(photos))
    with progress("Embedding", len(photos)) as advance:
        faces, refused = embed_photographs(verifier, photos, by.face, by.batch, advance)
    for refusal in refused:
        warn(f"edgefr: left out: {refusal.reason}")
    if not faces:
        raise EdgefrError(f"a usable face in at least one of {len(photos)} photographs", "none", "see above")
    save_npz(output, faces)
    description = verifier.recogniser.description
    if json:
        print_json(
            {
                "output": str(output),
                "images": len(faces),
                "left_out": [{"path": entry.path, "reason": entry.reason} for entry in refused],
                **_made_by(verifier),
            }
        )
    else:
        print(
            f"{len(faces)} embeddings in {output} by {verifier.model.name} on {description.runtime} "
            f"{description.precision}, {len(refused)} photographs left out."
        )
    raise typer.Exit(2 if refused else 0)


def _into_folder(
    images: Sequence[str], listed: Path | None, output: Path, shard: int, means: Means, by: _By, json: bool
) -> None:
    from edgefr.gallery.model_binding import ModelBinding
    from edgefr.jobs.embedding_job import embed_job
    from edgefr.jobs.embedding_shards import refusals
    from edgefr.jobs.job_description import Job
    from edgefr.jobs.photograph_list import photographs
    from edgefr.jobs.shard_worker import Settings
    from edgefr.runtimes import FAKE

    remark("edgefr: looking for photographs ...")
    paths = photographs(images, listed)
    verifier = by.open(len(paths))
    job = Job.of(paths, shard, by.face, ModelBinding.of(verifier))
    settings = Settings(
        output.absolute(),
        job.id,
        by.model if by.model == FAKE else by.model.absolute(),
        by.detector if by.detector in (None, Path(SPOT)) else by.detector.absolute(),
        by.runtime,
        by.precision,
        by.batch,
    )
    done = embed_job(job, paths, settings, means, progress, lambda sentence: warn(f"edgefr: {sentence}"))
    for row in itertools.islice(refusals(output, job), SHOWN if done.refused else 0):
        warn(f"edgefr: left out: {row.refused}")
    if done.refused > SHOWN:
        warn(f"edgefr: and {done.refused - SHOWN:,} more: see the column `refused` in {output}")
    if json:
        print_json(
            {
                "output": str(output),
                "photographs": done.photographs,
                "images": done.photographs - done.refused,
                "refused": done.refused,
                "before": done.before,
                "shards": job.shards,
                **_made_by(verifier),
            }
        )
    else:
        print(
            f"{done.photographs - done.refused:,} embeddings in {job.shards:,} shards in {output} by "
            f"{verifier.model.name}, {done.refused:,} photographs left out."
        )


def _made_by(verifier: Verifier) -> dict[str, object]:
    description = verifier.recogniser.description
    return {
        "embedding_dim": verifier.recogniser.embedding_dim,
        "model": verifier.model.name,
        "model_sha256": verifier.digest(),
        "detector": verifier.detector.name,
        "runtime": description.runtime,
        "precision": description.precision,
    }
