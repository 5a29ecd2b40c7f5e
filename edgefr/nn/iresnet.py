"""iresnet of insightface's arcface_torch (`recognition/arcface_torch/backbones/iresnet.py`)."""

from __future__ import annotations

from torch import Tensor, nn

from edgefr.nn.backbone import BN_EPS, Backbone, BackboneOutput, batch_norm, conv1x1, conv3x3
from edgefr.types import MAP_CHANNELS, MAP_SIZE


class IBasicBlock(nn.Module):
    """BN, conv, BN, PReLU, conv (stride), BN, add: no activation after the sum."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = batch_norm(inputs)
        self.conv1 = conv3x3(inputs, outputs)
        self.bn2 = batch_norm(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = conv3x3(outputs, outputs, stride)
        self.bn3 = batch_norm(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(conv1x1(inputs, outputs, stride), batch_norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        shortcut: Tensor = x if self.downsample is None else self.downsample(x)
        y: Tensor = self.conv1(self.bn1(x))
        y = self.bn3(self.conv2(self.prelu(self.bn2(y))))
        return shortcut + y


class IResNet(Backbone):
    """`blocks` counts the blocks of the four stages; r100 is (3, 13, 30, 3)."""

    first_conv = "conv1.weight"

    def __init__(self, blocks: tuple[int, int, int, int], embedding_dim: int = 512) -> None:
        super().__init__()
        self.embedding_dim = embedding_dim
        self.conv1 = conv3x3(3, 64)
        self.bn1 = batch_norm(64)
        self.prelu = nn.PReLU(64)
        self.layer1 = _stage(64, 64, blocks[0])
        self.layer2 = _stage(64, 128, blocks[1])
        self.layer3 = _stage(128, 256, blocks[2])
        self.layer4 = _stage(256, MAP_CHANNELS, blocks[3])
        self.bn2 = batch_norm(MAP_CHANNELS)
        self.fc = nn.Linear(MAP_CHANNELS * MAP_SIZE * MAP_SIZE, embedding_dim)
        self.features = nn.BatchNorm1d(embedding_dim, eps=BN_EPS)

    def forward(self, image: Tensor) -> BackboneOutput:
        """(B, 3, 112, 112) RGB in [-1, 1] -> map (B, 512, 7, 7), embedding (B, D)."""
        x = self.prelu(self.bn1(self.conv1(image)))  # (B, 64, 112, 112)
        conv = self.layer4(self.layer3(self.layer2(self.layer1(x))))  # (B, 512, 7, 7)
        bn = self.bn2(conv)
        embedding = self.features(self.fc(bn.flatten(1)))  # (B, D), flattened channel-major
        return BackboneOutput(self.tapped(conv, bn), embedding)


def _stage(inputs: int, outputs: int, count: int) -> nn.Sequential:
    """`count` blocks; the first halves the map and changes the width."""
    rest = [IBasicBlock(outputs, outputs, 1) for _ in range(count - 1)]
    return nn.Sequential(IBasicBlock(inputs, outputs, 2), *rest)
