"""The face detector `spot`: a small anchor-free network with a box, five landmarks and a score at every anchor point.

Convolutions that halve the maps are dense, those between are depth-wise: on one core a dense 3x3 uses the arithmetic
units better than the wider separable one of equal cost. Offsets are in units of the stride.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from edgefr.errors import EdgefrError
from edgefr.nn.backbone import batch_norm, conv1x1, conv3x3
from edgefr.types import SPOT_STRIDE

STRIDES = (8, 16, SPOT_STRIDE)
"""Strides of the three grids of anchor points; the sides of a picture must be multiples of the last."""

XY, SIZE, LANDMARKS, SCORE = slice(0, 2), slice(2, 4), slice(4, 14), 14
"""Columns of the 15 values of a face: top left corner, width and height, five points as x, y, and score (the order of
OpenCV's `FaceDetectorYN`). In the output of the network XY is the centre of the box."""

VALUES = SCORE + 1
WIDTH = 64

INITIAL_LOGIT = -4.6
"""Score logit of a new network, a probability of 0.01, because faces are rare."""

MAX_LOG_SIZE = 6.0
"""Bound on the logarithm of a side in strides, so that an untrained network does not overflow."""


class Shrink(nn.Sequential):
    """A dense convolution that halves both sides."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(conv3x3(inputs, outputs, 2), batch_norm(outputs), nn.ReLU())


class Block(nn.Module):
    """A depth-wise and a point-wise convolution with a shortcut."""

    def __init__(self, width: int, kernel: int = 3) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width, bias=False)
        self.pointwise = conv1x1(width, width)
        self.bn1, self.bn2 = batch_norm(width), batch_norm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        y = torch.relu(self.bn1(self.depthwise(x)))
        return torch.relu(x + self.bn2(self.pointwise(y)))


class Head(nn.Sequential):
    """The head of one grid: blocks, then 15 values at each anchor point."""

    def __init__(self, blocks: int) -> None:
        last = nn.Conv2d(WIDTH, VALUES, 1)
        nn.init.normal_(last.weight, std=0.01)
        last.bias = nn.Parameter(torch.tensor([0.0] * SCORE + [INITIAL_LOGIT]))
        super().__init__(*(Block(WIDTH) for _ in range(blocks)), last)


class Spot(nn.Module):
    """Backbone, feature pyramid (Lin et al. 2017) and the heads of three grids."""

    def __init__(self) -> None:
        super().__init__()
        self.eighth = nn.Sequential(Shrink(3, 16), Shrink(16, 32), Block(32), Shrink(32, 64), Block(64), Block(64))
        self.sixteenth = nn.Sequential(Shrink(64, 96), *(Block(96) for _ in range(5)))
        self.thirtysecond = nn.Sequential(Shrink(96, 128), *(Block(128, 5) for _ in range(4)))
        self.lateral = nn.ModuleList(nn.Conv2d(width, WIDTH, 1) for width in (64, 96, 128))
        self.heads = nn.ModuleList(Head(blocks) for blocks in (1, 2, 2))  # coarse grids are cheap

    def forward(self, image: Tensor) -> Tensor:
        """Predict offsets at every anchor point.

        Args:
            image: (B, 3, H, W) float RGB from 0 to 255, sides multiples of 32.

        Returns:
            (B, P, 15): centre of the box relative to the anchor point, logarithm of its sides and landmarks relative
            to the anchor point, all in strides, and the logit of the score. `decode` turns them into pixels.
        """
        fine = self.eighth(image / 255)
        middle = self.sixteenth(fine)
        maps = [lateral(x) for lateral, x in zip(self.lateral, (fine, middle, self.thirtysecond(middle)), strict=True)]
        maps[1] = maps[1] + F.interpolate(maps[2], scale_factor=2.0)
        maps[0] = maps[0] + F.interpolate(maps[1], scale_factor=2.0)
        offsets = [head(torch.relu(x)).flatten(2) for head, x in zip(self.heads, maps, strict=True)]
        return torch.cat(offsets, 2).transpose(1, 2)  # (B, P, 15)


def load_spot(checkpoint: Path) -> Spot:
    """Load a detector.

    Args:
        checkpoint: A file that `edgefr train-detector` wrote.

    Returns:
        The network in training mode.

    Raises:
        EdgefrError: The file is missing or is something else.
    """
    net = Spot()
    try:
        net.load_state_dict(load_file(checkpoint), strict=True)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise EdgefrError(
            f"the checkpoint of a detector in {checkpoint}",
            "another file or none",
            "make one with `edgefr train-detector train/spot-first.toml`",
        ) from error
    return net


def anchor_points(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Centres and strides (P, 3) of all anchor points of a picture of this size: x, y and stride in pixels."""
    grids = []
    for stride in STRIDES:
        y, x = (torch.arange(side // stride, device=device) * float(stride) + stride / 2 for side in (height, width))
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), 2).reshape(-1, 2)  # (rows * columns, 2)
        grids.append(F.pad(grid, (0, 1), value=stride))
    return torch.cat(grids)


def decode(offsets: Tensor, points: Tensor) -> Tensor:
    """Offsets (B, P, 15) of `Spot` and `anchor_points` (P, 3) -> faces (B, P, 15) in pixels, scores as logits."""
    xy, stride = points[:, :2], points[:, 2:]
    centre = xy + offsets[..., XY] * stride
    size = offsets[..., SIZE].clamp(max=MAX_LOG_SIZE).exp() * stride
    landmarks = xy.repeat(1, 5) + offsets[..., LANDMARKS] * stride
    return torch.cat([centre - size / 2, size, landmarks, offsets[..., SCORE:]], -1)


class SpotContract(nn.Module):
    """The detector with the input and output of the exported graph."""

    def __init__(self, net: Spot) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        """uint8 (1, H, W, 3) RGB, sides multiples of 32 -> faces (P, 15) in pixels, scores 0 to 1."""
        height, width = image.shape[1:3]
        offsets = self.net(image.permute(0, 3, 1, 2).float())
        faces = decode(offsets, anchor_points(height, width, image.device))[0]
        return torch.cat([faces[:, :SCORE], faces[:, SCORE:].sigmoid()], 1)
