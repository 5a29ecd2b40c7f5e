"""The variational information bottleneck (Alemi et al. 2017): mean, log-variance and KL divergence of a code."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from edgefr.errors import InvalidArgumentError
from edgefr.spec import FusionSpec

LOGVAR_RANGE = (-12.0, 8.0)
LOGVAR_START = -5.0


class Code(NamedTuple):
    """A Gaussian code: `mu` (B, K) and `logvar` (B, K), which is None if the bottleneck is off."""

    mu: Tensor
    logvar: Tensor | None


class Bottleneck(nn.Module):
    """mu and log-variance of the code, each a linear map of the fused vector.

    With `skip="embeddings"` a linear map of the backbones' own unit embeddings is added to mu. It starts with
    orthonormal columns and the rest of the head at zero. Before training, cosine on mu therefore equals cosine on the
    concatenated embeddings, and training starts from the accuracy of the backbones. If K is the length of each
    embedding, it starts as their sum; this is right only for two backbones that were distilled from one teacher.
    """

    def __init__(self, spec: FusionSpec, width: int, dims: tuple[int, int]) -> None:
        """Initialise the weights.

        Args:
            spec: The choices of the fusion.
            width: Length of the fused vector.
            dims: Lengths of both backbones' embeddings.

        Raises:
            InvalidArgumentError: K is too short for the concatenated embeddings and not the length of each.
        """
        super().__init__()
        self.dims = dims
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
                raise InvalidArgumentError(
                    f"fusion.embedding_dim of at least {sum(dims)}, the length of both concatenated embeddings",
                    str(spec.embedding_dim),
                    'increase it or set fusion.skip = "none"',
                )
            self.skip = nn.Linear(sum(dims), spec.embedding_dim, bias=False)
            if summed:
                with torch.no_grad():
                    self.skip.weight.copy_(torch.eye(spec.embedding_dim).repeat(1, 2) * 0.5**0.5)  # orthonormal rows
            else:
                nn.init.orthogonal_(self.skip.weight)
            nn.init.zeros_(self.mu.weight)
            nn.init.zeros_(self.mu.bias)

    @torch.no_grad()
    def weigh_embeddings(self, first: float, second: float) -> None:
        """Give each backbone its share of the similarity before training, by scaling the columns of the skip path.

        Args:
            first: Weight of the first backbone.
            second: Weight of the second one. Equal weights change nothing.
        """
        if self.skip is None or first == second:
            return
        for columns, weight in zip(torch.split(self.skip.weight, list(self.dims), 1), (first, second), strict=True):
            columns.mul_((2 * weight / (first + second)) ** 0.5)

    def forward(self, fused: Tensor, embeddings: Tensor) -> Code:
        """Fused vector (B, width) and concatenated unit embeddings (B, D_a + D_b) -> code (B, K)."""
        mu = self.mu(fused)
        if self.skip is not None:
            mu = mu + self.skip(embeddings)
        logvar = None if self.logvar is None else self.logvar(fused).clamp(*LOGVAR_RANGE)
        return Code(mu, logvar)


def sample(code: Code) -> Tensor:
    """Sample z = mu + sigma * eps, (B, K); mu itself if the bottleneck is off."""
    if code.logvar is None:
        return code.mu
    return code.mu + (0.5 * code.logvar).exp() * torch.randn_like(code.mu)


def kl_divergence(code: Code) -> Tensor:
    """KL(N(mu, sigma^2) || N(0, I)) per sample in nats, (B,); zero if the bottleneck is off."""
    if code.logvar is None:
        return code.mu.new_zeros(len(code.mu))
    return 0.5 * (code.mu.square() + code.logvar.exp() - 1 - code.logvar).sum(1)
