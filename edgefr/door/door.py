"""Watch frames for a door: judge each, log the decision, and open."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import uuid4

import numpy as np

from edgefr.camera.faults import Faults
from edgefr.camera.session import Document, Listener, iso_time
from edgefr.camera.watcher import FrameResult, TrackedFace
from edgefr.door.audit import log_decisions, log_failure, seconds_since_opening
from edgefr.door.clock_check import ClockCheck
from edgefr.door.decision import decide
from edgefr.door.fresh_receiver import MAX_AGE_S, Action
from edgefr.door.moments import Decision, Face, Memory, Moment
from edgefr.door.rules import Reason, Rule
from edgefr.errors import EdgefrError
from edgefr.gallery.base import Gallery
from edgefr.types import Image

MAX_FRAME_AGE_S = 2.0
"""Seconds from a live frame to the decision on it."""
MAX_STILL_S = 1.0
"""Seconds in which a picture must change. A living scene has noise; a camera that has failed may repeat its picture."""
SAMPLE = 8
"""Every so many rows and columns of a frame are compared with the frame before."""


class Door(Listener):
    """Opens a door by rules. It opens only after the decision is in the log of the gallery."""

    def __init__(
        self,
        rules: Sequence[Rule],
        zone: Any,
        actions: Mapping[str, Action],
        gallery: Gallery,
        source: str,
        live: bool,
        publish: Callable[[Document], None],
        warn: Callable[[str], None],
    ) -> None:
        """Start closed.

        Args:
            rules: The rules; their thresholds are similarities.
            zone: The time zone of the rules.
            actions: What the rules name.
            gallery: The gallery that people are identified by. Decisions are written into its log.
            source: Name of the source, for messages.
            live: Whether frames come from a camera now. The time of a recording counts from now on.
            publish: Receives every decision as a document.
            warn: Called with a sentence when something begins to fail, or works again.

        Raises:
            EdgefrError: The log of the gallery cannot be read.
        """
        self._rules, self._zone, self._actions, self._gallery = rules, zone, actions, gallery
        self._source, self._live, self._publish, self._warn = source, live, publish, warn
        self._faults = Faults(warn)
        self._start = time.time()
        self._clock = ClockCheck()
        now = time.monotonic() if live else 0.0
        if gallery.clock_notice:
            self._clock = replace(self._clock, jumped_at=now)
            warn(f"the door stays closed for a while, because {gallery.clock_notice}")
        ages = seconds_since_opening(gallery, rules, self._start)
        self._memory = Memory(opened_at={rule: now - age for rule, age in ages.items()})
        self._picture: Image | None = None
        self._changed_at = now

    def show(self, result: FrameResult) -> None:
        """Decide on a frame, and open. A frame in which faces were not searched decides nothing."""
        if not result.searched:
            return
        with self._faults.catch("the door stays closed, because its decisions cannot be logged", (EdgefrError,)):
            moment = self._moment(result)
            memory, decisions = decide(self._rules, self._memory, moment)
            if obstacle := self._gallery_obstacle(decisions):
                memory, decisions = decide(self._rules, self._memory, replace(moment, obstacle=obstacle))
            log_decisions(self._gallery, decisions)
            self._memory = memory  # a decision that cannot be logged was never made
            for decision in decisions:
                self._carry_out(decision, moment)

    def _moment(self, result: FrameResult) -> Moment:
        at = time.monotonic() if self._live else result.frame.at
        wall = time.time() if self._live else self._start + at
        before, self._clock = self._clock, self._clock.observe(at, wall)
        if self._clock.jumped_at > before.jumped_at:
            self._warn("the clock of this machine has jumped; the door stays closed for ten minutes")
        obstacle = None
        if self._is_stale(result, at):
            obstacle = Reason.STALE
        elif self._clock.is_doubtful(at):
            obstacle = Reason.CLOCK
        return Moment(at, datetime.fromtimestamp(wall, self._zone), [_face(face) for face in result.faces], obstacle)

    def _is_stale(self, result: FrameResult, at: float) -> bool:
        picture = result.frame.image[::SAMPLE, ::SAMPLE]
        if self._picture is None or not np.array_equal(picture, self._picture):
            self._picture, self._changed_at = picture.copy(), at
        return at - result.frame.at > MAX_FRAME_AGE_S or at - self._changed_at > MAX_STILL_S

    def _gallery_obstacle(self, decisions: Sequence[Decision]) -> Reason | None:
        """Why the gallery does not let people in whom a rule has just let in."""
        names = {name for decision in decisions if decision.reason is None for name in decision.names}
        try:
            return None if all(name in self._gallery for name in names) else Reason.NOT_ENROLLED
        except EdgefrError:
            return Reason.GALLERY

    def _carry_out(self, decision: Decision, moment: Moment) -> None:
        document = self._document(decision, moment)
        for name in decision.actions:
            self._actions[name].open(document, moment.at if self._live else time.monotonic())
        self._publish(document)

    def _document(self, decision: Decision, moment: Moment) -> Document:
        wall = moment.local.timestamp()
        return {
            "what": "refused" if decision.reason else "opened",
            "at": iso_time(wall),
            "valid_until": None if decision.reason else iso_time(wall + MAX_AGE_S),
            "seconds": None if self._live else round(moment.at, 3),
            "source": self._source,
            "rule": decision.rule or None,
            "reason": decision.reason and decision.reason.value,
            "name": decision.names[-1] if decision.names else None,
            "names": list(decision.names),
            "tracks": list(decision.tracks),
            "id": uuid4().hex,
        }


def failure_log(gallery: Gallery, warn: Callable[[str], None]) -> Callable[[str, str, str], None]:
    """Writes failed actions into the log, as `Action` reports them; `warn` is told if that is impossible."""

    def log(rule: str, action: str, reason: str) -> None:
        try:
            log_failure(gallery, rule, action, reason)
        except EdgefrError as error:
            warn(f"a failure of {action} is not logged: {error}")

    return log


def _face(tracked: TrackedFace) -> Face:
    return Face(
        tracked.track,
        tracked.state,
        tracked.name,
        tracked.similarity,
        tracked.threshold,
        tracked.rival,
        tracked.agreeing,
        tracked.decided_at,
        tracked.live,
    )
