"""Which places a detector learns each face from, and what it loses by what it says there."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from edgefr.nn.spot import STRIDES

RANGES = ((0.0, 5.0), (1.75, 6.25), (2.25, 1e9))
"""Sides of the faces that each grid learns, in its strides: 8 to 40, 28 to 100 and from 72 pixels on."""

CORE = 0.32
"""Places this near to the box's centre, as a part of its sides, speak for a face - or within half a stride."""

BOX, POINTS = 2.0, 10.0
"""Weights beside the score's loss."""

SMOOTH = 0.01
"""Errors of points below this part of the face's size are lost quadratically."""

BLUR = 8.0
"""Pixels added to a face's size where its points are judged: nobody sees those of a tiny face exactly."""


class Targets(NamedTuple):
    """What B pictures teach at P places: `face` (B, P, 14) box and points in pixels, `taught` (B, P) whether a face is
    taught there, `counted` (B, P) whether the score counts."""

    face: Tensor
    taught: Tensor
    counted: Tensor


def targets(faces: Tensor, places: Tensor) -> Targets:
    """Assign faces (B, F, 15), as composites tell them, to places (P, 3) of x, y and stride."""
    at, stride = places[:, None, :2], places[:, 2]  # (P, 1, 2), (P,)
    box, kind = faces[:, None, :, :4], faces[:, None, :, 14]  # (B, 1, F, 4), (B, 1, F)
    centre, size = box[..., :2] + box[..., 2:] / 2, box[..., 2:]
    away = (at - centre).abs()  # (B, P, F, 2)
    core = _within(away, torch.maximum(CORE * size, stride[:, None, None] / 2))
    side = faces[:, :, 2:4].clamp(min=0).prod(-1).sqrt()[:, None]  # (B, 1, F)
    levels = (stride[:, None] > torch.tensor(STRIDES, device=stride.device)).sum(1)  # (P,)
    low, high = (torch.tensor(RANGES, device=stride.device)[levels] * stride[:, None]).T[..., None]  # (P, 1) each
    mine = core & (kind == 1) & (side >= low) & (side < high)  # (B, P, F)
    distance = away.square().sum(-1) / side.square().clamp(min=1)
    nearest = distance.masked_fill(~mine, torch.inf).argmin(-1)  # (B, P)
    taught = mine.any(-1)
    doubtful = (_within(away, size / 2) & (kind == 0)).any(-1)
    chosen = faces[:, :, :14].gather(1, nearest[..., None].expand(-1, -1, 14))
    return Targets(chosen, taught, taught | ~doubtful)


def _within(away: Tensor, reach: Tensor) -> Tensor:
    """Whether distances (..., 2) are at most `reach` in both directions; twice as fast as `all`."""
    near = away <= reach
    return near[..., 0] & near[..., 1]


def losses(found: Tensor, target: Targets) -> dict[str, Tensor]:
    """Of decoded faces (B, P, 15), scores as logits: those of score, box and points, each a mean over taught places.

    The score's aim is 0 where there is no face and else one half plus half of the box's intersection over union, so
    that of several boxes around a face the best is kept; what is easy counts little (Li et al. 2020, quality focal
    loss).
    """
    taught = target.taught
    count = taught.sum().clamp(min=1)
    mine, aim = found[taught], target.face[taught]  # (N, 15), (N, 14)
    overlap, apart = overlaps(mine[:, :4], aim[:, :4])
    logit = found[..., 14]
    score = torch.zeros_like(logit)
    score[taught] = 0.5 + 0.5 * overlap.detach()
    entropy = F.binary_cross_entropy_with_logits(logit, score, reduction="none")
    focus = (logit.sigmoid() - score).detach().square()
    size = aim[:, 2:4].prod(1).sqrt()[:, None] + BLUR
    points = F.smooth_l1_loss(mine[:, 4:14] / size, aim[:, 4:] / size, beta=SMOOTH, reduction="none")
    return {
        "score": (entropy * focus * target.counted).sum() / count,
        "box": BOX * (1 - overlap + apart).sum() / count,
        "points": POINTS * points.mean(1).sum() / count,
    }


def overlaps(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes (N, 4) against boxes (N, 4): intersection over union, and the squared distance of the centres as a part of
    the squared diagonal of the box around both (Zheng et al. 2020, DIoU)."""
    a_low, b_low, a_high, b_high = a[:, :2], b[:, :2], a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:]
    common = (torch.minimum(a_high, b_high) - torch.maximum(a_low, b_low)).clamp(min=0).prod(1)
    union = a[:, 2:].prod(1) + b[:, 2:].prod(1) - common
    around = torch.maximum(a_high, b_high) - torch.minimum(a_low, b_low)
    away = (a_low + a_high - b_low - b_high) / 2
    return common / union.clamp(min=1e-6), away.square().sum(1) / around.square().sum(1).clamp(min=1e-6)
