"""A day before a door in some seconds: a live camera, a relay at a pin, and everything that goes wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("gpiozero")

from gpiozero import Device
from gpiozero.pins.mock import MockFactory

from edgefr.camera.base import Frame
from edgefr.camera.event_queue import Entry
from edgefr.camera.watcher import Watcher
from edgefr.detection.base import Face
from edgefr.door import decision
from edgefr.door.door_file import GpioSettings
from edgefr.door.gpio_relay import GpioRelay
from edgefr.door.rules import Reason
from edgefr.liveness.liveness_check import Liveness
from edgefr.types import Image
from tests.camera.people import frame
from tests.door.doors import ADA, EMPTY, GRACE, RULE, STRANGER, door_of, told

PHOTOGRAPH_Y = 100
"""A face this far down is a photograph that somebody holds up."""


class LivenessByPlace:
    """Tells a photograph from a face by where it is."""

    def check(self, _image: Image, face: Face) -> Liveness:
        return Liveness(0.0 if face.box[1] >= PHOTOGRAPH_Y else 1.0, 0.5)


class StallingCamera:
    """Plays shots in real time. None for the people is a stall; frames that were held up by it come in a burst."""

    name, live = "camera", True

    def __init__(self, *shots: tuple[float, list[tuple[int, int, int]] | None, bool]) -> None:
        self._shots = shots

    def frames(self) -> Iterator[Frame]:
        number = 0
        for seconds, people, is_burst in self._shots:
            if people is None:
                time.sleep(seconds)
                continue
            for _ in range(round(seconds * 25)):
                number += 1
                yield Frame(frame(number / 25, *people).image, time.monotonic())
                time.sleep(0.002 if is_burst else 0.04)


@pytest.fixture
def pin() -> Iterator[Any]:
    before, Device.pin_factory = Device.pin_factory, MockFactory()
    yield Device.pin_factory.pin("GPIO17")
    Device.pin_factory.reset()
    Device.pin_factory = before


class Watched(GpioRelay):
    """Notes the state of the pin after each opening."""

    def __init__(self, pin: Any) -> None:
        super().__init__("lock", GpioSettings("GPIO17", pulse_s=0.2))
        self._watched, self.states = pin, list[bool]()

    def deliver(self, entry: Entry) -> None:
        super().deliver(entry)
        self.states.append(bool(self._watched.state))


def test_a_relay_opens_for_enrolled_people_and_nobody_else(
    watcher: Watcher, pin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decision, "START_S", 0.2)
    watcher.verifier.liveness = LivenessByPlace()  # type: ignore[assignment]
    camera = StallingCamera(
        (0.6, EMPTY, False),
        (1.5, [(ADA, 60, 20)], False),  # opens
        (0.2, EMPTY, False),
        (0.9, [(STRANGER, 300, 20)], False),
        (0.2, EMPTY, False),
        (0.9, [(ADA, 60, PHOTOGRAPH_Y + 10)], False),
        (0.2, EMPTY, False),
        (2.2, None, False),
        (0.6, [(GRACE, 300, 20)], True),  # frames of the time before the stall
        (0.2, EMPTY, False),
        (1.5, [(GRACE, 300, 20), (STRANGER, 60, 20)], False),  # opens
    )
    relay = Watched(pin)
    with door_of(watcher, camera, replace(RULE, live=True), opener=relay) as (session, decisions, warnings):
        session.run()
    assert [entry for entry in told(decisions) if entry[0] == "opened"] == [
        ("opened", "Ada", None),
        ("opened", "Grace", None),
    ]
    reasons = {entry[2] for entry in told(decisions)} - {None}
    assert reasons <= {Reason.UNKNOWN.value, Reason.NOT_LIVE.value, Reason.GAP.value}
    assert {Reason.UNKNOWN.value, Reason.NOT_LIVE.value} <= reasons
    assert relay.states == [True, True], "the relay was on after each opening"
    assert pin.function == "input", "and is released in the end"
    assert warnings == []
