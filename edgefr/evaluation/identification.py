"""Searches of a gallery as in ISO/IEC 19795-1, with intervals over the people who are searched for.

A gallery holds one embedding of every enrolled person. A probe is mated if its person is enrolled. The gallery is kept
fixed: the figures are those of this gallery, and would differ for another size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgefr.errors import EdgefrError
from edgefr.evaluation.bootstrap import Estimate, resampled_shares
from edgefr.evaluation.error_rates import FAILURE, Comparisons, tar_at_far
from edgefr.evaluation.fmr_thresholds import check_supported
from edgefr.types import Bools, Doubles, Floats, Ints

BLOCK = 1024
"""Probes compared with the whole gallery at once."""


@dataclass(frozen=True)
class Identities:
    """Embeddings (N, K) of unit length and the person (N,) of each. A row of NaN is an image in which no face was
    found.

    Raises:
        EdgefrError: The two differ in number.
    """

    embedding: Floats
    person: Ints

    def __post_init__(self) -> None:
        if self.embedding.ndim != 2 or self.person.shape != self.embedding.shape[:1]:
            raise EdgefrError(
                "embeddings (N, K) and people (N,)",
                f"{self.embedding.shape} and {self.person.shape}",
                "correct the labels",
            )


@dataclass(frozen=True)
class Split:
    """Indices of the enrolled images, of the mated probes and of the other probes of a labelled collection."""

    gallery: Ints
    mated: Ints
    non_mated: Ints


@dataclass(frozen=True)
class ClosedSet:
    """How often the enrolled person is the most similar, among the five most similar, and within every rank
    (cumulative match characteristic, (M,) for a gallery of M).
    """

    rank1: Estimate
    rank5: Estimate
    cmc: Doubles
    probes: int


@dataclass(frozen=True)
class OpenSet:
    """How often an enrolled person is missed.

    Attributes:
        fpir: Highest share of non-mated probes that may match anybody.
        fnir: False negative identification rate: share of mated probes whose person is not the best match or stays
            below `threshold`.
        threshold: The lowest threshold that keeps `fpir`.
        mated: Number of mated probes.
        non_mated: Number of other probes.
    """

    fpir: float
    fnir: Estimate
    threshold: float
    mated: int
    non_mated: int


def split(labels: Ints, seed: int = 0) -> Split:
    """Enrol one image, drawn at random, of every person who has several; the others are probes: (N,) people ->
    indices.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    _, first, index, count = np.unique(labels[order], return_index=True, return_inverse=True, return_counts=True)
    several = count > 1
    gallery = np.zeros(len(labels), bool)
    gallery[order[first[several]]] = True
    mated = np.empty(len(labels), bool)
    mated[order] = several[index]
    return Split(np.flatnonzero(gallery), np.flatnonzero(mated & ~gallery), np.flatnonzero(~mated))


def closed_set(gallery: Identities, probes: Identities) -> ClosedSet:
    """Rank the person of every probe in the gallery. People who are equally similar come first, and a probe or an
    enrolled image without a face is never found.

    Raises:
        EdgefrError: A person is enrolled twice, or a probe's person is not enrolled.
    """
    found = _search(gallery, probes)
    if not found.mated.all() or len(probes.person) == 0:
        raise EdgefrError(
            "probes of enrolled people",
            f"{int((~found.mated).sum()):,} of others among {len(probes.person):,}",
            "measure those as an open set",
        )
    size = len(gallery.person)
    hits = found.rank[:, None] <= np.minimum([1, 5], size)
    rank1, rank5 = resampled_shares(hits, np.column_stack([probes.person, probes.person]))
    cmc = np.cumsum(np.bincount(found.rank, minlength=size + 2)[1 : size + 1]) / len(hits)
    return ClosedSet(rank1, rank5, cmc, len(hits))


def open_set(gallery: Identities, probes: Identities, fpir: float) -> OpenSet:
    """FNIR at a false positive identification rate of at most `fpir`. Probes of enrolled people are the mated ones.

    Raises:
        EdgefrError: A person is enrolled twice, no probe is mated, or fewer than 30 / `fpir` probes are not mated.
    """
    found = _search(gallery, probes)
    mated = int(found.mated.sum())
    check_supported(fpir, len(found.mated) - mated, "probes of people who are not enrolled")
    # A mated probe counts with the similarity to its person if that is the best match, any other with its best match.
    # FNIR at FPIR is then FNMR at FMR.
    similarity = np.where(found.mated & (found.rank > 1), np.float32(FAILURE), found.best)
    people = np.column_stack([probes.person, probes.person]).astype(np.int64)
    accepted = tar_at_far(Comparisons(similarity, found.mated, people), fpir)
    low, high = accepted.tar.ci95
    fnir = Estimate(1 - accepted.tar.value, (1 - high, 1 - low))
    return OpenSet(fpir, fnir, accepted.threshold, mated, len(found.mated) - mated)


@dataclass(frozen=True)
class _Searches:
    """Of every probe: whether its person is enrolled, the rank of that person (M + 1 if it cannot be found), and the
    highest similarity to anybody.
    """

    mated: Bools
    rank: Ints
    best: Floats


def _search(gallery: Identities, probes: Identities) -> _Searches:
    size, count = len(gallery.person), len(probes.person)
    enrolled, index = np.unique(gallery.person, return_index=True)
    if size == 0 or len(enrolled) < size:
        raise EdgefrError(
            "one embedding of each enrolled person",
            f"{size:,} of {len(enrolled):,} people",
            "fuse the embeddings of each person into one",
        )
    at = np.minimum(np.searchsorted(enrolled, probes.person), size - 1)
    mated, mate = enrolled[at] == probes.person, index[at]
    rank, best = np.full(count, size + 1), np.empty(count, np.float32)
    for start in range(0, count, BLOCK):
        part = slice(start, start + BLOCK)
        similarity = probes.embedding[part] @ gallery.embedding.T  # (BLOCK, M)
        similarity[np.isnan(similarity)] = FAILURE
        own = similarity[np.arange(len(similarity)), mate[part]][:, None]
        best[part] = similarity.max(1)
        rank[part] = np.where(mated[part] & (own[:, 0] > FAILURE), (similarity >= own).sum(1), size + 1)
    return _Searches(mated, rank, best)
