"""MobileFaceNet of insightface's arcface_torch (`recognition/arcface_torch/backbones/mobilefacenet.py`)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgefr.nn.backbone import BN_EPS, Backbone, BackboneOutput, batch_norm
from edgefr.nn.depthwise import DepthwiseConv
from edgefr.types import MAP_CHANNELS, MAP_SIZE


class ConvBlock(nn.Module):
    """Convolution, BatchNorm and, unless `linear`, PReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> None:
        super().__init__()
        padding = 1 if kernel == 3 else 0
        layers: list[nn.Module] = [
            DepthwiseConv(inputs, kernel, stride, padding)
            if inputs == outputs == groups
            else nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
            batch_norm(outputs),
        ]
        if not linear:
            layers.append(nn.PReLU(outputs))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        y: Tensor = self.layers(x)
        return y


class DepthWise(nn.Module):
    """Expand with 1x1, filter each channel with 3x3, project with 1x1."""

    def __init__(self, inputs: int, outputs: int, width: int, stride: int, residual: bool = False) -> None:
        super().__init__()
        self.residual = residual
        self.layers = nn.Sequential(
            ConvBlock(inputs, width, 1),
            ConvBlock(width, width, 3, stride, groups=width),
            ConvBlock(width, outputs, 1, linear=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class Residual(nn.Module):
    """`count` residual DepthWise blocks of one width."""

    def __init__(self, channels: int, count: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(DepthWise(channels, channels, width, 1, True) for _ in range(count)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, channels, H, W)."""
        y: Tensor = self.layers(x)
        return y


class GDC(nn.Module):
    """Global depth-wise convolution, then the embedding."""

    def __init__(self, embedding_dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            ConvBlock(MAP_CHANNELS, MAP_CHANNELS, MAP_SIZE, groups=MAP_CHANNELS, linear=True),
            nn.Flatten(),
            nn.Linear(MAP_CHANNELS, embedding_dim, bias=False),
            nn.BatchNorm1d(embedding_dim, eps=BN_EPS),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, 512, 7, 7) -> (B, D)."""
        y: Tensor = self.layers(x)
        return y


class MBF(Backbone):
    """`mbf` has blocks (1, 4, 6, 2) at scale 2, `mbf_large` (2, 8, 12, 4) at scale 4."""

    first_conv = "layers.0.layers.0.weight"

    def __init__(self, blocks: tuple[int, int, int, int], scale: int, embedding_dim: int = 512) -> None:
        super().__init__()
        self.embedding_dim = embedding_dim
        narrow, wide = 64 * scale, 128 * scale
        # With one block the second layer has 64 groups over 64 * scale channels, as in the published code.
        second = ConvBlock(narrow, narrow, 3, groups=64) if blocks[0] == 1 else Residual(narrow, blocks[0], 128)
        self.layers = nn.ModuleList(
            [
                ConvBlock(3, narrow, 3, 2),
                second,
                DepthWise(narrow, narrow, 128, 2),
                Residual(narrow, blocks[1], 128),
                DepthWise(narrow, wide, 256, 2),
                Residual(wide, blocks[2], 256),
                DepthWise(wide, wide, 512, 2),
                Residual(wide, blocks[3], 256),
            ]
        )
        self.conv_sep = ConvBlock(wide, MAP_CHANNELS, 1)
        self.features = GDC(embedding_dim)

    def forward(self, image: Tensor) -> BackboneOutput:
        """(B, 3, 112, 112) RGB in [-1, 1] -> map (B, 512, 7, 7), embedding (B, D)."""
        x = image
        for layer in self.layers:
            x = layer(x)
        conv = self.conv_sep.layers[0](x)  # (B, 512, 7, 7)
        tap = torch.as_tensor(self.conv_sep.layers[1:](conv))
        return BackboneOutput(self.tapped(conv, tap), self.features(tap))
