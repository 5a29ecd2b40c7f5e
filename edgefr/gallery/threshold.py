"""Choose the 1:N decision threshold from a false positive identification rate (FPIR).

A face of a stranger is compared with all N templates. The FPIR (ISO/IEC 19795-1) is the probability that at least one
of them reaches the threshold: 1 - (1 - FMR)^N for independent comparisons, and at most N * FMR. The usual threshold of
1:1 verification (FMR 1e-3) would match nearly every stranger in a gallery of 5,000 people.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgefr.errors import InvalidArgumentError, WrongModelError
from edgefr.manifest import Threshold
from edgefr.recognition.verifier import Verifier

DEFAULT_FPIR = 0.01


@dataclass(frozen=True)
class DecisionThreshold:
    """Similarity threshold of 1:N identification.

    Attributes:
        value: Similarity from which on a face is a match.
        fpir: Expected share of strangers that are matched, or None if the threshold was given by the user.
        source: The data that the threshold was calibrated on.
    """

    value: float
    fpir: float | None
    source: str


def gallery_threshold(
    verifier: Verifier, people: int, fpir: float = DEFAULT_FPIR, given: float | None = None
) -> DecisionThreshold:
    """The threshold for a gallery.

    Thresholds are not interpolated or extrapolated: between two calibrated rates the stricter one is used.

    Args:
        verifier: The model with its calibrated thresholds.
        people: Number of people in the gallery.
        fpir: Share of strangers that may be matched, between 0 and 1.
        given: A similarity that replaces the calibrated thresholds.

    Returns:
        The lowest calibrated threshold that keeps the FPIR.

    Raises:
        InvalidArgumentError: `fpir` is not a rate.
        WrongModelError: No calibrated threshold is strict enough.
    """
    if given is not None:
        return DecisionThreshold(given, None, "the command line")
    if not 0 < fpir < 1:
        raise InvalidArgumentError("a rate between 0 and 1", f"{fpir:g}", "give --fpir such as 0.01")
    calibrated = calibrated_thresholds(verifier)
    fmr = required_fmr(fpir, people)
    strict = [entry for entry in calibrated if entry.fmr is not None and entry.fmr <= fmr]
    if not strict:
        best = min((entry.fmr for entry in calibrated if entry.fmr), default=None)
        if best is None:
            limit = "the model is not calibrated"
        else:
            limit = f"the model is calibrated down to {best:g}, which gives FPIR {expected_fpir(best, people):.2g}"
        raise WrongModelError(
            "",
            f"No calibrated threshold of {verifier.model} is strict enough: FPIR {fpir:g} with {people:,} people needs "
            f"FMR {fmr:.2g} or less, but {limit}",
            f"run `edgefr calibrate {verifier.model} FACES --fmr {_power_of_ten_below(fmr):g}`, raise --fpir, or "
            "give a --threshold",
        )
    chosen = max(strict, key=lambda entry: entry.fmr or 0)
    return DecisionThreshold(chosen.value, expected_fpir(chosen.fmr or 0, people), chosen.measured_on)


def strictest_threshold(verifier: Verifier) -> Threshold | None:
    """The calibrated threshold with the lowest FMR, or None if there is none."""
    calibrated = [entry for entry in calibrated_thresholds(verifier) if entry.fmr is not None]
    return min(calibrated, key=lambda entry: entry.fmr or 0, default=None)


def calibrated_thresholds(verifier: Verifier) -> list[Threshold]:
    """The thresholds of the manifest for the precision in use, or those for FP32 if there are none."""
    thresholds = () if verifier.manifest is None else verifier.manifest.thresholds
    own = [entry for entry in thresholds if entry.precision == verifier.recogniser.description.precision]
    return own or [entry for entry in thresholds if entry.precision == "fp32"]


def expected_fpir(fmr: float, people: int) -> float:
    """1 - (1 - fmr)^people, accurate for small rates."""
    return -math.expm1(people * math.log1p(-fmr)) if fmr < 1 else 1.0


def required_fmr(fpir: float, people: int) -> float:
    """The FMR that gives this FPIR for a number of people."""
    return -math.expm1(math.log1p(-fpir) / max(people, 1))


def _power_of_ten_below(rate: float) -> float:
    """The power of ten at or below a rate; calibrations use powers of ten."""
    return 10.0 ** math.floor(math.log10(rate))
