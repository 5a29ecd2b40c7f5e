"""edgefr export"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from edgefr.cli.options import JsonOption, chosen_model
from edgefr.cli.output import print_json, remark
from edgefr.errors import EdgefrError


def export(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            help="A fused .safetensors, or a backbone's checkpoint (.pt, .pth, .ckpt) as a baseline; with --triton a "
            "model: an .onnx file, a TensorRT engine (.plan), or mini."
        ),
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The .onnx file to write.")] = None,
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
    triton: Annotated[
        Path | None, typer.Option(help="Add the model to this Triton model repository; see docs/triton.md.")
    ] = None,
    triton_backend: Annotated[
        Literal["auto", "python"],
        typer.Option(
            help="auto takes Triton's own for the file; python needs only its Python backend and onnxruntime."
        ),
    ] = "auto",
    triton_name: Annotated[str | None, typer.Option(help="The model's name there; else the file's.")] = None,
    json: JsonOption = False,
) -> None:
    """One ONNX file from a checkpoint.

    It is kept only if it answers as torch does on real faces.
    With --triton, a new version in a model repository.
    """
    if triton is not None:
        if output or faces or classic or arch or colour:
            raise EdgefrError(
                "--triton with a model that is ready",
                "options of exporting a checkpoint",
                "export it with -o first, then give the .onnx file",
            )
        _serve(chosen_model(checkpoint), triton, triton_backend == "python", triton_name, json)
    elif output is None:
        raise EdgefrError("the file to write", "none", "name it with -o model.onnx")
    else:
        _export(checkpoint, output, faces, classic, arch, colour, json)


def _serve(model: Path, repository: Path, python: bool, name: str | None, json: bool) -> None:
    from edgefr.export.triton_repository import triton_from_model

    added = triton_from_model(model, repository, python, name)
    if json:
        print_json(
            {
                "output": str(added.folder),
                "name": added.name,
                "version": added.version,
                "model_sha256": added.served.sha256,
                "made_from_sha256": added.served.made_from,
                "precision": added.served.precision,
            }
        )
    else:
        print(
            f"{added.folder}: {added.served.precision}. Serve it with `tritonserver --model-repository {repository}`, "
            f"ask it with --runtime triton://HOST:8001/{added.name}."
        )


def _export(
    checkpoint: Path,
    output: Path,
    faces: Path | None,
    classic: bool,
    arch: str | None,
    colour: Literal["rgb", "bgr"] | None,
    json: bool,
) -> None:
    from edgefr.errors import require_extra

    require_extra("torch", "train")
    from edgefr.data.sample_faces import comparison_faces
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
