"""Margin heads: class weights on the unit sphere and a loss that asks for more than the right answer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class AdaFaceHead(nn.Module):
    """AdaFace (Kim et al. 2022): the margin follows the feature norm as a proxy of image quality.

    Target logit s * [cos(clip(theta - m * z, e, pi - e)) - m * (1 + z)] with
    z = clip(h * (norm - mean) / (std + e), -1, 1); norms are detached, their mean and deviation are running
    averages that take each batch in before they are used (upstream `head.py`).
    """

    margin, concentration, scale, epsilon, momentum = 0.4, 0.333, 64.0, 1e-3, 0.01
    norm_mean: Tensor
    norm_std: Tensor

    def __init__(self, embedding_dim: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.01 * torch.randn(classes, embedding_dim))
        self.register_buffer("norm_mean", torch.tensor(20.0))
        self.register_buffer("norm_std", torch.tensor(100.0))

    def forward(self, embedding: Tensor, labels: Tensor) -> Tensor:
        """Raw embeddings (B, D) and labels (B,) -> logits (B, classes)."""
        cosine = F.linear(F.normalize(embedding), F.normalize(self.weight))  # (B, classes)
        cosine = cosine.clamp(-1 + self.epsilon, 1 - self.epsilon)
        z = self._quality(embedding)  # (B, 1)
        target = cosine.gather(1, labels.unsqueeze(1))  # (B, 1)
        angle = (target.acos() - self.margin * z).clamp(self.epsilon, torch.pi - self.epsilon)
        return self.scale * cosine.scatter(1, labels.unsqueeze(1), angle.cos() - self.margin * (1 + z))

    @torch.no_grad()
    def _quality(self, embedding: Tensor) -> Tensor:
        """Norms of (B, D) as (B, 1), in deviations from their running mean, clipped to [-1, 1]."""
        norms = embedding.norm(dim=1, keepdim=True).clamp(1e-3, 100)
        if self.training:
            self.norm_mean.lerp_(norms.mean(), self.momentum)
            self.norm_std.lerp_(norms.std(), self.momentum)
        z = self.concentration * (norms - self.norm_mean) / (self.norm_std + self.epsilon)
        clipped: Tensor = z.clamp(-1, 1)
        return clipped
