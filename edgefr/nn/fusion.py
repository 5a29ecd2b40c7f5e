"""Local and global aggregation of two feature maps (arXiv 2309.13137, Fig. 1b and 1c)."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from edgefr.errors import InvalidArgumentError
from edgefr.nn.attention import EncoderLayer
from edgefr.nn.backbone import Backbone, batch_norm, conv1x1
from edgefr.spec import FusionSpec
from edgefr.types import MAP_SIZE

TOKENS = MAP_SIZE * MAP_SIZE


def tokens(maps: Tensor) -> Tensor:
    """(B, C, 7, 7) -> (B, 49, C)."""
    return maps.flatten(2).transpose(1, 2)


class LocalAggregation(nn.Module):
    """A convolutional block over the concatenated maps, then a transformer over their 49 tokens.

    The block is LeFF of CeiT, the paper's reference [28]: Conv1x1, depth-wise Conv3x3, Conv1x1.
    """

    def __init__(self, spec: FusionSpec, channels: int) -> None:
        """`channels` of each map."""
        super().__init__()
        inside = spec.project == "inside"
        self.fold = spec.project == "fold"
        wide = 2 * channels
        last = channels if inside else wide
        self.block = nn.Sequential(
            nn.Conv2d(wide, wide, 1, bias=False),
            batch_norm(wide),
            nn.GELU(),
            nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False),
            batch_norm(wide),
            nn.GELU(),
            nn.Conv2d(wide, last, 1, bias=False),
            batch_norm(last),
        )
        self.shortcut = nn.Conv2d(wide, channels, 1, bias=False) if inside else nn.Identity()
        self.project = nn.Conv2d(wide, channels, 1) if spec.project == "after" else nn.Identity()
        self.positions = _positions(spec, channels)
        self.encoder = nn.ModuleList(EncoderLayer(channels, spec.heads, spec.ffn) for _ in range(spec.depth))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Two maps (B, C, 7, 7) -> local tokens (B, 49, C)."""
        wide = torch.cat([x, y], 1)  # (B, 2C, 7, 7)
        mixed = self.project(self.block(wide) + self.shortcut(wide))
        if self.fold:
            first, second = mixed.chunk(2, 1)
            mixed = first + second  # (B, C, 7, 7)
        z = tokens(mixed)  # (B, 49, C)
        if self.positions is not None:
            z = z + self.positions
        for layer in self.encoder:
            z = layer(z, z, z)
        return z


class GlobalAggregation(nn.Module):
    """Cross-attention: the mean of one map is the query, the tokens of a map are keys and values; both ways, with
    separate weights."""

    def __init__(self, spec: FusionSpec, channels: int) -> None:
        """`channels` of each map."""
        super().__init__()
        self.kv = spec.kv
        self.ask_y = nn.ModuleList(EncoderLayer(channels, spec.heads, spec.ffn) for _ in range(spec.depth))
        self.ask_x = nn.ModuleList(EncoderLayer(channels, spec.heads, spec.ffn) for _ in range(spec.depth))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Two maps (B, C, 7, 7) -> global rows (B, 2, C)."""
        mean_x, mean_y = (maps.mean((2, 3)).unsqueeze(1) for maps in (x, y))  # (B, 1, C)
        tokens_x, tokens_y = tokens(x), tokens(y)  # (B, 49, C)
        first = self._attend(self.ask_y, mean_y, own=tokens_y, other=tokens_x)
        second = self._attend(self.ask_x, mean_x, own=tokens_x, other=tokens_y)
        return torch.cat([first, second], 1)  # (B, 2, C)

    def _attend(self, layers: nn.ModuleList, query: Tensor, own: Tensor, other: Tensor) -> Tensor:
        """Query (B, 1, C), own and other tokens (B, 49, C) -> (B, 1, C)."""
        keys = other if self.kv == "cross" else own
        values = own if self.kv == "self" else other
        for layer in layers:
            query = layer(query, keys, values)
        return query


class EmbeddingMlp(nn.Module):
    """Baseline without feature maps: three layers on the concatenated embeddings."""

    width = 2048

    def __init__(self, embeddings_dim: int) -> None:
        super().__init__()
        widths = (embeddings_dim, self.width, self.width, self.width)
        pairs = pairwise(widths)
        self.layers = nn.Sequential(*(layer for pair in pairs for layer in (nn.Linear(*pair), nn.GELU())))

    def forward(self, _x: Tensor, _y: Tensor, embeddings: Tensor) -> Tensor:
        """Concatenated unit embeddings (B, D_a + D_b) -> (B, 2048); the maps are ignored."""
        # The components of unit vectors are so small that GELU would be almost linear.
        fused: Tensor = self.layers(embeddings * math.sqrt(embeddings.shape[1] / 2))
        return fused


def map_adapter(backbone: Backbone, channels: int) -> nn.Module:
    """What the map of a backbone passes first: Conv1x1 if it has other than `channels` channels, and BatchNorm unless
    the map comes from one."""
    if backbone.map_channels != channels:
        return nn.Sequential(conv1x1(backbone.map_channels, channels), batch_norm(channels))
    return nn.Identity() if backbone.map_is_normalised else batch_norm(channels)


class Fusion(nn.Module):
    """Local and global aggregation, concatenated to one vector."""

    def __init__(
        self, spec: FusionSpec, channels: int, adapt_x: nn.Module | None = None, adapt_y: nn.Module | None = None
    ) -> None:
        """Make both branches.

        Args:
            spec: The choices of the fusion.
            channels: Channels of each map.
            adapt_x: Makes the first map one of so many channels; None if it is.
            adapt_y: The same for the second map.

        Raises:
            InvalidArgumentError: The attention heads or the position codes do not fit the channels.
        """
        super().__init__()
        if channels % spec.heads:
            raise InvalidArgumentError(
                f"fusion.heads to divide the {channels} channels of the backbones' maps",
                str(spec.heads),
                "correct the recipe",
            )
        if spec.positions == "sincos" and channels % 4:
            raise InvalidArgumentError(
                f"fusion.positions that fit {channels} channels",
                '"sincos", which needs a multiple of 4',
                'set fusion.positions = "learned"',
            )
        self.adapt_x, self.adapt_y = adapt_x or nn.Identity(), adapt_y or nn.Identity()
        self.mean_readout = spec.readout == "mean"
        self.local = LocalAggregation(spec, channels) if spec.local_branch else None
        self.globals = GlobalAggregation(spec, channels) if spec.global_branch else None
        local_rows = (1 if self.mean_readout else TOKENS) if spec.local_branch else 0
        self.width = channels * (local_rows + (2 if spec.global_branch else 0))

    def forward(self, x: Tensor, y: Tensor, _embeddings: Tensor) -> Tensor:
        """Maps (B, C_x, 7, 7) and (B, C_y, 7, 7) -> (B, width): 51 C flat, 3 C with the mean readout."""
        x, y = self.adapt_x(x), self.adapt_y(y)  # (B, C, 7, 7)
        rows: list[Tensor] = []
        if self.local is not None:
            local = self.local(x, y)  # (B, 49, C)
            rows.append(local.mean(1, keepdim=True) if self.mean_readout else local)
        if self.globals is not None:
            rows.append(self.globals(x, y))  # (B, 2, C)
        return torch.cat(rows, 1).flatten(1)  # (B, 51 * C)


def _positions(spec: FusionSpec, channels: int) -> Tensor | None:
    """Position codes of the local tokens (1, 49, C) or None."""
    if spec.positions == "none":
        return None
    if spec.positions == "learned":
        return nn.Parameter(0.02 * torch.randn(1, TOKENS, channels))
    return nn.Parameter(sincos_positions(channels), requires_grad=False)


def sincos_positions(channels: int) -> Tensor:
    """Fixed position codes (1, 49, C): half of the channels for the row, half for the column.

    Sines and cosines of geometric frequencies (Vaswani et al. 2017, section 3.5), on a grid as in MAE.
    """
    quarter = channels // 4
    frequency = torch.exp(-math.log(10_000) * torch.arange(quarter) / quarter)  # (C / 4,)
    angle = torch.arange(MAP_SIZE).unsqueeze(1) * frequency  # (7, C / 4)
    line = torch.cat([angle.sin(), angle.cos()], 1)  # (7, C / 2)
    rows = line.unsqueeze(1).expand(-1, MAP_SIZE, -1)  # (7, 7, C / 2)
    columns = line.unsqueeze(0).expand(MAP_SIZE, -1, -1)  # (7, 7, C / 2)
    return torch.cat([rows, columns], 2).reshape(1, TOKENS, channels)
