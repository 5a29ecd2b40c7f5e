"""Fuses the pictures of IJB's templates, as insightface's `image2template_feature` does or weighted by uncertainty."""

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

AlignFunction = Callable[[Image, Floats], Image]
"""(H, W, 3) and landmarks (5, 2) -> aligned face (112, 112, 3)."""

WeightFunction = Callable[[Ints], Floats]
"""Indices (n,) of the pictures of a template -> their weights (n,)."""


@dataclass(frozen=True)
class Templates:
    """The rising numbers (T,) of the templates of one system, and their embeddings (T, K) of unit length."""

    number: Ints
    embedding: Floats

    def index(self, number: Ints) -> Ints:
        """Indices of the templates with these numbers."""
        return np.searchsorted(self.number, number)


def align_picture(crops: Crops, index: int, align: AlignFunction) -> Image:
    """The aligned face (112, 112, 3) of one picture; an EdgefrError names the picture."""
    name = crops.faces.names[index]
    image = crops.faces.read(name)
    try:
        return align(image, crops.landmarks[index])
    except EdgefrError as error:
        raise EdgefrError(
            f"five landmarks of a face for picture {index + 1}, {name}", "others", "get the file of landmarks again"
        ) from error


def norm_weights(system: System, crops: Crops) -> WeightFunction:
    """Upstream's weights: the norm of the net's output times the score of the detector."""
    assert system.norm is not None  # a model's, with a norm
    weights = system.norm * crops.score
    return lambda index: weights[index]


def certainty_weights(system: System) -> WeightFunction:
    """The inverse of the variance that the model states for each picture."""
    uncertainty = system.uncertainty
    assert uncertainty is not None
    return lambda index: inverse_variance(uncertainty[index])


def fuse_templates(system: System, crops: Crops, weights: WeightFunction) -> Templates:
    """Fuse N pictures to T templates: the mean within a medium, summed over the media of a template, at unit length.

    Raises:
        EdgefrError: The pictures of a template have no weight, or cancel. The template is named.
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
            fused.append(weighted_mean(system.embedding[index], weights(index) * share[first:last]))
        except EdgefrError as error:
            raise EdgefrError(
                f"pictures of template {number[first]} that can be fused",
                "embeddings that cancel or have no weight",
                "get the file of landmarks again, or use another model",
            ) from error
    return Templates(number[fresh], np.stack(fused))
