"""IJB's templates: the pictures of one person in one, as insightface's `image2template_feature` has them, or weighed
by what the model says of its certainty."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from edgefr.data.ijb_files import Crops
from edgefr.errors import EdgefrError
from edgefr.evaluation.model_set import System
from edgefr.recognition.template_fusion import inverse_variance, weighted_mean
from edgefr.types import Floats, Image, Ints

Align = Callable[[Image, Floats], Image]
"""(H, W, 3) and landmarks (5, 2) -> a face of 112 x 112."""

Weigh = Callable[[Ints], Floats]
"""Weights (n,) of a template's pictures, by their places among all."""


@dataclass(frozen=True)
class Templates:
    """Ascending `number` (T,) int64 of every template and its unit-length `embedding` (T, K)."""

    number: Ints
    embedding: Floats

    def place(self, number: Ints) -> Ints:
        """Where the templates of these numbers are."""
        return np.searchsorted(self.number, number)


def aligned(crops: Crops, index: int, align: Align) -> Image:
    """The aligned face (112, 112, 3) of one picture; an error names it."""
    name = crops.faces.names[index]
    image = crops.faces.read(name)
    try:
        return align(image, crops.landmarks[index])
    except EdgefrError as error:
        raise EdgefrError(
            f"five landmarks of a face for picture {index + 1}, {name}", "others", "get the file of points again"
        ) from error


def by_norm(system: System, crops: Crops) -> Weigh:
    """Upstream's weights: the norm of the net's output times the detector's score."""
    assert system.norm is not None  # a model's, with a norm
    weights = system.norm * crops.score
    return lambda index: weights[index]


def by_certainty(system: System) -> Weigh:
    """The inverse of the variance that the model tells of each picture."""
    uncertainty = system.uncertainty
    assert uncertainty is not None
    return lambda index: inverse_variance(uncertainty[index])


def templates(system: System, crops: Crops, weigh: Weigh) -> Templates:
    """Means within a medium, summed over a template's media, to unit length: of N pictures T templates.

    Raises:
        EdgefrError: a template's pictures have no weight, or cancel; it is named.
    """
    order = np.lexsort((crops.media, crops.template))
    number, media = crops.template[order], crops.media[order]
    fresh = np.diff(number, prepend=number[0] - 1) != 0
    starts = np.append(np.flatnonzero(fresh), len(order))
    medium = np.cumsum(fresh | (np.diff(media, prepend=0) != 0)) - 1
    share = (1 / np.bincount(medium)[medium]).astype(np.float32)
    fused = []
    for first, last in pairwise(starts):
        index = order[first:last]
        try:
            fused.append(weighted_mean(system.embedding[index], weigh(index) * share[first:last]))
        except EdgefrError as error:
            raise EdgefrError(
                f"pictures of template {number[first]} that make one",
                "embeddings that cancel or weigh nothing",
                "get the file of points again, or another model",
            ) from error
    return Templates(number[fresh], np.stack(fused))
