"""AdaFace's head against its formula in float64, value and gradient."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402

from edgefr.nn.heads import AdaFaceHead  # noqa: E402


def from_scratch(embedding, weight, labels, mean: float, std: float) -> torch.Tensor:
    """The paper's equations, one logit at a time."""
    logits = []
    for x, label in zip(embedding, labels, strict=True):
        z = max(-1.0, min(1.0, 0.333 * (x.norm().item() - mean) / (std + 1e-3)))
        row = []
        for index, w in enumerate(weight):
            cosine = (x @ w) / (x.norm() * w.norm())
            if index == label:
                angle = (torch.acos(cosine) - 0.4 * z).clamp(1e-3, math.pi - 1e-3)
                cosine = torch.cos(angle) - 0.4 * (1 + z)
            row.append(64 * cosine)
        logits.append(torch.stack(row))
    return torch.stack(logits)


def test_logits_and_gradients_are_the_formulas() -> None:
    torch.manual_seed(0)
    head = AdaFaceHead(8, 5).double().eval()
    head.norm_mean.fill_(2.5)
    head.norm_std.fill_(0.3)
    embedding = torch.randn(6, 8, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    ours = head(embedding, labels)
    (mine,) = torch.autograd.grad(F.cross_entropy(ours, labels), embedding)
    wanted = from_scratch(embedding, head.weight, labels, 2.5, 0.3)
    (theirs,) = torch.autograd.grad(F.cross_entropy(wanted, labels), embedding)
    torch.testing.assert_close(ours, wanted)
    torch.testing.assert_close(mine, theirs)


def test_batch_statistics_are_taken_in_before_use_and_only_in_training() -> None:
    head = AdaFaceHead(4, 3)
    embedding = 5 * F.normalize(torch.randn(4, 4)) * torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    head.eval()(embedding, torch.zeros(4, dtype=torch.int64))
    assert head.norm_mean == 20
    head.train()(embedding, torch.zeros(4, dtype=torch.int64))
    assert head.norm_mean.item() == pytest.approx(0.99 * 20 + 0.01 * 12.5)
