"""edgefr export"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from edgefr.cli.options import JsonOption, chosen_model
from edgefr.cli.output import print_json, remark, warn
from edgefr.errors import InvalidArgumentError, require_extra
from edgefr.models import find_model


def export(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            help="A fused .safetensors, or a checkpoint of a backbone (.pt, .pth, .ckpt) as a baseline. With --triton: "
            "an .onnx file, a TensorRT engine (.plan), or mini."
        ),
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The .onnx file to write.")] = None,
    faces: Annotated[
        Path | None,
        typer.Option(help="Aligned faces (folder or zip) to compare with torch on. Default: a packaged photograph."),
    ] = None,
    classic: Annotated[
        bool, typer.Option(help="Write one float input and one output, for insightface's ArcFaceONNX.")
    ] = False,
    half_weights: Annotated[
        bool,
        typer.Option(
            "--half-weights",
            help="Store weights in FP16, which halves the file. All runtimes compute in FP32 with them.",
        ),
    ] = False,
    arch: Annotated[
        str | None, typer.Option(help="Architecture of a backbone, if its tensors do not determine it.")
    ] = None,
    colour: Annotated[
        Literal["rgb", "bgr"] | None,
        typer.Option(help="Order of channels that a backbone was trained on. Default: that of its upstream project."),
    ] = None,
    triton: Annotated[
        Path | None, typer.Option(help="Add the model to this Triton model repository; see docs/triton.md.")
    ] = None,
    triton_backend: Annotated[
        Literal["auto", "python"],
        typer.Option(
            help="auto uses Triton's backend for the file; python needs only its Python backend and onnxruntime."
        ),
    ] = "auto",
    triton_name: Annotated[
        str | None, typer.Option(help="Name of the model on Triton. Default: the name of the file.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Export a checkpoint to one ONNX file.

    The file is kept only if its outputs equal those of torch on real faces.
    With --triton, add a model to a Triton model repository as a new version.
    """
    if triton is not None:
        if output or faces or classic or half_weights or arch or colour:
            raise InvalidArgumentError(
                "--triton with an exported model",
                "options for a checkpoint",
                "export the checkpoint with -o first, then give the .onnx file",
            )
        _export_to_triton(chosen_model(checkpoint), triton, triton_backend == "python", triton_name, json)
    elif output is None:
        raise InvalidArgumentError("a file to write", "none", "name it with -o model.onnx")
    else:
        _export_to_onnx(find_model(checkpoint), output, faces, classic, arch, colour, half_weights, json)


def _export_to_triton(model: Path, repository: Path, python: bool, name: str | None, json: bool) -> None:
    from edgefr.export.triton_repository import triton_from_model
    from edgefr.io.onnx_file import ParsedModel
    from edgefr.io.onnx_tensors import has_full_range

    added = triton_from_model(model, repository, python, name)
    is_int8 = added.fingerprint.precision == "int8" and model.suffix.lower() == ".onnx"
    if is_int8 and has_full_range(ParsedModel.read(model)):
        warn(
            f"edgefr: the INT8 weights of {model} have 8 bits, with which sums overflow on an x86 server whose "
            "processor lacks VNNI. For such a server, build the engine on a machine of its kind."
        )
    if json:
        print_json(
            {
                "output": str(added.folder),
                "name": added.name,
                "version": added.version,
                "model_sha256": added.fingerprint.sha256,
                "made_from_sha256": added.fingerprint.made_from,
                "precision": added.fingerprint.precision,
            }
        )
    else:
        print(
            f"{added.folder}: {added.fingerprint.precision}. Serve it with "
            f"`tritonserver --model-repository {repository}` and use it with --runtime triton://HOST:8001/{added.name}."
        )


def _refuse_onnx(model: Path) -> NoReturn:
    """Say what an .onnx file is instead of a checkpoint."""
    from edgefr.recognition.recogniser import Recogniser
    from edgefr.runtimes import open_backend

    Recogniser(open_backend(model, "onnxruntime"), str(model))  # an error describes any other model
    raise InvalidArgumentError(
        "a checkpoint (.safetensors, .pt, .pth or .ckpt)",
        f"{model}, which is exported already",
        "use it with --model, or make it faster with `edgefr build-engine`",
    )


def _export_liveness(checkpoint: Path, state: Mapping[str, Any], output: Path, faces: Path | None, json: bool) -> None:
    from edgefr.data.sample_faces import comparison_faces
    from edgefr.export.onnx_from_minifasnet import onnx_from_minifasnet

    remark(f"Exporting {checkpoint} and comparing it with torch ...")
    difference = onnx_from_minifasnet(checkpoint, state, output, comparison_faces(faces))
    size = output.stat().st_size
    if json:
        print_json({"output": str(output), "bytes": size, "difference_max": difference})
    else:
        print(
            f"{output} ({size / 1e6:.1f} MB) is a liveness net with the probabilities of torch (largest difference "
            f"{difference:.1e}). Use it with --liveness {output}."
        )


def _export_to_onnx(
    checkpoint: Path,
    output: Path,
    faces: Path | None,
    classic: bool,
    arch: str | None,
    colour: Literal["rgb", "bgr"] | None,
    half_weights: bool,
    json: bool,
) -> None:
    if checkpoint.suffix.lower() == ".onnx":
        _refuse_onnx(checkpoint)
    require_extra("torch", "train")
    from edgefr.data.sample_faces import comparison_faces
    from edgefr.export.onnx_from_checkpoint import onnx_from_checkpoint
    from edgefr.nn.minifasnet import read_minifasnet

    if (state := read_minifasnet(checkpoint)) is not None:
        if classic or half_weights or arch or colour:
            raise InvalidArgumentError(
                "-o, --faces or --json for a liveness net", "options for a recogniser", "leave them out"
            )
        _export_liveness(checkpoint, state, output, faces, json)
        return

    remark(f"Exporting {checkpoint} and comparing it with torch ...")
    exported = onnx_from_checkpoint(checkpoint, output, comparison_faces(faces), classic, arch, colour, half_weights)
    size = output.stat().st_size
    if json:
        numbers = {"bytes": size, "faces": exported.faces, "cosine_min": exported.cosine_min}
        print_json({"output": str(output), **numbers})
    else:
        print(
            f"{output} ({size / 1e6:.1f} MB) has the outputs of torch: lowest cosine {exported.cosine_min:.7f} on "
            f"{exported.faces} faces."
        )
