"""PartialFC (An et al. 2022): a margin head for more classes than fit one device or one step.

Every rank of `torch.distributed` holds the weights of its own share of the classes and sees the embeddings of all
ranks; the softmax runs over the classes of all ranks. Without `torch.distributed` one process holds all classes.
Of its classes a rank uses a sampled share a step, always with the right classes of the batch among them.

How gradients add up. `loss` is the mean over the batch of all ranks, the same number on each. After `backward()`

- the head's `weight` holds its gradient of that mean: do not average it over ranks;
- what flows back into the embeddings is scaled by the number of ranks, as that of a mean over a rank's own batch
  would be: averaged over ranks (summed and divided by their number), the gradients of data-parallel parameters are
  those of the mean over all ranks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F

from edgefr.errors import EdgefrError
from edgefr.nn.margin_heads import WEIGHT_STD, build_margin, known_rows, length_of, nothing


class SampledHead(nn.Module):
    """The classes of this rank, and the loss of all ranks' embeddings against a sample of all ranks' classes.

    `weight` (classes of this rank, K) are classes `first` and following. Classes that were not sampled get a
    gradient of exactly zero. An optimiser treats them as any parameter without gradient: momentum lets them coast
    for the few steps that it remembers, and weight decay only shortens them, which cosines do not see.
    """

    def __init__(self, name: str, embedding_dim: int, classes: int, sample: float = 1.0) -> None:
        """`sample` is the share of its classes that a rank uses a step, right classes included.

        Processes are joined before the head is made, and seeded alike. Each draws the weights of all ranks and
        keeps its own: equal seeds shall not make equal weights, nor leave the generators in different states.

        Raises:
            EdgefrError: there is no such margin head, fewer classes than ranks, or no such share.
        """
        super().__init__()
        rank, self.ranks = place()
        if not 0 < sample <= 1:
            raise EdgefrError("a share of classes above 0 and at most 1", str(sample), "correct the recipe")
        if classes < self.ranks:
            raise EdgefrError(f"at least a class for each of the {self.ranks} processes", str(classes), "start fewer")
        self.margin = build_margin(name)
        self.sample = sample
        bounds = [classes * index // self.ranks for index in range(self.ranks + 1)]
        self.first = bounds[rank]
        for index in range(self.ranks):
            drawn = WEIGHT_STD * torch.randn(bounds[index + 1] - bounds[index], embedding_dim)
            if index == rank:
                self.weight = nn.Parameter(drawn)

    def loss(self, embedding: Tensor, labels: Tensor, norm: Tensor | None = None) -> Tensor:
        """Mean cross-entropy over all ranks' batches, in nats, and the margin's penalty: a scalar, equal everywhere.

        Embeddings (B, K), not normalised, labels (B,) int64 and, as in `Head.forward`, norms (B, 1) of this
        rank; B is the same on every rank. Rows labelled -1 are left out of the mean, N remain on all ranks
        together; where none do, the loss is zero. C is the number of classes used here.
        """
        norm = gather(length_of(embedding) if norm is None else norm)
        embedding, labels, norm = known_rows(gather(embedding), gather(labels), norm)  # (N, K), (N,), (N, 1)
        if not len(labels):
            return nothing(embedding, self)
        weight, target = self._choose(labels)  # (C, K), (N,)
        here = (target >= 0).unsqueeze(1)  # (N, 1)
        column = target.clamp(min=0).unsqueeze(1)  # (N, 1)
        cosine = F.linear(F.normalize(embedding), F.normalize(weight))  # (N, C)
        own = sum_over_ranks(cosine.gather(1, column).where(here, 0))  # (N, 1)
        logits = self.margin(cosine, target, own, norm)  # (N, C)
        partition = log_sum_exp_over_ranks(logits.logsumexp(1))  # (N,)
        right = sum_over_ranks(logits.gather(1, column).where(here, 0)).squeeze(1)  # (N,)
        # Every rank knows all norms and would add the whole penalty's gradient to what `gather` sums.
        penalty = sum_over_ranks(self.margin.penalty(norm) / self.ranks)
        return (partition - right).mean() + penalty

    def _choose(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The weights to use this step (C, K), and the row of each label (N,) among them, -1 where it has none.

        Torch's generator chooses; ranks have different classes, so their choices need not be coordinated.
        """
        local = labels - self.first
        here = (local >= 0) & (local < len(self.weight))
        if self.sample == 1:
            return self.weight, local.where(here, -1)
        right = torch.unique(local[here])
        # Right classes come first, the others in random order.
        order = torch.rand(len(self.weight), device=labels.device).index_fill(0, right, 2.0)
        count = max(len(right), round(self.sample * len(self.weight)), 1)
        chosen = order.topk(count).indices.sort().values  # (C,)
        return self.weight[chosen], torch.searchsorted(chosen, local).where(here, -1)


def place() -> tuple[int, int]:
    """This process's rank and the number of ranks; 0 and 1 where processes were not joined."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


class _Gather(torch.autograd.Function):
    """All ranks' rows under each other; back go the ranks' gradients summed, times the number of ranks."""

    @staticmethod
    def forward(_ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows)
        return torch.cat(parts)

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:
        rank, ranks = place()
        summed = gradient.clone()
        dist.all_reduce(summed)
        return ranks * summed.chunk(ranks)[rank]


def gather(rows: Tensor) -> Tensor:
    """Rows (B, ...) of each rank -> those of all ranks (N, ...), in the order of ranks.

    The gradient of a rank's rows is scaled by the number of ranks (see the head of this file).
    """
    if place()[1] == 1:
        return rows
    gathered: Tensor = _Gather.apply(rows.contiguous())  # type: ignore[no-untyped-call]
    return gathered


def sum_over_ranks(part: Tensor) -> Tensor:
    """The sum of all ranks' tensors of one shape; a rank's gradient is that of its own part."""
    if place()[1] == 1:
        return part
    total = part.detach().clone()
    dist.all_reduce(total)
    return part + (total - part.detach())


def log_sum_exp_over_ranks(part: Tensor) -> Tensor:
    """log(sum(exp(part))) over all ranks, elementwise; a rank's gradient is that of its own part."""
    if place()[1] == 1:
        return part
    highest = part.detach().clone()
    dist.all_reduce(highest, dist.ReduceOp.MAX)
    return highest + sum_over_ranks((part - highest).exp()).log()
