"""Losses of a detector against the dense predictions of its teacher."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from edgefr.nn.spot_network import LANDMARKS, SCORE, SIZE, XY

SURE_SCORE = 0.2
"""The teacher's score from which box and landmarks count."""

BOX_WEIGHT, LANDMARKS_WEIGHT = 2.0, 10.0
"""Weights relative to the loss of the score."""

SMOOTH_L1_BETA = 0.01
"""Errors below this share of the face's size count quadratically."""

TOLERANCE = 4.0
"""Pixels added to the size of a face when errors are weighed, because the points of a tiny face are not exact."""


def detector_losses(predictions: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Losses of score, box and landmarks.

    The score counts at every anchor point. Box and landmarks count where the teacher is sure, weighted by its score.
    Each sum is divided by the sum of the scores where the teacher is sure.

    Args:
        predictions: (B, P, 15) decoded faces, scores as logits.
        targets: (B, P, 15) the teacher's faces, scores from 0 to 1.

    Returns:
        Scalars `score`, `box` and `points`.
    """
    score = targets[..., SCORE]
    weight = score * (score >= SURE_SCORE)
    total = weight.sum().clamp(min=1)
    entropy = F.binary_cross_entropy_with_logits(predictions[..., SCORE], score, reduction="none")
    minimum = F.binary_cross_entropy(score, score, reduction="none")  # what remains if both agree
    sure = weight > 0
    mine, target, weight = predictions[sure], targets[sure], weight[sure] / total
    size = target[:, SIZE].clamp(min=1).prod(1).sqrt()[:, None] + TOLERANCE
    error = F.smooth_l1_loss(_corners(mine) / size, _corners(target) / size, beta=SMOOTH_L1_BETA, reduction="none")
    return {
        "score": (entropy - minimum).sum() / total,
        "box": BOX_WEIGHT * (error[:, :4].mean(1) * weight).sum(),
        "points": LANDMARKS_WEIGHT * (error[:, 4:].mean(1) * weight).sum(),
    }


def _corners(faces: Tensor) -> Tensor:
    """Faces (N, 15) -> (N, 14): left, top, right and bottom of the box, landmarks."""
    top_left = faces[:, XY]
    return torch.cat([top_left, top_left + faces[:, SIZE], faces[:, LANDMARKS]], 1)
