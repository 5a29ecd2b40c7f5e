"""Depth-wise convolutions whose gradients take no longer than they need to.

For some shapes in bf16, oneDNN takes a slow kernel for the gradients of a depth-wise convolution: with a stride, the
gradient of the input takes 40 to 120 times as long as the forward pass (`brgconv_strided`, made for dense groups), and
with 7x7 filters, that of the weights takes three times as long as in FP32 (torch 2.13.0, AVX-512 bf16). These few
convolutions are trained in FP32 under autocast, which saves a fourth of a step of MobileFaceNet.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

FAST_KERNEL = 5
"""Largest kernel whose gradients are fast enough in bf16, without a stride."""


class DepthwiseConv(nn.Conv2d):
    """One filter for each channel, without bias. Weights are named as in `nn.Conv2d`."""

    def __init__(self, channels: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__(channels, channels, kernel, stride, padding, groups=channels, bias=False)
        self._slow_in_bf16 = stride > 1 or kernel > FAST_KERNEL

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H / stride, W / stride)."""
        if not (self._slow_in_bf16 and torch.is_grad_enabled() and _is_cast_to_bf16(x)):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float()).bfloat16()


def _is_cast_to_bf16(x: Tensor) -> bool:
    """Whether autocast computes a convolution of x in bf16 on a CPU."""
    is_enabled = x.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    return is_enabled and torch.get_autocast_dtype("cpu") == torch.bfloat16
