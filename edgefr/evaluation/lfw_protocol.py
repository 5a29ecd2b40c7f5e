"""The LFW protocol on a collection of faces: the faces to read, the pairs as indices of them, and the trials."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgefr.data.collections import FaceFolder, open_faces
from edgefr.data.lfw_pairs import NamedPair
from edgefr.errors import InvalidArgumentError
from edgefr.evaluation.error_rates import FAILURE, Comparisons, accuracy, check_folds
from edgefr.evaluation.model_set import ModelSet, System
from edgefr.evaluation.pairs import Pairs, similarities
from edgefr.evaluation.protocols import (
    CLEAN,
    Advance,
    Condition,
    CropReader,
    Thumbnail,
    Trial,
    embed_renderings,
    needed_renderings,
)
from edgefr.types import Faces, Floats

SEED = 0


def faces_and_pairs(path: Path, named: Sequence[NamedPair] | None, limit: int | None) -> tuple[Faces, Pairs | None]:
    """Read the aligned faces of a collection, and index its pairs.

    Args:
        path: The collection.
        named: The pairs. None takes all faces and no pairs.
        limit: Draw so many pairs (or faces) with a fixed seed. None takes all.

    Returns:
        (N, 112, 112, 3) faces, and pairs as indices of them.

    Raises:
        EdgefrError: A picture of a pair is missing or is not an aligned face.
    """
    folder = open_faces(path)
    if named is None:
        return folder.read_faces([folder.names[index] for index in draw_indices(len(folder.names), limit)]), None
    names, pairs = index_pairs([named[index] for index in draw_indices(len(named), limit)])
    check_present(names, folder)
    return folder.read_faces(names), pairs


def check_present(names: Sequence[str], folder: FaceFolder) -> None:
    """Check that a collection holds the pictures of pairs.

    Raises:
        InvalidArgumentError: A picture is missing. One is named.
    """
    missing = set(names) - set(folder.names)
    if missing:
        raise InvalidArgumentError(
            f"every picture of the pairs in {folder.path}",
            f"{len(missing)} missing ({min(missing)})",
            "give the faces that belong to the pairs file",
        )


def index_pairs(named: Sequence[NamedPair]) -> tuple[list[str], Pairs]:
    """The names of the pairs' pictures, sorted, each once; and the pairs as indices of them."""
    names = sorted({name for pair in named for name in (pair.first, pair.second)})
    index = {name: number for number, name in enumerate(names)}
    return names, Pairs(
        np.array([index[pair.first] for pair in named], np.int64),
        np.array([index[pair.second] for pair in named], np.int64),
        np.array([pair.same for pair in named], bool),
    )


def draw_indices(count: int, limit: int | None) -> list[int]:
    """At most `limit` indices of `count` items, rising, drawn with a fixed seed."""
    if limit is None or limit >= count:
        return list(range(count))
    return sorted(np.random.default_rng(SEED).choice(count, limit, replace=False).tolist())


def lfw_trials(
    dataset: str,
    named: Sequence[NamedPair],
    read_crops: CropReader,
    chosen: Sequence[Condition],
    models: ModelSet,
    progress: Advance,
) -> list[Trial]:
    """The trials of pairs in several conditions. Thresholds are chosen on the other folds of the same condition.
    `progress` counts pictures.

    Raises:
        EdgefrError: The pairs are of a single fold, which is checked before any picture is read; or as for
            `embed_renderings`.
    """
    folds = np.array([pair.fold for pair in named], np.int64)
    check_folds(folds)
    names, pairs = index_pairs(named)
    embedded = embed_renderings(names, read_crops, needed_renderings(chosen), models, progress)
    _, index = np.unique([pair.people for pair in named], return_inverse=True)
    people = index.reshape(-1, 2).astype(np.int64)

    def trial(condition: Condition) -> Trial:
        sides = zip(embedded.systems[condition.first], embedded.systems[condition.second], strict=True)
        compared = {a.name: Comparisons(_similarity(a, b, pairs), pairs.same, people) for a, b in sides}
        first, second = embedded.signals[condition.first], embedded.signals[condition.second]
        missing = np.zeros(len(names), bool)
        for index, rendering in ((pairs.first, condition.first), (pairs.second, condition.second)):
            missing[index[~embedded.present[rendering][index]]] = True

        def thumbnails(index: int) -> tuple[Thumbnail, Thumbnail]:
            return (
                embedded.thumbnail(int(pairs.first[index]), condition.first),
                embedded.thumbnail(int(pairs.second[index]), condition.second),
            )

        return Trial(
            dataset,
            condition.name,
            len(names),
            int(missing.sum()),
            compared,
            accuracy={name: accuracy(comparisons, folds) for name, comparisons in compared.items()},
            degraded=condition.second != CLEAN,
            # A comparison is as good as its poorer picture. NaN stays, for a picture without a face.
            quality={name: np.minimum(first[name][pairs.first], second[name][pairs.second]) for name in first},
            thumbnails=thumbnails,
        )

    return [trial(condition) for condition in chosen]


def _similarity(a: System, b: System, pairs: Pairs) -> Floats:
    """Similarities (P,) of the first pictures in the embeddings of `a` with the second in those of `b`."""
    both = np.concatenate([a.embedding, b.embedding])
    found = similarities(both, Pairs(pairs.first, pairs.second + len(a.embedding), pairs.same))
    return np.where(np.isnan(found), np.float32(FAILURE), found)
