"""Power with and without a sensor."""

from __future__ import annotations

from pathlib import Path
from threading import Event

from edgefr.engines.power import PowerMeter, find_sensor


def test_the_power_of_a_jetson_is_voltage_times_current(tmp_path: Path) -> None:
    """The rails of an Orin Nano, of which the first is the supply of the module."""
    chip = tmp_path / "hwmon1"
    chip.mkdir()
    for number, label, millivolts, milliamperes in ((1, "VDD_IN", 5000, 1500), (2, "VDD_CPU_GPU_CV", 5000, 300)):
        (chip / f"in{number}_label").write_text(f"{label}\n")
        (chip / f"in{number}_input").write_text(f"{millivolts}\n")
        (chip / f"curr{number}_input").write_text(f"{milliamperes}\n")
    read = find_sensor(tmp_path)
    assert read is not None
    assert read() == 7.5


def test_the_mean_includes_all_samples_until_the_sensor_disappears() -> None:
    values, gone = iter([4.0, 8.0]), Event()

    def read() -> float:
        value = next(values, None)
        if value is None:
            gone.set()
            raise OSError("gone")
        return value

    with PowerMeter(read) as meter:
        assert gone.wait(10)
    assert meter.mean == 6


def test_without_a_sensor_the_mean_is_none(monkeypatch) -> None:
    monkeypatch.setattr("edgefr.engines.power.find_sensor", lambda: None)
    with PowerMeter() as meter:
        pass
    assert meter.mean is None
