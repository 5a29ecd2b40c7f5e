"""What a rule of a door demands, and the reasons for which a door stays closed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from edgefr.door.schedule import Period
from edgefr.errors import InvalidArgumentError


class Reason(str, Enum):
    """Why a door stays closed. The text is in the log."""

    STALE = "the frame is too old, or the picture stands still"
    GAP = "frames were missing a moment ago"
    CLOCK = "the clock of this machine has jumped"
    UNKNOWN = "an unknown person"
    NOT_LIVE = "not a living face"
    PENDING = "not identified yet"
    IN_VIEW_AT_START = "in view since the start"
    AMBIGUOUS = "the identity is ambiguous"
    UNCONFIRMED = "the identity was not confirmed lately"
    NOT_LISTED = "no rule for this person"
    LIVENESS_UNCHECKED = "liveness is not checked"
    UNSURE = "the similarity is too low"
    FEW_FRAMES = "too few frames agree"
    CLOSED = "outside the times of the rule"
    COOLDOWN = "opened a moment ago"
    ALONE = "a second person is missing"
    NOT_ENROLLED = "not enrolled any more"
    GALLERY = "the gallery cannot be read"


@dataclass(frozen=True)
class Rule:
    """One rule of a door.

    Attributes:
        name: Its name.
        people: The names that it is for; None for everyone who is enrolled.
        periods: When it opens.
        actions: Names of what it does.
        similarity: Similarity that a face must reach; below the threshold of the gallery, that one holds.
        fmr: False match rate whose threshold a face must reach, in place of `similarity`.
        live: Whether only a living face opens.
        frames: Number of views in a row that must have given the same person.
        cooldown_s: Seconds from one opening to the next.
        two_people_within_s: Seconds within which two different people must be there; None if one is enough.
    """

    name: str
    people: frozenset[str] | None
    periods: tuple[Period, ...]
    actions: tuple[str, ...]
    similarity: float | None = None
    fmr: float | None = None
    live: bool = True
    frames: int = 3
    cooldown_s: float = 5.0
    two_people_within_s: float | None = None

    def is_for(self, name: str) -> bool:
        """Whether the rule is for a person."""
        return self.people is None or name in self.people


def strict_rules(
    rules: Sequence[Rule], threshold_at: Callable[[float], float | None], has_liveness: bool
) -> list[Rule]:
    """The rules with similarities in place of false match rates.

    Args:
        rules: The rules of the file.
        threshold_at: The threshold of the model at a false match rate; None if it is not calibrated for it.
        has_liveness: Whether faces are checked for presentation attacks.

    Raises:
        InvalidArgumentError: A rule demands what the model or the options do not give.
    """
    found = []
    for rule in rules:
        if rule.live and not has_liveness:
            raise InvalidArgumentError(
                f"--liveness for the rule {rule.name}, which opens for living faces only",
                "none",
                "name a net as docs/liveness.md describes, or write live = false: a printed photograph then opens the "
                "door",
            )
        if rule.fmr is not None:
            similarity = threshold_at(rule.fmr)
            if similarity is None:
                raise InvalidArgumentError(
                    f"a model that is calibrated for the fmr of the rule {rule.name}",
                    f"no threshold at {rule.fmr:g}",
                    f"run `edgefr calibrate MODEL FACES --fmr {rule.fmr:g}`, or give a higher fmr",
                )
            rule = replace(rule, similarity=similarity, fmr=None)
        found.append(rule)
    return found
