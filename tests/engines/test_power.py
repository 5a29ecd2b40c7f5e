"""Watts where a sensor tells, and silence where none does."""

from __future__ import annotations

from pathlib import Path
from threading import Event

from edgefr.engines.power import PowerMeter, find_sensor


def test_a_jetsons_sensor_is_volts_times_amperes(tmp_path: Path) -> None:
    """As an Orin Nano lists them: three rails, of which the first is the way into the module."""
    chip = tmp_path / "hwmon1"
    chip.mkdir()
    for number, label, millivolts, milliamperes in ((1, "VDD_IN", 5000, 1500), (2, "VDD_CPU_GPU_CV", 5000, 300)):
        (chip / f"in{number}_label").write_text(f"{label}\n")
        (chip / f"in{number}_input").write_text(f"{millivolts}\n")
        (chip / f"curr{number}_input").write_text(f"{milliamperes}\n")
    read = find_sensor(tmp_path)
    assert read is not None
    assert read() == 7.5


def test_the_mean_is_of_all_samples_and_a_sensor_may_go_away() -> None:
    told, gone = iter([4.0, 8.0]), Event()

    def read() -> float:
        value = next(told, None)
        if value is None:
            gone.set()
            raise OSError("gone")
        return value

    with PowerMeter(read) as meter:
        assert gone.wait(10)
    assert meter.mean == 6


def test_without_a_sensor_there_is_no_figure(monkeypatch) -> None:
    monkeypatch.setattr("edgefr.engines.power.find_sensor", lambda: None)
    with PowerMeter() as meter:
        pass
    assert meter.mean is None
