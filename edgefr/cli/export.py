"""edgefr export"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from edgefr.cli.options import JsonOption
from edgefr.cli.output import print_json, remark


def export(
    checkpoint: Annotated[
        Path,
        typer.Argument(help="A fused .safetensors, or a backbone's checkpoint (.pt, .pth, .ckpt) as a baseline."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .onnx file to write.")],
    faces: Annotated[
        Path | None,
        typer.Option(help="Aligned faces (folder or zip) to compare with torch on; else a packaged photograph."),
    ] = None,
    classic: Annotated[
        bool, typer.Option(help="One float input and one output, as insightface's ArcFaceONNX takes them.")
    ] = False,
    arch: Annotated[str | None, typer.Option(help="A backbone's architecture, where its tensors do not tell.")] = None,
    colour: Annotated[
        Literal["rgb", "bgr"] | None, typer.Option(help="What a backbone's weights were trained on; else as upstream.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """One ONNX file from a checkpoint.

    It is kept only if it answers as torch does on real faces.
    """
    from edgefr.errors import need

    need("torch", "train")
    from edgefr.data.samples import comparison_faces
    from edgefr.export.onnx_from_checkpoint import onnx_from_checkpoint

    remark(f"Exporting {checkpoint} and comparing it with torch ...")
    exported = onnx_from_checkpoint(checkpoint, output, comparison_faces(faces), classic, arch, colour)
    size = output.stat().st_size
    if json:
        document = {
            "output": str(output),
            "bytes": size,
            "faces": exported.faces,
            "cosine_min": exported.cosine_min,
        }
        print_json(document)
    else:
        print(
            f"{output} ({size / 1e6:.1f} MB) answers as torch does: lowest cosine {exported.cosine_min:.7f} on "
            f"{exported.faces} faces."
        )
