"""Protocols on faces: each gives, for every system, the same comparisons.

Every picture is read once, rendered in each quality and embedded once by every system; a mixed protocol compares the
clean rendering of a pair's first picture with the degraded one of its second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edgefr.data.degrade import PROTOCOLS, degrade
from edgefr.data.faces import FaceFolder
from edgefr.errors import EdgefrError
from edgefr.evaluate.bootstrap import Estimate
from edgefr.evaluate.rates import Accuracy, Comparisons
from edgefr.evaluate.systems import Entrants, System, joined
from edgefr.spec import Floats, Image

CLEAN = "clean"
MIXED = "mixed, "
BATCH = 64

Find = Callable[[str], Image | None]
"""The aligned face (112, 112, 3) in the picture of this name, or None where none is found."""

Signals = Mapping[str, Callable[[Image], float]]
"""What a face tells of its quality without a model, higher for a better face, by name."""

Others = Estimate | float | None

Advance = Callable[[int], None]

Look = tuple[str, Image]
"""A picture's name, and its face as the systems saw it."""


@dataclass(frozen=True)
class Condition:
    """How the first and the second picture of a pair are rendered, by keys of `degrade.PROTOCOLS`."""

    name: str
    first: str
    second: str


@dataclass(frozen=True)
class Trial:
    """What every system, the judged one first, says of the same P comparisons of one protocol on one data set.

    `failures` of its `pictures` show no face that was found. `accuracy` where the protocol has folds. `degraded` trials
    count into the pooled figures. `quality` (P,) of each comparison by signal, higher is better, NaN where no face was
    found. `others` holds, by system and name, figures that only this protocol has, None where the data are too few.
    `looks` gives the two faces of a comparison. Where people are not known each pair stands for one.
    """

    dataset: str
    protocol: str
    pictures: int
    failures: int
    comparisons: dict[str, Comparisons]
    accuracy: dict[str, Accuracy] = field(default_factory=dict)
    degraded: bool = False
    quality: dict[str, Floats] = field(default_factory=dict)
    others: dict[str, dict[str, Others]] = field(default_factory=dict)
    looks: Callable[[int], tuple[Look, Look]] | None = None
    people_known: bool = True


@dataclass(frozen=True)
class Embedded:
    """N pictures by name in every rendering: what every system says, and the `signals` (N,); NaN where no face was
    found."""

    names: Sequence[str]
    find: Find
    present: npt.NDArray[np.bool_]
    systems: dict[str, list[System]]
    signals: dict[str, dict[str, Floats]]

    @property
    def failures(self) -> int:
        return int((~self.present).sum())

    def look(self, picture: int, rendering: str) -> Look:
        """A picture that shows a face."""
        name = self.names[picture]
        face = self.find(name)
        assert face is not None
        return name, degrade(face, rendering, name)


def conditions(chosen: Sequence[str]) -> list[Condition]:
    """`all`, `clean`, `degraded` (without clean) or single names -> conditions, in a fixed order, each once.

    Raises:
        EdgefrError: a name is none of these.
    """
    known = [Condition(CLEAN, CLEAN, CLEAN)]
    for name in PROTOCOLS:
        if name != CLEAN:
            known += [Condition(name, name, name), Condition(MIXED + name, CLEAN, name)]
    groups = {"all": known, "degraded": known[1:], **{entry.name: [entry] for entry in known}}
    if unknown := [name for name in chosen if name not in groups]:
        raise EdgefrError(
            f"expected the protocol {', '.join(repr(name) for name in groups)}, found {unknown[0]!r}: choose another "
            "--protocol"
        )
    wanted = [entry for name in chosen for entry in groups[name]]
    return [entry for entry in known if entry in wanted]


def renderings(chosen: Sequence[Condition]) -> list[str]:
    """The degradations that conditions need."""
    return [name for name in PROTOCOLS if any(name in (entry.first, entry.second) for entry in chosen)]


def aligned_only(folder: FaceFolder) -> Find:
    """Faces that are aligned already; a picture that is not 112x112 is an EdgefrError."""
    return lambda name: folder.read_faces([name])[0]


def embed(
    names: Sequence[str],
    find: Find,
    wanted: Sequence[str],
    entrants: Entrants,
    signals: Signals,
    advance: Advance,
) -> Embedded:
    """Read, render as `wanted` and embed, 64 pictures at a time; `advance` is told of every picture.

    Raises:
        EdgefrError: a picture cannot be read, none shows a face, or a model fails.
    """
    parts: dict[str, list[list[System]]] = {rendering: [] for rendering in wanted}
    told: dict[str, dict[str, list[float]]] = {rendering: {name: [] for name in signals} for rendering in wanted}
    present = np.zeros(len(names), bool)
    for start in range(0, len(names), BATCH):
        batch = names[start : start + BATCH]
        found = {name: face for name in batch if (face := find(name)) is not None}
        present[start : start + BATCH] = [name in found for name in batch]
        for rendering in wanted if found else ():
            faces = np.stack([degrade(face, rendering, name) for name, face in found.items()])
            parts[rendering].append(entrants.embed(faces))
            for signal, measure in signals.items():
                told[rendering][signal] += [measure(face) for face in faces]
        advance(len(batch))
    if not present.any():
        raise EdgefrError(
            f"expected a face in at least one of {len(names)} pictures, found none: give pictures of faces turned to "
            "the camera"
        )
    systems = {
        rendering: entrants.with_baselines([_spread(joined(column), present) for column in zip(*batches, strict=True)])
        for rendering, batches in parts.items()
    }
    known = {rendering: _own_signals(found[0]) for rendering, found in systems.items()}
    for rendering, measured in told.items():
        known[rendering] |= {name: _rows(np.array(values, np.float32), present) for name, values in measured.items()}
    return Embedded(names, find, present, systems, known)


def _own_signals(system: System) -> dict[str, Floats]:
    """What a model itself tells of a face's quality; names as in a manifest."""
    told = {"norm": system.norm, "certainty": None if system.uncertainty is None else -system.uncertainty}
    return {name: values for name, values in told.items() if values is not None}


def _spread(system: System, present: npt.NDArray[np.bool_]) -> System:
    """The rows of the pictures with a face at their places among all."""
    columns = [None if part is None else _rows(part, present) for part in (system.norm, system.uncertainty)]
    return System(system.name, _rows(system.embedding, present), *columns)


def _rows(values: Floats, present: npt.NDArray[np.bool_]) -> Floats:
    spread = np.full((len(present), *values.shape[1:]), np.nan, np.float32)
    spread[present] = values
    return spread
