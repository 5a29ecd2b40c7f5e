"""edgefr fuse"""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgefr.cli.face_collection import faces_to_measure_on, held_out_of
from edgefr.cli.options import (
    FaceOption,
    FoldsOption,
    JsonOption,
    PairsOption,
    PhotographsDetectorOption,
    chosen_model,
)
from edgefr.cli.output import print_json, progress, remark, table, threshold_table

if TYPE_CHECKING:
    from edgefr.export.fused_from_recognisers import FusedFile
    from edgefr.export.native_from_published import AdoptionFaces, Reporter


def fuse(
    files: Annotated[
        list[Path], typer.Argument(help="Two to four recognisers: adopted or exported .onnx files, or published ones.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .onnx file to write.")],
    faces: Annotated[Path, typer.Option(help="Pictures by person, to measure weights and thresholds on.")],
    dim: Annotated[
        int | None, typer.Option(min=2, help="Length of the fused embedding. Default: that of all together.")
    ] = None,
    pairs: PairsOption = None,
    folds: FoldsOption = None,
    detector: PhotographsDetectorOption = None,
    face: FaceOption = "largest",
    json: JsonOption = False,
) -> None:
    """Fuse recognisers into one .onnx file, without training.

    The file takes a face once and runs all recognisers. Their embeddings are joined with weights that are measured on
    half of the people in --faces; the thresholds are measured on the other half. Its uncertainty is the disagreement of
    the recognisers. Files of other projects are adopted first, as `edgefr adopt` does.
    """
    from edgefr.export.fused_from_recognisers import fused_from_recognisers
    from edgefr.export.measured_manifest import MOST_FACES
    from edgefr.export.native_from_published import Reporter

    chosen = [chosen_model(file) for file in files]
    known = faces_to_measure_on(faces, pairs, folds, detector, face, held_out_of(chosen))
    with (
        tempfile.TemporaryDirectory() as folder,
        progress("Measuring thresholds", min(MOST_FACES, len(known.chosen.names) // 2)) as advance,
    ):
        reporter = Reporter(remark)  # the bar is for the fused file only
        native = [_adopted(file, Path(folder) / str(number), known, reporter) for number, file in enumerate(chosen)]
        fused = fused_from_recognisers(native, output, known, dim, Reporter(remark, advance))
    if json:
        print_json(_document(fused))
    else:
        print(_text(fused))


def _adopted(file: Path, folder: Path, faces: AdoptionFaces, reporter: Reporter) -> Path:
    """The file itself if it is a recogniser of edgefr, else an adopted copy of the same name."""
    from edgefr.export.native_from_published import native_from_published
    from edgefr.recognition.published.adopted_files import is_native

    if file.suffix.lower() == ".onnx" and is_native(file):
        return file
    adopted = native_from_published(file, folder / f"{file.stem}.onnx", faces, with_thresholds=False, reporter=reporter)
    remark(f"{file.name} takes {adopted.chosen.convention} ({adopted.source}).")
    return adopted.path


def _text(fused: FusedFile) -> str:
    rows = [
        [
            row.name,
            "" if row.weight is None else f"{row.weight:.2f}",
            f"{row.clean_loss:.3f}",
            f"{row.degraded_loss:.3f}",
            f"{row.identified:.1%}",
        ]
        for row in fused.rows
    ]
    size = fused.path.stat().st_size / 1e6
    how = "with whitening" if fused.whitened else "without whitening, which did not clearly help"
    return "\n".join(
        [
            table(["recogniser", "share", "loss, clean", "loss, degraded", "identified, degraded"], rows),
            "Measured on people who had no part in choosing the shares.",
            "",
            f"{fused.path} ({size:.1f} MB), {how}. Use it with --model {fused.path}.",
            "",
            fused.manifest.thresholds[0].measured_on,
            threshold_table(fused.manifest.thresholds, fused.manifest.quality),
        ]
    )


def _document(fused: FusedFile) -> dict[str, Any]:
    manifest = fused.manifest
    return {
        "output": str(fused.path),
        "embedding_dim": manifest.spec["embedding_dim"],
        "whitened": fused.whitened,
        "systems": [asdict(row) for row in fused.rows],
        "calibration_faces": fused.calibration_faces,
        "thresholds": [asdict(entry) for entry in manifest.thresholds],
        "quality": None if manifest.quality is None else asdict(manifest.quality),
    }
