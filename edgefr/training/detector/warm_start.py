"""A detector's exported graph as weights to go on from: the export folded BatchNorm into the convolutions, and training
needs it back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from edgefr.errors import EdgefrError, require_extra
from edgefr.nn.spot_network import Block, Shrink, Spot
from edgefr.training.common.parallel import World

PREFIX = "net."
"""Before the names that the net's weights have in the graph."""


def unfolded(graph: Path, pictures: Iterable[Tensor], world: World) -> Spot:
    """The net of a graph, on this process's device. It answers as the graph does, and is normalised by the statistics
    of `pictures`, batches (B, 3, H, W) from 0 to 255, as it will be in training.

    Raises:
        EdgefrError: the file is no graph of this detector.
    """
    weights, net = _weights(graph), Spot()
    names = {module: name for name, module in net.named_modules()}
    try:
        for conv, norm in _normalised(net):
            _divide(weights, names[conv], norm, names[norm])
        net.load_state_dict(weights, strict=True)
    except (KeyError, RuntimeError) as error:
        raise EdgefrError(
            f"a detector's graph in {graph}",
            "another",
            "give edgefr/assets/spot.onnx, or what `edgefr train-detector` wrote, with --set begin=FILE",
        ) from error
    net.to(world.device).eval()
    _measure(net, pictures)
    return net


def _weights(graph: Path) -> dict[str, Tensor]:
    """The graph's constants by the names of the net's weights."""
    onnx, protobuf = require_extra("onnx", "train"), require_extra("google.protobuf.message", "train")
    try:
        constants = onnx.load(str(graph)).graph.initializer
        named = {constant.name: onnx.numpy_helper.to_array(constant) for constant in constants}
    except (OSError, ValueError, TypeError, protobuf.DecodeError) as error:
        raise EdgefrError(
            f"an ONNX file in {graph}",
            "another or none",
            "give edgefr/assets/spot.onnx, or what `edgefr train-detector` wrote, with --set begin=FILE",
        ) from error
    ours = (name for name in named if name.startswith(PREFIX))
    return {name.removeprefix(PREFIX): torch.tensor(named[name]) for name in ours}


def _normalised(net: Spot) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Each convolution that BatchNorm follows, and the one that does."""
    for module in net.modules():
        if isinstance(module, Shrink):
            yield cast(nn.Conv2d, module[0]), cast(nn.BatchNorm2d, module[1])
        elif isinstance(module, Block):
            yield module.depthwise, module.bn1
            yield module.pointwise, module.bn2


def _divide(weights: dict[str, Tensor], conv: str, norm: nn.BatchNorm2d, name: str) -> None:
    """Share a folded convolution out among a convolution as large as a new one, for a learning rate means a share of
    its weights, and a BatchNorm of mean 0 and variance 1."""
    folded, bias = weights[f"{conv}.weight"], weights.pop(f"{conv}.weight_bias")
    new = folded[0].numel() ** -0.5 / 3**0.5  # the deviation that torch begins with: uniform within 1/sqrt(inputs)
    scale = (folded.square().mean((1, 2, 3)).sqrt() / new).clamp(min=1e-6)
    weights[f"{conv}.weight"] = folded / scale[:, None, None, None]
    norm.weight.data.copy_(scale * (1 + norm.eps) ** 0.5)
    norm.bias.data.copy_(bias)
    weights |= {f"{name}.{key}": value for key, value in norm.state_dict().items()}


def _measure(net: Spot, pictures: Iterable[Tensor]) -> None:
    """Give every BatchNorm the mean and variance of what it is shown, as batches have them on the average, and change
    what it says of that by nothing."""
    seen: dict[nn.BatchNorm2d, list[Tensor]] = {norm: [] for _, norm in _normalised(net)}

    def see(norm: nn.BatchNorm2d, shown: tuple[Tensor], _: Tensor) -> None:
        values = shown[0].transpose(0, 1).flatten(1)  # (C, everything else)
        seen[norm].append(torch.stack([values.mean(1), values.var(1)]))

    hooks = [norm.register_forward_hook(see) for norm in seen]
    with torch.no_grad():
        for batch in pictures:
            net(batch)
    for hook in hooks:
        hook.remove()
    for norm, batches in seen.items():
        mean, variance = torch.stack(batches).mean(0)
        scale = norm.weight.data / (1 + norm.eps) ** 0.5
        norm.weight.data.copy_(scale * (variance + norm.eps).sqrt())
        norm.bias.data.add_(scale * mean)
        norm.running_mean, norm.running_var = mean, variance
