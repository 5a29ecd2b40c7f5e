"""Depth-wise convolutions: gradients in FP32 where bf16 is slow, and no other difference from torch's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from edgefr.nn.depthwise import DepthwiseConv


class Gradients(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes in which precision the gradients of convolutions are computed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.types: list[torch.dtype] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func is torch.ops.aten.convolution_backward.default:
            self.types.append(args[0].dtype)
        return func(*args, **(kwargs or {}))


def same_weights(conv: DepthwiseConv) -> nn.Conv2d:
    plain = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size[0],
        conv.stride[0],
        conv.padding[0],
        groups=conv.groups,
        bias=False,
    )
    plain.load_state_dict(conv.state_dict())
    return plain


@pytest.fixture(params=[(3, 1, 1), (3, 2, 1), (5, 1, 2), (7, 1, 0)], ids=str)
def conv(request: pytest.FixtureRequest) -> DepthwiseConv:
    torch.manual_seed(1)
    return DepthwiseConv(16, *request.param)


def gradients(conv: nn.Conv2d, x: Tensor, bf16: bool) -> tuple[Tensor, Tensor, Tensor]:
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        y = conv(x)
    conv.zero_grad()
    y.float().pow(2).sum().backward()
    assert x.grad is not None
    assert conv.weight.grad is not None
    return y, x.grad, conv.weight.grad.clone()


def test_it_computes_what_torch_computes(conv: DepthwiseConv) -> None:
    x = torch.randn(2, 16, 9, 9)
    for bf16, tolerance in ((False, 1e-6), (True, 2e-2)):
        found, expected = gradients(conv, x, bf16), gradients(same_weights(conv), x, bf16)
        assert found[0].dtype == expected[0].dtype
        for own, other in zip(found, expected, strict=True):
            assert (own - other).abs().max() <= tolerance * other.abs().max()


def test_slow_gradients_are_computed_in_fp32(conv: DepthwiseConv) -> None:
    slow = conv.stride != (1, 1) or conv.kernel_size == (7, 7)
    with Gradients() as noted:
        gradients(conv, torch.randn(2, 16, 9, 9), bf16=True)
    assert noted.types == [torch.float32 if slow else torch.bfloat16]


def test_answers_without_gradients_stay_in_bf16(conv: DepthwiseConv) -> None:
    x = torch.randn(2, 16, 9, 9)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(conv(x), same_weights(conv)(x))


def test_weights_in_bf16_compute_what_torch_computes(conv: DepthwiseConv) -> None:
    conv, x = conv.bfloat16(), torch.randn(2, 16, 9, 9).bfloat16()
    assert torch.equal(conv(x), same_weights(conv).bfloat16()(x))
