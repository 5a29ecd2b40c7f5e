"""Pairs of faces as indices into an array of embeddings, and cosine similarities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgefr.errors import EdgefrError
from edgefr.types import Bools, Floats, Ints

CHUNK = 1 << 16
"""Pairs compared at once: protocols have millions, whose embeddings would fill the memory."""


@dataclass(frozen=True)
class Pairs:
    """P pairs of faces.

    Attributes:
        first: (P,) int64, index of a face.
        second: (P,) int64, index of another face.
        same: (P,) bool, whether both show the same person.

    Raises:
        EdgefrError: The three differ in length or type, or an index is negative.
    """

    first: Ints
    second: Ints
    same: Bools

    def __post_init__(self) -> None:
        found = [(array.dtype.name, array.shape) for array in (self.first, self.second, self.same)]
        shape = (len(self.same),) if self.same.ndim else ()
        if found != [("int64", shape), ("int64", shape), ("bool", shape)] or len(shape) != 1:
            raise EdgefrError("pairs as int64, int64 and bool of one length", str(found), "correct the list of pairs")
        if len(self) and min(self.first.min(), self.second.min()) < 0:
            raise EdgefrError("pairs of indices from 0 on", "a negative one", "correct the list of pairs")

    def __len__(self) -> int:
        return len(self.same)


def similarities(embedding: Floats, pairs: Pairs) -> Floats:
    """Cosine similarity (P,) of every pair of embeddings (N, K) of unit length.

    Raises:
        EdgefrError: A pair has an index beyond N.
    """
    if len(pairs):
        last = int(max(pairs.first.max(), pairs.second.max()))
        if last >= len(embedding):
            raise EdgefrError(
                f"pairs among {len(embedding)} faces",
                f"one of face number {last} (from 0)",
                "correct the list of pairs",
            )
    found = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), CHUNK):
        part = slice(start, start + CHUNK)
        found[part] = np.einsum("pk,pk->p", embedding[pairs.first[part]], embedding[pairs.second[part]])
    return found
