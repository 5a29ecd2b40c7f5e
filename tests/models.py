"""Models that tests share: a fused model of the real backbone with a fusion that does something, exported."""

from __future__ import annotations

from pathlib import Path

import torch

from edgefr.manifest import Manifest, Threshold, write_manifest
from edgefr.nn.fused_model import FusedModel, save_fused
from edgefr.nn.upstream_checkpoints import backbone_from_checkpoint
from edgefr.spec import FusionSpec, ModelSpec


def real_fused_checkpoint(weights: Path, folder: Path) -> Path:
    """Two copies of the real ArcFace net, fused: the skip as it starts, and a fusion of random weights beside it
    that moves mu a little, as a trained one does, so that every part of the graph shows in the embedding."""
    torch.manual_seed(0)
    spec = ModelSpec(
        "mobilefacenet", "mobilefacenet", fusion=FusionSpec(embedding_dim=256, readout="mean", skip="embeddings")
    )
    model = FusedModel(spec, backbone_from_checkpoint(weights), backbone_from_checkpoint(weights)).eval()
    torch.nn.init.normal_(model.bottleneck.mu.weight, std=1e-4)
    torch.nn.init.normal_(model.bottleneck.logvar.weight, std=0.05)
    checkpoint = folder / "fused.safetensors"
    save_fused(model, checkpoint)
    threshold = Threshold(1e-3, 0.3, (0.28, 0.32), "a test", "fp32")
    write_manifest(checkpoint, Manifest("checkpoint", "test", spec.to_dict(), thresholds=(threshold,)))
    return checkpoint
