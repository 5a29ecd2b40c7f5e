"""What training asks of the bottleneck's code: by distillation, by labels."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from edgefr.nn.bottleneck import Code, kl_divergence, sample
from edgefr.nn.fused_model import FusedModel
from edgefr.nn.margin_heads import length_of
from edgefr.training.common.parallel import World
from edgefr.training.common.recipes import Distill, Vib
from edgefr.training.recogniser.feature_source import Batch

LossOf = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""A head's loss of embeddings (B, K), labels (B,) and norms (B, 1) in place of the embeddings' own."""


def distillation(model: FusedModel, recipe: Distill, world: World) -> Callable[[Batch], dict[str, Tensor]]:
    """Losses of a batch whose aims the code should meet; the model's skip carries them into the space of mu.

    Identity labels are not used: on a few thousand images a classifier would forget what the backbones learnt from
    millions.
    """
    skip = model.bottleneck.skip
    assert skip is not None
    skip.requires_grad_(False)

    def losses_of(batch: Batch) -> dict[str, Tensor]:
        code = encode(model, batch, world)
        return imitation(code, skip(batch.aims), recipe)

    return losses_of


def labelled(model: FusedModel, head: LossOf, recipe: Vib, world: World) -> Callable[[Batch], dict[str, Tensor]]:
    """The paper's loss, cross-entropy of the sampled code plus beta times its KL divergence.

    With `anchor`, mu stays near the aims of distillation, too: the skip, which carries them, stays as it is; without,
    it learns. Blends, labelled -1, take part in the rest. `kl` is told in nats; what it costs is `beta kl`.
    """
    skip = model.bottleneck.skip
    if skip is not None:
        skip.requires_grad_(recipe.anchor == 0)

    def losses_of(batch: Batch) -> dict[str, Tensor]:
        code = encode(model, batch, world)
        # The norm of a sample is mostly noise. MagFace, which shapes the norm, needs its own.
        norm = None if recipe.head == "magface" else length_of(code.mu.detach())
        losses = {"labels": head(sample(code), batch.labels, norm)}
        if code.logvar is not None:
            nats = kl_divergence(code).mean()
            losses |= {"beta kl": recipe.beta * nats, "kl": nats.detach()}
        if recipe.anchor and skip is not None:
            mu, aim = F.normalize(code.mu), F.normalize(skip(batch.aims))
            losses["anchor"] = recipe.anchor * (cosine_distance(mu, aim) + 10 * pairwise_distance(mu, aim))
        return losses

    return losses_of


def encode(model: FusedModel, batch: Batch, world: World) -> Code:
    """The code of a batch, in float32."""
    with world.autocast():
        code = model.encode(batch.seen)
    return Code(code.mu.float(), None if code.logvar is None else code.logvar.float())


def imitation(code: Code, aims: Tensor, recipe: Distill) -> dict[str, Tensor]:
    """Cosine to the aim, similarities within the batch, and the log-variance's likelihood; aims are (B, K).

    The log-variance learns how far mu will be from the aim: the Gaussian likelihood of the clean image's code,
    mu held fixed, as in probabilistic face embeddings (Shi & Jain 2019). Averaged, it is the face's uncertainty.
    """
    mu, aim = F.normalize(code.mu), F.normalize(aims)
    losses = {"cosine": cosine_distance(mu, aim), "pairwise": recipe.pairwise * pairwise_distance(mu, aim)}
    if code.logvar is not None:
        error = (code.mu.detach() - aims).square()  # (B, K)
        losses["likelihood"] = recipe.likelihood * 0.5 * (code.logvar + error / code.logvar.exp()).mean()
    return losses


def cosine_distance(mu: Tensor, aim: Tensor) -> Tensor:
    """Mean of 1 - cosine of unit vectors (B, K)."""
    return 1 - (mu * aim).sum(1).mean()


def pairwise_distance(mu: Tensor, aim: Tensor) -> Tensor:
    """How far the similarities within the batch are from the aims', of mu with the aims and with itself."""
    truth = aim @ aim.T  # (B, B)
    distance: Tensor = (mu @ aim.T - truth).square().mean() + (mu @ mu.T - truth).square().mean()
    return distance
