"""Error rates of presentation attack detection after ISO/IEC 30107-3, with 95 % intervals over people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgefr.evaluation.bootstrap import Estimate, resampled_share
from edgefr.types import Floats


@dataclass(frozen=True)
class Scores:
    """The scores of N pictures of one kind.

    Attributes:
        kind: Species of attack instrument, or "bona fide".
        values: (N,) scores, higher for a living face.
        people: (N,) the people in the pictures.
        without_face: Number of further pictures in which no face was found.
    """

    kind: str
    values: Floats
    people: npt.NDArray[np.str_]
    without_face: int


@dataclass(frozen=True)
class AttackRates:
    """How often attacks pass and living faces are refused at one threshold.

    Attributes:
        threshold: Score from which a face counts as living.
        apcer: Species -> share of attacks that pass (APCER). Attacks without a face do not pass and do not count.
        bpcer: Share of living faces that are refused (BPCER).
        worst: The species that passes most often.
        acer: Mean of BPCER and of the APCER of the worst species.
    """

    threshold: float
    apcer: dict[str, Estimate]
    bpcer: Estimate
    worst: str
    acer: float


def attack_rates(bona_fide: Scores, attacks: list[Scores], threshold: float) -> AttackRates:
    """Measure the error rates.

    Args:
        bona_fide: Scores of living faces, at least one.
        attacks: Scores of each species of attack instrument, at least one of each.
        threshold: Score from which a face counts as living.

    Returns:
        The rates.
    """
    apcer = {species.kind: _share(species, species.values >= threshold) for species in attacks}
    bpcer = _share(bona_fide, bona_fide.values < threshold)
    worst = max(apcer, key=lambda kind: apcer[kind].value)
    return AttackRates(threshold, apcer, bpcer, worst, (apcer[worst].value + bpcer.value) / 2)


def threshold_for_apcer(attacks: list[Scores], apcer: float) -> float:
    """The lowest threshold at which at most a share `apcer` of each species passes; above all scores if need be."""
    return max(_threshold(species.values, apcer) for species in attacks)


def _threshold(values: Floats, share: float) -> float:
    ordered = np.sort(values)[::-1]
    passing = int(np.floor(share * len(ordered)))
    if passing == len(ordered):
        return 0.0
    return float(np.nextafter(np.float32(ordered[passing]), np.float32(2)))


def _share(scores: Scores, wrong: npt.NDArray[np.bool_]) -> Estimate:
    """The share of wrong decisions. If there is none, or nothing else, resamples do not differ, and the interval is the
    exact one of that many people."""
    margin = 1 - (0.05 / 2) ** (1 / len(np.unique(scores.people)))
    if not wrong.any():
        return Estimate(0.0, (0.0, margin))
    if wrong.all():
        return Estimate(1.0, (1 - margin, 1.0))
    return resampled_share(wrong.astype(np.float32), np.column_stack([scores.people, scores.people]))
