"""What a gallery knows about time, so that a wrong clock does not destroy anybody.

Expired people are not matched any more at once, but their keys are destroyed only after a grace period. A clock that is
wrong cannot be told from a device that was switched off. So the grace period is counted in observations: each change of
the gallery, and each use of it while people have expired, adds the time since the one before, but never more than half
of the grace period. One use with a clock that is years ahead therefore destroys nobody, and as soon as the clock is set
back everything that was observed in that future is forgotten.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from edgefr.gallery.record_checks import InvalidRecordError, check_number, check_time

DAY_S = 86_400.0
GRACE_S = 7 * DAY_S
"""How long the clock must have said that a person has expired before the person's key is destroyed."""
LONGEST_STEP_S = GRACE_S / 2
"""How much of the time between two observations counts."""
MARK_S = DAY_S / 4
"""Time between observations that are stored."""
SET_BACK_S = 300.0
"""How far the clock may be behind the latest observation. Clocks of several machines differ by seconds."""
AHEAD_S = 30 * DAY_S
"""How far the clock may be ahead of it without a warning."""
MAX_MARKS = 1000


@dataclass(frozen=True)
class Clock:
    """The observations of a gallery.

    Attributes:
        last: What the clock said last, in seconds since 1970; 0 before the first observation.
        lived: Seconds that passed from observation to observation, each counted up to `LONGEST_STEP_S`.
        marks: Earlier observations, each as what the clock said and `lived` of that time, oldest first.
    """

    last: float = 0.0
    lived: float = 0.0
    marks: tuple[tuple[float, float], ...] = ()

    @classmethod
    def from_dict(cls, raw: Any) -> Clock:
        """Read the fields from JSON.

        Raises:
            InvalidRecordError: They are not those of a clock.
        """
        if not isinstance(raw, dict) or set(raw) != {"last", "lived", "marks"} or not isinstance(raw["marks"], list):
            raise InvalidRecordError.of("the clock of a gallery", raw)
        if len(raw["marks"]) > MAX_MARKS or not all(isinstance(mark, list) and len(mark) == 2 for mark in raw["marks"]):
            raise InvalidRecordError.of("the observations of a clock", raw["marks"])
        marks = tuple(
            (check_time(at, "a time"), check_number(lived, "a period", 0, 1e15)) for at, lived in raw["marks"]
        )
        return cls(check_time(raw["last"], "a time"), check_number(raw["lived"], "a period", 0, 1e15), marks)

    def to_dict(self) -> dict[str, Any]:
        """The fields for JSON."""
        return asdict(self)

    def observe(self, now: float) -> Clock:
        """The clock after an observation; the same object if there is nothing new to store.

        Args:
            now: What the clock says, in seconds since 1970.
        """
        step = now - self.last
        if not self.last:
            return Clock(now, self.lived, ((now, self.lived),))
        if -SET_BACK_S <= step < MARK_S:
            return self
        past = tuple(mark for mark in self.marks if mark[0] <= now)  # not all of them if the clock was set back
        lived = self.lived + min(step, LONGEST_STEP_S) if step > 0 else max((mark[1] for mark in past), default=0.0)
        marks = (*past, (now, lived))
        over = [mark for mark in marks if lived - mark[1] >= GRACE_S]
        return Clock(now, lived, (*over[-1:], *marks[len(over) :]))

    @property
    def destroyed_until(self) -> float:
        """People with an expiry date up to this time can be destroyed; 0 if nobody can."""
        return max((at for at, lived in self.marks if self.lived - lived >= GRACE_S), default=0.0)

    def jump(self, now: float) -> str:
        """How the clock differs from the latest observation, in words; empty if it fits."""
        step = now - self.last
        if not self.last or -SET_BACK_S <= step <= AHEAD_S:
            return ""
        size = f"{abs(step) / DAY_S:,.1f} days" if abs(step) >= DAY_S else f"{abs(step) / 60:,.0f} minutes"
        return f"{size} {'after' if step > 0 else 'before'} the latest use"


def clock_notice(clock: Clock, now: float, expired: int) -> str:
    """A sentence for the user of a gallery whose clock does not fit; empty if it does.

    Args:
        clock: The observations of the gallery.
        now: What the clock says.
        expired: Number of people who have expired and are not destroyed yet.
    """
    if not (jump := clock.jump(now)):
        return ""
    kept = f"; {expired:,} people have expired by it, who are not matched and whose data is kept for a week of use"
    return (
        f"the clock says {_date(now)}, which is {jump} of this gallery ({_date(clock.last)}){kept if expired else ''}. "
        "Set the clock if it is wrong"
    )


def _date(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
