"""The 1:N protocol of IJB-B and IJB-C: upstream's figures, and open-set identification as ISO/IEC 19795-1 means it.

Source: insightface, `recognition/_evaluation_/ijb/ijb_1n.py` (`evaluation`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgefr.data.ijb_files import Search, Subjects
from edgefr.evaluation.bootstrap import Estimate, interval, resampled_sums, share
from edgefr.evaluation.fmr_thresholds import FALSE_MATCHES_NEEDED
from edgefr.evaluation.identification import Identities, open_set
from edgefr.evaluation.ijb_templates import Templates
from edgefr.types import Floats, Ints

RANKS = (1, 5, 10)
FPIRS = (0.01, 0.1)
CHUNK = 512
"""Probes compared with the galleries at once."""


@dataclass(frozen=True)
class TpirRow:
    """TPIR around one FPIR. `upstream`: the share of mates more similar than all but `fpir` x probes of the others,
    both galleries in one; anybody may come first. `strict`: 1 - FNIR, each gallery searched for everyone, where the
    people of the other should not be found, the mean of both; None where those probes are fewer than the `needed`."""

    fpir: float
    upstream: float
    strict: float | None
    needed: int


@dataclass(frozen=True)
class Identification:
    """`rank`: the share of probes whose mate is among the RANKS most similar of both galleries."""

    rank: tuple[Estimate, ...]
    rows: tuple[TpirRow, ...]


def search_templates(templates: Templates, search: Search) -> Identification:
    """The 1:N protocol: every probe is looked for in both galleries, of which one has its person."""
    galleries = [_embedded(templates, gallery) for gallery in search.galleries]
    probes = _embedded(templates, search.probes)
    found = _against_all(galleries, probes)
    others = min(int((~np.isin(probes.person, gallery.person)).sum()) for gallery in galleries)
    rows = []
    for fpir in FPIRS:
        upstream = float((found.mate > found.highest[math.ceil(fpir * len(found.mate)) - 1]).mean())
        needed = math.ceil(FALSE_MATCHES_NEEDED / fpir)
        strict = None
        if others >= needed:
            strict = float(np.mean([1 - open_set(gallery, probes, fpir).fnir.value for gallery in galleries]))
        rows.append(TpirRow(fpir, upstream, strict, needed))
    return Identification(_ranks(found.ahead, probes.person), tuple(rows))


def _embedded(templates: Templates, subjects: Subjects) -> Identities:
    return Identities(templates.embedding[templates.place(subjects.template)], subjects.subject)


def _ranks(ahead: Ints, people: Ints) -> tuple[Estimate, ...]:
    hits = np.stack([ahead < rank for rank in RANKS], axis=1)  # (Q, R)
    sums = resampled_sums(np.column_stack([hits, np.ones(len(hits))]), np.column_stack([people, people]))
    shares = share(sums[:, :-1], sums[:, -1:])
    return tuple(Estimate(float(hits[:, r].mean()), interval(shares[:, r])) for r in range(len(RANKS)))


@dataclass(frozen=True)
class _Found:
    """Of every probe (Q,): the similarity of its `mate`, and how many others are as similar (`ahead`); and the
    highest similarities of others, falling."""

    mate: Floats
    ahead: Ints
    highest: Floats


def _against_all(galleries: list[Identities], probes: Identities) -> _Found:
    """All galleries as one, as upstream joins them."""
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
        place = np.arange(len(similarity)), mates[part]
        mate[part] = similarity[place]
        similarity[place] = -np.inf
        ahead[part] = (similarity >= mate[part, None]).sum(1)
        highest = np.sort(np.concatenate([highest, similarity.ravel()]))[: -keep - 1 : -1]
    return _Found(mate, ahead, highest)
