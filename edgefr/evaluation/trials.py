"""Trials of other collections than LFW's pairs: everyone with everyone, upstream's `.bin` files, IJB."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgefr.data.collections import person_of
from edgefr.data.ijb_files import Crops, has_search, read_search, read_template_pairs
from edgefr.data.verification_bin import BinPairs
from edgefr.errors import EdgefrError
from edgefr.evaluation.bin_protocol import kfold
from edgefr.evaluation.error_rates import Comparisons, everyone
from edgefr.evaluation.fmr_thresholds import FALSE_MATCHES_NEEDED
from edgefr.evaluation.identification import Identities, Split, closed_set, open_set, split
from edgefr.evaluation.ijb_identification import RANKS, Identification, search_templates
from edgefr.evaluation.ijb_templates import Align, Templates, aligned, by_certainty, by_norm, templates
from edgefr.evaluation.ijb_verification import Verification, verify_templates
from edgefr.evaluation.model_set import ModelSet, System, joined
from edgefr.evaluation.protocols import BATCH, Advance, Condition, Find, Look, Others, Trial, embed, renderings
from edgefr.types import Floats, Ints

FPIRS = (0.1, 0.01)

MOST_SIMILARITIES = 250_000_000
"""Of all systems in all conditions, everyone with everyone: 1 GB, and as much again sorted."""


def all_against_all(
    dataset: str,
    names: Sequence[str],
    find: Find,
    chosen: Sequence[Condition],
    entrants: ModelSet,
    advance: Advance,
) -> list[Trial]:
    """Everyone with everyone, each pair once, and a search of one picture of everybody for the others.

    Both pictures of a comparison are in the same quality, so that mixed conditions are left out.

    Raises:
        EdgefrError: there are more pictures than memory for their comparisons, or none of one person or of several;
            both are found out before any is read. Or as `protocols.embed` does.
    """
    chosen = [condition for condition in chosen if condition.first == condition.second]
    if not chosen:
        raise EdgefrError("--pairs for a mixed protocol", "none", "give LFW's pairs file or another --protocol")
    most = math.isqrt(2 * MOST_SIMILARITIES // (len(chosen) * entrants.systems))
    if len(names) > most:
        raise EdgefrError(
            f"at most {most:,} pictures to compare all against all in {len(chosen)} protocols",
            f"{len(names):,}",
            f"draw some with --limit {most}, choose one --protocol, or give --pairs",
        )
    people, labels = np.unique([person_of(name) for name in names], return_inverse=True)
    if len(people) < 2 or len(people) == len(names):
        raise EdgefrError(
            "several people, and several pictures of one of them, to compare all against all",
            f"{len(people):,} people in {len(names):,} pictures",
            "give more, or --pairs",
        )
    labels = labels.astype(np.int64)
    embedded = embed(names, find, renderings(chosen), entrants, advance)
    ends = np.cumsum(np.arange(len(names) - 1, -1, -1))  # of the comparisons of each picture with those behind it

    def trial(condition: Condition) -> Trial:
        compared: dict[str, Comparisons] = {}
        others: dict[str, dict[str, Others]] = {}
        for system in embedded.systems[condition.first]:
            found = everyone(system.embedding, labels)
            known = next(iter(compared.values()), found)  # who is compared need not be kept for every system
            compared[system.name] = replace(found, same=known.same, people=known.people)
            others[system.name] = _identified(system.embedding, labels, split(labels))

        def looks(index: int) -> tuple[Look, Look]:
            row = int(np.searchsorted(ends, index, side="right"))
            column = len(names) - int(ends[row] - index)
            return embedded.look(row, condition.first), embedded.look(column, condition.first)

        failures = int((~embedded.present[condition.first]).sum())
        return Trial(dataset, condition.name, len(names), failures, compared, others=others, looks=looks)

    return [trial(condition) for condition in chosen]


def _identified(embedding: Floats, labels: Ints, parts: Split) -> dict[str, Others]:
    """Closed set and open set figures of a split collection; none where nobody has two pictures."""
    if len(parts.mated) == 0:
        return {}
    gallery, mated, everybody = (
        Identities(embedding[index], labels[index])
        for index in (parts.gallery, parts.mated, np.concatenate([parts.mated, parts.non_mated]))
    )
    closed = closed_set(gallery, mated)
    told: dict[str, Others] = {"rank 1": closed.rank1, "rank 5": closed.rank5}
    for fpir in FPIRS:
        enough = len(parts.non_mated) * fpir >= FALSE_MATCHES_NEEDED
        told[f"FNIR at FPIR {fpir:g}"] = open_set(gallery, everybody, fpir).fnir if enough else None
    return told


def bin_trial(dataset: str, pairs: BinPairs, entrants: ModelSet, advance: Advance) -> Trial:
    """Upstream's ten folds, each picture with its mirror image; `advance` is told of pictures.

    Raises:
        EdgefrError: a picture is no aligned face, or a model fails.
    """
    names = pairs.faces.names
    parts = []
    for start in range(0, len(names), BATCH):
        faces = pairs.faces.read_faces(names[start : start + BATCH])
        parts.append(entrants.embed_both_flips(faces))
        advance(len(faces))
    systems = entrants.with_baselines([joined(column) for column in zip(*parts, strict=True)])
    found = {entry.name: kfold(entry.embedding[::2], entry.embedding[1::2], pairs.same) for entry in systems}

    def looks(index: int) -> tuple[Look, Look]:
        first, second = (names[2 * index + side] for side in (0, 1))
        return (first, pairs.faces.read(first)), (second, pairs.faces.read(second))

    return Trial(
        dataset,
        "clean",
        len(names),
        0,
        {name: result.comparisons for name, result in found.items()},
        accuracy={name: result.accuracy for name, result in found.items()},
        looks=looks,
        units="pairs",
    )


def ijb_trial(dataset: str, path: Path, crops: Crops, align: Align, entrants: ModelSet, advance: Advance) -> Trial:
    """IJB's templates, 1:1 and, where its files are there, 1:N; `advance` is told of pictures.

    Behind the systems, fused as upstream fuses pictures, stand those that tell of their uncertainty, fused by it.

    Raises:
        EdgefrError: the files are not IJB's, or a model fails.
    """
    pairs, search = read_template_pairs(path, crops), read_search(path, crops) if has_search(path) else None
    enrolled = _enrolled(crops, align, entrants, advance)
    compared: dict[str, Comparisons] = {}
    others: dict[str, dict[str, Others]] = {}
    for name, found in enrolled.items():
        verified = verify_templates(found, pairs)
        compared[name] = verified.comparisons
        others[name] = _upstream(verified, search_templates(found, search) if search else None)
    pictures = len(crops.faces.names)
    return Trial(dataset, "templates", pictures, 0, compared, others=others, units="templates that are said to match")


def _enrolled(crops: Crops, align: Align, entrants: ModelSet, advance: Advance) -> dict[str, Templates]:
    """Every system's templates by its name."""
    names = crops.faces.names
    parts: list[list[System]] = []
    for start in range(0, len(names), BATCH):
        batch = range(start, min(start + BATCH, len(names)))
        faces = np.stack([aligned(crops, index, align) for index in batch])
        parts.append(entrants.embed_both_flips(faces))
        advance(len(faces))
    systems = [joined(column) for column in zip(*parts, strict=True)]
    fused = {system.name: templates(system, crops, by_norm(system, crops)) for system in systems}
    number = next(iter(fused.values())).number
    known = [System(name, found.embedding) for name, found in fused.items()]
    whole = {system.name: Templates(number, system.embedding) for system in entrants.with_baselines(known)}
    certain = {
        f"{system.name}, fused by certainty": templates(system, crops, by_certainty(system))
        for system in systems
        if system.uncertainty is not None
    }
    return whole | certain


def _upstream(verified: Verification, identified: Identification | None) -> dict[str, Others]:
    """The figures that upstream prints, whatever the number of impostors."""
    told: dict[str, Others] = {f"TAR nearest to FAR {row.far:g}": row.nearest_tar for row in verified.rows}
    if identified is not None:
        told |= {f"rank {rank}": found for rank, found in zip(RANKS, identified.rank, strict=True)}
        told |= {f"TPIR at FPIR {row.fpir:g}, upstream's": row.upstream for row in identified.rows}
        told |= {f"TPIR at FPIR {row.fpir:g}": row.strict for row in identified.rows}
    return told
