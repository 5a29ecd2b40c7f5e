"""PartialFC (An et al. 2022): a margin head for more classes than fit into one device or one step.

Every rank of `torch.distributed` holds the weights of its own classes and receives the embeddings of all ranks; the
softmax runs over the classes of all ranks. Without `torch.distributed` one process holds all classes. In each step a
rank uses a sample of its classes that always contains the right classes of the batch.

Gradients: `loss` is the mean over the batches of all ranks, the same number on each. After `backward()`

- the `weight` of the head holds its gradient of that mean: do not average it over ranks;
- the gradient of the embeddings is scaled by the number of ranks, as that of a mean over the rank's own batch would
  be. Averaged over ranks, the gradients of data-parallel parameters are those of the mean over all ranks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F

from edgefr.errors import InvalidArgumentError
from edgefr.nn.margin_heads import WEIGHT_STD, build_margin, embedding_norm, labelled_rows, zero_loss


class SampledHead(nn.Module):
    """The classes of this rank, and the loss of all ranks' embeddings against a sample of all ranks' classes.

    `weight` (classes of this rank, K) starts with class `first`. Classes that were not sampled get a gradient of
    exactly zero. An optimiser treats them like any parameter without gradient: momentum moves them on for a few steps,
    and weight decay shortens them, which does not change cosines.
    """

    def __init__(self, name: str, embedding_dim: int, classes: int, sample: float = 1.0) -> None:
        """Draw the class weights.

        Processes must be joined before, with equal seeds. Each draws the weights of all ranks and keeps its own:
        otherwise equal seeds would give equal weights, or leave the generators in different states.

        Args:
            name: A key of `margin_heads.MARGINS`.
            embedding_dim: Length K of the embeddings.
            classes: Number of classes of all ranks together.
            sample: Share of its classes that a rank uses in a step, including the right classes.

        Raises:
            InvalidArgumentError: There is no such margin head, there are fewer classes than ranks, or the share is
                not above 0 and at most 1.
        """
        super().__init__()
        rank, self.ranks = rank_and_world_size()
        if not 0 < sample <= 1:
            raise InvalidArgumentError("a share of classes above 0 and at most 1", str(sample), "correct the recipe")
        if classes < self.ranks:
            raise InvalidArgumentError(
                f"at least one class for each of the {self.ranks} processes", str(classes), "start fewer processes"
            )
        self.margin = build_margin(name)
        self.sample = sample
        bounds = [classes * index // self.ranks for index in range(self.ranks + 1)]
        self.first = bounds[rank]
        for index in range(self.ranks):
            drawn = WEIGHT_STD * torch.randn(bounds[index + 1] - bounds[index], embedding_dim)
            if index == rank:
                self.weight = nn.Parameter(drawn)

    def loss(self, embedding: Tensor, labels: Tensor, norm: Tensor | None = None) -> Tensor:
        """Mean cross-entropy over the batches of all ranks, in nats, plus the penalty of the margin.

        Args:
            embedding: (B, K) of this rank, not normalised; B is the same on every rank.
            labels: (B,) int64; rows labelled -1 are left out.
            norm: (B, 1) as in `Head.forward`.

        Returns:
            A scalar that is equal on all ranks; zero if no row has a label.
        """
        norm = gather(embedding_norm(embedding) if norm is None else norm)
        embedding, labels, norm = labelled_rows(gather(embedding), gather(labels), norm)  # (N, K), (N,), (N, 1)
        if not len(labels):
            return zero_loss(embedding, self)
        weight, target = self._sample_classes(labels)  # (C, K), (N,)
        present = (target >= 0).unsqueeze(1)  # (N, 1)
        column = target.clamp(min=0).unsqueeze(1)  # (N, 1)
        cosine = F.linear(F.normalize(embedding), F.normalize(weight))  # (N, C)
        target_cosine = sum_over_ranks(cosine.gather(1, column).where(present, 0))  # (N, 1)
        logits = self.margin(cosine, target, target_cosine, norm)  # (N, C)
        partition = log_sum_exp_over_ranks(logits.logsumexp(1))  # (N,)
        target_logit = sum_over_ranks(logits.gather(1, column).where(present, 0)).squeeze(1)  # (N,)
        # Every rank has all norms and would add the whole penalty's gradient to what `gather` sums.
        penalty = sum_over_ranks(self.margin.penalty(norm) / self.ranks)
        return (partition - target_logit).mean() + penalty

    def _sample_classes(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The weights of this step (C, K), and the row of each label (N,) among them, -1 if it has none.

        Torch's generator draws. Ranks have different classes, so they need not coordinate.
        """
        local = labels - self.first
        mine = (local >= 0) & (local < len(self.weight))
        if self.sample == 1:
            return self.weight, local.where(mine, -1)
        right = torch.unique(local[mine])
        # Right classes come first, the others in random order.
        order = torch.rand(len(self.weight), device=labels.device).index_fill(0, right, 2.0)
        count = max(len(right), round(self.sample * len(self.weight)), 1)
        sampled = order.topk(count).indices.sort().values  # (C,)
        return self.weight[sampled], torch.searchsorted(sampled, local).where(mine, -1)


def rank_and_world_size() -> tuple[int, int]:
    """Rank of this process and number of ranks; 0 and 1 if `torch.distributed` is not in use."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


class _Gather(torch.autograd.Function):
    """Concatenates the rows of all ranks; the backward pass sums their gradients, times the number of ranks."""

    @staticmethod
    def forward(_ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows)
        return torch.cat(parts)

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:
        rank, ranks = rank_and_world_size()
        summed = gradient.clone()
        dist.all_reduce(summed)
        return ranks * summed.chunk(ranks)[rank]


def gather(rows: Tensor) -> Tensor:
    """Rows (B, ...) of each rank -> those of all ranks (N, ...), in the order of ranks.

    The gradient of a rank's rows is scaled by the number of ranks (see the top of this file).
    """
    if rank_and_world_size()[1] == 1:
        return rows
    gathered: Tensor = _Gather.apply(rows.contiguous())  # type: ignore[no-untyped-call]
    return gathered


def sum_over_ranks(part: Tensor) -> Tensor:
    """The sum of all ranks' tensors of one shape; a rank's gradient is that of its own part."""
    if rank_and_world_size()[1] == 1:
        return part
    total = part.detach().clone()
    dist.all_reduce(total)
    return part + (total - part.detach())


def log_sum_exp_over_ranks(part: Tensor) -> Tensor:
    """log(sum(exp(part))) over all ranks, elementwise; a rank's gradient is that of its own part."""
    if rank_and_world_size()[1] == 1:
        return part
    highest = part.detach().clone()
    dist.all_reduce(highest, dist.ReduceOp.MAX)
    return highest + sum_over_ranks((part - highest).exp()).log()
