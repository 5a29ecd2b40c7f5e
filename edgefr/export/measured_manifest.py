"""Thresholds and a quality limit for a new model, as far as its faces suffice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from edgefr.choices import Signal
from edgefr.data.collections import person_of
from edgefr.errors import InvalidArgumentError
from edgefr.evaluation.calibration import DISCARD, CalibrationFaces, calibrate
from edgefr.evaluation.fmr_thresholds import check_supported, count_impostor_pairs
from edgefr.evaluation.protocols import CropReader
from edgefr.manifest import Manifest
from edgefr.recognition.recogniser import Recogniser

FMRS = (1e-2, 1e-3, 1e-4, 1e-5)

MOST_FACES = 8000
"""Faces of a large collection that are used, all of each person. They make 32 million pairs, which suffice for 1e-5."""

Advance = Callable[[int], None]


def no_progress(count: int) -> None:
    """Ignore progress."""


def calibrated(
    recogniser: Recogniser,
    chosen: CalibrationFaces,
    read_crops: CropReader,
    manifest: Manifest,
    advance: Advance = no_progress,
) -> tuple[Manifest, int]:
    """Measure what the faces suffice for.

    Args:
        recogniser: The model.
        chosen: Faces of people.
        read_crops: Reads them.
        manifest: The manifest of the model.
        advance: Called with the number of pictures of every batch.

    Returns:
        The manifest with thresholds at the rates of `FMRS` that can be measured and with a limit of the norm, if there
        are enough faces, and the number of faces.

    Raises:
        InvalidArgumentError: The faces do not even suffice for the highest rate.
        EdgefrError: A picture cannot be read.
    """
    some = limit_faces(chosen)
    _, labels = np.unique([person_of(name) for name in some.names], return_inverse=True)
    rates = [rate for rate in FMRS if _can_measure(partial(count_impostor_pairs, labels, rate))]
    count_impostor_pairs(labels, FMRS[0])
    signal: Signal | None = "norm" if _can_measure(partial(check_supported, DISCARD, len(labels), "faces")) else None
    thresholds, limit = calibrate(recogniser, some, read_crops, rates, signal, advance)
    return replace(manifest.with_thresholds(thresholds), quality=limit), len(some.names)


def limit_faces(chosen: CalibrationFaces, most: int = MOST_FACES) -> CalibrationFaces:
    """The faces of some people, in random order, until there are `most`; all if there are not more."""
    if len(chosen.names) <= most:
        return chosen
    by_person: dict[str, list[str]] = {}
    for name in chosen.names:
        by_person.setdefault(person_of(name), []).append(name)
    people = sorted(by_person)
    names: list[str] = []
    for index in np.random.default_rng(0).permutation(len(people)):
        names += by_person[people[index]]
        if len(names) >= most:
            break
    return replace(chosen, names=tuple(names[:most]), description=f"a part of {chosen.description}")


def _can_measure(check: Callable[[], object]) -> bool:
    try:
        check()
    except InvalidArgumentError:
        return False
    return True
