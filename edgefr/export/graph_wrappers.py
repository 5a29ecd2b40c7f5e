"""Wrappers that give a model the inputs and outputs of an ONNX file, so that models need no code for the export."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgefr.nn.backbone import Backbone
from edgefr.nn.fused_model import BackboneFeatures, FusedModel, normalise


class FusedContract(nn.Module):
    """A fused model with the inputs and outputs that edgefr's runtimes use."""

    def __init__(self, model: FusedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """uint8 (B, 112, 112, 3) RGB -> embedding (B, K), norm (B,) and, with a bottleneck, uncertainty (B,)."""
        return tuple(output for output in self.model(image) if output is not None)


class BackboneContract(nn.Module):
    """A single backbone with the same inputs and outputs, as the baseline of a fused model."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """uint8 (B, 112, 112, 3) RGB -> embedding (B, D) of unit length, norm (B,)."""
        embedding = self.backbone(normalise(image)).embedding  # (B, D)
        return F.normalize(embedding), torch.linalg.vector_norm(embedding, dim=1)


class BackboneWithMap(nn.Module):
    """A backbone with the outputs of an ONNX graph that is one."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """uint8 (B, 112, 112, 3) RGB -> embedding (B, D) of unit length, feature map (B, C, 7, 7)."""
        output = self.backbone(normalise(image))
        return F.normalize(output.embedding), output.map


class FusionContract(nn.Module):
    """The trained part of a fused model: what comes after its backbones."""

    def __init__(self, model: FusedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, map_a: Tensor, map_b: Tensor, embeddings: Tensor) -> tuple[Tensor, ...]:
        """Maps (B, C_a, 7, 7), (B, C_b, 7, 7), unit embeddings (B, D) -> the outputs of `FusedContract`."""
        output = self.model.output(BackboneFeatures(map_a, map_b, embeddings))
        return tuple(part for part in output if part is not None)


class FusedClassic(nn.Module):
    """A fused model with the input and output that insightface's `ArcFaceONNX` uses."""

    def __init__(self, model: FusedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        """float32 (B, 3, 112, 112) RGB in [-1, 1] -> mu (B, K), to be compared by cosine."""
        return self.model.encode(self.model.backbone_features(image)).mu


class BackboneClassic(nn.Module):
    """A backbone with the input and output that insightface's `ArcFaceONNX` uses."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, image: Tensor) -> Tensor:
        """float32 (B, 3, 112, 112) RGB in [-1, 1] -> embedding (B, D)."""
        embedding: Tensor = self.backbone(image).embedding
        return embedding
