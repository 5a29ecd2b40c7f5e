"""edgefr embed"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
from edgefr.cli.output import print_json, progress, warn
from edgefr.errors import EdgefrError


def embed(
    images: Annotated[list[str], typer.Argument(help="Photographs, folders of photographs, or globs.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .npz file to write.")],
    model: ModelOption = None,
    detector: DetectorOption = None,
    batch: Annotated[int, typer.Option(min=1, max=1024, help="Faces embedded at a time.")] = 32,
    face: FaceOption = "largest",
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = "auto",
    json: JsonOption = False,
) -> None:
    """Embeddings of many photographs into one .npz file.

    It holds path, embedding, norm, uncertainty, box and landmarks. A photograph without a usable face is named
    on stderr and left out; exit 2 if there was any.
    """
    from edgefr.bulk import embed_photos, photos_of, save_npz
    from edgefr.verify import Verifier

    if output.suffix.lower() != ".npz":
        raise EdgefrError(f"expected an output that ends in .npz, found {output}: choose another name with -o")
    photos = photos_of(images)
    verifier = Verifier.open(chosen_model(model), detector, runtime, precision, images=len(photos))
    with progress("Embedding", len(photos)) as advance:
        faces, refused = embed_photos(verifier, photos, face, batch, advance)
    for refusal in refused:
        warn(f"edgefr: left out: {refusal.reason}")
    if not faces:
        raise EdgefrError(f"expected a usable face in at least one of {len(photos)} photographs, found none: see above")
    save_npz(output, faces)
    description = verifier.recogniser.description
    if json:
        print_json(
            {
                "output": str(output),
                "images": len(faces),
                "left_out": [{"path": str(entry.path), "reason": entry.reason} for entry in refused],
                "embedding_dim": verifier.recogniser.embedding_dim,
                "model": verifier.model.name,
                "model_sha256": verifier.digest(),
                "detector": verifier.detector.name,
                "runtime": description.runtime,
                "precision": description.precision,
            }
        )
    else:
        print(
            f"{len(faces)} embeddings in {output} by {verifier.model.name} on {description.runtime} "
            f"{description.precision}, {len(refused)} photographs left out."
        )
    raise typer.Exit(2 if refused else 0)
