"""edgefr gallery identify."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from edgefr.cli.gallery_options import Access, with_access
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


@with_access
def identify(
    images: Annotated[list[str], typer.Argument(help="Photographs, folders of photographs, or globs.")],
    fpir: Annotated[
        float, typer.Option(min=0, max=1, help="Share of strangers that may be taken for an enrolled person.")
    ] = 0.01,
    threshold: Annotated[
        float | None, typer.Option(min=-1, max=1, help="Similarity to decide by, instead of the model's thresholds.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=100, help="Number of candidates for each face with --json.")] = 5,
    *,
    access: Access,
    model: ModelOption = None,
    detector: DetectorOption = None,
    face: FaceOption = "largest",
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = "auto",
    json: JsonOption = False,
) -> None:
    """Identify the people on photographs. Matches are written to the log of the gallery.

    The exit code is 0 if everyone is identified, 1 if someone is unknown, and 2 if a photograph has no usable face.
    """
    from edgefr.gallery.identifier import Identifier
    from edgefr.recognition.batch import embed_photographs, list_photographs
    from edgefr.recognition.verifier import Verifier

    photos = list_photographs(images)
    verifier = Verifier.open(chosen_model(model), detector, runtime, precision, images=len(photos))
    with access.open() as opened:
        identifier = Identifier(verifier, opened, fpir, threshold)
        limit = identifier.threshold
        with progress("Identifying", len(photos)) as advance:
            faces, rejected = embed_photographs(verifier, photos, face, 32, advance)
        answers = [
            {"path": face.source, "name": found.name, "candidates": [asdict(hit) for hit in found.candidates]}
            for face, found in zip(faces, identifier.identify_faces(faces, top), strict=True)
        ]
        people = len(opened)
    for image in rejected:
        warn(f"edgefr: left out: {image.reason}")
    for warning in verifier.quality_warnings(faces) or ():
        warn(f"edgefr: do not rely on this answer: {warning}")
    if json:
        left_out = [{"path": image.path, "reason": image.reason} for image in rejected]
        print_json({"people": people, **asdict(limit), "answers": answers, "left_out": left_out})
    else:
        print("\n".join(_answer(answer, limit.value) for answer in answers))
    raise typer.Exit(2 if rejected else int(any(answer["name"] is None for answer in answers)))


def _answer(answer: dict[str, Any], threshold: float) -> str:
    best = answer["candidates"][0]["similarity"] if answer["candidates"] else -1.0
    who = answer["name"] or "unknown"
    relation = "reaches" if answer["name"] else "is below"
    return f"{answer['path']}: {who} (similarity {best:.3f} {relation} {threshold:.3f})"
