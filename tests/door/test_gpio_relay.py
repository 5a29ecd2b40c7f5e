"""A relay at a pin is on for its pulse and never longer."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from time import monotonic, sleep
from typing import Any

import pytest

pytest.importorskip("gpiozero")

from gpiozero import Device
from gpiozero.pins.mock import MockFactory

from edgefr.camera.delivery import RefusedEventError
from edgefr.camera.event_queue import Entry
from edgefr.door.door_file import GpioSettings
from edgefr.door.fresh_receiver import Action
from edgefr.door.gpio_relay import GpioRelay
from edgefr.errors import MissingExtraError, UnavailableError
from tests.waiting import wait_for

OPENING = {"what": "opened", "rule": "day", "id": "1"}
ENTRY = Entry(1, "1", json.dumps(OPENING).encode())


@pytest.fixture
def pin() -> Iterator[Any]:
    """The pin GPIO17 of a board that is not there."""
    before, Device.pin_factory = Device.pin_factory, MockFactory()
    yield Device.pin_factory.pin("GPIO17")
    Device.pin_factory.reset()
    Device.pin_factory = before


def test_the_relay_is_on_for_its_pulse(pin: Any) -> None:
    relay = GpioRelay("lock", GpioSettings("GPIO17", pulse_s=0.2))
    assert not pin.state
    start = monotonic()
    relay.deliver(ENTRY)
    assert pin.state
    wait_for(lambda: not pin.state)
    assert monotonic() - start >= 0.2
    relay.stop()


def test_a_relay_that_switches_low_is_high_at_rest(pin: Any) -> None:
    relay = GpioRelay("lock", GpioSettings("GPIO17", pulse_s=60, active_high=False))
    assert pin.state
    relay.deliver(ENTRY)
    assert not pin.state
    relay.stop()
    assert pin.function == "input"


def test_another_opening_begins_the_pulse_anew(pin: Any) -> None:
    relay = GpioRelay("lock", GpioSettings("GPIO17", pulse_s=0.3))
    relay.deliver(ENTRY)
    sleep(0.15)
    start = monotonic()
    relay.deliver(ENTRY)
    wait_for(lambda: not pin.state)
    assert monotonic() - start >= 0.3
    relay.stop()


def test_closing_releases_the_relay_at_once(pin: Any) -> None:
    relay = GpioRelay("lock", GpioSettings("GPIO17", pulse_s=60))
    action = Action("lock", relay, lambda _: None, lambda *_: None)
    action.open(OPENING, monotonic())
    wait_for(lambda: pin.state)
    action.close()
    assert pin.function == "input"


def test_a_pin_that_fails_is_released_and_the_failure_is_told(pin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    relay = GpioRelay("lock", GpioSettings("GPIO17", pulse_s=60))
    monkeypatch.setattr("gpiozero.OutputDevice.on", lambda _: 1 / 0)
    with pytest.raises(RefusedEventError, match=r"cannot be switched \(ZeroDivisionError\)"):
        relay.deliver(ENTRY)
    assert pin.function == "input"


def test_a_pin_that_is_missing_or_taken_is_an_error_at_the_start(pin: Any) -> None:
    with pytest.raises(UnavailableError, match="the GPIO pin GPIO999"):
        GpioRelay("lock", GpioSettings("GPIO999"))
    relay = GpioRelay("lock", GpioSettings("GPIO17"))
    with pytest.raises(UnavailableError, match="the GPIO pin GPIO17"):
        GpioRelay("other", GpioSettings("GPIO17"))
    relay.stop()


def test_a_machine_without_pins_or_library_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Device, "pin_factory", None)
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "pigpio")  # which is not installed
    with pytest.raises(UnavailableError, match="the GPIO pin GPIO17"):
        GpioRelay("lock", GpioSettings("GPIO17"))
    monkeypatch.setitem(sys.modules, "gpiozero", None)
    with pytest.raises(MissingExtraError, match=r"\[gpio\]"):
        GpioRelay("lock", GpioSettings("GPIO17"))
