"""edgefr gallery identify."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from edgefr.cli.gallery_options import Access, with_access
from edgefr.cli.listing import left_out_document, warn_left_out, warn_other_files
from edgefr.cli.options import (
    DetectorOption,
    JsonOption,
    LivenessOption,
    LivenessThresholdOption,
    ModelOption,
    PrecisionOption,
    RuntimeOption,
    chosen_model,
    liveness_check,
)
from edgefr.cli.output import box_text, liveness_document, print_json, progress, warn

if TYPE_CHECKING:
    from edgefr.gallery.identifier import Identification
    from edgefr.recognition.verifier import EmbeddedFace

AllFacesOption = Annotated[
    Literal["all", "largest", "centre", "only"],
    typer.Option(
        "--face",
        help="Which of several faces to identify: all (of at least 20 pixels), largest, centre, or only (several are "
        "an error).",
    ),
]


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
    face: AllFacesOption = "all",
    liveness: LivenessOption = None,
    liveness_threshold: LivenessThresholdOption = 0.5,
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = "auto",
    json: JsonOption = False,
) -> None:
    """Identify everyone on photographs. Matches are written to the log of the gallery.

    There is an answer for every face. Left out, and counted on stderr, are faces of less than 20 pixels in width or
    height, which are people in the background, and detections that are much less certain than another one of the same
    photograph, because most of them are no faces. The exit code is 0 if everyone is identified, 1 if
    someone is unknown or, with --liveness, is not a living face, and 2 if a photograph has no usable face or cannot be
    read.
    """
    from edgefr.gallery.identifier import Identifier
    from edgefr.recognition.batch import embed_photographs, find_photographs
    from edgefr.recognition.verifier import Verifier

    listed = find_photographs(images)
    photos = listed.photographs
    warn_other_files(listed.finder)
    verifier = Verifier.open(chosen_model(model), detector, runtime, precision, images=len(photos))
    verifier.liveness = liveness_check(liveness, liveness_threshold)
    with access.open() as opened:
        identifier = Identifier(verifier, opened, fpir, threshold, lambda text: warn(f"edgefr: {text}"))
        limit = identifier.threshold
        with progress("Identifying", len(photos)) as advance:
            faces, rejected = embed_photographs(verifier, photos, face, 32, advance)
        found = identifier.identify_faces(faces, top)
        people = len(opened)
    rejected = [*listed.finder.left_out, *rejected]
    warn_left_out(rejected)
    answered = Counter(entry.source for entry in faces)
    if face == "all":
        _warn_of_left_out_faces(faces, answered)
    if (unchecked := verifier.unchecked_quality()) is not None:
        warn(f"edgefr: {unchecked}")
    for warning in verifier.quality_warnings(faces) or ():
        warn(f"edgefr: do not rely on this answer: {warning}")
    if json:
        answers = [
            {
                "path": entry.source,
                "name": one.name,
                "candidates": [asdict(hit) for hit in one.candidates],
                "box": entry.face.box,
                "faces_found": entry.faces_found,
                "liveness": liveness_document(entry.liveness),
            }
            for entry, one in zip(faces, found, strict=True)
        ]
        same_keys = {"threshold": limit.value, "threshold_from": limit.source}  # as `edgefr verify` names them
        print_json(
            {
                "people": people,
                **asdict(limit),
                **same_keys,
                "answers": answers,
                "left_out": left_out_document(rejected),
            }
        )
    else:
        for entry, one in zip(faces, found, strict=True):
            print(_answer(entry, one, answered[entry.source] > 1))
    raise typer.Exit(2 if rejected else int(any(one.name is None for one in found)))


def _warn_of_left_out_faces(faces: Sequence[EmbeddedFace], answered: Counter[str]) -> None:
    for source, total in {entry.source: entry.faces_found for entry in faces}.items():
        if rest := total - answered[source]:
            warn(f"edgefr: {source}: {rest} of {total} faces left out, which have less than 20 pixels or are uncertain")


def _answer(face: EmbeddedFace, found: Identification, several: bool) -> str:
    where = f"{face.source}, face of {box_text(face.face)}" if several else face.source
    if found.liveness is not None and not found.liveness.live:
        return f"{where}: {found.liveness}"
    relation = "reaches" if found.name else "is below"
    return (
        f"{where}: {found.name or 'unknown'} (similarity {found.similarity:.3f} {relation} {found.threshold.value:.3f})"
    )
