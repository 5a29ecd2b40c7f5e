"""Switch a relay at a GPIO pin on for some seconds."""

from __future__ import annotations

import threading
import warnings
from typing import Any

from edgefr.camera.delivery import RefusedEventError
from edgefr.camera.event_queue import Entry
from edgefr.door.door_file import GpioSettings
from edgefr.door.fresh_receiver import Opener
from edgefr.errors import UnavailableError, require_extra


class GpioRelay(Opener):
    """A relay that is off, except for some seconds after an opening. Another opening begins them anew.

    It is released when it is stopped, when switching fails, and when the process ends in any way that Python notices.
    """

    def __init__(self, name: str, settings: GpioSettings) -> None:
        """Take the pin.

        Raises:
            MissingExtraError: gpiozero is not installed.
            UnavailableError: This machine has no such pin, or another program has it.
        """
        gpiozero: Any = require_extra("gpiozero", "gpio")
        self.name = f"relay {name}"
        self._pulse_s = settings.pulse_s
        self._lock = threading.Lock()
        self._pulse = 0
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it warns of each library for pins that is missing
                self._device: Any = gpiozero.OutputDevice(settings.pin, active_high=settings.active_high)
        except Exception as error:  # each library for pins has errors of its own
            raise UnavailableError(
                f"the GPIO pin {settings.pin}",
                f"{type(error).__name__} ({error})",
                f"correct gpio.{name}, see docs/door.md",
            ) from error

    def deliver(self, entry: Entry) -> None:
        """Switch it on; a timer switches it off."""
        with self._lock:
            self._pulse += 1
            timer = threading.Timer(self._pulse_s, self._end_pulse, (self._pulse,))
            timer.daemon = True
            try:
                timer.start()  # before the relay is on, so that it is never on without an end
                self._device.on()
            except Exception as error:
                self._release()
                raise RefusedEventError(f"it cannot be switched ({type(error).__name__})") from error

    def stop(self) -> None:
        """Release the relay and the pin."""
        with self._lock:
            self._release()

    def close(self) -> None:
        """Nothing to do: there is no connection."""

    def _end_pulse(self, pulse: int) -> None:
        with self._lock:
            if pulse == self._pulse and not self._device.closed:
                try:
                    self._device.off()
                except Exception:
                    self._release()
                    raise

    def _release(self) -> None:
        """Switch the relay off and give the pin back, which makes it an input, also if switching fails."""
        if not self._device.closed:
            try:
                self._device.off()
            finally:
                self._device.close()
