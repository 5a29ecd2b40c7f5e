"""IJB's templates: the pictures of one person in one, as insightface's `image2template_feature` has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from edgefr.backends.recogniser import Recogniser
from edgefr.data.ijb import Crops
from edgefr.data.lines import Numbers
from edgefr.errors import EdgefrError
from edgefr.evaluate.bin import both_flips, unit
from edgefr.spec import FACE_SIZE, Floats, Image

CHUNK = 512
"""Faces read, aligned and embedded at once."""

Align = Callable[[Image, Floats], Image]
"""(H, W, 3) and landmarks (5, 2) -> a face of 112 x 112."""


@dataclass(frozen=True)
class Templates:
    """Ascending `number` (T,) int64 of every template and its unit-length `embedding` (T, K)."""

    number: Numbers
    embedding: Floats

    def place(self, number: Numbers) -> Numbers:
        """Where the templates of these numbers are."""
        return np.searchsorted(self.number, number)


def embed_templates(
    recogniser: Recogniser, crops: Crops, align: Align, batch: int = 32, progress: Callable[[int], None] | None = None
) -> Templates:
    """Read, align and embed every picture, as it is and flipped; `progress` is told of pictures.

    Raises:
        EdgefrError: a picture cannot be read or aligned.
    """
    names = crops.faces.names
    features = np.empty((len(names), recogniser.embedding_dim), np.float32)
    faces = np.empty((CHUNK, FACE_SIZE, FACE_SIZE, 3), np.uint8)
    for start in range(0, len(names), CHUNK):
        part = range(start, min(start + CHUNK, len(names)))
        for place, index in enumerate(part):
            faces[place] = aligned(crops, index, align)
        raw = both_flips(recogniser, faces[: len(part)], batch)
        features[start : part.stop] = raw * crops.score[start : part.stop, None]
        if progress is not None:
            progress(len(part))
    return templates(features, crops.template, crops.media)


def aligned(crops: Crops, index: int, align: Align) -> Image:
    """The aligned face (112, 112, 3) of one picture; an error names it."""
    name = crops.faces.names[index]
    image = crops.faces.read(name)
    try:
        return align(image, crops.landmarks[index])
    except EdgefrError as error:
        raise EdgefrError(
            f"expected five landmarks of a face for picture {index + 1}, {name}, found others: get the file of points "
            "again"
        ) from error


def templates(features: Floats, template: Numbers, media: Numbers) -> Templates:
    """The mean within a medium, the sum over a template's media, to unit length: (N, K), (N,), (N,) -> T templates."""
    order = np.lexsort((media, template))
    fresh = np.diff(template[order], prepend=template[order[0]] - 1) != 0
    starts = np.append(np.flatnonzero(fresh), len(order))
    medium = np.cumsum(fresh | (np.diff(media[order], prepend=0) != 0)) - 1
    weight = 1 / np.bincount(medium)[medium]
    summed = np.stack([weight[a:b] @ features[order[a:b]] for a, b in pairwise(starts)])
    return Templates(template[order[fresh]], unit(summed).astype(np.float32))
