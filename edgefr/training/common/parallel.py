"""Data-parallel training under `torchrun`: the rank of this process, and what all processes share."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import torch

# Its functions have the group of all processes as a default, which is set when the module is imported, and the first
# step of an optimiser imports it. If that is after `init_process_group`, the group outlives `destroy_process_group`,
# and its threads sometimes abort the process at its exit, after the whole training (torch 2.13.0).
import torch.distributed.nn
from torch import Tensor
from torch import distributed as dist


@dataclass(frozen=True)
class World:
    """The processes that train together.

    Attributes:
        rank: Number of this process, from 0.
        size: Number of processes.
        device: Device of this process.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this process writes the files that all share."""
        return self.rank == 0

    @property
    def key(self) -> tuple[int, ...]:
        """Part of the key of a saved state: the number of processes if there are several."""
        return () if self.size == 1 else (self.size,)

    @property
    def machine(self) -> str:
        """The hardware in words, for manifests."""
        kind = torch.cuda.get_device_name() if self.device.type == "cuda" else "CPU"
        return kind if self.size == 1 else f"{self.size} processes, {kind}"

    def autocast(self) -> torch.autocast:
        """A context that computes in bf16, which needs no loss scaling.

        A CPU without bf16 instructions computes in FP32, because bf16 takes ten times as long there.
        """
        with_onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        supported = self.device.type != "cpu" or (with_onednn and torch.ops.mkldnn._is_mkldnn_bf16_supported())
        return torch.autocast(self.device.type, torch.bfloat16, enabled=supported)

    def mean(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its mean over all processes."""
        if self.size == 1:
            return
        for tensor in tensors:
            dist.all_reduce(tensor)
            tensor /= self.size

    def maximum(self, value: float) -> float:
        """The largest value of all processes, so that they decide alike."""
        if self.size == 1:
            return value
        tensor = torch.tensor([value], device=self.device, dtype=torch.float64)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return float(tensor)

    def barrier(self) -> None:
        """Wait until all processes reach this call."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def join_world(address: str | None = None) -> Iterator[World]:
    """Join the processes that `torchrun` started, or train in this process alone; on GPUs if there are any.

    Args:
        address: Where the processes meet, an `init_method` of torch; what torchrun says if not given.
    """
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    gpu = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if gpu else torch.device("cpu")
    if size == 1:
        yield World(device=device)
        return
    if gpu:
        torch.cuda.set_device(device)
    # The first process may cache feature maps for hours while the others wait.
    backend, timeout = "nccl" if gpu else "gloo", timedelta(days=7)
    dist.init_process_group(backend, address, timeout, world_size=size, rank=rank)
    try:
        yield World(rank, size, device)
    finally:
        dist.destroy_process_group()


@contextmanager
def threads_beside_workers(workers: int) -> Iterator[None]:
    """Limit torch to the cores that the loading processes leave free.

    On two cores, a detector trains on 50 pictures a second with two threads next to one worker, and on 72 with one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads - workers))
    try:
        yield
    finally:
        torch.set_num_threads(threads)
