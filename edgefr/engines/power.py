"""Measures power with the sensor of a Jetson, or with NVIDIA's management library (NVML).

A Jetson's INA3221 measures voltage and current of the module's supply (`VDD_IN`). The kernel gives both in files
(docs.kernel.org/hwmon). NVML gives the power of the GPU's board.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from types import TracebackType

HWMON = Path("/sys/class/hwmon")
SUPPLY_RAILS = ("VDD_IN", "VIN_SYS_5V0")
INTERVAL_S = 0.1

Read = Callable[[], float]


class PowerMeter:
    """A context manager that reads a sensor ten times a second."""

    def __init__(self, read: Read | None = None) -> None:
        self._read = read or find_sensor()
        self._samples: list[float] = []
        self._done = Event()
        self._thread = Thread(target=self._sample, daemon=True)

    @property
    def mean(self) -> float | None:
        """Mean power in watts, None without a sensor."""
        return sum(self._samples) / len(self._samples) if self._samples else None

    def __enter__(self) -> PowerMeter:
        if self._read is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()

    def _sample(self) -> None:
        assert self._read is not None
        while True:
            try:
                self._samples.append(self._read())
            except (OSError, ValueError):
                return  # the sensor has gone; the earlier samples count
            if self._done.wait(INTERVAL_S):
                return


def find_sensor(root: Path = HWMON) -> Read | None:
    """A function that reads the power in watts, or None without a sensor."""
    return _jetson(root) or _nvml()


def _jetson(root: Path) -> Read | None:
    for label in sorted(root.glob("hwmon*/in*_label")):
        if label.read_text().strip() in SUPPLY_RAILS:
            number = label.name.removeprefix("in").removesuffix("_label")
            volts, amperes = label.with_name(f"in{number}_input"), label.with_name(f"curr{number}_input")
            return lambda: int(volts.read_text()) * int(amperes.read_text()) / 1e6  # millivolts, milliamperes
    return None


def _nvml() -> Read | None:
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    device, milliwatts = ctypes.c_void_p(), ctypes.c_uint()
    if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)):
        return None

    def read() -> float:
        if nvml.nvmlDeviceGetPowerUsage(device, ctypes.byref(milliwatts)):
            raise OSError("the GPU does not report its power")
        return milliwatts.value / 1e3

    return read
