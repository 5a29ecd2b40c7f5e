"""Data-parallel training under `torchrun`: who this process is, and what all processes agree on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import torch
from torch import Tensor
from torch import distributed as dist


@dataclass(frozen=True)
class World:
    """This process among `size`, and the device it computes on."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this is the process that writes what all have in common."""
        return self.rank == 0

    @property
    def key(self) -> tuple[int, ...]:
        """What a state depends on: the number of processes, where there are several."""
        return () if self.size == 1 else (self.size,)

    @property
    def machine(self) -> str:
        """What computes, in words."""
        kind = torch.cuda.get_device_name() if self.device.type == "cuda" else "CPU"
        return kind if self.size == 1 else f"{self.size} processes, {kind}"

    def autocast(self) -> torch.autocast:
        """bf16 where it is safe; it needs no loss scaling. A processor that has no instructions for it takes ten times
        as long as in FP32, so it computes in that."""
        with_onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        able = self.device.type != "cpu" or (with_onednn and torch.ops.mkldnn._is_mkldnn_bf16_supported())
        return torch.autocast(self.device.type, torch.bfloat16, enabled=able)

    def mean(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its mean over all processes."""
        if self.size == 1:
            return
        for tensor in tensors:
            dist.all_reduce(tensor)
            tensor /= self.size

    def largest(self, value: float) -> float:
        """The largest of all processes' values: every process then decides alike."""
        if self.size == 1:
            return value
        tensor = torch.tensor([value], device=self.device, dtype=torch.float64)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return float(tensor)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def world() -> Iterator[World]:
    """The processes that `torchrun` started, or this one alone; on GPUs where there are any."""
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    gpu = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if gpu else torch.device("cpu")
    if size == 1:
        yield World(device=device)
        return
    if gpu:
        torch.cuda.set_device(device)
    # The first process may cache feature maps for hours while the others wait.
    dist.init_process_group("nccl" if gpu else "gloo", timeout=timedelta(days=7))
    try:
        yield World(rank, size, device)
    finally:
        dist.destroy_process_group()


@contextmanager
def cores_left_by(workers: int) -> Iterator[None]:
    """Compute on the cores that so many loading processes leave. Where both want all of them, each waits for the
    other: on two cores a detector learned from 50 pictures a second beside one worker, and from 72 on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads - workers))
    try:
        yield
    finally:
        torch.set_num_threads(threads)
