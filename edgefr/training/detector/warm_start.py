"""Starting a training from the exported graph of a detector.

The export folds BatchNorm into the convolutions; training needs it back.
"""

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
"""Prefix of the names of the weights in the graph."""


def unfold_batchnorm(graph: Path, images: Iterable[Tensor], world: World) -> Spot:
    """Load an exported graph into a network with BatchNorm.

    Args:
        graph: The ONNX file.
        images: Batches (B, 3, H, W) from 0 to 255, as in training. The statistics of BatchNorm are measured on them.
        world: Device of the network.

    Returns:
        A network with the same outputs as the graph.

    Raises:
        EdgefrError: The file is not a graph of this detector.
    """
    weights, net = _read_weights(graph), Spot()
    names = {module: name for name, module in net.named_modules()}
    try:
        for conv, norm in _normalised_convolutions(net):
            _split_convolution(weights, names[conv], norm, names[norm])
        net.load_state_dict(weights, strict=True)
    except (KeyError, RuntimeError) as error:
        raise _not_a_graph(f"the graph of a detector in {graph}", "another") from error
    net.to(world.device).eval()
    _set_statistics(net, images)
    return net


def _not_a_graph(expected: str, found: str) -> EdgefrError:
    return EdgefrError(
        expected, found, "give edgefr/assets/spot.onnx, or a file of `edgefr train-detector`, with --set begin=FILE"
    )


def _read_weights(graph: Path) -> dict[str, Tensor]:
    """The constants of the graph by the names of the network's weights."""
    onnx, protobuf = require_extra("onnx", "train"), require_extra("google.protobuf.message", "train")
    try:
        constants = onnx.load(str(graph)).graph.initializer
        named = {constant.name: onnx.numpy_helper.to_array(constant) for constant in constants}
    except (OSError, ValueError, TypeError, protobuf.DecodeError) as error:
        raise _not_a_graph(f"an ONNX file in {graph}", "another file or none") from error
    names = (name for name in named if name.startswith(PREFIX))
    return {name.removeprefix(PREFIX): torch.tensor(named[name]) for name in names}


def _normalised_convolutions(net: Spot) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Each convolution that is followed by BatchNorm, with that BatchNorm."""
    for module in net.modules():
        if isinstance(module, Shrink):
            yield cast(nn.Conv2d, module[0]), cast(nn.BatchNorm2d, module[1])
        elif isinstance(module, Block):
            yield module.depthwise, module.bn1
            yield module.pointwise, module.bn2


def _split_convolution(weights: dict[str, Tensor], conv: str, norm: nn.BatchNorm2d, name: str) -> None:
    """Split a folded convolution into a convolution and a BatchNorm of mean 0 and variance 1.

    The convolution gets weights as large as those of a new one, because a learning rate is relative to their size.
    """
    folded, bias = weights[f"{conv}.weight"], weights.pop(f"{conv}.weight_bias")
    # The deviation of torch's initial weights, which are uniform within 1 / sqrt(inputs).
    initial = folded[0].numel() ** -0.5 / 3**0.5
    scale = (folded.square().mean((1, 2, 3)).sqrt() / initial).clamp(min=1e-6)
    weights[f"{conv}.weight"] = folded / scale[:, None, None, None]
    norm.weight.data.copy_(scale * (1 + norm.eps) ** 0.5)
    norm.bias.data.copy_(bias)
    weights |= {f"{name}.{key}": value for key, value in norm.state_dict().items()}


def _set_statistics(net: Spot, images: Iterable[Tensor]) -> None:
    """Give every BatchNorm the mean statistics of the batches, and adapt its weights so that its output stays the
    same."""
    statistics: dict[nn.BatchNorm2d, list[Tensor]] = {norm: [] for _, norm in _normalised_convolutions(net)}

    def measure(norm: nn.BatchNorm2d, inputs: tuple[Tensor], _: Tensor) -> None:
        values = inputs[0].transpose(0, 1).flatten(1)  # (C, everything else)
        statistics[norm].append(torch.stack([values.mean(1), values.var(1)]))

    hooks = [norm.register_forward_hook(measure) for norm in statistics]
    with torch.no_grad():
        for batch in images:
            net(batch)
    for hook in hooks:
        hook.remove()
    for norm, batches in statistics.items():
        mean, variance = torch.stack(batches).mean(0)
        scale = norm.weight.data / (1 + norm.eps) ** 0.5
        norm.weight.data.copy_(scale * (variance + norm.eps).sqrt())
        norm.bias.data.add_(scale * mean)
        norm.running_mean, norm.running_var = mean, variance
