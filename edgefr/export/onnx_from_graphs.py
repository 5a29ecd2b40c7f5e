"""Joins the ONNX graphs of backbones and their trained fusion to one graph."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from edgefr.errors import require_extra
from edgefr.export.graph_wrappers import BackboneWithMap, FusionContract
from edgefr.export.onnx_from_torch import write_onnx
from edgefr.manifest import Manifest
from edgefr.nn.backbone import Backbone
from edgefr.nn.fused_model import FusedModel
from edgefr.nn.graph_backbone import GraphBackbone
from edgefr.recognition.published.core_graph import BATCH, remove_unused
from edgefr.recognition.published.native_graph import GraphBuilder, insert_graph
from edgefr.types import EMBEDDING, FACE_SIZE, INPUT_NAME, MAP, MAP_SIZE, NORM, UNCERTAINTY

if TYPE_CHECKING:
    import onnx

MAPS, EMBEDDINGS = ("map_a", "map_b"), "embeddings"
NOT_STORED = Manifest("part", "part")
"""Parts lie in a temporary folder; the joined graph has a manifest of its own."""


def has_graphs(model: FusedModel) -> bool:
    """Whether a backbone of a fused model is an ONNX graph, which torch cannot export."""
    return any(isinstance(backbone, GraphBackbone) for backbone in (model.backbone_a, model.backbone_b))


def onnx_from_graphs(model: FusedModel) -> onnx.ModelProto:
    """The fused model as one graph.

    Args:
        model: A fused model. Each backbone may be an ONNX graph or one of torch.

    Returns:
        The graph from `image` uint8 (B, 112, 112, 3) RGB to `embedding`, `norm` and, with a bottleneck, `uncertainty`.

    Raises:
        EdgefrError: A part cannot be exported.
    """
    build = GraphBuilder()
    backbones = [
        insert_graph(build, _backbone_graph(backbone), {INPUT_NAME: INPUT_NAME}, f"{seat}/")
        for seat, backbone in zip("ab", (model.backbone_a, model.backbone_b), strict=True)
    ]
    joined = build.node("Concat", [outputs[EMBEDDING] for outputs in backbones], EMBEDDINGS, axis=1)
    head = _fusion_graph(model)
    tensors = dict(zip(MAPS, (outputs[MAP] for outputs in backbones), strict=True)) | {EMBEDDINGS: joined}
    taken = {value.name for value in head.graph.input}  # an MLP takes no maps
    inside = {name: tensor for name, tensor in tensors.items() if name in taken}
    outputs = insert_graph(build, head, inside, "fusion/")
    shapes = {name: [BATCH, model.spec.fusion.embedding_dim] if name == EMBEDDING else [BATCH] for name in outputs}
    for name, tensor in outputs.items():
        build.node("Identity", [tensor], name)
    graph = build.model(shapes)
    remove_unused(graph.graph)
    return graph


def _backbone_graph(backbone: Backbone) -> onnx.ModelProto:
    if isinstance(backbone, GraphBackbone):
        graph: onnx.ModelProto = require_extra("onnx", "train").load_model_from_string(
            backbone.graph.cpu().numpy().tobytes()
        )
        return graph
    face = torch.zeros(2, FACE_SIZE, FACE_SIZE, 3, dtype=torch.uint8)
    return _exported(BackboneWithMap(backbone), (face,), (INPUT_NAME,), (EMBEDDING, MAP))


def _fusion_graph(model: FusedModel) -> onnx.ModelProto:
    both = model.backbone_a, model.backbone_b
    maps = [torch.rand(2, backbone.map_channels, MAP_SIZE, MAP_SIZE) for backbone in both]
    embeddings = torch.rand(2, sum(backbone.embedding_dim for backbone in both))
    outputs = (EMBEDDING, NORM, UNCERTAINTY) if model.spec.fusion.vib else (EMBEDDING, NORM)
    return _exported(FusionContract(model), (*maps, embeddings), (*MAPS, EMBEDDINGS), outputs)


def _exported(
    module: torch.nn.Module, examples: tuple[torch.Tensor, ...], inputs: tuple[str, ...], outputs: tuple[str, ...]
) -> onnx.ModelProto:
    axes = {name: {0: BATCH} for name in (*inputs, *outputs)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.onnx"
        write_onnx(module, examples, {0: torch.export.Dim.DYNAMIC}, axes, NOT_STORED, path)
        graph: onnx.ModelProto = require_extra("onnx", "train").load(path)
    return graph
