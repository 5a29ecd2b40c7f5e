"""Milliseconds of a picture in a training step of each network: the forward pass, and all of it.

`EDGEFR_BEFORE=CHECKOUT python -m bench network_steps` takes the version before in turns. Networks have random weights
and pictures are noise, which does not change the time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from statistics import median
from time import perf_counter
from typing import Any

from bench.turns import REPOSITORY, checkout_before

NETWORKS = ("mini", "mobilefacenet", "mbf", "spot")
ROUNDS, STEPS, BATCH = 3, 4, 32


def run(rounds: int = ROUNDS) -> dict[str, Any]:
    """A row for each network: medians of the rounds, and of the ratios of their steps."""
    before = checkout_before()
    versions = {"edgefr": REPOSITORY} | ({} if before is None else {"before": before})
    rows: dict[str, Any] = {}
    for network in NETWORKS:
        found: dict[str, list[dict[str, float]]] = {name: [] for name in versions}
        for _ in range(rounds):
            for name, checkout in versions.items():
                command = [sys.executable, __file__, network]
                environment = os.environ | {"PYTHONPATH": str(checkout)}
                done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd="/")
                found[name].append(json.loads(done.stdout))
        for name, times in found.items():
            medians = {part: round(median(time[part] for time in times), 2) for part in times[0]}
            rows.setdefault(network, {})[name] = medians
        if before is not None:
            pairs = zip(found["edgefr"], found["before"], strict=True)
            rows[network]["ratio"] = round(median(own["step_ms"] / other["step_ms"] for own, other in pairs), 3)
    return rows


def measure(network: str) -> dict[str, float]:
    """Milliseconds of a picture on one thread."""
    import torch

    from edgefr.nn.architectures import build_backbone
    from edgefr.nn.spot_network import Spot
    from edgefr.training.common.parallel import World
    from edgefr.training.recogniser.fusion_training import set_memory_layout

    if find_spec("edgefr.training.common.memory"):  # the version before has none
        import_module("edgefr.training.common.memory").keep_freed_memory()
    torch.set_num_threads(1)
    net = (Spot() if network == "spot" else build_backbone(network)).train()
    set_memory_layout(net, torch.channels_last)
    side = 256 if network == "spot" else 112
    image = torch.randn(BATCH, 3, side, side).to(memory_format=torch.channels_last)

    def forward() -> Any:
        with World().autocast():
            found = net(image)
        return found if network == "spot" else found.embedding

    def step() -> None:
        forward().float().pow(2).mean().backward()

    with torch.no_grad():
        forward_ms = _milliseconds(forward)
    return {"forward_ms": forward_ms, "step_ms": _milliseconds(step)}


def _milliseconds(function: Any) -> float:
    function()
    start = perf_counter()
    for _ in range(STEPS):
        function()
    return 1e3 * (perf_counter() - start) / STEPS / BATCH


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
