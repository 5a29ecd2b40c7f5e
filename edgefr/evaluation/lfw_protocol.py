"""The LFW protocol on a collection of faces: which faces to read, the pairs as indices into them, and its trials."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgefr.data.collections import FaceFolder, open_faces
from edgefr.data.lfw_pairs import NamedPair
from edgefr.errors import EdgefrError
from edgefr.evaluation.error_rates import FAILURE, Comparisons, accuracy, check_folds
from edgefr.evaluation.model_set import ModelSet, System
from edgefr.evaluation.pairs import Pairs, similarities
from edgefr.evaluation.protocols import CLEAN, Advance, Condition, Find, Look, Trial, embed, renderings
from edgefr.types import Faces, Floats

SEED = 0


def faces_and_pairs(path: Path, named: Sequence[NamedPair] | None, limit: int | None) -> tuple[Faces, Pairs | None]:
    """Aligned faces (N, 112, 112, 3) of `path`: those of the pairs, or all; `limit` draws that many, seeded.

    Raises:
        EdgefrError: a picture of a pair is not there.
    """
    folder = open_faces(path)
    if named is None:
        return folder.read_faces([folder.names[index] for index in draw(len(folder.names), limit)]), None
    names, pairs = index_pairs([named[index] for index in draw(len(named), limit)])
    check_present(names, folder)
    return folder.read_faces(names), pairs


def check_present(names: Sequence[str], folder: FaceFolder) -> None:
    """Refuse pairs of pictures that the collection does not hold.

    Raises:
        EdgefrError: a picture is not there; one is named.
    """
    missing = set(names) - set(folder.names)
    if missing:
        raise EdgefrError(
            f"every picture of the pairs in {folder.path}",
            f"{len(missing)} missing ({min(missing)})",
            "give the faces that belong to the pairs file",
        )


def index_pairs(named: Sequence[NamedPair]) -> tuple[list[str], Pairs]:
    """The pictures of the pairs, sorted, each once; and the pairs as indices into them."""
    names = sorted({name for pair in named for name in (pair.first, pair.second)})
    place = {name: index for index, name in enumerate(names)}
    return names, Pairs(
        np.array([place[pair.first] for pair in named], np.int64),
        np.array([place[pair.second] for pair in named], np.int64),
        np.array([pair.same for pair in named], bool),
    )


def draw(count: int, limit: int | None) -> list[int]:
    """Places among `count`, at most `limit` of them, rising; always the same ones."""
    if limit is None or limit >= count:
        return list(range(count))
    return sorted(np.random.default_rng(SEED).choice(count, limit, replace=False).tolist())


def lfw_trials(
    dataset: str,
    named: Sequence[NamedPair],
    find: Find,
    chosen: Sequence[Condition],
    entrants: ModelSet,
    advance: Advance,
) -> list[Trial]:
    """A trial of the pairs in each condition; thresholds are chosen on the other folds of the same condition.

    Raises:
        EdgefrError: the pairs are of a single fold, which is found out before any picture is read; or as
            `protocols.embed` does.
    """
    folds = np.array([pair.fold for pair in named], np.int64)
    check_folds(folds)
    names, pairs = index_pairs(named)
    embedded = embed(names, find, renderings(chosen), entrants, advance)
    _, place = np.unique([pair.people for pair in named], return_inverse=True)
    people = place.reshape(-1, 2).astype(np.int64)

    def trial(condition: Condition) -> Trial:
        sides = zip(embedded.systems[condition.first], embedded.systems[condition.second], strict=True)
        compared = {a.name: Comparisons(_similarity(a, b, pairs), pairs.same, people) for a, b in sides}
        first, second = embedded.signals[condition.first], embedded.signals[condition.second]
        missing = np.zeros(len(names), bool)
        for index, rendering in ((pairs.first, condition.first), (pairs.second, condition.second)):
            missing[index[~embedded.present[rendering][index]]] = True

        def looks(index: int) -> tuple[Look, Look]:
            return (
                embedded.look(int(pairs.first[index]), condition.first),
                embedded.look(int(pairs.second[index]), condition.second),
            )

        return Trial(
            dataset,
            condition.name,
            len(names),
            int(missing.sum()),
            compared,
            accuracy={name: accuracy(comparisons, folds) for name, comparisons in compared.items()},
            degraded=condition.second != CLEAN,
            # A comparison is as good as its poorer picture; NaN, where there is no face, stays.
            quality={name: np.minimum(first[name][pairs.first], second[name][pairs.second]) for name in first},
            looks=looks,
        )

    return [trial(condition) for condition in chosen]


def _similarity(a: System, b: System, pairs: Pairs) -> Floats:
    """Of the first picture as `a` has it with the second as `b` has it, (P,)."""
    both = np.concatenate([a.embedding, b.embedding])
    found = similarities(both, Pairs(pairs.first, pairs.second + len(a.embedding), pairs.same))
    return np.where(np.isnan(found), np.float32(FAILURE), found)
