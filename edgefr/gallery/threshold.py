"""Chooses the decision threshold of 1:N identification from a false positive identification rate (FPIR).

A probe is compared with the templates of all N enrolled people. The FPIR (ISO/IEC 19795-1) is the share of probes of
people who are not enrolled that reach the threshold with any template: 1 - (1 - FMR)^N for independent comparisons,
and never more than N FMR. In a gallery of 5,000 people, a threshold for pairs at an FMR of 1e-3 would therefore accept
nearly every stranger.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgefr.errors import InvalidArgumentError, NoThresholdError, WrongModelError
from edgefr.manifest import Manifest, Threshold
from edgefr.recognition.threshold_curve import by_rate, check_similarity, interpolate_threshold
from edgefr.recognition.verifier import Verifier

DEFAULT_FPIR = 0.01

UNREACHABLE = 2.0
"""A threshold that no similarity reaches."""

ROUNDING = 1e-9
"""Relative error of a rate, so that an FPIR that needs exactly the strictest calibrated FMR gets it."""


@dataclass(frozen=True)
class DecisionThreshold:
    """A similarity threshold for identification.

    Attributes:
        value: Similarity from which a face counts as the enrolled person.
        fpir: The FPIR that is expected at this threshold, None if it was not calibrated.
        source: The data that the threshold was calibrated on, in words.
        fmr: The false match rate of pairs at this threshold, None if it was not calibrated.
    """

    value: float
    fpir: float | None
    source: str
    fmr: float | None = None


def gallery_threshold(
    verifier: Verifier, people: int, fpir: float = DEFAULT_FPIR, given: float | None = None
) -> DecisionThreshold:
    """Choose the threshold for a gallery.

    It is the threshold of the model at the FMR that keeps the FPIR, interpolated between calibrated rates. If that FMR
    is above the loosest calibrated one, the threshold of the loosest applies. Nothing is extrapolated beyond the
    strictest one.

    Args:
        verifier: Its model has the thresholds.
        people: Number of enrolled people.
        fpir: Highest FPIR to accept, between 0 and 1.
        given: A threshold to use instead.

    Returns:
        The threshold.

    Raises:
        InvalidArgumentError: `fpir` is not between 0 and 1, or `given` is not a number.
        NoThresholdError: None of the model's thresholds is strict enough.
        WrongModelError: The model has no calibrated threshold.
    """
    if given is not None:
        return DecisionThreshold(check_similarity(given), None, "the command line")
    if not 0 < fpir < 1:
        raise InvalidArgumentError("a rate between 0 and 1", f"{fpir:g}", "use --fpir 0.01, for example")
    calibrated = _calibrated(verifier)
    needed = fmr_for_fpir(fpir, people)
    rate = min(needed * (1 + ROUNDING), max(calibrated, default=needed))
    entry = interpolate_threshold(calibrated.values(), rate)
    if entry is None or entry.fmr is None:
        kind = NoThresholdError if calibrated else WrongModelError
        best = f"is calibrated down to {min(calibrated):g}" if calibrated else "has no calibrated threshold"
        raise kind(
            "",
            f"No calibrated threshold is strict enough: an FPIR of {fpir:g} over {people:,} people needs an FMR of "
            f"{needed:.2g} or less, and {verifier.model} {best}",
            f"run `edgefr calibrate {verifier.model} FACES --fmr {_round_down(needed):g}`, accept a higher --fpir, or "
            "set a --threshold",
        )
    return DecisionThreshold(entry.value, fpir_for_fmr(entry.fmr, people), entry.measured_on, entry.fmr)


def _calibrated(verifier: Verifier) -> dict[float, Threshold]:
    """FMR -> threshold, of the model in the precision in use."""
    manifest = verifier.manifest or Manifest("", "")
    return by_rate(manifest.thresholds_for(verifier.recogniser.description.precision))


def fpir_for_fmr(fmr: float, people: int) -> float:
    """FPIR of a gallery of `people` at a false match rate: 1 - (1 - fmr)^people, exact for small rates, too."""
    return -math.expm1(people * math.log1p(-fmr)) if fmr < 1 else 1.0


def fmr_for_fpir(fpir: float, people: int) -> float:
    """The false match rate at which a gallery of `people` has this FPIR."""
    return -math.expm1(math.log1p(-fpir) / max(people, 1))


def _round_down(rate: float) -> float:
    """The power of ten at or below a rate."""
    return 10.0 ** math.floor(math.log10(rate))
