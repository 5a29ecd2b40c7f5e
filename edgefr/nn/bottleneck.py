"""The variational information bottleneck: a mean, a log-variance, and what they cost (Alemi et al. 2017)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from edgefr.errors import EdgefrError
from edgefr.spec import FusionSpec

LOGVAR_RANGE = (-12.0, 8.0)
LOGVAR_START = -5.0


class Code(NamedTuple):
    """`mu` (B, K); `logvar` (B, K), None where the bottleneck is off."""

    mu: Tensor
    logvar: Tensor | None


class Bottleneck(nn.Module):
    """mu and log-variance of the code, each a linear map of the fused vector.

    With `skip="embeddings"` mu also receives a linear map of the backbones' own unit-length embeddings. It
    starts with orthonormal columns and the rest of the head at zero, so that before training cosine on mu
    equals cosine on the concatenated embeddings: training can only add to what the backbones know. Where K is the
    length of each embedding it starts as their sum: right only for two backbones that one teacher taught alike.
    """

    def __init__(self, spec: FusionSpec, width: int, dims: tuple[int, int]) -> None:
        """`width` of the fused vector; `dims` of both backbones' embeddings.

        Raises:
            EdgefrError: K is neither enough for both embeddings side by side nor the length of each.
        """
        super().__init__()
        self.mu = nn.Linear(width, spec.embedding_dim)
        self.logvar: nn.Linear | None = None
        if spec.vib:
            self.logvar = nn.Linear(width, spec.embedding_dim)
            nn.init.zeros_(self.logvar.weight)
            nn.init.constant_(self.logvar.bias, LOGVAR_START)
        self.skip: nn.Linear | None = None
        if spec.skip == "embeddings":
            summed = dims == (spec.embedding_dim, spec.embedding_dim)
            if spec.embedding_dim < sum(dims) and not summed:
                raise EdgefrError(
                    (
                        f'fusion.embedding_dim of at least {sum(dims)} for skip = "embeddings" (both '
                        "backbones' embeddings side by side)"
                    ),
                    str(spec.embedding_dim),
                    'raise it or set skip = "none"',
                )
            self.skip = nn.Linear(sum(dims), spec.embedding_dim, bias=False)
            if summed:
                with torch.no_grad():
                    self.skip.weight.copy_(torch.eye(spec.embedding_dim).repeat(1, 2) * 0.5**0.5)  # orthonormal rows
            else:
                nn.init.orthogonal_(self.skip.weight)
            nn.init.zeros_(self.mu.weight)
            nn.init.zeros_(self.mu.bias)

    def forward(self, fused: Tensor, embeddings: Tensor) -> Code:
        """Fused vector (B, width) and unit embeddings side by side (B, D_a + D_b) -> code (B, K)."""
        mu = self.mu(fused)
        if self.skip is not None:
            mu = mu + self.skip(embeddings)
        logvar = None if self.logvar is None else self.logvar(fused).clamp(*LOGVAR_RANGE)
        return Code(mu, logvar)


def sample(code: Code) -> Tensor:
    """z = mu + sigma * eps, (B, K); mu itself where the bottleneck is off."""
    if code.logvar is None:
        return code.mu
    return code.mu + (0.5 * code.logvar).exp() * torch.randn_like(code.mu)


def kl_divergence(code: Code) -> Tensor:
    """KL(N(mu, sigma^2) || N(0, I)) per sample in nats, (B,); zero where the bottleneck is off."""
    if code.logvar is None:
        return code.mu.new_zeros(len(code.mu))
    return 0.5 * (code.mu.square() + code.logvar.exp() - 1 - code.logvar).sum(1)
