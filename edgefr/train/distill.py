"""Fusion from few people: a degraded image in, what the backbones say of the clean image as the aim.

Identity labels are not used: on a few thousand images a classifier would forget what the backbones learnt from
millions. The aim is the concatenation of both backbones' embeddings, each averaged over the clean image and its
mirror image (the usual test-time flip), so that one pass learns what two passes know.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgefr.nn.bottleneck import Code
from edgefr.nn.fused import FusedModel
from edgefr.spec import MAP_CHANNELS, Faces
from edgefr.train.faces import TrainingFaces, as_input, look
from edgefr.train.loop import Report, descend
from edgefr.train.recipe import Distill


def distill(
    model: FusedModel,
    aims: Tensor,
    data: TrainingFaces,
    recipe: Distill,
    *,
    seed: int,
    key: str,
    state: Path,
    report: Report,
) -> None:
    """Train the fusion and the bottleneck of `model` in place towards `aims` (N, K); backbones and skip stay."""
    schedule = recipe.schedule
    model.train()

    def loss_of(step: int) -> Tensor:
        rng = np.random.default_rng((seed, 2, step))
        chosen = rng.choice(len(data.faces), schedule.batch, replace=False)
        image = look(data.faces[chosen], rng, recipe.clean)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                seen = model.see(image)
            code = model.encode(seen)
        code = Code(code.mu.float(), None if code.logvar is None else code.logvar.float())
        return imitation_loss(code, aims[torch.from_numpy(chosen)], recipe)

    fusion = list(model.fusion.parameters())
    heads = [parameter for parameter in model.bottleneck.parameters() if parameter.requires_grad]
    # Adam moves every weight equally far, so a head over 26,112 inputs would move its output 51 times as far as
    # one over 512 (Yang et al. 2022): its learning rate shrinks with its width.
    groups: list[dict[str, Any]] = [{"params": fusion}, {"params": heads, "scale": MAP_CHANNELS / model.fusion.width}]
    modules: dict[str, nn.Module] = {"fusion": model.fusion, "bottleneck": model.bottleneck}
    descend(loss_of, modules, groups, schedule, seed=seed, key=key, state=state, report=report)
    model.eval()


def imitation_loss(code: Code, aims: Tensor, recipe: Distill) -> Tensor:
    """Cosine to the aim, similarities within the batch, and the log-variance's likelihood; aims are (B, K).

    The log-variance learns how far mu will be from the aim: the Gaussian likelihood of the clean image's code,
    mu held fixed, as in probabilistic face embeddings (Shi & Jain 2019). Averaged, it is the face's uncertainty.
    """
    mu, aim = F.normalize(code.mu), F.normalize(aims)
    cosine = 1 - (mu * aim).sum(1).mean()
    truth = aim @ aim.T  # (B, B)
    pairwise = (mu @ aim.T - truth).square().mean() + (mu @ mu.T - truth).square().mean()
    loss = cosine + recipe.pairwise * pairwise
    if code.logvar is not None:
        error = (code.mu.detach() - aims).square()  # (B, K)
        loss = loss + recipe.likelihood * 0.5 * (code.logvar + error / code.logvar.exp()).mean()
    return loss


@torch.no_grad()
def clean_aims(model: FusedModel, faces: Faces, advance: Callable[[int], None]) -> Tensor:
    """What mu should be for each face (N, 112, 112, 3): the skip's answer to the clean embeddings, (N, K).

    Freezes the skip, which the model must have: it carries the aims into the space of mu.
    """
    skip = model.bottleneck.skip
    assert skip is not None
    skip.requires_grad_(False)
    aims: Tensor = skip(clean_embeddings(model, faces, advance))
    return aims


def clean_embeddings(model: FusedModel, faces: Faces, advance: Callable[[int], None]) -> Tensor:
    """Both backbones' unit embeddings, averaged over the image and its mirror image, side by side: (N, D)."""
    rows = []
    for start in range(0, len(faces), 64):
        batch = faces[start : start + 64]
        with torch.autocast("cpu", torch.bfloat16):
            straight = model.see(as_input(batch)).embeddings
            mirrored = model.see(as_input(np.ascontiguousarray(batch[:, :, ::-1]))).embeddings
        both = (straight + mirrored).float()
        halves = both.tensor_split([model.backbone_a.embedding_dim], 1)
        rows.append(torch.cat([F.normalize(half) for half in halves], 1))
        advance(len(batch))
    return torch.cat(rows)
