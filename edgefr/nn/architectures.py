"""Backbones by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from edgefr.errors import InvalidArgumentError
from edgefr.nn.backbone import Backbone
from edgefr.nn.ir import IRNet
from edgefr.nn.iresnet import IResNet
from edgefr.nn.mbf import MBF
from edgefr.nn.mini import Mini
from edgefr.nn.mobilefacenet import MobileFaceNet

ARCHITECTURES: dict[str, Callable[[], Backbone]] = {
    "iresnet18": partial(IResNet, (2, 2, 2, 2)),
    "iresnet34": partial(IResNet, (3, 4, 6, 3)),
    "iresnet50": partial(IResNet, (3, 4, 14, 3)),
    "iresnet100": partial(IResNet, (3, 13, 30, 3)),
    "iresnet200": partial(IResNet, (6, 26, 60, 6)),
    "mbf": partial(MBF, (1, 4, 6, 2), 2),
    "mbf_large": partial(MBF, (2, 8, 12, 4), 4),
    "ir_18": partial(IRNet, (2, 2, 2, 2)),
    "ir_34": partial(IRNet, (3, 4, 6, 3)),
    "ir_50": partial(IRNet, (3, 4, 14, 3)),
    "ir_101": partial(IRNet, (3, 13, 30, 3)),
    "ir_se_50": partial(IRNet, (3, 4, 14, 3), se=True),
    "mobilefacenet": MobileFaceNet,
    "mini": Mini,
    "mini_large": partial(Mini, (48, 96, 192), 256),
}
"""arcface_torch's iresnet and MobileFaceNet, AdaFace's IR family, foamliu's MobileFaceNet, and our own Mini."""


def build_backbone(arch: str, tap: Literal["bn", "conv"] = "bn") -> Backbone:
    """Make a backbone with random weights, in eval mode.

    Args:
        arch: A key of `ARCHITECTURES`.
        tap: Where the feature map is taken: after (`bn`) or before (`conv`) the last BatchNorm.

    Raises:
        InvalidArgumentError: There is no such architecture.
    """
    if arch not in ARCHITECTURES:
        raise InvalidArgumentError(
            f"an architecture among {', '.join(ARCHITECTURES)}", f"{arch!r}", "name one of these"
        )
    backbone = ARCHITECTURES[arch]()
    backbone.arch, backbone.tap = arch, tap
    return backbone.eval()
