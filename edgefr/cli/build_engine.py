"""edgefr build-engine"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefr.cli.options import JsonOption, chosen_model
from edgefr.cli.output import print_json, remark, warn
from edgefr.errors import InvalidArgumentError, require_extra

if TYPE_CHECKING:
    from edgefr.engines.engine_from_onnx import BuildFaces, BuiltEngine

CALIBRATION_FACES = 256
"""Number of faces to calibrate INT8 on."""


def build_engine(
    model: Annotated[Path, typer.Argument(help="An FP32 .onnx file of `edgefr export`, `adopt` or `fuse`, or mini.")],
    fp32: Annotated[bool, typer.Option("--fp32", help="FP32: compile without conversion.")] = False,
    bf16: Annotated[bool, typer.Option("--bf16", help="bf16, for processors that have it.")] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="FP16 with FP32 where necessary, for GPUs.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="INT8, calibrated on --faces.")] = False,
    runtime: Annotated[
        str,
        typer.Option(
            help="auto, onnxruntime, openvino, ncnn, tensorrt or tensorrt-rtx. auto uses that of the profile."
        ),
    ] = "auto",
    device_profile: Annotated[
        str | None, typer.Option(help="Name of a profile in engines/, such as orin-nano, or a .toml file.")
    ] = None,
    faces: Annotated[
        Path | None, typer.Option(help="Aligned faces (folder or zip) to compare and calibrate on.")
    ] = None,
    pairs: Annotated[Path | None, typer.Option(help="Pairs file of LFW, to count decisions that flip.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Compare on at most this many pairs (or faces).")] = None,
    cache: Annotated[Path, typer.Option(help="Folder of engines.")] = Path("engines/cache"),
    json: JsonOption = False,
) -> None:
    """Build the fastest engine for a device, and keep it only if it decides like the model.

    Without a precision, the best one of the profile is built.
    Exit code: 0 kept, 1 it decides differently and nothing was written, 2 error.
    """
    chosen = [name for name, on in (("fp32", fp32), ("bf16", bf16), ("fp16", fp16), ("int8", int8)) if on]
    if len(chosen) > 1 or not (chosen or device_profile):
        raise InvalidArgumentError(
            "one of --fp32, --bf16, --fp16 and --int8, or a --device-profile",
            str(" and ".join(chosen) or "none"),
            "choose one",
        )
    require_extra("onnx", "train")
    from edgefr.engines.device_profile import read_profile
    from edgefr.engines.engine_from_onnx import engine_from_onnx
    from edgefr.engines.fastest_engine import fastest_engine
    from edgefr.runtimes.measured_choice import Candidate

    profile = read_profile(device_profile, runtime)
    precision = chosen[0] if chosen else profile.default_precision
    build_faces = _read_faces(faces, pairs, limit, calibrate=precision in ("fp16", "int8"))
    source, measured = chosen_model(model), tuple[Candidate, ...]()
    if runtime == "auto" and device_profile is None and not profile.runtime.startswith("tensorrt"):
        built, measured = fastest_engine(source, precision, profile, build_faces, cache, remark)
    else:
        built = engine_from_onnx(source, precision, profile.runtime, profile, build_faces, cache, remark)
    if json:
        times = {entry.runtime: entry.image_ms for entry in measured}
        print_json(
            {"engine": str(built.path), "found": built.from_cache, **built.manifest.engine, "measured_ms": times}
        )
    else:
        print(_text(built))
        for entry in measured:
            print(f"{entry.runtime} {entry.precision}: {entry.image_ms:.2f} ms a face")


def _read_faces(faces: Path | None, pairs: Path | None, limit: int | None, calibrate: bool) -> BuildFaces:
    """Faces to compare on, and others to calibrate on: from the same collection, but in none of the pairs.

    If there are no others, print a warning, because an engine looks better on the faces of its calibration.
    """
    import numpy as np

    from edgefr.data.collections import open_faces
    from edgefr.data.lfw_pairs import read_pairs
    from edgefr.data.sample_faces import astronaut_faces
    from edgefr.engines.engine_from_onnx import BuildFaces
    from edgefr.evaluation.lfw_protocol import draw_indices, faces_and_pairs

    if faces is None:
        if pairs is not None:
            raise InvalidArgumentError("the faces of --pairs", "none", "give them with --faces")
        photograph = astronaut_faces(32)
        return BuildFaces(photograph, None, photograph)
    named = None if pairs is None else read_pairs(pairs)
    compared, indexed = faces_and_pairs(faces, named, limit)
    if not calibrate:
        return BuildFaces(compared, indexed, np.empty((0, 112, 112, 3), np.uint8))
    folder = open_faces(faces)
    paired = {name for pair in named or () for name in (pair.first, pair.second)}
    others = [name for name in folder.names if name not in paired]
    if not others or named is None:
        why = "every face is in a pair" if named else "there are no --pairs"
        warn(
            f"edgefr: {faces} has no separate faces to calibrate on, because {why}. The engine is compared on faces of "
            "its calibration, so that the comparison is too favourable."
        )
    others = others or list(folder.names)
    return BuildFaces(
        compared, indexed, folder.read_faces([others[at] for at in draw_indices(len(others), CALIBRATION_FACES)])
    )


def _text(built: BuiltEngine) -> str:
    engine = built.manifest.engine
    target, report, layers = engine["key"]["place"], engine["parity"], engine["layers"]
    lines = [
        f"{built.path}{' existed already' if built.from_cache else ''}",
        f"{engine['key']['precision']} for {target['runtime']} {target['version']} on {target['device']}",
        "layers: "
        + (
            "not reported by the runtime"
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
        lines.append(f"compared as {engine['compared']}, because the engine cannot run on this machine")
    return "\n".join(lines)
