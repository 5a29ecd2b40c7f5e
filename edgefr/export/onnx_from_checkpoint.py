"""One ONNX file from a checkpoint: both backbones, fusion, bottleneck and normalisation inside, compared with
torch on real faces before it gets its name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgefr.engines.parity_gate import FP32
from edgefr.errors import EdgefrError
from edgefr.export.graph_wrappers import BackboneClassic, BackboneContract, FusedClassic, FusedContract
from edgefr.export.onnx_from_torch import write_onnx
from edgefr.io.files import atomic_write
from edgefr.manifest import Manifest, file_reference, package_versions, read_manifest, write_manifest
from edgefr.nn.fused_model import FusedModel, is_fused, load_fused, normalise
from edgefr.nn.upstream_checkpoints import Colour, backbone_from_checkpoint
from edgefr.runtimes import open_backend
from edgefr.runtimes.base import Array
from edgefr.types import CLASSIC_INPUT_NAME, CLASSIC_OUTPUT_NAME, EMBEDDING, INPUT_NAME, NORM, UNCERTAINTY, Faces

TOLERANCE = 1e-4
"""Largest difference of norm and uncertainty, as a share of the largest value."""


@dataclass(frozen=True)
class Exported:
    """What was written, and how far it is from torch on the faces it was compared on."""

    path: Path
    manifest: Manifest
    faces: int
    cosine_min: float


def onnx_from_checkpoint(
    checkpoint: Path,
    output: Path,
    faces: Faces,
    classic: bool = False,
    arch: str | None = None,
    colour: Colour | None = None,
) -> Exported:
    """Export a fused checkpoint, or a backbone's upstream checkpoint as a baseline, with its manifest.

    The graph takes `image` uint8 (B, 112, 112, 3) RGB with any B and gives `embedding`, `norm` and
    `uncertainty` (spec.py); `classic` asks for one float input (B, 3, 112, 112) and one output instead, as
    insightface's `ArcFaceONNX` takes them. `faces` (N, 112, 112, 3) are what it is compared with torch on;
    `arch` and `colour` are for a backbone whose file does not tell.

    Raises:
        EdgefrError: the checkpoint cannot be loaded, the output cannot be written, or the graph's answers
            differ from torch's; nothing is written then.
    """
    if output.suffix.lower() != ".onnx":
        raise EdgefrError("an output that ends in .onnx", str(output), "choose another name with -o")
    if len(faces) == 0:
        raise EdgefrError("faces to compare the exported graph on", "none", "give some with --faces")
    model, manifest = _load(checkpoint, arch, colour)
    graph = _classic(model) if classic else _contract(model)
    manifest = replace(
        manifest,
        kind="onnx",
        made_from=manifest.made_from | {"checkpoint": file_reference(checkpoint)},
        versions=package_versions("torch", "onnx", "onnxscript", "onnxsim"),
    )
    with atomic_write(output) as temporary:
        _write(graph, manifest, temporary)
        cosine = _compare(graph, temporary, faces)
    write_manifest(output, manifest)
    return Exported(output, manifest, len(faces), cosine)


@dataclass(frozen=True)
class _Graph:
    """A module with the names of its tensors, and the input that it takes for uint8 faces."""

    module: nn.Module
    input_name: str
    output_names: tuple[str, ...]
    floats: bool

    def input_of(self, faces: Faces) -> torch.Tensor:
        image = torch.from_numpy(np.array(faces))
        return normalise(image).contiguous() if self.floats else image


def _load(checkpoint: Path, arch: str | None, colour: Colour | None) -> tuple[nn.Module, Manifest]:
    """The model and what is known of it; a file without edgefr's description is an upstream backbone."""
    if not is_fused(checkpoint):
        backbone = backbone_from_checkpoint(checkpoint, arch, colour)
        known = read_manifest(checkpoint) or Manifest("backbone", checkpoint.stem)
        return backbone, replace(known, spec={"arch": backbone.arch})
    model = load_fused(checkpoint)
    return model, read_manifest(checkpoint) or Manifest("checkpoint", checkpoint.stem, model.spec.to_dict())


def _contract(model: nn.Module) -> _Graph:
    if not isinstance(model, FusedModel):
        return _Graph(BackboneContract(model), INPUT_NAME, (EMBEDDING, NORM), floats=False)  # type: ignore[arg-type]
    outputs = (EMBEDDING, NORM, UNCERTAINTY) if model.spec.fusion.vib else (EMBEDDING, NORM)
    return _Graph(FusedContract(model), INPUT_NAME, outputs, floats=False)


def _classic(model: nn.Module) -> _Graph:
    module = FusedClassic(model) if isinstance(model, FusedModel) else BackboneClassic(model)  # type: ignore[arg-type]
    return _Graph(module, CLASSIC_INPUT_NAME, (CLASSIC_OUTPUT_NAME,), floats=True)


def _write(graph: _Graph, manifest: Manifest, path: Path) -> None:
    example = graph.input_of(np.zeros((2, 112, 112, 3), np.uint8))
    axes = {name: {0: "batch"} for name in (graph.input_name, *graph.output_names)}
    write_onnx(graph.module, example, {0: torch.export.Dim.DYNAMIC}, axes, manifest, path)


def _compare(graph: _Graph, path: Path, faces: Faces) -> float:
    """The lowest cosine between torch's and the file's embeddings of any face.

    Raises:
        EdgefrError: cosine, norm or uncertainty differ beyond FP32's rounding.
    """
    backend = open_backend(path, "onnxruntime", "fp32")
    cosines: list[Array] = []
    for start in range(0, len(faces), 32):
        tensor = graph.input_of(faces[start : start + 32])
        with torch.inference_mode():
            answer = graph.module(tensor)
        outputs = answer if isinstance(answer, tuple) else (answer,)
        expected = {name: value.numpy() for name, value in zip(graph.output_names, outputs, strict=True)}
        found = backend.infer({graph.input_name: tensor.numpy()})
        for name, value in expected.items():
            if value.shape != found[name].shape:
                raise _mismatch(f"{name} has the shape {found[name].shape} instead of {value.shape}")
            if value.ndim == 2:
                cosines.append(_cosine(value, found[name]))
            elif not np.abs(value - found[name]).max() <= TOLERANCE * np.abs(value).max():
                raise _mismatch(f"{name} differs by {np.abs(value - found[name]).max():.3g}")
    lowest = float(np.concatenate(cosines).min())
    if not lowest > FP32.cosine_min:  # "not >" also where it is not a number
        raise _mismatch(f"the lowest cosine is {lowest:.6f}")
    return lowest


def _cosine(a: Array, b: Array) -> Array:
    a, b = a.astype(np.float64), b.astype(np.float64)
    cosine: Array = (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))
    return cosine


def _mismatch(found: str) -> EdgefrError:
    return EdgefrError(
        "the exported graph to answer as torch does on real faces",
        f"that {found}",
        "nothing was written; report the versions that `edgefr doctor` prints",
    )
