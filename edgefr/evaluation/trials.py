"""Trials of other data sets than LFW's pairs: all pictures against all, upstream's `.bin` files, IJB."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgefr.data.collections import person_of
from edgefr.data.ijb_files import Crops, has_search, read_search, read_template_pairs
from edgefr.data.verification_bin import BinPairs
from edgefr.errors import InvalidArgumentError
from edgefr.evaluation.bin_protocol import kfold
from edgefr.evaluation.error_rates import Comparisons, compare_all
from edgefr.evaluation.fmr_thresholds import comparisons_needed
from edgefr.evaluation.identification import Identities, Split, closed_set, open_set, split
from edgefr.evaluation.ijb_identification import RANKS, IdentificationFigures, search_templates
from edgefr.evaluation.ijb_templates import (
    AlignFunction,
    Templates,
    align_picture,
    certainty_weights,
    fuse_templates,
    norm_weights,
)
from edgefr.evaluation.ijb_verification import VerificationFigures, verify_templates
from edgefr.evaluation.model_set import ModelSet, System, join_batches
from edgefr.evaluation.protocols import (
    BATCH,
    Advance,
    Condition,
    CropReader,
    ExtraFigure,
    Thumbnail,
    Trial,
    embed_renderings,
    needed_renderings,
)
from edgefr.types import Floats, Ints

FPIRS = (0.1, 0.01)

MAX_SIMILARITIES = 250_000_000
"""Most similarities of all pictures with all, over all systems and conditions: 1 GB, and as much again once sorted."""


def all_against_all(
    dataset: str,
    names: Sequence[str],
    read_crops: CropReader,
    chosen: Sequence[Condition],
    models: ModelSet,
    progress: Advance,
) -> list[Trial]:
    """Compare all pictures with all, each pair once, and search for the people in a gallery of one picture of each.
    Both pictures of a comparison have the same quality, so mixed conditions are left out.

    Raises:
        InvalidArgumentError: There are too many pictures for the memory, or not several people with several pictures.
            Both are checked before any picture is read.
        EdgefrError: As for `protocols.embed_renderings`.
    """
    chosen = [condition for condition in chosen if condition.first == condition.second]
    if not chosen:
        raise InvalidArgumentError(
            "--pairs for a mixed protocol", "none", "give LFW's pairs file or another --protocol"
        )
    most = math.isqrt(2 * MAX_SIMILARITIES // (len(chosen) * models.systems))
    if len(names) > most:
        raise InvalidArgumentError(
            f"at most {most:,} pictures to compare all against all in {len(chosen)} protocols",
            f"{len(names):,}",
            f"draw some with --limit {most}, choose one --protocol, or give --pairs",
        )
    people, labels = np.unique([person_of(name) for name in names], return_inverse=True)
    if len(people) < 2 or len(people) == len(names):
        raise InvalidArgumentError(
            "several people, and several pictures of one of them, to compare all against all",
            f"{len(people):,} people in {len(names):,} pictures",
            "give more, or --pairs",
        )
    labels = labels.astype(np.int64)
    embedded = embed_renderings(names, read_crops, needed_renderings(chosen), models, progress)
    ends = np.cumsum(np.arange(len(names) - 1, -1, -1))  # of the comparisons of each picture with those after it

    def trial(condition: Condition) -> Trial:
        compared: dict[str, Comparisons] = {}
        others: dict[str, dict[str, ExtraFigure]] = {}
        for system in embedded.systems[condition.first]:
            found = compare_all(system.embedding, labels)
            first = next(iter(compared.values()), found)  # all systems share one copy of the people
            compared[system.name] = replace(found, same=first.same, people=first.people)
            others[system.name] = _identification(system.embedding, labels, split(labels))

        def thumbnails(index: int) -> tuple[Thumbnail, Thumbnail]:
            row = int(np.searchsorted(ends, index, side="right"))
            column = len(names) - int(ends[row] - index)
            return embedded.thumbnail(row, condition.first), embedded.thumbnail(column, condition.first)

        failures = int((~embedded.present[condition.first]).sum())
        return Trial(dataset, condition.name, len(names), failures, compared, others=others, thumbnails=thumbnails)

    return [trial(condition) for condition in chosen]


def _identification(embedding: Floats, labels: Ints, parts: Split) -> dict[str, ExtraFigure]:
    """Figures of closed-set and open-set identification; empty if nobody has two pictures."""
    if len(parts.mated) == 0:
        return {}
    gallery, mated, everybody = (
        Identities(embedding[index], labels[index])
        for index in (parts.gallery, parts.mated, np.concatenate([parts.mated, parts.non_mated]))
    )
    closed = closed_set(gallery, mated)
    figures: dict[str, ExtraFigure] = {"rank 1": closed.rank1, "rank 5": closed.rank5}
    for fpir in FPIRS:
        enough = len(parts.non_mated) >= comparisons_needed(fpir)
        figures[f"FNIR at FPIR {fpir:g}"] = open_set(gallery, everybody, fpir).fnir if enough else None
    return figures


def bin_trial(dataset: str, pairs: BinPairs, models: ModelSet, progress: Advance) -> Trial:
    """Upstream's ten folds, with each picture and its mirror image. `progress` counts pictures.

    Raises:
        EdgefrError: A picture is not an aligned face, or a model fails.
    """
    names = pairs.faces.names
    parts = []
    for start in range(0, len(names), BATCH):
        faces = pairs.faces.read_faces(names[start : start + BATCH])
        parts.append(models.embed_both_flips(faces))
        progress(len(faces))
    systems = models.with_baselines([join_batches(column) for column in zip(*parts, strict=True)])
    found = {entry.name: kfold(entry.embedding[::2], entry.embedding[1::2], pairs.same) for entry in systems}

    def thumbnails(index: int) -> tuple[Thumbnail, Thumbnail]:
        first, second = (names[2 * index + side] for side in (0, 1))
        return (first, pairs.faces.read(first)), (second, pairs.faces.read(second))

    return Trial(
        dataset,
        "clean",
        len(names),
        0,
        {name: result.comparisons for name, result in found.items()},
        accuracy={name: result.accuracy for name, result in found.items()},
        thumbnails=thumbnails,
        units="pairs",
    )


def ijb_trial(
    dataset: str, path: Path, crops: Crops, align: AlignFunction, models: ModelSet, progress: Advance
) -> Trial:
    """IJB's templates, 1:1, and 1:N if its files are there. `progress` counts pictures.

    The systems, fused as upstream fuses pictures, are followed by those with an uncertainty, fused by it.

    Raises:
        EdgefrError: The files are not IJB's, or a model fails.
    """
    pairs, search = read_template_pairs(path, crops), read_search(path, crops) if has_search(path) else None
    compared: dict[str, Comparisons] = {}
    others: dict[str, dict[str, ExtraFigure]] = {}
    for name, templates in _templates_by_system(crops, align, models, progress).items():
        verification = verify_templates(templates, pairs)
        compared[name] = verification.comparisons
        others[name] = _upstream_figures(verification, search_templates(templates, search) if search else None)
    pictures = len(crops.faces.names)
    return Trial(dataset, "templates", pictures, 0, compared, others=others, units="matching templates")


def _templates_by_system(
    crops: Crops, align: AlignFunction, models: ModelSet, progress: Advance
) -> dict[str, Templates]:
    names = crops.faces.names
    parts: list[list[System]] = []
    for start in range(0, len(names), BATCH):
        batch = range(start, min(start + BATCH, len(names)))
        faces = np.stack([align_picture(crops, index, align) for index in batch])
        parts.append(models.embed_both_flips(faces))
        progress(len(faces))
    systems = [join_batches(column) for column in zip(*parts, strict=True)]
    fused = {system.name: fuse_templates(system, crops, norm_weights(system, crops)) for system in systems}
    number = next(iter(fused.values())).number
    known = [System(name, found.embedding) for name, found in fused.items()]
    by_norm = {system.name: Templates(number, system.embedding) for system in models.with_baselines(known)}
    by_certainty = {
        f"{system.name}, fused by certainty": fuse_templates(system, crops, certainty_weights(system))
        for system in systems
        if system.uncertainty is not None
    }
    return by_norm | by_certainty


def _upstream_figures(
    verification: VerificationFigures, identification: IdentificationFigures | None
) -> dict[str, ExtraFigure]:
    """The figures that upstream prints, whatever the number of impostors."""
    figures: dict[str, ExtraFigure] = {f"TAR nearest to FAR {row.far:g}": row.nearest_tar for row in verification.rows}
    if identification is not None:
        figures |= {f"rank {rank}": found for rank, found in zip(RANKS, identification.rank, strict=True)}
        figures |= {f"TPIR at FPIR {row.fpir:g}, upstream's": row.upstream for row in identification.rows}
        figures |= {f"TPIR at FPIR {row.fpir:g}": row.strict for row in identification.rows}
    return figures
