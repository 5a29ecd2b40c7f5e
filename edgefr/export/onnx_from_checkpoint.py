"""Exports a checkpoint to one ONNX file: backbones, fusion, bottleneck and normalisation. Compares it with torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgefr.engines.parity_gate import FP32, row_cosines
from edgefr.engines.precision.half_weights import halve_weights
from edgefr.errors import EdgefrError, InvalidArgumentError, require_extra
from edgefr.export.graph_wrappers import BackboneClassic, BackboneContract, FusedClassic, FusedContract
from edgefr.export.onnx_from_graphs import has_graphs, onnx_from_graphs
from edgefr.export.onnx_from_torch import write_onnx
from edgefr.io.files import atomic_write
from edgefr.manifest import Manifest, file_reference, package_versions, read_manifest, write_manifest
from edgefr.nn.fused_model import FusedModel, is_fused, load_fused, normalise
from edgefr.nn.upstream_checkpoints import Colour, backbone_from_checkpoint
from edgefr.recognition.published.native_graph import save_with_manifest
from edgefr.runtimes import open_backend
from edgefr.runtimes.base import Array
from edgefr.types import CLASSIC_INPUT_NAME, CLASSIC_OUTPUT_NAME, EMBEDDING, INPUT_NAME, NORM, UNCERTAINTY, Faces


@dataclass(frozen=True)
class _Bounds:
    """Largest difference of norm and uncertainty as a share of the largest value, the cosine that all embeddings must
    exceed, and what to do about others."""

    tolerance: float
    cosine: float
    fix: str


WHOLE = _Bounds(1e-4, FP32.cosine_min, "report this with the versions that `edgefr doctor` prints. Nothing was written")
HALF = _Bounds(5e-3, 0.9999, "leave out --half-weights: this model does not bear it. Nothing was written")
"""Weights in FP16 are rounded by up to 1/2048, but nothing else is."""


@dataclass(frozen=True)
class ExportedModel:
    """An exported file, the number of faces that it was compared on, and the lowest cosine to torch's embeddings."""

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
    half_weights: bool = False,
) -> ExportedModel:
    """Export a fused checkpoint, or the upstream checkpoint of a backbone as a baseline, with its manifest.

    The graph maps `image` uint8 (B, 112, 112, 3) RGB to `embedding`, `norm` and `uncertainty` (types.py).

    Args:
        checkpoint: A .safetensors file, or the upstream file of a backbone.
        output: The .onnx file to write.
        faces: (N, 112, 112, 3) uint8 RGB aligned faces to compare with torch on.
        classic: Write one float input (B, 3, 112, 112) and one output instead, for insightface's `ArcFaceONNX`.
        arch: Architecture of a backbone, if its file does not determine it.
        colour: "rgb" or "bgr", the order of the channels that a backbone was trained on.
        half_weights: Store weights in FP16. The file has half the size, and its outputs are compared with the bounds of
            FP16.

    Raises:
        InvalidArgumentError: The output does not end in .onnx, or there are no faces.
        EdgefrError: The checkpoint cannot be loaded, the output cannot be written, or its outputs differ from torch's.
            Nothing is written.
    """
    if output.suffix.lower() != ".onnx":
        raise InvalidArgumentError("an output that ends in .onnx", str(output), "choose another name with -o")
    if len(faces) == 0:
        raise InvalidArgumentError("faces to compare the exported graph on", "none", "give some with --faces")
    model, manifest = _load(checkpoint, arch, colour)
    graph = _classic(model) if classic else _contract(model)
    manifest = replace(
        manifest,
        kind="onnx",
        model_sha256="",
        made_from=manifest.made_from | {"checkpoint": file_reference(checkpoint)},
        versions=package_versions("torch", "onnx", "onnxscript", "onnxsim"),
    )
    with atomic_write(output) as temporary:
        if isinstance(model, FusedModel) and has_graphs(model):
            if classic:
                raise InvalidArgumentError(
                    "backbones of torch for --classic", "one that is an ONNX graph", "export without --classic"
                )
            save_with_manifest(onnx_from_graphs(model), temporary, manifest)
        else:
            _write(graph, manifest, temporary)
        cosine = _compare(graph, temporary, faces, WHOLE)
        if half_weights:
            halved = require_extra("onnx", "train").load(temporary)
            halve_weights(halved)
            save_with_manifest(halved, temporary, manifest)
            cosine = _compare(graph, temporary, faces, HALF)
    write_manifest(output, manifest)
    return ExportedModel(output, manifest, len(faces), cosine)


def classic_from_backbone(checkpoint: Path, output: Path) -> Path:
    """Write the upstream checkpoint of a backbone as an ONNX file with one float input, (B, 3, 112, 112) RGB.

    Args:
        checkpoint: The upstream file.
        output: The .onnx file to write.

    Returns:
        `output`.

    Raises:
        EdgefrError: The checkpoint cannot be loaded.
    """
    graph = _classic(backbone_from_checkpoint(checkpoint))
    _write(graph, Manifest("backbone", checkpoint.stem), output)
    return output


@dataclass(frozen=True)
class _Graph:
    """A module with the names of its tensors. `floats`: whether its input is normalised floats instead of uint8."""

    module: nn.Module
    input_name: str
    output_names: tuple[str, ...]
    floats: bool

    def input_of(self, faces: Faces) -> torch.Tensor:
        image = torch.from_numpy(np.array(faces))
        return normalise(image).contiguous() if self.floats else image


def _load(checkpoint: Path, arch: str | None, colour: Colour | None) -> tuple[nn.Module, Manifest]:
    """The model and its manifest. A file without edgefr's description is an upstream backbone."""
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
    write_onnx(graph.module, (example,), {0: torch.export.Dim.DYNAMIC}, axes, manifest, path)


def _compare(graph: _Graph, path: Path, faces: Faces, bounds: _Bounds) -> float:
    """Compare all outputs with torch's; the lowest cosine between both embeddings of a face."""
    backend = open_backend(path, "onnxruntime", "fp32")
    cosines: list[Array] = []
    for start in range(0, len(faces), 32):
        tensor = graph.input_of(faces[start : start + 32])
        with torch.inference_mode():
            result = graph.module(tensor)
        outputs = result if isinstance(result, tuple) else (result,)
        expected = {name: value.numpy() for name, value in zip(graph.output_names, outputs, strict=True)}
        found = backend.infer({graph.input_name: tensor.numpy()})
        for name, value in expected.items():
            if value.shape != found[name].shape:
                raise _mismatch(f"{name} has the shape {found[name].shape} instead of {value.shape}", bounds.fix)
            if value.ndim == 2:
                cosines.append(row_cosines(value, found[name]))
            elif not np.abs(value - found[name]).max() <= bounds.tolerance * np.abs(value).max():
                raise _mismatch(f"{name} differs by {np.abs(value - found[name]).max():.3g}", bounds.fix)
    lowest = float(np.concatenate(cosines).min())
    if not lowest > bounds.cosine:  # "not >" also refuses NaN
        raise _mismatch(f"the lowest cosine is {lowest:.6f}", bounds.fix)
    return lowest


def _mismatch(found: str, fix: str) -> EdgefrError:
    return EdgefrError("the exported graph to give the outputs of torch on real faces", f"that {found}", fix)
