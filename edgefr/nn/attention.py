"""The post-norm transformer encoder of arXiv 2309.13137, Fig. 2; with a separate query also that of Fig. 1c."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention, written out so that the exported graph consists of plain matrix products."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def forward(self, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(B, Q, C), (B, N, C), (B, N, C) -> (B, Q, C)."""
        q = self._split(self.query(query))  # (B, h, Q, C / h)
        k = self._split(self.key(keys))  # (B, h, N, C / h)
        v = self._split(self.value(values))  # (B, h, N, C / h)
        scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5  # (B, h, Q, N)
        mixed = torch.softmax(scores, -1) @ v  # (B, h, Q, C / h)
        joined: Tensor = self.output(mixed.transpose(1, 2).flatten(2))  # (B, Q, C)
        return joined

    def _split(self, x: Tensor) -> Tensor:
        # `len(x)` would fix the size of the batch when the model is exported, and torch would trace it a second time.
        return x.reshape(x.shape[0], -1, self.heads, x.shape[2] // self.heads).transpose(1, 2)  # (B, h, N, C / h)


class EncoderLayer(nn.Module):
    """`x = LN(query + MHA)`, `out = LN(x + FFN(x))`.

    The paper's Conv1x1 on the maps are the projections W_q, W_k, W_v: on tokens they are linear layers.
    """

    def __init__(self, width: int, heads: int, ffn: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.norm1 = nn.LayerNorm(width)
        self.ffn = nn.Sequential(nn.Linear(width, ffn), nn.ReLU(), nn.Linear(ffn, width))
        self.norm2 = nn.LayerNorm(width)

    def forward(self, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(B, Q, C), (B, N, C), (B, N, C) -> (B, Q, C); the residual adds the unprojected query."""
        x = self.norm1(query + self.attention(query, keys, values))
        out: Tensor = self.norm2(x + self.ffn(x))
        return out
