"""The post-norm transformer encoder of the paper's Fig. 2; with `query` given apart, of its Fig. 1c too."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgefr.spec import MAP_CHANNELS as WIDTH


class Attention(nn.Module):
    """Multi-head attention, written out so that the exported graph stays plain matrix products."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(WIDTH, WIDTH)
        self.key = nn.Linear(WIDTH, WIDTH)
        self.value = nn.Linear(WIDTH, WIDTH)
        self.output = nn.Linear(WIDTH, WIDTH)

    def forward(self, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(B, Q, 512), (B, N, 512), (B, N, 512) -> (B, Q, 512)."""
        q = self._split(self.query(query))  # (B, h, Q, 512 / h)
        k = self._split(self.key(keys))  # (B, h, N, 512 / h)
        v = self._split(self.value(values))  # (B, h, N, 512 / h)
        scores = q @ k.transpose(-2, -1) * (WIDTH // self.heads) ** -0.5  # (B, h, Q, N)
        mixed = torch.softmax(scores, -1) @ v  # (B, h, Q, 512 / h)
        joined: Tensor = self.output(mixed.transpose(1, 2).flatten(2))  # (B, Q, 512)
        return joined

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), -1, self.heads, WIDTH // self.heads).transpose(1, 2)  # (B, h, N, 512 / h)


class EncoderLayer(nn.Module):
    """`x = LN(query + MHA)`, `out = LN(x + FFN(x))`.

    The maps' Conv1x1 of the paper *are* the projections W_q, W_k, W_v: on tokens they are Linear layers.
    """

    def __init__(self, heads: int, ffn: int) -> None:
        super().__init__()
        self.attention = Attention(heads)
        self.norm1 = nn.LayerNorm(WIDTH)
        self.ffn = nn.Sequential(nn.Linear(WIDTH, ffn), nn.ReLU(), nn.Linear(ffn, WIDTH))
        self.norm2 = nn.LayerNorm(WIDTH)

    def forward(self, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(B, Q, 512), (B, N, 512), (B, N, 512) -> (B, Q, 512); the residual adds the unprojected query."""
        x = self.norm1(query + self.attention(query, keys, values))
        out: Tensor = self.norm2(x + self.ffn(x))
        return out
