"""Losses on the code of the bottleneck: distillation and labels."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from edgefr.nn.bottleneck import Code, kl_divergence, sample
from edgefr.nn.fused_model import FusedModel
from edgefr.nn.margin_heads import embedding_norm, trains_norm
from edgefr.training.common.parallel import World
from edgefr.training.common.recipes import DistillConfig, VibConfig
from edgefr.training.recogniser.feature_source import FeatureBatch

HeadLoss = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""Loss of embeddings (B, K), labels (B,) and norms (B, 1) that replace the norms of the embeddings."""

ComputeLosses = Callable[[FeatureBatch], dict[str, Tensor]]


def distillation_losses(model: FusedModel, config: DistillConfig, world: World) -> ComputeLosses:
    """Make the losses of distillation; the skip path maps targets into the space of mu and is frozen.

    Labels are not used: on a few thousand images a classifier would lose what the backbones learned from millions.

    Args:
        model: The fused model, with a skip path.
        config: Weights of the losses.
        world: Precision to compute in.

    Returns:
        A function from a batch to its losses.
    """
    skip = model.bottleneck.skip
    assert skip is not None
    skip.requires_grad_(False)

    def compute_losses(batch: FeatureBatch) -> dict[str, Tensor]:
        return imitation_losses(encode(model, batch, world), skip(batch.targets), config)

    return compute_losses


def label_losses(model: FusedModel, head: HeadLoss, config: VibConfig, world: World) -> ComputeLosses:
    """Make the paper's losses: cross-entropy of the sampled code, plus beta times its KL divergence.

    With `anchor`, mu also stays near the distillation targets, and the skip path, which maps them, is frozen;
    otherwise it is trained. Blends, labelled -1, count for all but the cross-entropy. `kl` is logged in nats; `beta kl`
    is its part of the loss.

    Args:
        model: The fused model.
        head: Loss of the classification head.
        config: Weights of the losses.
        world: Precision to compute in.

    Returns:
        A function from a batch to its losses.
    """
    skip = model.bottleneck.skip
    if skip is not None:
        skip.requires_grad_(config.anchor == 0)

    def compute_losses(batch: FeatureBatch) -> dict[str, Tensor]:
        code = encode(model, batch, world)
        # The norm of a sample is mostly noise, so the head gets that of mu, unless its loss trains the norm.
        norm = None if trains_norm(config.head) else embedding_norm(code.mu.detach())
        losses = {"labels": head(sample(code), batch.labels, norm)}
        if code.logvar is not None:
            nats = kl_divergence(code).mean()
            losses |= {"beta kl": config.beta * nats, "kl": nats.detach()}
        if config.anchor and skip is not None:
            mu, target = F.normalize(code.mu), F.normalize(skip(batch.targets))
            losses["anchor"] = config.anchor * (cosine_distance(mu, target) + 10 * pairwise_distance(mu, target))
        return losses

    return compute_losses


def encode(model: FusedModel, batch: FeatureBatch, world: World) -> Code:
    """The code (B, K) of a batch, in float32."""
    with world.autocast():
        code = model.encode(batch.features)
    return Code(code.mu.float(), None if code.logvar is None else code.logvar.float())


def imitation_losses(code: Code, targets: Tensor, config: DistillConfig) -> dict[str, Tensor]:
    """Distillation losses of codes and targets (B, K).

    They are the cosine distance to the target, the difference of the similarities within the batch, and the likelihood
    of the log-variance. The log-variance learns how far mu will be from the target: the Gaussian likelihood of the
    clean image's code with mu held fixed, as in probabilistic face embeddings (Shi & Jain 2019). Its mean is the
    uncertainty of the face.
    """
    mu, target = F.normalize(code.mu), F.normalize(targets)
    losses = {"cosine": cosine_distance(mu, target), "pairwise": config.pairwise * pairwise_distance(mu, target)}
    if code.logvar is not None:
        error = (code.mu.detach() - targets).square()  # (B, K)
        losses["likelihood"] = config.likelihood * 0.5 * (code.logvar + error / code.logvar.exp()).mean()
    return losses


def cosine_distance(mu: Tensor, target: Tensor) -> Tensor:
    """Mean of 1 - cosine of unit vectors (B, K)."""
    return 1 - (mu * target).sum(1).mean()


def pairwise_distance(mu: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of similarities within the batch, between mu and targets and among mu, both (B, K)."""
    truth = target @ target.T  # (B, B)
    distance: Tensor = (mu @ target.T - truth).square().mean() + (mu @ mu.T - truth).square().mean()
    return distance
