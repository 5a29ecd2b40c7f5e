"""Whether the clock of the machine has jumped, by which nobody can tell whether a rule is in its times."""

from __future__ import annotations

import math
from dataclasses import dataclass

MAX_STEP_S = 2.0
"""Difference in seconds between the clock and a steady one from which on the clock has jumped."""
MAX_SLEW = 0.1
"""Seconds per second by which a clock is corrected without a jump. chrony slews by up to 0.083."""
HOLD_S = 600.0
"""Seconds after a jump in which the clock is not believed."""


@dataclass(frozen=True)
class ClockCheck:
    """What is known of the clock.

    Attributes:
        offset: Time of the clock less steady time, which follows corrections slowly; None at first.
        at: Steady time of the last observation.
        jumped_at: Steady time of the last jump.
    """

    offset: float | None = None
    at: float = 0.0
    jumped_at: float = -math.inf

    def observe(self, at: float, wall: float) -> ClockCheck:
        """The check after an observation.

        Args:
            at: Steady time in seconds, as of `time.monotonic`.
            wall: What the clock says, in seconds since 1970.
        """
        offset = wall - at
        if self.offset is None:
            return ClockCheck(offset, at, self.jumped_at)
        difference = offset - self.offset
        if not abs(difference) <= MAX_STEP_S:
            return ClockCheck(offset, at, at)
        most = MAX_SLEW * (at - self.at)
        return ClockCheck(self.offset + min(max(difference, -most), most), at, self.jumped_at)

    def is_doubtful(self, at: float) -> bool:
        """Whether the clock has jumped a while ago."""
        return at - self.jumped_at < HOLD_S
