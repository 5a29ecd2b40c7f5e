"""What a detector loses by answering otherwise than its teacher."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SURE = 0.2
"""The teacher's score from which it matters where it sees the face."""

BOX, POINTS = 2.0, 10.0
"""Weights beside the score's loss."""

SMOOTH = 0.01
"""Errors below this part of the face's size are lost quadratically."""

BLUR = 4.0
"""Pixels added to a face's size where errors are judged: nobody sees the points of a tiny face exactly."""


def losses(found: Tensor, taught: Tensor) -> dict[str, Tensor]:
    """Of decoded faces (B, P, 15), scores as logits, against the teacher's, scores from 0 to 1: those of score, box and
    points. The score counts at every place, box and points where the teacher is sure, weighted by its score; each sum
    is divided by that of all scores that the teacher is sure of."""
    score = taught[..., 14]
    weight = score * (score >= SURE)
    mass = weight.sum().clamp(min=1)
    entropy = F.binary_cross_entropy_with_logits(found[..., 14], score, reduction="none")
    least = F.binary_cross_entropy(score, score, reduction="none")  # what is left when both agree
    sure = weight > 0
    mine, aim, weight = found[sure], taught[sure], weight[sure] / mass
    size = aim[:, 2:4].clamp(min=1).prod(1).sqrt()[:, None] + BLUR
    away = F.smooth_l1_loss(_corners(mine) / size, _corners(aim) / size, beta=SMOOTH, reduction="none")
    return {
        "score": (entropy - least).sum() / mass,
        "box": BOX * (away[:, :4].mean(1) * weight).sum(),
        "points": POINTS * (away[:, 4:].mean(1) * weight).sum(),
    }


def _corners(rows: Tensor) -> Tensor:
    """Rows (N, 15) of x, y, width, height, points, score -> (N, 14) of left, top, right, bottom, points."""
    return torch.cat([rows[:, :2], rows[:, :2] + rows[:, 2:4], rows[:, 4:14]], 1)
