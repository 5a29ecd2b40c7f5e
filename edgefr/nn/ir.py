"""IR and IR-SE networks of AdaFace (`net.py`), also used by CVLFace.

Not interchangeable with iresnet: if a block keeps its width, the shortcut is a strided subsampling here, and a
Conv1x1 with BatchNorm there.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from edgefr.nn.backbone import BN_EPS, Backbone, BackboneOutput, batch_norm, conv1x1, conv3x3
from edgefr.types import MAP_CHANNELS, MAP_SIZE

SE_REDUCTION = 16


class SEModule(nn.Module):
    """Squeeze and excitation: channels weighted by a function of their means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = conv1x1(channels, channels // SE_REDUCTION)
        self.fc2 = conv1x1(channels // SE_REDUCTION, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        weights = self.fc2(torch.relu(self.fc1(x.mean((2, 3), keepdim=True))))  # (B, C, 1, 1)
        return x * torch.sigmoid(weights)


class IRBlock(nn.Module):
    """BN, conv, BN, PReLU, conv (stride), BN, optional SE, add."""

    def __init__(self, inputs: int, outputs: int, stride: int, se: bool) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module
        if inputs == outputs:
            self.shortcut_layer = nn.MaxPool2d(1, stride)
        else:
            self.shortcut_layer = nn.Sequential(conv1x1(inputs, outputs, stride), batch_norm(outputs))
        layers: list[nn.Module] = [
            batch_norm(inputs),
            conv3x3(inputs, outputs),
            batch_norm(outputs),
            nn.PReLU(outputs),
            conv3x3(outputs, outputs, stride),
            batch_norm(outputs),
        ]
        named = OrderedDict((str(index), layer) for index, layer in enumerate(layers))
        if se:
            named["se_block"] = SEModule(outputs)
        self.res_layer = nn.Sequential(named)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        shortcut: Tensor = self.shortcut_layer(x)
        residual: Tensor = self.res_layer(x)
        return shortcut + residual


class IRNet(Backbone):
    """`blocks` counts the blocks of the four stages; AdaFace's ir_101 is (3, 13, 30, 3)."""

    first_conv = "input_layer.0.weight"
    embedding_dim = 512

    def __init__(self, blocks: tuple[int, int, int, int], se: bool = False) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(conv3x3(3, 64), batch_norm(64), nn.PReLU(64))
        body: list[nn.Module] = []
        inputs = 64
        for outputs, count in zip((64, 128, 256, MAP_CHANNELS), blocks, strict=True):
            for index in range(count):
                body.append(IRBlock(inputs, outputs, 2 if index == 0 else 1, se))
                inputs = outputs
        self.body = nn.Sequential(*body)
        self.output_layer = nn.Sequential(
            batch_norm(MAP_CHANNELS),
            nn.Dropout(0.4),
            nn.Flatten(),
            nn.Linear(MAP_CHANNELS * MAP_SIZE * MAP_SIZE, self.embedding_dim),
            nn.BatchNorm1d(self.embedding_dim, eps=BN_EPS, affine=False),
        )

    def forward(self, image: Tensor) -> BackboneOutput:
        """(B, 3, 112, 112) RGB in [-1, 1] -> map (B, 512, 7, 7), embedding (B, 512) before unit length."""
        conv = self.body(self.input_layer(image))  # (B, 512, 7, 7)
        bn = self.output_layer[0](conv)
        embedding = self.output_layer[1:](bn)  # (B, 512)
        return BackboneOutput(self.tapped(conv, bn), embedding)
