"""edgefr embed"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefr.choices import FacePolicy
from edgefr.cli.listing import MAX_LISTED, left_out_document, warn_left_out, warn_other_files
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
from edgefr.errors import InvalidArgumentError, NoFaceError
from edgefr.models import SPOT, find_model

if TYPE_CHECKING:
    from edgefr.jobs.embedding_job import Workers
    from edgefr.recognition.verifier import Verifier


def embed(
    output: Annotated[Path, typer.Option("--output", "-o", help="The .npz file or the folder of shards to write.")],
    images: Annotated[list[str] | None, typer.Argument(help="Photographs, folders of photographs, or globs.")] = None,
    listed: Annotated[
        Path | None, typer.Option("--list", help="Shards: a file with one photograph per line; - for stdin.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=1024, help="Shards: processes. Default: one, or with --ray all CPUs of the cluster."),
    ] = None,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Shards: use the Ray cluster at auto, local or host:port.")
    ] = None,
    shard: Annotated[
        int | None, typer.Option(min=1, max=1 << 20, help="Shards: photographs per shard. Default: 2,048.")
    ] = None,
    model: ModelOption = None,
    detector: DetectorOption = None,
    batch: Annotated[int, typer.Option(min=1, max=1024, help="Faces per call of the model.")] = 32,
    face: FaceOption = "largest",
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = "auto",
    json: JsonOption = False,
) -> None:
    """Embed photographs into one .npz file, or millions of them into a folder of Parquet shards.

    The .npz file contains path, embedding, norm, uncertainty, box and landmarks. Photographs without a usable face are
    left out and listed on stderr; the exit code is then 2.

    A folder (-o NAME without a suffix) gets shards with a row for every photograph: its face, or why it has none. The
    same command resumes a job that was interrupted. The exit code is 0 when the job is complete, and 2 if a folder
    cannot be read or a picture has an unknown suffix. HEIC and AVIF photographs need the extra `photos`.
    """
    from edgefr.jobs.embedding_job import Workers
    from edgefr.jobs.job_description import DEFAULT_SHARD

    options = _Options(chosen_model(model), detector, batch, face, runtime, precision)
    if not output.suffix or output.is_dir():
        _embed_to_shards(images or [], listed, output, shard or DEFAULT_SHARD, Workers(workers, ray), options, json)
    elif output.suffix.lower() != ".npz":
        raise InvalidArgumentError("an output that ends in .npz, or a folder", str(output), "choose another -o")
    elif (listed, workers, ray, shard) != (None, None, None, None):
        raise InvalidArgumentError(
            "a folder as output with --list, --workers, --ray and --shard", str(output), "give -o FOLDER"
        )
    else:
        _embed_to_file(images or [], output, options, json)


@dataclass(frozen=True)
class _Options:
    model: Path
    detector: Path | None
    batch: int
    face: FacePolicy
    runtime: str
    precision: str

    def open_verifier(self, images: int) -> Verifier:
        from edgefr.recognition.verifier import Verifier

        return Verifier.open(self.model, self.detector, self.runtime, self.precision, images=images)


def _embed_to_file(images: Sequence[str], output: Path, options: _Options, json: bool) -> None:
    from edgefr.recognition.batch import embed_photographs, find_photographs, save_npz

    found = find_photographs(images)
    photos = found.photographs
    if not images:
        raise InvalidArgumentError("photographs", "none", "name files, folders or globs")
    warn_other_files(found.finder)
    verifier = options.open_verifier(len(photos))
    with progress("Embedding", len(photos)) as advance:
        faces, rejected = embed_photographs(verifier, photos, options.face, options.batch, advance)
    rejected = [*found.finder.left_out, *rejected]
    warn_left_out(rejected)
    if not faces:
        raise NoFaceError(
            f"a usable face in at least one of {len(photos)} photographs", "none", "see the reasons above"
        )
    save_npz(output, faces)
    description = verifier.recogniser.description
    if json:
        print_json(
            {
                "output": str(output),
                "images": len(faces),
                "left_out": left_out_document(rejected),
                **_describe_models(verifier),
            }
        )
    else:
        print(
            f"Wrote {len(faces)} embeddings to {output} ({verifier.model.name} on {description.runtime} "
            f"{description.precision}); {len(rejected)} photographs were left out."
        )
    raise typer.Exit(2 if rejected else 0)


def _embed_to_shards(
    images: Sequence[str],
    listed: Path | None,
    output: Path,
    shard: int,
    workers: Workers,
    options: _Options,
    json: bool,
) -> None:
    from edgefr.gallery.model_binding import ModelBinding
    from edgefr.io.picture_files import PictureFinder
    from edgefr.jobs.embedding_job import run_embedding_job
    from edgefr.jobs.embedding_shards import read_rejected
    from edgefr.jobs.job_description import Job
    from edgefr.jobs.photograph_list import list_paths
    from edgefr.jobs.shard_worker import Settings
    from edgefr.runtimes import FAKE

    remark("edgefr: listing photographs ...")
    finder = PictureFinder()
    paths = list_paths(images, listed, finder)
    warn_other_files(finder)
    warn_left_out(finder.left_out, MAX_LISTED)
    verifier = options.open_verifier(len(paths))
    job = Job.of(paths, shard, options.face, ModelBinding.of(verifier))
    settings = Settings(
        output.absolute(),
        job.id,
        options.model if options.model == FAKE else options.model.absolute(),
        options.detector if options.detector in (None, Path(SPOT)) else find_model(options.detector).absolute(),
        options.runtime,
        options.precision,
        options.batch,
    )
    result = run_embedding_job(job, paths, settings, workers, progress, lambda text: warn(f"edgefr: {text}"))
    for row in itertools.islice(read_rejected(output, job), MAX_LISTED if result.refused else 0):
        warn(f"edgefr: left out: {row.refused}")
    if result.refused > MAX_LISTED:
        warn(f"edgefr: and {result.refused - MAX_LISTED:,} more, see the column `refused` in {output}")
    embedded = result.photographs - result.refused
    if json:
        print_json(
            {
                "output": str(output),
                "photographs": result.photographs,
                "images": embedded,
                "refused": result.refused,
                "before": result.before,
                "left_out": left_out_document(finder.left_out),
                "shards": job.shards,
                **_describe_models(verifier),
            }
        )
    else:
        print(
            f"Wrote {embedded:,} embeddings to {job.shards:,} shards in {output} ({verifier.model.name}); "
            f"{result.refused:,} photographs were left out."
        )
    raise typer.Exit(2 if finder.left_out else 0)


def _describe_models(verifier: Verifier) -> dict[str, object]:
    description = verifier.recogniser.description
    return {
        "embedding_dim": verifier.recogniser.embedding_dim,
        "model": verifier.model.name,
        "model_sha256": verifier.digest(),
        "detector": verifier.detector.name,
        "runtime": description.runtime,
        "precision": description.precision,
    }
