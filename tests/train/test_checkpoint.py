"""A training that is stopped goes on to exactly the weights of one that is not."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from edgefr.errors import EdgefrError  # noqa: E402
from edgefr.train.loop import descend, warm_cosine  # noqa: E402
from edgefr.train.recipe import Schedule  # noqa: E402


def train(folder: Path, stop_after: int | None = None, key: str = "k", spoil: int | None = None) -> torch.Tensor:
    """Fit a line to noise drawn in every step; raise KeyboardInterrupt after a step, as a kill would."""
    torch.manual_seed(1)
    model = nn.Linear(4, 2)

    def loss_of(step: int) -> torch.Tensor:
        loss = (model(torch.randn(8, 4)) - torch.randn(8, 2)).square().mean()
        return loss * float("nan") if step == spoil else loss

    def report(step: int, steps: int, loss: float) -> None:
        if step == stop_after:
            raise KeyboardInterrupt

    groups = [{"params": [model.weight]}, {"params": [model.bias], "scale": 0.1}]
    modules = {"model": model}
    descend(loss_of, modules, groups, Schedule(12, lr=0.05), seed=3, key=key, state=folder / "s", report=report)
    return torch.cat([model.weight.detach().flatten(), model.bias.detach()])


def test_a_stopped_run_continues_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgefr.train.loop.SAVE_SECONDS", 0.0)
    whole = train(tmp_path / "whole")
    for stop in (3, 7):
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "stopped", stop_after=stop)
    assert torch.equal(train(tmp_path / "stopped"), whole)
    assert torch.equal(train(tmp_path / "stopped"), whole), "a finished run is only read"


def test_a_state_of_another_recipe_is_refused(tmp_path: Path) -> None:
    train(tmp_path)
    with pytest.raises(EdgefrError, match="found that of another"):
        train(tmp_path, key="other")


def test_a_damaged_state_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(b"half a file")
    with pytest.raises(EdgefrError, match="start anew"):
        train(tmp_path)


def test_a_loss_that_is_not_finite_stops_with_the_step_saved(tmp_path: Path) -> None:
    with pytest.raises(EdgefrError, match="found nan and nan at step 5"):
        train(tmp_path, spoil=5)
    assert torch.isfinite(train(tmp_path)).all()


def test_the_learning_rate_warms_up_and_falls_to_zero() -> None:
    rates = [warm_cosine(step, 100) for step in range(100)]
    assert max(rates) == rates[4] == rates[5] == 1
    assert rates[:5] == sorted(rates[:5])
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[-1] < 0.01
