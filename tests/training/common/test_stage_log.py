"""What a stage leaves to read: losses, rate and throughput, in lines and for TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from edgefr.training.common.loop import Step  # noqa: E402
from edgefr.training.common.parallel import World  # noqa: E402
from edgefr.training.common.stage_log import StageLog  # noqa: E402


def told(folder: Path, steps: range, world: World | None = None, goes_on_from: int = 0) -> list[int]:
    """Report steps of 24, four images each; what the progress bar was told."""
    advanced: list[int] = []
    log = StageLog(folder, "Distilling", advanced.append, world or World())
    if goes_on_from:
        log(Step(goes_on_from, 24, 4, {}))
    for step in steps:
        log(Step(step, 24, 4, {"cosine": 0.123456789 / step, "loss": 1.0, "lr": 1e-4, "gradient": 2.0}))
    log.close()
    return advanced


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_every_tenth_step_and_the_last_are_logged_with_losses_rate_and_throughput(tmp_path: Path) -> None:
    assert told(tmp_path, range(1, 25)) == [4] * 24
    found = lines(tmp_path)
    assert [line["step"] for line in found] == [10, 20, 24]
    for line in found:
        assert line.keys() == {"stage", "step", "cosine", "loss", "lr", "gradient", "images per second"}
        assert line["stage"] == "Distilling"
        assert line["images per second"] > 0
    assert found[0]["cosine"] == 0.012346


def test_a_resumed_run_starts_its_bar_at_its_step_and_appends_to_the_log(tmp_path: Path) -> None:
    told(tmp_path, range(1, 14))
    assert told(tmp_path, range(14, 25), goes_on_from=10) == [40] + [16] + [4] * 10
    assert told(tmp_path, range(21, 25), goes_on_from=20) == [80] + [4] * 4
    found = [(line.get("step"), line.get("goes on from")) for line in lines(tmp_path)]
    assert found == [(10, None), (None, 10), (20, None), (24, None), (None, 20), (24, None)]


def test_other_processes_write_nothing(tmp_path: Path) -> None:
    assert told(tmp_path, range(1, 25), World(1, 2)) == []
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_finds_its_files(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    told(tmp_path, range(1, 25))
    (events,) = (tmp_path / "tensorboard/Distilling").iterdir()
    content = events.read_bytes()
    for name in (b"Distilling/cosine", b"Distilling/lr", b"Distilling/images per second"):
        assert name in content


@pytest.mark.parametrize("saved", [0, 10])
def test_tensorboard_shows_each_step_of_a_resumed_run_once(tmp_path: Path, saved: int) -> None:
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    told(tmp_path, range(1, 25))
    told(tmp_path, range(saved + 1, 25), goes_on_from=saved)
    board = module.EventAccumulator(str(tmp_path / "tensorboard/Distilling")).Reload()
    assert [event.step for event in board.Scalars("Distilling/loss")] == [10, 20, 24]
