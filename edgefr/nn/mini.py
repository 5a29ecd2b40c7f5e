"""Mini: a residual network small enough to be trained from scratch on a CPU.

It has dense 3x3 convolutions at small sizes. On two cores it trains five times as fast as a MobileFaceNet with as many
multiplications, whose depth-wise convolutions are limited by memory. Every BatchNorm follows a convolution, so that an
exported graph has none left.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgefr.nn.backbone import Backbone, BackboneOutput, batch_norm, conv1x1, conv3x3
from edgefr.nn.depthwise import DepthwiseConv
from edgefr.types import MAP_SIZE

STRIDES = (1, 2, 2)
"""Strides of each stage's first block: the blocks work at 28x28, 14x14 and 7x7."""

REPEATS = 2
"""Blocks of a stage."""


def conv_bn_relu(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
    return nn.Sequential(conv3x3(inputs, outputs, stride), batch_norm(outputs), nn.ReLU())


class Block(nn.Module):
    """The basic block of He et al. (2016): two convolutions and a shortcut, projected where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = conv_bn_relu(inputs, outputs, stride)
        self.second = nn.Sequential(conv3x3(outputs, outputs), batch_norm(outputs))
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Sequential(conv1x1(inputs, outputs, stride), batch_norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        return torch.relu(self.second(self.first(x)) + self.shortcut(x))


class Mini(Backbone):
    """With widths of 32, 64 and 128 and 128-d: 0.74 M parameters, 86 MMAC, maps of 128 channels."""

    first_conv = "stem.0.0.weight"

    def __init__(self, widths: tuple[int, int, int] = (32, 64, 128), dim: int = 128) -> None:
        """Make the network with random weights.

        Args:
            widths: Channels of the blocks at 28x28, 14x14 and 7x7. The last one is also that of the map.
            dim: Length of the embedding.
        """
        super().__init__()
        self.map_channels, self.embedding_dim = widths[-1], dim
        inputs = widths[0]
        self.stem = nn.Sequential(conv_bn_relu(3, inputs // 2, 2), conv_bn_relu(inputs // 2, inputs, 2))
        blocks: list[nn.Module] = []
        for outputs, stride in zip(widths, STRIDES, strict=True):
            for index in range(REPEATS):
                blocks.append(Block(inputs, outputs, stride if index == 0 else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.conv = conv1x1(inputs, self.map_channels)
        self.bn = nn.Sequential(batch_norm(self.map_channels), nn.ReLU())
        # One 7x7 filter for each channel, as in MobileFaceNet, because features depend on their place in the face.
        pool = DepthwiseConv(self.map_channels, MAP_SIZE)
        self.pool = nn.Sequential(pool, batch_norm(self.map_channels))
        self.embedding = nn.Sequential(conv1x1(self.map_channels, self.embedding_dim), batch_norm(self.embedding_dim))

    def forward(self, image: Tensor) -> BackboneOutput:
        """(B, 3, 112, 112) RGB in [-1, 1] -> map (B, C, 7, 7), embedding (B, dim)."""
        conv = self.conv(self.blocks(self.stem(image)))  # (B, C, 7, 7)
        bn = self.bn(conv)
        embedding = self.embedding(self.pool(bn))  # (B, dim, 1, 1)
        return BackboneOutput(self.tapped(conv, bn), embedding.flatten(1))
