"""Classification heads: class weights, and margin losses that demand more than the right answer.

A margin head has two parts. Its class weights give cosines (`MarginHead` holds all classes, `SampledHead` of
`partial_fc.py` some of them). A `Margin` lowers the logit of the right class. All margins scale by 64. Heads compute
in the precision of their inputs: call them in float32, outside autocast.

A new margin is a subclass of `Margin` and an entry of `MARGINS`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgefr.errors import InvalidArgumentError

WEIGHT_STD = 0.01
"""Standard deviation of the normal distribution of initial class weights, as in arcface_torch."""

SAFE_COSINE = 1 - 1e-6
"""Target cosines are clamped to this, because the slope of the angle is infinite at one."""


class Margin(nn.Module, ABC):
    """Turns cosines into logits; a subclass defines the logit of the right class.

    `trains_norm` says that the loss shapes the norm of the embedding, so that it needs the norm of the very embedding
    it is given.
    """

    scale = 64.0
    trains_norm = False

    def forward(self, cosine: Tensor, target: Tensor, target_cosine: Tensor, norm: Tensor) -> Tensor:
        """Scaled logits.

        Args:
            cosine: (B, C) cosines with C classes.
            target: (B,) column of the right class, -1 if it is not among the C.
            target_cosine: (B, 1) cosine with the right class, also if it is not among the C: hard negatives and
                running statistics need it.
            norm: (B, 1) length of the embeddings.

        Returns:
            (B, C) logits.
        """
        logit = self.target_logit(target_cosine.clamp(-SAFE_COSINE, SAFE_COSINE), norm)  # (B, 1)
        cosine = self.reweight_negatives(cosine, logit)
        column = target.clamp(min=0).unsqueeze(1)  # (B, 1)
        present = (target >= 0).unsqueeze(1)  # (B, 1)
        return self.scale * cosine.scatter(1, column, torch.where(present, logit, cosine.gather(1, column)))

    @abstractmethod
    def target_logit(self, cosine: Tensor, norm: Tensor) -> Tensor:
        """Cosines with the right class (B, 1) and norms (B, 1) -> unscaled logits of the right class (B, 1)."""

    def reweight_negatives(self, cosine: Tensor, target_logit: Tensor) -> Tensor:
        """Cosines (B, C) and logits of the right class (B, 1) -> unscaled logits of wrong classes (B, C)."""
        return cosine

    def penalty(self, norm: Tensor) -> Tensor:
        """Added to the loss for norms (B, 1): a scalar, the mean over the batch."""
        return norm.new_zeros(())


def add_angle(cosine: Tensor, margin: Tensor) -> Tensor:
    """cos(theta + m) of cosines (B, 1) and margins (B, 1) -> (B, 1).

    Past theta + m = pi, where this would rise again, it is CosFace's cos(theta) - m * sin(m), as in the published code
    of ArcFace and CurricularFace (which write sin(pi - m)).
    """
    angle = cosine.acos() + margin
    return torch.where(angle > torch.pi, cosine - margin * margin.sin(), angle.cos())


class SphereFace(Margin):
    """psi(theta) = (-1)^k * cos(m * theta) - 2k on [k * pi / m, (k + 1) * pi / m] (Liu et al. 2017, eq. 6).

    Falls from 1 to 1 - 2m as theta goes from 0 to pi.
    """

    factor = 4

    def target_logit(self, cosine: Tensor, norm: Tensor) -> Tensor:
        angle = self.factor * cosine.acos()
        k = (angle.detach() / torch.pi).floor()
        return (1 - 2 * (k % 2)) * angle.cos() - 2 * k


class CosFace(Margin):
    """cos(theta) - m (Wang et al. 2018)."""

    margin = 0.4

    def target_logit(self, cosine: Tensor, norm: Tensor) -> Tensor:
        return cosine - self.margin


class ArcFace(Margin):
    """cos(theta + m) (Deng et al. 2019), differentiated through the angle."""

    margin = 0.5

    def target_logit(self, cosine: Tensor, norm: Tensor) -> Tensor:
        return add_angle(cosine, torch.full_like(cosine, self.margin))


class AdaFace(Margin):
    """The margin follows the norm as a proxy of image quality (Kim et al. 2022).

    cos(clip(theta - m * z, e, pi - e)) - m * (1 + z) with z = clip(h * (norm - mean) / (std + e), -1, 1). Norms are
    clipped and detached. Their mean and deviation are running averages that include each batch before they are used
    (published `head.py`). The averages start at those of the first batch. The published code starts at 20 and 100,
    which fit its own networks; embeddings with other norms would all get the same margin, whatever their quality, for
    hundreds of batches.
    """

    margin, concentration, epsilon, momentum = 0.4, 0.333, 1e-3, 0.01
    norm_mean: Tensor
    norm_std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("norm_mean", torch.tensor(torch.nan))  # unknown until the first batch
        self.register_buffer("norm_std", torch.tensor(torch.nan))

    def target_logit(self, cosine: Tensor, norm: Tensor) -> Tensor:
        z = self._quality(norm)  # (B, 1)
        angle = (cosine.acos() - self.margin * z).clamp(self.epsilon, torch.pi - self.epsilon)
        return angle.cos() - self.margin * (1 + z)

    @torch.no_grad()
    def _quality(self, norm: Tensor) -> Tensor:
        """Norms (B, 1) in deviations from their running mean, clipped to [-1, 1]; 0 while that is unknown."""
        norm = norm.clamp(1e-3, 100)
        if self.training and len(norm) > 1:  # one face has no deviation
            for average, value in ((self.norm_mean, norm.mean()), (self.norm_std, norm.std())):
                average.copy_(torch.where(average.isnan(), value, average.lerp(value, self.momentum)))
        z = self.concentration * (norm - self.norm_mean) / (self.norm_std + self.epsilon)
        return z.clamp(-1, 1).nan_to_num(0.0)


class CurricularFace(ArcFace):
    """ArcFace whose hard negatives weigh more as training succeeds (Huang et al. 2020).

    The cosine of a wrong class that exceeds the logit of the right class becomes cos * (t + cos). t is the running
    average of the cosine with the right class; it includes each batch before it is used.
    """

    momentum = 0.01
    t: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("t", torch.tensor(0.0))

    def target_logit(self, cosine: Tensor, norm: Tensor) -> Tensor:
        if self.training:
            self.t.lerp_(cosine.detach().mean(), self.momentum)
        return super().target_logit(cosine, norm)

    def reweight_negatives(self, cosine: Tensor, target_logit: Tensor) -> Tensor:
        return torch.where(cosine > target_logit, cosine * (self.t + cosine), cosine)


class MagFace(Margin):
    """ArcFace whose margin grows with the norm, and a penalty that makes norms grow (Meng et al. 2021).

    m is linear from 0.45 at a norm of 10 to 0.8 at 110; the penalty is lambda * (a / 110^2 + 1 / a). As in the
    published `magface.py`, norms are clamped to that range and not detached, so a norm outside gets no gradient.
    Embeddings must start inside, and no other loss may change their norm. Past theta + m = pi it is ArcFace; the
    published code drops the margin for every angle above pi / 2 (`easy_margin`).
    """

    norms, margins, weight = (10.0, 110.0), (0.45, 0.8), 35.0
    trains_norm = True

    def target_logit(self, cosine: Tensor, norm: Tensor) -> Tensor:
        (low, high), (least, most) = self.norms, self.margins
        return add_angle(cosine, least + (most - least) / (high - low) * (norm.clamp(low, high) - low))

    def penalty(self, norm: Tensor) -> Tensor:
        low, high = self.norms
        a = norm.clamp(low, high)
        return self.weight * (a / high**2 + 1 / a).mean()


MARGINS: dict[str, type[Margin]] = {
    "sphereface": SphereFace,
    "cosface": CosFace,
    "arcface": ArcFace,
    "adaface": AdaFace,
    "curricularface": CurricularFace,
    "magface": MagFace,
}
"""Margin heads by the names that recipes use."""


def head_names() -> tuple[str, ...]:
    """Names that `build_head` accepts: `softmax`, which has no margin, and those of `MARGINS`."""
    return ("softmax", *MARGINS)


def trains_norm(name: str) -> bool:
    """Whether the head of this name needs the norm of the very embedding it is given (see `Margin`)."""
    return name in MARGINS and MARGINS[name].trains_norm


def build_margin(name: str) -> Margin:
    """Make a margin by name.

    Args:
        name: A key of `MARGINS`.

    Raises:
        InvalidArgumentError: There is no such margin; `softmax` has none.
    """
    if name not in MARGINS:
        raise InvalidArgumentError(f"a margin head among {', '.join(MARGINS)}", f"{name!r}", "name one of these")
    return MARGINS[name]()


def embedding_norm(embedding: Tensor) -> Tensor:
    """(B, K) -> (B, 1)."""
    norm: Tensor = embedding.norm(dim=1, keepdim=True)
    return norm


def labelled_rows(embedding: Tensor, labels: Tensor, norm: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The rows of (B, K), (B,) and (B, 1) with a label of at least 0."""
    labelled = labels >= 0
    return embedding[labelled], labels[labelled], norm[labelled]


def zero_loss(embedding: Tensor, head: nn.Module) -> Tensor:
    """The loss of no rows: zero with zero gradients, because processes average gradients of every parameter."""
    return 0 * torch.stack([embedding.sum(), *(parameter.sum() for parameter in head.parameters())]).sum()


class Head(nn.Module, ABC):
    """Weights of every class, (classes, K), and the loss of embeddings."""

    def __init__(self, embedding_dim: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(WEIGHT_STD * torch.randn(classes, embedding_dim))

    @abstractmethod
    def forward(self, embedding: Tensor, labels: Tensor, norm: Tensor | None = None) -> Tensor:
        """Logits of all classes.

        Args:
            embedding: (B, K), not normalised.
            labels: (B,) int64.
            norm: (B, 1) used instead of the norm of the embedding. For an embedding that is a sample around mu, the
                detached norm of mu says more about the image.

        Returns:
            (B, classes) logits.
        """

    def penalty(self, norm: Tensor) -> Tensor:
        """Added to the loss for norms (B, 1): a scalar, the mean over the batch."""
        return norm.new_zeros(())

    def loss(self, embedding: Tensor, labels: Tensor, norm: Tensor | None = None) -> Tensor:
        """Mean cross-entropy in nats plus the penalty.

        Args:
            embedding: As for `forward`.
            labels: As for `forward`; rows labelled -1 are left out.
            norm: As for `forward`.

        Returns:
            A scalar; zero if no row has a label.
        """
        norm = embedding_norm(embedding) if norm is None else norm
        embedding, labels, norm = labelled_rows(embedding, labels, norm)
        if not len(labels):
            return zero_loss(embedding, self)
        return F.cross_entropy(self(embedding, labels, norm), labels) + self.penalty(norm)


class SoftmaxHead(Head):
    """The paper's decoder q(y | z): a linear layer with bias on the embedding."""

    def __init__(self, embedding_dim: int, classes: int) -> None:
        super().__init__(embedding_dim, classes)
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, embedding: Tensor, labels: Tensor, norm: Tensor | None = None) -> Tensor:
        """(B, K) -> (B, classes); labels and norm change nothing."""
        return F.linear(embedding, self.weight, self.bias)


class MarginHead(Head):
    """Cosines with every class, and a margin."""

    def __init__(self, margin: Margin, embedding_dim: int, classes: int) -> None:
        super().__init__(embedding_dim, classes)
        self.margin = margin

    def forward(self, embedding: Tensor, labels: Tensor, norm: Tensor | None = None) -> Tensor:
        """(B, K) and labels (B,) -> (B, classes)."""
        cosine = F.linear(F.normalize(embedding), F.normalize(self.weight))  # (B, classes)
        target_cosine = cosine.gather(1, labels.unsqueeze(1))  # (B, 1)
        logits: Tensor = self.margin(cosine, labels, target_cosine, embedding_norm(embedding) if norm is None else norm)
        return logits

    def penalty(self, norm: Tensor) -> Tensor:
        """The penalty of the margin for norms (B, 1): a scalar."""
        return self.margin.penalty(norm)


def build_head(name: str, embedding_dim: int, classes: int) -> Head:
    """Make a head by name, in training mode, with class weights from N(0, 0.01).

    Args:
        name: One of `head_names()`.
        embedding_dim: Length K of the embeddings.
        classes: Number of classes.

    Raises:
        InvalidArgumentError: There is no such head.
    """
    if name == "softmax":
        return SoftmaxHead(embedding_dim, classes)
    return MarginHead(build_margin(name), embedding_dim, classes)
