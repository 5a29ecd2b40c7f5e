"""The 1:N protocol of IJB-B and IJB-C: upstream's figures, and open-set identification as in ISO/IEC 19795-1.

Source: insightface, `recognition/_evaluation_/ijb/ijb_1n.py` (`evaluation`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgefr.data.ijb_files import Search, Subjects
from edgefr.evaluation.bootstrap import Estimate, resampled_shares
from edgefr.evaluation.fmr_thresholds import comparisons_needed
from edgefr.evaluation.identification import Identities, open_set
from edgefr.evaluation.ijb_templates import Templates
from edgefr.types import Floats, Ints

RANKS = (1, 5, 10)
FPIRS = (0.01, 0.1)
CHUNK = 512
"""Probes compared with the galleries at once."""


@dataclass(frozen=True)
class TpirRow:
    """True positive identification rate (TPIR) near one FPIR.

    Attributes:
        fpir: The false positive identification rate.
        upstream: Share of probes whose mate is more similar than all but `fpir` x probes of the others, with both
            galleries as one. The mate need not be the best match.
        strict: 1 - FNIR, the mean over both galleries, each searched for all probes, of which those of the other
            gallery should not be found. None if those are fewer than `needed`.
        needed: Probes of others that are needed, by the rule of 30.
    """

    fpir: float
    upstream: float
    strict: float | None
    needed: int


@dataclass(frozen=True)
class IdentificationFigures:
    """The share of probes whose mate is within each of RANKS in both galleries together, and the rates near each of
    FPIRS.
    """

    rank: tuple[Estimate, ...]
    rows: tuple[TpirRow, ...]


def search_templates(templates: Templates, search: Search) -> IdentificationFigures:
    """Search for every probe in both galleries, one of which has its person."""
    galleries = [_embedded(templates, gallery) for gallery in search.galleries]
    probes = _embedded(templates, search.probes)
    found = _against_all(galleries, probes)
    others = min(int((~np.isin(probes.person, gallery.person)).sum()) for gallery in galleries)
    rows = []
    for fpir in FPIRS:
        upstream = float((found.mate > found.highest[math.ceil(fpir * len(found.mate)) - 1]).mean())
        needed = comparisons_needed(fpir)
        strict = None
        if others >= needed:
            strict = float(np.mean([1 - open_set(gallery, probes, fpir).fnir.value for gallery in galleries]))
        rows.append(TpirRow(fpir, upstream, strict, needed))
    return IdentificationFigures(_ranks(found.ahead, probes.person), tuple(rows))


def _embedded(templates: Templates, subjects: Subjects) -> Identities:
    return Identities(templates.embedding[templates.index(subjects.template)], subjects.subject)


def _ranks(ahead: Ints, people: Ints) -> tuple[Estimate, ...]:
    hits = np.stack([ahead < rank for rank in RANKS], axis=1)  # (Q, R)
    return tuple(resampled_shares(hits, np.column_stack([people, people])))


@dataclass(frozen=True)
class _Found:
    """Of Q probes: the similarity (Q,) to the mate and how many others are at least as similar; and the highest
    similarities to others, falling.
    """

    mate: Floats
    ahead: Ints
    highest: Floats


def _against_all(galleries: list[Identities], probes: Identities) -> _Found:
    """Search all galleries as one, as upstream does."""
    gallery = np.concatenate([part.embedding for part in galleries])
    enrolled = np.concatenate([part.person for part in galleries])
    order = np.argsort(enrolled)
    mates = order[np.searchsorted(enrolled, probes.person, sorter=order)]  # (Q,) their columns
    keep = math.ceil(max(FPIRS) * len(mates))
    mate, ahead = np.empty(len(mates), np.float32), np.empty(len(mates), np.int64)
    highest = np.empty(0, np.float32)
    for start in range(0, len(mates), CHUNK):
        part = slice(start, start + CHUNK)
        similarity = probes.embedding[part] @ gallery.T  # (CHUNK, G)
        own = np.arange(len(similarity)), mates[part]
        mate[part] = similarity[own]
        similarity[own] = -np.inf
        ahead[part] = (similarity >= mate[part, None]).sum(1)
        highest = np.sort(np.concatenate([highest, similarity.ravel()]))[: -keep - 1 : -1]
    return _Found(mate, ahead, highest)
