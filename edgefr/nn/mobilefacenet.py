"""MobileFaceNet with MobileNetV2 blocks, as trained by foamliu/MobileFaceNet (128-d, ReLU6).

Its weights expect ImageNet-normalised pixels. This network takes RGB in [-1, 1] like all others and converts them. The
offset must not move into the first convolution, because padding is zero in normalised pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgefr.nn.backbone import Backbone, BackboneOutput, batch_norm, conv1x1, conv3x3
from edgefr.nn.depthwise import DepthwiseConv
from edgefr.types import MAP_CHANNELS, MAP_SIZE

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

STAGES = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
"""Expansion, channels, repeats, stride of the first repeat."""


def conv_bn_relu(conv: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(conv, batch_norm(conv.out_channels), nn.ReLU6())


class SeparableConv(nn.Module):
    """Depth-wise 3x3 and point-wise 1x1, each with BatchNorm and ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = DepthwiseConv(channels, 3, padding=1)
        self.pointwise = conv1x1(channels, channels)
        self.bn1 = batch_norm(channels)
        self.bn2 = batch_norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        x = torch.relu(self.bn1(self.depthwise(x)))
        return torch.relu(self.bn2(self.pointwise(x)))


class InvertedResidual(nn.Module):
    """Expand, filter, project; a shortcut if the shape stays the same."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        self.residual = stride == 1 and inputs == outputs
        width = inputs * expansion
        self.conv = nn.Sequential(
            conv_bn_relu(conv1x1(inputs, width)),
            conv_bn_relu(DepthwiseConv(width, 3, stride, padding=1)),
            conv1x1(width, outputs),
            batch_norm(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        y: Tensor = self.conv(x)
        return x + y if self.residual else y


class GlobalDepthwise(nn.Module):
    """One 7x7 filter for each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise = DepthwiseConv(MAP_CHANNELS, MAP_SIZE)
        self.bn = batch_norm(MAP_CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 512, 7, 7) -> (B, 512, 1, 1)."""
        y: Tensor = self.bn(self.depthwise(x))
        return y


class MobileFaceNet(Backbone):
    """999,936 parameters, 128-d."""

    first_conv = "conv1.0.weight"
    embedding_dim = 128
    scale: Tensor
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Always on the CPU: dividing a number by a meta tensor loads torch's compiler, which takes a second.
        mean, std = (torch.tensor(values, device="cpu") for values in (IMAGENET_MEAN, IMAGENET_STD))
        # ((x + 1) / 2 - mean) / std, as one multiplication and one addition
        self.register_buffer("scale", (0.5 / std).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", ((0.5 - mean) / std).view(1, 3, 1, 1), persistent=False)
        self.conv1 = conv_bn_relu(conv3x3(3, 64, 2))
        self.dw_conv = SeparableConv(64)
        blocks: list[nn.Module] = []
        inputs = 64
        for expansion, outputs, repeats, stride in STAGES:
            for index in range(repeats):
                blocks.append(InvertedResidual(inputs, outputs, stride if index == 0 else 1, expansion))
                inputs = outputs
        self.features = nn.Sequential(*blocks)
        self.conv2 = conv_bn_relu(conv1x1(inputs, MAP_CHANNELS))
        self.gdconv = GlobalDepthwise()
        self.conv3 = nn.Conv2d(MAP_CHANNELS, self.embedding_dim, 1)
        self.bn = batch_norm(self.embedding_dim)

    def forward(self, image: Tensor) -> BackboneOutput:
        """(B, 3, 112, 112) RGB in [-1, 1] -> map (B, 512, 7, 7), embedding (B, 128)."""
        x = image * self.scale + self.shift
        x = self.features(self.dw_conv(self.conv1(x)))  # (B, 128, 7, 7)
        conv = self.conv2[0](x)  # (B, 512, 7, 7)
        tap = self.conv2[1:](conv)
        embedding = self.bn(self.conv3(self.gdconv(tap)))  # (B, 128, 1, 1)
        return BackboneOutput(self.tapped(conv, tap), embedding.flatten(1))
