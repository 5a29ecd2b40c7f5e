"""MiniFASNet V2 and V1SE of minivision-ai/Silent-Face-Anti-Spoofing: presentation attack detection on 80x80 pixels.

The published nets are pruned, so their widths are read from the weights. BGR pixels from 0 to 255 go in as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from edgefr.errors import WrongModelError
from edgefr.nn.depthwise import DepthwiseConv
from edgefr.nn.torch_unpickler import load_torch_file

FACE_SIDE = 80
"""Width and height of the input in pixels."""
CLASSES, LIVE_CLASS = 3, 1
"""Number of classes, and the one that stands for a living face. The others are attacks in two and three dimensions."""

STAGES = ("conv_3", "conv_4", "conv_5")
DOWNSAMPLING = ("conv_23", "conv_34", "conv_45")

State = Mapping[str, Tensor]


class ConvBlock(nn.Module):
    """Convolution, BatchNorm and, unless `linear`, PReLU."""

    def __init__(self, conv: nn.Conv2d, linear: bool = False) -> None:
        super().__init__()
        self.conv, self.bn = conv, nn.BatchNorm2d(conv.out_channels)
        self.prelu = nn.Identity() if linear else nn.PReLU(conv.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        y: Tensor = self.prelu(self.bn(self.conv(x)))
        return y


class SqueezeExcite(nn.Module):
    """Weights channels by their means."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.fc1, self.bn1 = nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.fc2, self.bn2 = nn.Conv2d(width, channels, 1, bias=False), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        y = torch.relu(self.bn1(self.fc1(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(self.bn2(self.fc2(y)))


class Bottleneck(nn.Module):
    """Expand, filter each channel, project; a shortcut if the shape stays the same."""

    def __init__(self, state: State, prefix: str, stride: int) -> None:
        """Take the widths of the weights under `prefix`."""
        super().__init__()
        width, inputs = state[f"{prefix}.conv.conv.weight"].shape[:2]
        outputs = state[f"{prefix}.project.conv.weight"].shape[0]
        self.conv = ConvBlock(nn.Conv2d(inputs, width, 1, bias=False))
        self.conv_dw = ConvBlock(DepthwiseConv(width, 3, stride, padding=1))
        self.project = ConvBlock(nn.Conv2d(width, outputs, 1, bias=False), linear=True)
        squeezed = state.get(f"{prefix}.se_module.fc1.weight")
        self.se_module = nn.Identity() if squeezed is None else SqueezeExcite(outputs, squeezed.shape[0])
        self.residual = stride == 1

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H / stride, W / stride)."""
        y: Tensor = self.se_module(self.project(self.conv_dw(self.conv(x))))
        return x + y if self.residual else y


class Stage(nn.Module):
    """Residual bottlenecks of one width."""

    def __init__(self, state: State, prefix: str) -> None:
        super().__init__()
        count = len({name.split(".")[2] for name in state if name.startswith(f"{prefix}.model.")})
        self.model = nn.Sequential(*(Bottleneck(state, f"{prefix}.model.{index}", 1) for index in range(count)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        y: Tensor = self.model(x)
        return y


class MiniFASNet(nn.Module):
    """BGR faces (B, 3, 80, 80) from 0 to 255 -> probabilities (B, 3)."""

    def __init__(self, state: State) -> None:
        """Make the network with the widths of these weights, and load them."""
        super().__init__()
        stem, last = state["conv1.conv.weight"].shape[0], state["conv_6_sep.conv.weight"]
        self.conv1 = ConvBlock(nn.Conv2d(3, stem, 3, 2, 1, bias=False))
        self.conv2_dw = ConvBlock(DepthwiseConv(stem, 3, padding=1))
        for narrow, stage in zip(DOWNSAMPLING, STAGES, strict=True):
            self.add_module(narrow, Bottleneck(state, narrow, 2))
            self.add_module(stage, Stage(state, stage))
        self.conv_6_sep = ConvBlock(nn.Conv2d(last.shape[1], last.shape[0], 1, bias=False))
        self.conv_6_dw = ConvBlock(DepthwiseConv(last.shape[0], state["conv_6_dw.conv.weight"].shape[2]), linear=True)
        embedding = state["linear.weight"].shape[0]
        self.linear = nn.Linear(last.shape[0], embedding, bias=False)
        self.bn = nn.BatchNorm1d(embedding)
        self.prob = nn.Linear(embedding, CLASSES, bias=False)
        self.load_state_dict(state)
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, 80, 80) -> (B, 3), which sum to 1."""
        x = self.conv2_dw(self.conv1(image))
        for narrow, stage in zip(DOWNSAMPLING, STAGES, strict=True):
            x = getattr(self, stage)(getattr(self, narrow)(x))
        x = self.conv_6_dw(self.conv_6_sep(x)).flatten(1)
        return torch.softmax(self.prob(self.bn(self.linear(x))), 1)


def read_minifasnet(path: Path) -> dict[str, Tensor] | None:
    """The weights in a checkpoint if it is one of these nets, else None; never runs code from the file."""
    if path.suffix.lower() not in (".pth", ".pt"):
        return None
    state = load_torch_file(path)
    if not isinstance(state, Mapping):
        return None
    plain = {re.sub(r"^module\.", "", str(name)): value for name, value in state.items()}  # of DataParallel
    return plain if {"conv_6_dw.conv.weight", "prob.weight"} <= plain.keys() else None


def load_minifasnet(state: State) -> MiniFASNet:
    """Load a published net, in eval mode; raises WrongModelError if its weights do not fit together."""
    try:
        return MiniFASNet(state)
    except (KeyError, RuntimeError, ValueError, IndexError, AttributeError) as error:
        raise WrongModelError(
            "the weights of a MiniFASNet", str(error).splitlines()[0], "download the published file again"
        ) from error
