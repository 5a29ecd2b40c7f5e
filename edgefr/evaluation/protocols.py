"""Verification protocols: for every system, the same comparisons of faces in several qualities.

Every picture is read once, rendered in each quality, and embedded once by every system. A mixed protocol compares the
clean rendering of a pair's first picture with the degraded one of its second. A `CropReader` decides how a picture is
rendered: an aligned face is degraded as it is, a photograph before detection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Literal

import numpy as np

from edgefr.data.collections import FaceFolder
from edgefr.data.degradations import PROTOCOLS, degrade
from edgefr.errors import InvalidArgumentError, NoFaceError
from edgefr.evaluation.bootstrap import Estimate
from edgefr.evaluation.error_rates import Accuracy, Comparisons
from edgefr.evaluation.model_set import ModelSet, System, join_batches
from edgefr.types import Bools, Floats, Image

CLEAN = "clean"
MIXED = "mixed, "
BATCH = 64

Signals = Mapping[str, Callable[[Image], float]]
"""Name of a quality signal -> how to measure it on an aligned face without a model. Higher is better."""

ExtraFigure = Estimate | float | None

Advance = Callable[[int], None]

Thumbnail = tuple[str, Image]
"""The name of a picture, and its face as the systems got it."""


@dataclass(frozen=True)
class FaceCrop:
    """An aligned face.

    Attributes:
        face: (112, 112, 3) uint8 RGB, as the systems get it.
        signals: Quality signals that need no model, by their names in a manifest. Higher is better.
    """

    face: Image
    signals: Mapping[str, float]


CropReader = Callable[[str, Sequence[str]], "list[FaceCrop | None]"]
"""Name of a picture and names of renderings -> the face in each rendering, None if no face is found."""


@dataclass(frozen=True)
class Condition:
    """How the pictures of a pair are rendered.

    Attributes:
        name: Name of the protocol.
        first: Rendering of the first picture, a key of `degradations.PROTOCOLS`.
        second: Rendering of the second picture.
    """

    name: str
    first: str
    second: str


@dataclass(frozen=True)
class Trial:
    """P comparisons of one protocol on one data set by every system, the candidate first.

    Attributes:
        dataset: Name of the data set.
        protocol: Name of the protocol.
        pictures: Number of pictures.
        failures: Number of pictures in which no face was found.
        comparisons: System -> its comparisons.
        accuracy: System -> its accuracy, if the protocol has folds.
        degraded: Whether the trial counts in the pooled figures. Such trials are of one pairs file, in which people
            have the same numbers in all of them.
        quality: Signal -> (P,) quality of each comparison. Higher is better; NaN if no face was found.
        others: System -> name -> figures that only this protocol has, None if there are too few data.
        thumbnails: Index of a comparison -> its two faces.
        units: What the bootstrap draws: people, or what stands for them if they are not known.
    """

    dataset: str
    protocol: str
    pictures: int
    failures: int
    comparisons: dict[str, Comparisons]
    accuracy: dict[str, Accuracy] = field(default_factory=dict)
    degraded: bool = False
    quality: dict[str, Floats] = field(default_factory=dict)
    others: dict[str, dict[str, ExtraFigure]] = field(default_factory=dict)
    thumbnails: Callable[[int], tuple[Thumbnail, Thumbnail]] | None = None
    units: Literal["people", "pairs", "matching templates"] = "people"


@dataclass(frozen=True)
class EmbeddedRenderings:
    """N pictures in every rendering: whether a face is `present` (N,), what every system computed, and the signals
    (N,); NaN if no face was found. `read_crops` reads the faces again, for thumbnails.
    """

    names: Sequence[str]
    read_crops: CropReader
    present: dict[str, Bools]
    systems: dict[str, list[System]]
    signals: dict[str, dict[str, Floats]]

    def thumbnail(self, picture: int, rendering: str) -> Thumbnail:
        """The face of a picture in which one was found."""
        name = self.names[picture]
        (crop,) = self.read_crops(name, [rendering])
        assert crop is not None
        return name, crop.face


def select_conditions(chosen: Sequence[str]) -> list[Condition]:
    """The conditions of protocols.

    Args:
        chosen: `all`, `clean`, `degraded` (all but clean), or names of single conditions.

    Returns:
        The conditions in a fixed order, each once.

    Raises:
        InvalidArgumentError: A name is unknown.
    """
    known = [Condition(CLEAN, CLEAN, CLEAN)]
    for name in PROTOCOLS:
        if name != CLEAN:
            known += [Condition(name, name, name), Condition(MIXED + name, CLEAN, name)]
    groups = {"all": known, "degraded": known[1:], **{entry.name: [entry] for entry in known}}
    if unknown := [name for name in chosen if name not in groups]:
        raise InvalidArgumentError(
            f"the protocol {', '.join(repr(name) for name in groups)}", f"{unknown[0]!r}", "choose another --protocol"
        )
    wanted = [entry for name in chosen for entry in groups[name]]
    return [entry for entry in known if entry in wanted]


def needed_renderings(chosen: Sequence[Condition]) -> list[str]:
    """The renderings that conditions need."""
    return [name for name in PROTOCOLS if any(name in (entry.first, entry.second) for entry in chosen)]


def aligned_crops(folder: FaceFolder, signals: Signals = MappingProxyType({})) -> CropReader:
    """Read faces that are aligned already. A picture that is not 112x112 is an EdgefrError."""
    fix = "give a detector for photographs, for example -d spot, or align them first with `edgefr data align`"
    return degraded_crops(lambda name: folder.read_faces([name], fix=fix)[0], signals)


def degraded_crops(read: Callable[[str], Image | None], signals: Signals = MappingProxyType({})) -> CropReader:
    """Read aligned faces with `read`, and degrade them as they are. `signals` are measured of each rendering."""

    def read_crops(name: str, wanted: Sequence[str]) -> list[FaceCrop | None]:
        face = read(name)
        if face is None:
            return [None] * len(wanted)
        rendered = [degrade(face, rendering, name) for rendering in wanted]
        return [FaceCrop(face, {key: measure(face) for key, measure in signals.items()}) for face in rendered]

    return read_crops


def embed_renderings(
    names: Sequence[str], read_crops: CropReader, wanted: Sequence[str], models: ModelSet, progress: Advance
) -> EmbeddedRenderings:
    """Read and embed pictures in the wanted renderings, 64 pictures at a time. `progress` counts pictures.

    Raises:
        NoFaceError: No picture shows a face.
        EdgefrError: A picture cannot be read, or a model fails.
    """
    batches = {rendering: _Batches([], [], []) for rendering in wanted}
    for start in range(0, len(names), BATCH):
        read = [read_crops(name, wanted) for name in names[start : start + BATCH]]
        for rendering, crops in zip(wanted, zip(*read, strict=True), strict=True):
            batches[rendering].add(crops, models)
        progress(len(read))
    filled = [entry for entry in batches.values() if entry.systems]
    if not filled:
        raise NoFaceError(
            f"a face in at least one of {len(names)} pictures", "none", "give pictures of faces turned to the camera"
        )
    # A rendering in which no face was found has the same systems, with no rows.
    empty = [system.map_rows(lambda rows: rows[:0]) for system in filled[0].systems[0]]
    systems = {rendering: models.with_baselines(entry.join(empty)) for rendering, entry in batches.items()}
    signals = {
        rendering: systems[rendering][0].signals | _measured_signals(entry, batches.values())
        for rendering, entry in batches.items()
    }
    present = {rendering: np.array(entry.present, bool) for rendering, entry in batches.items()}
    return EmbeddedRenderings(names, read_crops, present, systems, signals)


@dataclass(frozen=True)
class _Batches:
    """One rendering of N pictures: whether each shows a face, and for those that do the signals and, in batches, what
    every system computed."""

    present: list[bool]
    signals: list[Mapping[str, float]]
    systems: list[list[System]]

    def add(self, crops: Sequence[FaceCrop | None], models: ModelSet) -> None:
        found = [crop for crop in crops if crop is not None]
        self.present.extend(crop is not None for crop in crops)
        self.signals.extend(crop.signals for crop in found)
        if found:
            self.systems.append(models.embed(np.stack([crop.face for crop in found])))

    def join(self, empty: list[System]) -> list[System]:
        """What every system computed for all N pictures; `empty` is used if no picture shows a face."""
        known = [join_batches(column) for column in zip(*self.systems, strict=True)] if self.systems else empty
        return [system.map_rows(partial(_spread, present=np.array(self.present, bool))) for system in known]


def _measured_signals(entry: _Batches, every: Iterable[_Batches]) -> dict[str, Floats]:
    """The signals that the faces of all renderings have. Faces that were aligned already have no detector's score."""
    common = set.intersection(*(set(signals) for batches in every for signals in batches.signals))
    present = np.array(entry.present, bool)
    return {
        key: _spread(np.array([signals[key] for signals in entry.signals], np.float32), present)
        for key in sorted(common)
    }


def _spread(values: Floats, present: Bools) -> Floats:
    """The rows of the pictures with a face at their places among all pictures; NaN elsewhere."""
    spread = np.full((len(present), *values.shape[1:]), np.nan, np.float32)
    spread[present] = values
    return spread
