"""edgefr build-engine"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefr.cli.options import JsonOption, chosen_model
from edgefr.cli.output import print_json, remark, warn
from edgefr.errors import EdgefrError, require_extra

if TYPE_CHECKING:
    from edgefr.engines.engine_from_onnx import Built, Sample

CALIBRATION_FACES = 256
"""Faces that INT8 is calibrated on, none of them in the pairs that are compared."""


def build_engine(
    model: Annotated[Path, typer.Argument(help="The FP32 .onnx file that `edgefr export` wrote, or mini.")],
    fp32: Annotated[bool, typer.Option("--fp32", help="Compile only.")] = False,
    bf16: Annotated[bool, typer.Option("--bf16", help="For processors with bf16.")] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="Mixed precision with islands of FP32, for GPUs.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Quantised, calibrated on --faces.")] = False,
    runtime: Annotated[
        str, typer.Option(help="auto, onnxruntime, openvino, tensorrt or tensorrt-rtx; auto takes the profile's.")
    ] = "auto",
    device_profile: Annotated[
        str | None, typer.Option(help="A profile of engines/, such as orin-nano, or a .toml file.")
    ] = None,
    faces: Annotated[
        Path | None, typer.Option(help="Aligned faces (folder or zip) to compare and calibrate on.")
    ] = None,
    pairs: Annotated[Path | None, typer.Option(help="LFW's pairs file, to count decisions that flip.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Compare on so many pairs (or faces).")] = None,
    cache: Annotated[Path, typer.Option(help="The folder of engines.")] = Path("engines/cache"),
    json: JsonOption = False,
) -> None:
    """The fastest engine of a device, kept only if it decides as the model does.

    Without a precision a profile's best one is built.
    Exit 0 kept, 1 it decides otherwise and nothing was written, 2 error.
    """
    chosen = [name for name, on in (("fp32", fp32), ("bf16", bf16), ("fp16", fp16), ("int8", int8)) if on]
    if len(chosen) > 1 or not (chosen or device_profile):
        raise EdgefrError(
            "one of --fp32, --bf16, --fp16 and --int8, or a --device-profile",
            str(" and ".join(chosen) or "none"),
            "choose one",
        )
    require_extra("onnx", "train")
    from edgefr.engines.device_profile import read_profile
    from edgefr.engines.engine_from_onnx import engine_from_onnx

    profile = read_profile(device_profile, runtime)
    precision = chosen[0] if chosen else profile.best
    sample = _sample(faces, pairs, limit, calibrate=precision in ("fp16", "int8"))
    built = engine_from_onnx(chosen_model(model), precision, profile.runtime, profile, sample, cache, remark)
    if json:
        print_json({"engine": str(built.path), "found": built.found, **built.manifest.engine})
    else:
        print(_text(built))


def _sample(faces: Path | None, pairs: Path | None, limit: int | None, calibrate: bool) -> Sample:
    """Faces to compare on, and others to calibrate on: of the same collection, but in none of the pairs. Where there
    are no others it warns: what is compared on the faces of its calibration looks nearer than it is."""
    import numpy as np

    from edgefr.data.collections import open_faces
    from edgefr.data.lfw_pairs import read_pairs
    from edgefr.data.sample_faces import astronaut_faces
    from edgefr.engines.engine_from_onnx import Sample
    from edgefr.evaluation.lfw_protocol import draw_indices, faces_and_pairs

    if faces is None:
        if pairs is not None:
            raise EdgefrError("the faces that --pairs names", "none", "give them with --faces")
        packaged = astronaut_faces(32)
        return Sample(packaged, None, packaged)
    named = None if pairs is None else read_pairs(pairs)
    compared, indexed = faces_and_pairs(faces, named, limit)
    if not calibrate:
        return Sample(compared, indexed, np.empty((0, 112, 112, 3), np.uint8))
    folder = open_faces(faces)
    paired = {name for pair in named or () for name in (pair.first, pair.second)}
    others = [name for name in folder.names if name not in paired]
    if not others or named is None:
        found = "that all are in a pair" if named else "no --pairs"
        warn(
            f"edgefr: expected faces in {faces} to calibrate on that are in none of the compared pairs, found {found}: "
            "the engine is compared on faces of its calibration, and looks nearer to its model than it is"
        )
    others = others or list(folder.names)
    return Sample(
        compared, indexed, folder.read_faces([others[at] for at in draw_indices(len(others), CALIBRATION_FACES)])
    )


def _text(built: Built) -> str:
    engine = built.manifest.engine
    place, report = engine["key"]["place"], engine["parity"]
    layers = engine["layers"]
    lines = [
        f"{built.path}{' was there already' if built.found else ''}",
        f"{engine['key']['precision']} for {place['runtime']} {place['version']} on {place['device']}",
        "layers: "
        + (
            "the runtime does not tell"
            if layers is None
            else ", ".join(f"{n} {name}" for name, n in layers.items() if n)
        )
        + f"; {engine['size_ratio']:.0%} of the model's size",
        f"cosine to the model in FP32 on {report['images']:,} faces: mean {report['cosine_mean']:.7f}, minimum "
        f"{report['cosine_min']:.7f}",
    ]
    lines += [
        f"at {at['threshold']:.3f}: {len(at['flipped'])} of {report['pairs']:,} decisions flip, accuracy "
        f"{at['accuracy_candidate']:.2%} against {at['accuracy_reference']:.2%}"
        for at in report["decisions"]
    ]
    if engine["kept_fp32"]:
        lines.append(f"kept in FP32: {', '.join(engine['kept_fp32'])}")
    if engine["compared"] != built.path.name:
        lines.append(f"compared as {engine['compared']}: the engine itself cannot run on this machine")
    return "\n".join(lines)
