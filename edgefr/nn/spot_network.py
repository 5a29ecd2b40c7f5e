"""The face detector `spot`: a small anchor-free network, box, five landmarks and a score at every place of three grids.

Dense convolutions where the maps are shrunk, depth-wise ones between: on one core a dense 3x3 makes better use of its
arithmetic than the wider separable one of equal cost. Each place speaks of itself in units of its stride.
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
"""Of the three grids; a picture's sides must be multiples of the last."""

ROW = 15
"""Values of a face: box as x, y, width, height, five points as x, y, score (OpenCV's order of `FaceDetectorYN`)."""

WIDTH = 64
RARE = -4.6
"""Logit of 0.01, the score that a net starts with everywhere: faces are rare."""

LONGEST = 6.0
"""Bound on the logarithm of a side in strides, so that an untrained net overflows nowhere."""


class Shrink(nn.Sequential):
    """A dense convolution that halves both sides."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(conv3x3(inputs, outputs, 2), batch_norm(outputs), nn.ReLU())


class Block(nn.Module):
    """A depth-wise and a point-wise convolution around a shortcut."""

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
    """What a level says: blocks, then 15 values at each place."""

    def __init__(self, blocks: int) -> None:
        last = nn.Conv2d(WIDTH, ROW, 1)
        nn.init.normal_(last.weight, std=0.01)
        last.bias = nn.Parameter(torch.tensor([0.0] * (ROW - 1) + [RARE]))
        super().__init__(*(Block(WIDTH) for _ in range(blocks)), last)


class Spot(nn.Module):
    """Three grids of answers from one pass; coarse maps are added to finer ones on the way (Lin et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.eighth = nn.Sequential(Shrink(3, 16), Shrink(16, 32), Block(32), Shrink(32, 64), Block(64), Block(64))
        self.sixteenth = nn.Sequential(Shrink(64, 96), *(Block(96) for _ in range(5)))
        self.thirtysecond = nn.Sequential(Shrink(96, 128), *(Block(128, 5) for _ in range(4)))
        self.lateral = nn.ModuleList(nn.Conv2d(width, WIDTH, 1) for width in (64, 96, 128))
        self.heads = nn.ModuleList(Head(blocks) for blocks in (1, 2, 2))  # coarse grids are cheap

    def forward(self, image: Tensor) -> Tensor:
        """float (B, 3, H, W) RGB from 0 to 255, sides multiples of 32 -> what each place says (B, P, 15).

        As offsets: of the box's centre, logarithm of its sides, of the points - in strides from the place - and the
        score's logit. `decoded` gives them their meaning.
        """
        fine = self.eighth(image / 255)
        middle = self.sixteenth(fine)
        maps = [lateral(x) for lateral, x in zip(self.lateral, (fine, middle, self.thirtysecond(middle)), strict=True)]
        maps[1] = maps[1] + F.interpolate(maps[2], scale_factor=2.0)
        maps[0] = maps[0] + F.interpolate(maps[1], scale_factor=2.0)
        answers = [head(torch.relu(x)).flatten(2) for head, x in zip(self.heads, maps, strict=True)]
        return torch.cat(answers, 2).transpose(1, 2)  # (B, P, 15)


def load_spot(checkpoint: Path) -> Spot:
    """The detector in a file that `edgefr train-detector` wrote.

    Raises:
        EdgefrError: there is no such file, or it is another one.
    """
    net = Spot()
    try:
        net.load_state_dict(load_file(checkpoint), strict=True)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise EdgefrError(
            f"a detector's checkpoint in {checkpoint}",
            "another file or none",
            "make one with `edgefr train-detector train/spot-first.toml`",
        ) from error
    return net


def places(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Centres and strides (P, 3) of all places in a picture of this size, x, y and stride in pixels."""
    levels = []
    for stride in STRIDES:
        y, x = (torch.arange(side // stride, device=device) * float(stride) + stride / 2 for side in (height, width))
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), 2).reshape(-1, 2)  # (rows * columns, 2)
        levels.append(F.pad(grid, (0, 1), value=stride))
    return torch.cat(levels)


def decoded(answers: Tensor, places: Tensor) -> Tensor:
    """Answers (B, P, 15) -> faces (B, P, 15) in pixels, their scores still as logits."""
    at, stride = places[:, :2], places[:, 2:]
    centre = at + answers[..., :2] * stride
    size = answers[..., 2:4].clamp(max=LONGEST).exp() * stride
    points = at.repeat(1, 5) + answers[..., 4:14] * stride
    return torch.cat([centre - size / 2, size, points, answers[..., 14:]], -1)


class SpotContract(nn.Module):
    """A detector as edgefr's runtime takes it."""

    def __init__(self, net: Spot) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        """uint8 (1, H, W, 3) RGB, sides multiples of 32 -> every place's face (P, 15) in pixels, scores 0 to 1."""
        height, width = image.shape[1:3]
        answers = self.net(image.permute(0, 3, 1, 2).float())
        faces = decoded(answers, places(height, width, image.device))[0]
        return torch.cat([faces[:, :14], faces[:, 14:].sigmoid()], 1)
