"""The LFW protocol on a collection of faces: which faces to read, and the pairs as indices into them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgefr.data.faces import open_faces
from edgefr.data.lfw import NamedPair
from edgefr.errors import EdgefrError
from edgefr.evaluate.pairs import Pairs
from edgefr.spec import Faces

SEED = 0


def faces_and_pairs(path: Path, named: Sequence[NamedPair] | None, limit: int | None) -> tuple[Faces, Pairs | None]:
    """Aligned faces (N, 112, 112, 3) of `path`: those of the pairs, or all; `limit` draws that many, seeded.

    Raises:
        EdgefrError: a picture of a pair is not there.
    """
    folder = open_faces(path)
    if named is None:
        return folder.read_faces([folder.names[index] for index in _draw(len(folder.names), limit)]), None
    drawn = [named[index] for index in _draw(len(named), limit)]
    names, pairs = index_pairs(drawn)
    missing = set(names) - set(folder.names)
    if missing:
        raise EdgefrError(
            f"expected every picture of the pairs in {path}, found {len(missing)} missing ({min(missing)}): give the "
            "faces that belong to the pairs file"
        )
    return folder.read_faces(names), pairs


def index_pairs(named: Sequence[NamedPair]) -> tuple[list[str], Pairs]:
    """The pictures of the pairs, sorted, each once; and the pairs as indices into them."""
    names = sorted({name for pair in named for name in (pair.first, pair.second)})
    place = {name: index for index, name in enumerate(names)}
    return names, Pairs(
        np.array([place[pair.first] for pair in named], np.int64),
        np.array([place[pair.second] for pair in named], np.int64),
        np.array([pair.same for pair in named], bool),
    )


def _draw(count: int, limit: int | None) -> list[int]:
    if limit is None or limit >= count:
        return list(range(count))
    return sorted(np.random.default_rng(SEED).choice(count, limit, replace=False).tolist())
