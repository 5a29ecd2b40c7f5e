"""Scores collections of living faces and of attacks with liveness nets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgefr.choices import FacePolicy
from edgefr.data.collections import FaceFolder, person_of
from edgefr.detection.base import Detector, select_face
from edgefr.errors import InvalidArgumentError, NoFaceError
from edgefr.evaluation.attack_rates import Scores
from edgefr.liveness.liveness_check import LivenessCheck
from edgefr.types import Floats

BONA_FIDE = "bona fide"
Progress = Callable[[int], None]


def species_of(attacks: FaceFolder) -> dict[str, list[str]]:
    """Species of attack instrument -> names of its pictures: the first folder of each name.

    Raises:
        InvalidArgumentError: A picture is in no folder.
    """
    species: dict[str, list[str]] = {}
    for name in attacks.names:
        if name.count("/") < 2:
            raise InvalidArgumentError(
                f"attacks as SPECIES/Name/picture.jpg in {attacks.path}",
                name,
                "make one folder for each kind of attack, such as print and screen, with a folder for each person",
            )
        species.setdefault(name.split("/")[0], []).append(name)
    return species


def score_faces(
    folder: FaceFolder, checks: list[LivenessCheck], detector: Detector, policy: FacePolicy, advance: Progress
) -> dict[str, list[float] | None]:
    """Score one face of every picture.

    Args:
        folder: The collection.
        checks: Nets to score with.
        detector: Finds the faces.
        policy: Which of several faces to take.
        advance: Called with 1 for every picture.

    Returns:
        The scores of every picture by its name, one of each check; None if it shows no face.

    Raises:
        EdgefrError: A picture cannot be read.
    """
    scores: dict[str, list[float] | None] = {}
    for name in folder.names:
        photo = folder.read(name)
        try:
            face = select_face(detector.detect(photo), (photo.shape[0], photo.shape[1]), policy, name)
            scores[name] = [check.check(photo, face).score for check in checks]
        except NoFaceError:
            scores[name] = None
        advance(1)
    return scores


def scores_of(
    kind: str, names: Sequence[str], found: Mapping[str, Sequence[float] | None], nets: Sequence[int]
) -> Scores:
    """The mean scores of some nets for some pictures; raises InvalidArgumentError if none of them shows a face."""
    known = [(name, np.mean([scores[net] for net in nets])) for name in names if (scores := found[name]) is not None]
    if not known:
        raise InvalidArgumentError(f"a face in at least one picture of {kind}", f"none in {len(names)}", "give others")
    values: Floats = np.array([score for _, score in known], np.float32)
    return Scores(kind, values, np.array([person_of(name) for name, _ in known]), len(names) - len(known))
