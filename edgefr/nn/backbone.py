"""Base class of backbones: an aligned face -> a feature map and an embedding."""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor, nn

from edgefr.types import MAP_CHANNELS

BN_EPS = 1e-5
"""BatchNorm epsilon of every upstream repository."""


class BackboneOutput(NamedTuple):
    """Output of a backbone.

    Attributes:
        map: (B, C, 7, 7), before (`conv`) or after (`bn`) the last BatchNorm.
        embedding: (B, D), not normalised.
    """

    map: Tensor
    embedding: Tensor


class Backbone(nn.Module):
    """A face recognition net that takes RGB in [-1, 1].

    Subclasses keep the module names of their upstream repository, so that its checkpoints load with
    `strict=True`, and set `first_conv`, `embedding_dim` and, unless it is 512, `map_channels`.
    """

    first_conv: str
    """State-dict key of the first convolution, whose input channels define the colour order."""

    map_channels: int = MAP_CHANNELS
    map_is_normalised: bool = True
    """Whether the map has been through a BatchNorm, so that all backbones' maps are of one scale."""

    embedding_dim: int
    arch: str
    """Its name in `architectures.ARCHITECTURES`."""

    tap: Literal["bn", "conv"] = "bn"

    def forward(self, image: Tensor) -> BackboneOutput:
        """(B, 3, 112, 112) RGB in [-1, 1] -> feature map (B, C, 7, 7) and embedding (B, D)."""
        raise TypeError(f"{type(self).__name__} must define forward")  # an abstract method

    def tapped(self, conv: Tensor, bn: Tensor) -> Tensor:
        """The map (B, C, 7, 7) that `tap` selects."""
        return bn if self.tap == "bn" else conv


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)


def conv1x1(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, stride, bias=False)


def batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=BN_EPS)
