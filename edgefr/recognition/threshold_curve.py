"""Thresholds at false match rates (FMR) between the calibrated ones.

In the upper tail of the impostor similarities, the threshold is nearly linear in the logarithm of the FMR. So it is
interpolated linearly between calibrated rates. Nothing is extrapolated: a rate below the strictest calibrated one is
unknown, because there were too few impostor pairs to see it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from edgefr.errors import InvalidArgumentError
from edgefr.manifest import Threshold


def interpolate_threshold(thresholds: Iterable[Threshold], fmr: float) -> Threshold | None:
    """The threshold at a false match rate.

    It never falls as the rate falls, except at a calibrated rate that contradicts its neighbour, which can happen if
    they were measured on different people. Between such rates the higher threshold applies.

    Args:
        thresholds: Calibrated thresholds of one precision. If several have the same rate, the first one counts.
        fmr: The false match rate.

    Returns:
        The calibrated threshold at a calibrated rate. Between two of them, one with interpolated value and interval,
        whose `measured_on` says so. None outside the calibrated rates.
    """
    calibrated = by_rate(thresholds)
    if fmr in calibrated:
        return calibrated[fmr]
    stricter = max((rate for rate in calibrated if rate < fmr), default=None)
    looser = min((rate for rate in calibrated if rate > fmr), default=None)
    if stricter is None or looser is None:
        return None
    low, high = calibrated[looser], calibrated[stricter]
    part = math.log(looser / fmr) / math.log(looser / stricter)  # 0 at the looser rate, 1 at the stricter one

    def between(first: float, second: float) -> float:
        return first + part * max(second - first, 0.0)

    unseen = None
    if low.unseen_fmr and high.unseen_fmr:
        unseen = low.unseen_fmr * (high.unseen_fmr / low.unseen_fmr) ** part
    return Threshold(
        fmr,
        between(low.value, high.value),
        (between(low.ci95[0], high.ci95[0]), between(low.ci95[1], high.ci95[1])),
        _source(low, high),
        high.precision,
        unseen,
    )


def check_similarity(threshold: float) -> float:
    """A threshold that a user gave.

    Raises:
        InvalidArgumentError: It is not a number between -1 and 1. NaN would make every answer "no".
    """
    if not -1 <= threshold <= 1:
        raise InvalidArgumentError("a threshold between -1 and 1", f"{threshold:g}", "give another --threshold")
    return threshold


def by_rate(thresholds: Iterable[Threshold]) -> dict[float, Threshold]:
    """False match rate -> calibrated threshold, loosest rate first."""
    found: dict[float, Threshold] = {}
    for entry in thresholds:
        if entry.fmr is not None and 0 < entry.fmr < 1:
            found.setdefault(entry.fmr, entry)
    return dict(sorted(found.items(), reverse=True))


def _source(low: Threshold, high: Threshold) -> str:
    rates = f"interpolated between the calibrated false match rates {low.fmr:g} and {high.fmr:g}"
    if low.measured_on == high.measured_on:
        return f"{low.measured_on}, {rates}"
    return f"{low.measured_on}; {high.measured_on}; {rates}"
