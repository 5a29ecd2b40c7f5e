"""Protocols on faces: each gives, for every system, the same comparisons.

Every picture is read once, rendered in each quality and embedded once by every system; a mixed protocol compares the
clean rendering of a pair's first picture with the degraded one of its second. How a picture is rendered is up to who
finds the faces: an aligned face is degraded as it is, a photograph before a detector looks at it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import numpy as np

from edgefr.data.collections import FaceFolder
from edgefr.data.degradations import PROTOCOLS, degrade
from edgefr.errors import EdgefrError
from edgefr.evaluation.bootstrap import Estimate
from edgefr.evaluation.error_rates import Accuracy, Comparisons
from edgefr.evaluation.model_set import ModelSet, System, joined
from edgefr.types import Bools, Floats, Image

CLEAN = "clean"
MIXED = "mixed, "
BATCH = 64

Signals = Mapping[str, Callable[[Image], float]]
"""What an aligned face tells of its quality without a model, higher for a better face, by name."""

Others = Estimate | float | None

Advance = Callable[[int], None]

Look = tuple[str, Image]
"""A picture's name, and its face as the systems saw it."""


@dataclass(frozen=True)
class FaceCrop:
    """An aligned `face` (112, 112, 3) as the systems see it, and what tells of its quality without a model: higher is
    better, by a manifest's names."""

    face: Image
    signals: Mapping[str, float]


Find = Callable[[str, Sequence[str]], "list[FaceCrop | None]"]
"""What is seen in the picture of this name in each of these renderings, None where no face is found."""


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
    count into the pooled figures; those are of one pairs file, whose people have the same numbers in all of them.
    `quality` (P,) of each comparison by signal, higher is better, NaN where no face was found. `others` holds, by
    system and name, figures that only this protocol has, None where the data are too few. `looks` gives the two faces
    of a comparison. `units` are what the bootstrap draws: people, or what stands for them where they are not known.
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
    units: Literal["people", "pairs", "templates that are said to match"] = "people"


@dataclass(frozen=True)
class Embedded:
    """N pictures by name in every rendering: where a face is `present` (N,), what every system says, and the `signals`
    (N,); NaN where no face was found."""

    names: Sequence[str]
    find: Find
    present: dict[str, Bools]
    systems: dict[str, list[System]]
    signals: dict[str, dict[str, Floats]]

    def look(self, picture: int, rendering: str) -> Look:
        """A picture that shows a face."""
        name = self.names[picture]
        (sight,) = self.find(name, [rendering])
        assert sight is not None
        return name, sight.face


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
            f"the protocol {', '.join(repr(name) for name in groups)}", f"{unknown[0]!r}", "choose another --protocol"
        )
    wanted = [entry for name in chosen for entry in groups[name]]
    return [entry for entry in known if entry in wanted]


def renderings(chosen: Sequence[Condition]) -> list[str]:
    """The degradations that conditions need."""
    return [name for name in PROTOCOLS if any(name in (entry.first, entry.second) for entry in chosen)]


def aligned_only(folder: FaceFolder, signals: Signals = MappingProxyType({})) -> Find:
    """Faces that are aligned already; a picture that is not 112x112 is an EdgefrError."""
    return degraded(lambda name: folder.read_faces([name])[0], signals)


def degraded(read: Callable[[str], Image | None], signals: Signals = MappingProxyType({})) -> Find:
    """Aligned faces, made worse as they are; `signals` are measured of each rendering."""

    def find(name: str, wanted: Sequence[str]) -> list[FaceCrop | None]:
        face = read(name)
        if face is None:
            return [None] * len(wanted)
        shown = [degrade(face, rendering, name) for rendering in wanted]
        return [FaceCrop(face, {key: measure(face) for key, measure in signals.items()}) for face in shown]

    return find


def embed(names: Sequence[str], find: Find, wanted: Sequence[str], entrants: ModelSet, advance: Advance) -> Embedded:
    """Read, render as `wanted` and embed, 64 pictures at a time; `advance` is told of every picture.

    Raises:
        EdgefrError: a picture cannot be read, none shows a face, or a model fails.
    """
    seen = {rendering: _Seen([], [], []) for rendering in wanted}
    for start in range(0, len(names), BATCH):
        batch = [find(name, wanted) for name in names[start : start + BATCH]]
        for rendering, sights in zip(wanted, zip(*batch, strict=True), strict=True):
            seen[rendering].add(sights, entrants)
        advance(len(batch))
    if not any(entry.parts for entry in seen.values()):
        raise EdgefrError(
            f"a face in at least one of {len(names)} pictures", "none", "give pictures of faces turned to the camera"
        )
    some = next(entry.systems() for entry in seen.values() if entry.parts)
    systems = {rendering: entrants.with_baselines(entry.systems(some)) for rendering, entry in seen.items()}
    signals = {
        rendering: _own_signals(systems[rendering][0]) | _measured(entry, seen.values())
        for rendering, entry in seen.items()
    }
    present = {rendering: np.array(entry.present, bool) for rendering, entry in seen.items()}
    return Embedded(names, find, present, systems, signals)


@dataclass(frozen=True)
class _Seen:
    """One rendering of N pictures: whether each shows a face, and of those that do the signals and, in batches, what
    every system says."""

    present: list[bool]
    signals: list[Mapping[str, float]]
    parts: list[list[System]]

    def add(self, sights: Sequence[FaceCrop | None], entrants: ModelSet) -> None:
        found = [sight for sight in sights if sight is not None]
        self.present.extend(sight is not None for sight in sights)
        self.signals.extend(sight.signals for sight in found)
        if found:
            self.parts.append(entrants.embed(np.stack([sight.face for sight in found])))

    def systems(self, some: Sequence[System] = ()) -> list[System]:
        """What every system says of all N; like `some`, without any answer, where no picture shows a face."""
        known = [joined(column) for column in zip(*self.parts, strict=True)] if self.parts else map(_of_nobody, some)
        return [_spread(system, np.array(self.present, bool)) for system in known]


def _measured(entry: _Seen, every: Iterable[_Seen]) -> dict[str, Floats]:
    """The signals that every face of every rendering has: a detector's score has none that came aligned."""
    common = set.intersection(*(set(signals) for seen in every for signals in seen.signals))
    present = np.array(entry.present, bool)
    return {
        key: _rows(np.array([signals[key] for signals in entry.signals], np.float32), present) for key in sorted(common)
    }


def _of_nobody(system: System) -> System:
    """The same system's answer to no picture."""
    columns = [None if part is None else part[:0] for part in (system.norm, system.uncertainty)]
    return System(system.name, system.embedding[:0], *columns)


def _own_signals(system: System) -> dict[str, Floats]:
    """What a model itself tells of a face's quality; names as in a manifest."""
    told = {"norm": system.norm, "certainty": None if system.uncertainty is None else -system.uncertainty}
    return {name: values for name, values in told.items() if values is not None}


def _spread(system: System, present: Bools) -> System:
    """The rows of the pictures with a face at their places among all."""
    columns = [None if part is None else _rows(part, present) for part in (system.norm, system.uncertainty)]
    return System(system.name, _rows(system.embedding, present), *columns)


def _rows(values: Floats, present: Bools) -> Floats:
    spread = np.full((len(present), *values.shape[1:]), np.nan, np.float32)
    spread[present] = values
    return spread
