"""Heads: class weights, and a loss that asks for more than the right answer.

A margin head is two things. The class weights give cosines (`MarginHead` holds all classes, `SampledHead` of
`partial_fc.py` a part of them); a `Margin` makes the cosine with the right class harder to raise. All margins
scale by 64. Heads compute in the precision of what they are given: call them in float32, outside autocast.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgefr.errors import EdgefrError

HeadName = Literal["softmax", "sphereface", "cosface", "arcface", "adaface", "curricularface", "magface"]
HEADS: tuple[HeadName, ...] = get_args(HeadName)

WEIGHT_STD = 0.01
"""Of the normal distribution that class weights start at, as in arcface_torch."""

SAFE_COSINE = 1 - 1e-6
"""Cosines with the right class are clamped to this: at one, the slope of the angle is infinite."""


class Margin(nn.Module, ABC):
    """From cosines to logits; a subclass says where the cosine with the right class moves to."""

    scale = 64.0

    def forward(self, cosine: Tensor, target: Tensor, own: Tensor, norm: Tensor) -> Tensor:
        """Logits (B, C) of the cosines (B, C) with C classes.

        `target` (B,) is the column of the right class, -1 where it is not among the C. `own` (B, 1) is the cosine
        with the right class, wherever that lies: hard negatives and running statistics need it of every row.
        `norm` (B, 1) is the length of the embeddings.
        """
        moved = self.move(own.clamp(-SAFE_COSINE, SAFE_COSINE), norm)  # (B, 1)
        cosine = self.harden(cosine, moved)
        column = target.clamp(min=0).unsqueeze(1)  # (B, 1)
        here = (target >= 0).unsqueeze(1)  # (B, 1)
        return self.scale * cosine.scatter(1, column, torch.where(here, moved, cosine.gather(1, column)))

    @abstractmethod
    def move(self, own: Tensor, norm: Tensor) -> Tensor:
        """Cosines with the right class (B, 1) and norms (B, 1) -> what stands in the cosines' place (B, 1)."""

    def harden(self, cosine: Tensor, moved: Tensor) -> Tensor:
        """Cosines (B, C) and the moved ones of the right class (B, 1) -> cosines of wrong classes (B, C)."""
        return cosine

    def penalty(self, norm: Tensor) -> Tensor:
        """What the loss adds for norms (B, 1): a scalar, the mean over the batch."""
        return norm.new_zeros(())


def add_angle(cosine: Tensor, margin: Tensor) -> Tensor:
    """cos(theta + m) for (B, 1) cosines and margins; past theta + m = pi, where that would rise again, CosFace's
    cos(theta) - m * sin(m) (ArcFace's and CurricularFace's upstream code, where sin(m) is sin(pi - m))."""
    angle = cosine.acos() + margin
    return torch.where(angle > torch.pi, cosine - margin * margin.sin(), angle.cos())


class SphereFace(Margin):
    """psi(theta) = (-1)^k * cos(m * theta) - 2k on [k * pi / m, (k + 1) * pi / m] (Liu et al. 2017, eq. 6).

    Falls from 1 to 1 - 2m as theta goes from 0 to pi.
    """

    factor = 4

    def move(self, own: Tensor, norm: Tensor) -> Tensor:
        angle = self.factor * own.acos()
        k = (angle.detach() / torch.pi).floor()
        return (1 - 2 * (k % 2)) * angle.cos() - 2 * k


class CosFace(Margin):
    """cos(theta) - m (Wang et al. 2018)."""

    margin = 0.4

    def move(self, own: Tensor, norm: Tensor) -> Tensor:
        return own - self.margin


class ArcFace(Margin):
    """cos(theta + m) (Deng et al. 2019), differentiated through the angle."""

    margin = 0.5

    def move(self, own: Tensor, norm: Tensor) -> Tensor:
        return add_angle(own, torch.full_like(own, self.margin))


class AdaFace(Margin):
    """The margin follows the norm as a proxy of image quality (Kim et al. 2022).

    cos(clip(theta - m * z, e, pi - e)) - m * (1 + z) with z = clip(h * (norm - mean) / (std + e), -1, 1); norms
    are clipped and detached, their mean and deviation are running averages that take each batch in before they
    are used (upstream `head.py`). They start as the first batch's, where upstream starts at 20 and 100: those fit nets
    of its own training, and embeddings of other norms would have one margin, whatever their quality, for the hundreds
    of batches that the averages take to reach them.
    """

    margin, concentration, epsilon, momentum = 0.4, 0.333, 1e-3, 0.01
    norm_mean: Tensor
    norm_std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("norm_mean", torch.tensor(torch.nan))  # not known yet
        self.register_buffer("norm_std", torch.tensor(torch.nan))

    def move(self, own: Tensor, norm: Tensor) -> Tensor:
        z = self._quality(norm)  # (B, 1)
        angle = (own.acos() - self.margin * z).clamp(self.epsilon, torch.pi - self.epsilon)
        return angle.cos() - self.margin * (1 + z)

    @torch.no_grad()
    def _quality(self, norm: Tensor) -> Tensor:
        """Norms (B, 1) in deviations from their running mean, clipped to [-1, 1]; 0 as long as that is not known."""
        norm = norm.clamp(1e-3, 100)
        if self.training and len(norm) > 1:  # one face has no deviation
            for average, found in ((self.norm_mean, norm.mean()), (self.norm_std, norm.std())):
                average.copy_(torch.where(average.isnan(), found, average.lerp(found, self.momentum)))
        z = self.concentration * (norm - self.norm_mean) / (self.norm_std + self.epsilon)
        return z.clamp(-1, 1).nan_to_num(0.0)


class CurricularFace(ArcFace):
    """ArcFace whose hard negatives weigh more as training succeeds (Huang et al. 2020).

    The cosine of a wrong class that exceeds the right one's moved cosine becomes cos * (t + cos), where t is the
    running average of the cosine with the right class; it takes each batch in before it is used.
    """

    momentum = 0.01
    t: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("t", torch.tensor(0.0))

    def move(self, own: Tensor, norm: Tensor) -> Tensor:
        if self.training:
            self.t.lerp_(own.detach().mean(), self.momentum)
        return super().move(own, norm)

    def harden(self, cosine: Tensor, moved: Tensor) -> Tensor:
        return torch.where(cosine > moved, cosine * (self.t + cosine), cosine)


class MagFace(Margin):
    """ArcFace whose margin grows with the norm, and a penalty that makes norms grow (Meng et al. 2021).

    m is linear from 0.45 at a norm of 10 to 0.8 at 110; the penalty is lambda * (a / 110^2 + 1 / a). As upstream
    (`magface.py`) norms are clamped to that range and not detached, so a norm outside it gets no gradient from
    here: give it embeddings that start within, with a norm that no other loss pulls at. Past theta + m = pi it does as
    ArcFace does, where upstream drops the margin at once for every angle above pi / 2 (`easy_margin`).
    """

    norms, margins, weight = (10.0, 110.0), (0.45, 0.8), 35.0

    def move(self, own: Tensor, norm: Tensor) -> Tensor:
        (low, high), (least, most) = self.norms, self.margins
        return add_angle(own, least + (most - least) / (high - low) * (norm.clamp(low, high) - low))

    def penalty(self, norm: Tensor) -> Tensor:
        low, high = self.norms
        a = norm.clamp(low, high)
        return self.weight * (a / high**2 + 1 / a).mean()


MARGINS: dict[str, Callable[[], Margin]] = {
    "sphereface": SphereFace,
    "cosface": CosFace,
    "arcface": ArcFace,
    "adaface": AdaFace,
    "curricularface": CurricularFace,
    "magface": MagFace,
}


def build_margin(name: str) -> Margin:
    """A margin by the name of its head.

    Raises:
        EdgefrError: there is no such head, or it is softmax, which has no margin and no cosines.
    """
    if name not in MARGINS:
        raise EdgefrError(f"a margin head among {', '.join(MARGINS)}", f"{name!r}", "name one of these")
    return MARGINS[name]()


def length_of(embedding: Tensor) -> Tensor:
    """(B, K) -> (B, 1)."""
    length: Tensor = embedding.norm(dim=1, keepdim=True)
    return length


def known_rows(embedding: Tensor, labels: Tensor, norm: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The rows of (B, K), (B,) and (B, 1) that have a label: one of at least 0."""
    known = labels >= 0
    return embedding[known], labels[known], norm[known]


def nothing(embedding: Tensor, head: nn.Module) -> Tensor:
    """The loss of no rows: zero, as are its gradients, which processes average whether they have any or not."""
    return 0 * torch.stack([embedding.sum(), *(parameter.sum() for parameter in head.parameters())]).sum()


class Head(nn.Module, ABC):
    """Weights of every class, (classes, K), and the loss of embeddings against them."""

    def __init__(self, embedding_dim: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(WEIGHT_STD * torch.randn(classes, embedding_dim))

    @abstractmethod
    def forward(self, embedding: Tensor, labels: Tensor, norm: Tensor | None = None) -> Tensor:
        """Embeddings (B, K), not normalised, and labels (B,) int64 -> logits (B, classes).

        `norm` (B, 1) stands for the embeddings' own length where another says more of the image: that of mu,
        detached, where the embedding is a sample around it.
        """

    def penalty(self, norm: Tensor) -> Tensor:
        """What the loss adds for norms (B, 1): a scalar, the mean over the batch."""
        return norm.new_zeros(())

    def loss(self, embedding: Tensor, labels: Tensor, norm: Tensor | None = None) -> Tensor:
        """Mean cross-entropy of the logits, in nats, and the penalty: a scalar. Rows labelled -1 are left out; where
        all are, it is zero."""
        norm = length_of(embedding) if norm is None else norm
        embedding, labels, norm = known_rows(embedding, labels, norm)
        if not len(labels):
            return nothing(embedding, self)
        return F.cross_entropy(self(embedding, labels, norm), labels) + self.penalty(norm)


class SoftmaxHead(Head):
    """The paper's decoder q(y | z): a linear layer with bias on the embedding as it is."""

    def __init__(self, embedding_dim: int, classes: int) -> None:
        super().__init__(embedding_dim, classes)
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, embedding: Tensor, labels: Tensor, norm: Tensor | None = None) -> Tensor:
        """As `Head.forward`; neither labels nor norm change the logits."""
        return F.linear(embedding, self.weight, self.bias)


class MarginHead(Head):
    """Cosines with every class, and a margin."""

    def __init__(self, margin: Margin, embedding_dim: int, classes: int) -> None:
        super().__init__(embedding_dim, classes)
        self.margin = margin

    def forward(self, embedding: Tensor, labels: Tensor, norm: Tensor | None = None) -> Tensor:
        cosine = F.linear(F.normalize(embedding), F.normalize(self.weight))  # (B, classes)
        own = cosine.gather(1, labels.unsqueeze(1))  # (B, 1)
        logits: Tensor = self.margin(cosine, labels, own, length_of(embedding) if norm is None else norm)
        return logits

    def penalty(self, norm: Tensor) -> Tensor:
        """The margin's, for norms (B, 1)."""
        return self.margin.penalty(norm)


def build_head(name: str, embedding_dim: int, classes: int) -> Head:
    """A head by name, in training mode, with class weights from N(0, 0.01).

    Raises:
        EdgefrError: there is no such head.
    """
    if name == "softmax":
        return SoftmaxHead(embedding_dim, classes)
    return MarginHead(build_margin(name), embedding_dim, classes)
