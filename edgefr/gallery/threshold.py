"""From which similarity on a stranger's face is not taken for somebody's: by the rate over a whole gallery.

A probe who is not enrolled is compared with all N templates. The false positive identification rate (FPIR, ISO/IEC
19795-1) is how often any of them reaches the threshold: 1 - (1 - FMR)^N for independent comparisons, and never more
than N FMR. So the pair threshold of 1e-3 takes nearly every stranger for somebody among 5,000.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgefr.errors import EdgefrError
from edgefr.manifest import Threshold
from edgefr.recognition.verifier import Verifier

DEFAULT_FPIR = 0.01


@dataclass(frozen=True)
class DecisionThreshold:
    """Who reaches `value` is known; `fpir` is the share of strangers that do, where it was measured, and `source` says
    on whom."""

    value: float
    fpir: float | None
    source: str


def gallery_threshold(
    verifier: Verifier, people: int, fpir: float = DEFAULT_FPIR, given: float | None = None
) -> DecisionThreshold:
    """The threshold for a gallery of `people`: `given`, or the lowest of the manifest's whose FMR keeps `fpir`.

    Between two rates that were measured the stricter one is taken: nothing is interpolated, and nothing beyond the
    strictest is believed.

    Raises:
        EdgefrError: `fpir` is no rate, or the manifest has no threshold that is strict enough.
    """
    if given is not None:
        return DecisionThreshold(given, None, "the command line")
    if not 0 < fpir < 1:
        raise EdgefrError("a rate between 0 and 1", f"{fpir:g}", "give --fpir such as 0.01")
    measured = thresholds_of(verifier)
    wanted = rate_for(fpir, people)
    strict = [entry for entry in measured if entry.fmr is not None and entry.fmr <= wanted]
    if not strict:
        best = min((entry.fmr for entry in measured if entry.fmr), default=None)
        found = "none at all" if best is None else f"{best:g}, which keeps {fpir_of(best, people):.2g}"
        raise EdgefrError(
            (
                f"a threshold at an FMR of {wanted:.2g} or less in the manifest of {verifier.model}, to take at "
                f"most {fpir:g} of the strangers for one of {people:,}"
            ),
            found,
            (
                f"measure it with `edgefr calibrate {verifier.model} FACES --fmr {rounded_down(wanted):g}`, allow "
                "more with --fpir, or give a --threshold"
            ),
        )
    taken = max(strict, key=lambda entry: entry.fmr or 0)
    return DecisionThreshold(taken.value, fpir_of(taken.fmr or 0, people), taken.measured_on)


def strictest(verifier: Verifier) -> Threshold | None:
    """The manifest's threshold at its lowest FMR, if it has any."""
    measured = [entry for entry in thresholds_of(verifier) if entry.fmr is not None]
    return min(measured, key=lambda entry: entry.fmr or 0, default=None)


def thresholds_of(verifier: Verifier) -> list[Threshold]:
    """The manifest's thresholds for the precision in use, else those for fp32."""
    known = () if verifier.manifest is None else verifier.manifest.thresholds
    own = [entry for entry in known if entry.precision == verifier.recogniser.description.precision]
    return own or [entry for entry in known if entry.precision == "fp32"]


def fpir_of(fmr: float, people: int) -> float:
    """1 - (1 - fmr)^people, exact for small rates, too."""
    return -math.expm1(people * math.log1p(-fmr)) if fmr < 1 else 1.0


def rate_for(fpir: float, people: int) -> float:
    """The FMR at which so many people give this FPIR."""
    return -math.expm1(math.log1p(-fpir) / max(people, 1))


def rounded_down(rate: float) -> float:
    """The power of ten at or below a rate, which is what one measures at."""
    return 10.0 ** math.floor(math.log10(rate))
