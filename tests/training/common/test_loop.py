"""The loop: exact resume, accumulation, running average, learning rates, decay, and what is not finite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from edgefr.errors import EdgefrError  # noqa: E402
from edgefr.training.common.loop import StageConfig, Step, train_stage  # noqa: E402
from edgefr.training.common.optimizer import learning_rate_factor, weight_decay_groups  # noqa: E402
from edgefr.training.common.recipes import Schedule  # noqa: E402

VIEWS = 24
PLAIN = Schedule(steps=9, batch=4, lr=0.05)
EVERYTHING = Schedule(steps=9, batch=4, lr=0.05, accumulate=3, ema=0.8)
PAPER = Schedule(epochs=3, batch=4, lr=0.1, accumulate=2, optimizer="sgd", drops=(1, 2), weight_decay=5e-4)
SCHEDULES = {"adamw": PLAIN, "accumulation and average": EVERYTHING, "sgd with drops": PAPER}


def net() -> nn.Sequential:
    """With running statistics, which a resumed run must have, too."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))


def numbered(size: int) -> Callable[[int], Iterator[Tensor]]:
    """Batches (size, 4) by their numbers."""

    def batches(first: int) -> Iterator[Tensor]:
        while True:
            yield torch.randn(size, 4, generator=torch.Generator().manual_seed(first))
            first += 1

    return batches


def stage_of(model: nn.Module, folder: Path, schedule: Schedule, key: str = "k", **options) -> StageConfig:
    groups = options.pop("groups", None) or weight_decay_groups(model)
    report = options.pop("report", lambda step: None)
    return StageConfig({"model": model}, groups, schedule, VIEWS, 3, key, folder / "s.safetensors", report, **options)


def train(folder: Path, schedule: Schedule, stop_after: int | None = None, key: str = "k") -> dict[str, Tensor]:
    """Fit noise that each step draws; raise KeyboardInterrupt after a step, as a kill would."""
    model = net()

    def report(step: Step) -> None:
        if step.step == stop_after:
            raise KeyboardInterrupt

    def losses_of(x: Tensor) -> dict[str, Tensor]:
        return {"loss of noise": (model(x) - torch.randn(len(x), 2)).square().mean()}

    train_stage(stage_of(model, folder, schedule, key, report=report), numbered(4), losses_of)
    return model.state_dict()


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_a_resumed_run_gives_the_same_weights(tmp_path, monkeypatch, schedule: Schedule) -> None:
    monkeypatch.setattr("edgefr.training.common.loop.SAVE_SECONDS", 0.0)
    whole = train(tmp_path / "whole", schedule)
    for stop in (3, 7):
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "stopped", schedule, stop_after=stop)
    again = train(tmp_path / "stopped", schedule)
    assert all(torch.equal(again[name], value) for name, value in whole.items())
    finished = train(tmp_path / "stopped", schedule, stop_after=9)
    assert all(torch.equal(finished[name], value) for name, value in whole.items()), "a finished run is only read"


def test_a_state_of_another_recipe_is_refused(tmp_path: Path) -> None:
    train(tmp_path, PLAIN)
    with pytest.raises(EdgefrError, match="found that of another"):
        train(tmp_path, PLAIN, key="other")


def test_small_batches_accumulated_are_a_large_one(tmp_path: Path) -> None:
    """The same twelve rows a step; without BatchNorm, which looks at batches."""
    together: list[dict[str, Tensor]] = []
    for name, size, count in (("one", 12, 1), ("three", 4, 3)):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 2))
        rows = torch.randn(5 * 12, 4, generator=torch.Generator().manual_seed(7))

        def batches(first: int, rows: Tensor = rows, size: int = size) -> Iterator[Tensor]:
            return iter(rows.split(size)[first:])

        def losses_of(x: Tensor, model: nn.Module = model) -> dict[str, Tensor]:
            return {"square": model(x).square().mean(), "corner": 0.1 * (model(x) - 1).abs().mean()}

        schedule = Schedule(steps=5, batch=size, accumulate=count, lr=0.05, optimizer="sgd")
        train_stage(stage_of(model, tmp_path / name, schedule), batches, losses_of)
        together.append(model.state_dict())
    for name, value in together[0].items():
        torch.testing.assert_close(together[1][name], value)


def test_the_metrics_of_a_step_are_means_over_its_batches(tmp_path: Path) -> None:
    told: list[Step] = []
    model = nn.Linear(1, 1, bias=False)
    schedule = Schedule(steps=1, batch=2, accumulate=2, lr=1e-3)

    def batches(_first: int) -> Iterator[Tensor]:
        return iter([torch.tensor([[1.0]]), torch.tensor([[3.0]])])

    def losses_of(x: Tensor) -> dict[str, Tensor]:
        none = 0 * model(x).sum()
        return {"x": x.mean() + none, "twice": 2 * x.mean() + none, "told": 100 * x.mean()}

    train_stage(stage_of(model, tmp_path, schedule, report=told.append), batches, losses_of)
    (step,) = told
    assert (step.step, step.steps, step.images) == (1, 1, 4)
    assert step.metrics == {"x": 2, "twice": 4, "told": 200, "loss": 6, "lr": 1e-3, "gradient": 0}


def test_the_running_average_is_kept_in_the_end(tmp_path: Path) -> None:
    model = nn.Linear(4, 1)
    weights: list[Tensor] = []

    def losses_of(x: Tensor) -> dict[str, Tensor]:
        return {"square": (model(x) - 1).square().mean()}

    def keep(_step: Step) -> None:
        weights.append(model.weight.detach().clone())

    schedule = Schedule(steps=6, batch=4, lr=0.1, ema=0.75)
    train_stage(stage_of(model, tmp_path, schedule, report=keep), numbered(4), losses_of)
    average = weights[0]
    for weight in weights[1:]:
        average = 0.75 * average + 0.25 * weight
    torch.testing.assert_close(model.weight.detach(), average)
    assert not torch.allclose(average, weights[-1])


def test_the_learning_rate_warms_up_and_falls_to_zero() -> None:
    rates = [learning_rate_factor(Schedule(steps=100), step, 100, VIEWS) for step in range(100)]
    assert max(rates) == rates[4] == rates[5] == 1
    assert rates[:5] == sorted(rates[:5])
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[-1] < 0.01


def test_the_learning_rate_drops_to_a_tenth_after_epochs() -> None:
    """Three steps an epoch: 24 views in batches of four, two a step."""
    rates = [learning_rate_factor(PAPER, step, 9, VIEWS) for step in range(9)]
    assert rates == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01])


def test_the_optimiser_is_given_the_rate_times_its_groups_scale(tmp_path: Path) -> None:
    """Plain SGD on a slope of one everywhere moves each weight by its learning rate."""
    slow, fast = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    before = [slow.weight.item(), fast.weight.item()]
    model = nn.ModuleList([slow, fast])
    groups = [*weight_decay_groups(slow, scale=0.5), *weight_decay_groups(fast)]
    schedule = Schedule(epochs=1, drops=(5,), batch=24, lr=0.01, optimizer="sgd", weight_decay=0, momentum=0)

    def losses_of(_x: Tensor) -> dict[str, Tensor]:
        return {"slope": slow.weight.sum() + fast.weight.sum()}

    train_stage(stage_of(model, tmp_path, schedule, groups=groups), numbered(4), losses_of)
    assert before[0] - slow.weight.item() == pytest.approx(0.005, rel=1e-3)
    assert before[1] - fast.weight.item() == pytest.approx(0.01, rel=1e-3)


def test_a_steep_gradient_is_shortened(tmp_path: Path) -> None:
    model = nn.Linear(3, 1, bias=False)
    before = model.weight.detach().clone()
    schedule = Schedule(steps=1, batch=2, lr=0.01, optimizer="sgd", weight_decay=0, momentum=0)
    train_stage(stage_of(model, tmp_path, schedule), numbered(2), lambda x: {"steep": 1e6 * model.weight.sum()})
    assert (model.weight.detach() - before).norm().item() == pytest.approx(0.01 * 5, rel=1e-4)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_weight_decay_leaves_norms_and_biases_alone(tmp_path: Path, optimizer) -> None:
    model = net()
    before = {name: value.clone() for name, value in model.named_parameters()}
    schedule = Schedule(steps=3, batch=4, lr=0.1, optimizer=optimizer, weight_decay=0.5)

    def losses_of(_x: Tensor) -> dict[str, Tensor]:
        return {"flat": 0 * torch.stack([value.sum() for value in model.parameters()]).sum()}

    train_stage(stage_of(model, tmp_path, schedule), numbered(4), losses_of)
    for name, value in model.named_parameters():
        if value.ndim > 1:
            assert (value.abs() < before[name].abs()).all(), name
        else:
            assert torch.equal(value, before[name]), name


def test_frozen_weights_are_in_no_group() -> None:
    model = net()
    model[0].requires_grad_(False)
    grouped = {id(parameter) for group in weight_decay_groups(model) for parameter in group["params"]}
    assert grouped == {id(parameter) for parameter in (*model[1].parameters(), *model[2].parameters())}


@pytest.mark.parametrize("spoil", ["loss", "gradient", "input"])
def test_a_loss_that_is_not_finite_stops_with_the_previous_state_saved(tmp_path: Path, spoil: str) -> None:
    model = net()
    seen: list[dict[str, Tensor]] = []
    spoiled = True

    def batches(first: int) -> Iterator[Tensor]:
        for number, x in enumerate(numbered(4)(first), first):
            bad = spoiled and number == 5
            yield torch.full_like(x, torch.inf) if bad and spoil == "input" else x
            seen.append({name: value.clone() for name, value in model.state_dict().items()})

    def losses_of(x: Tensor) -> dict[str, Tensor]:
        out = model(x)
        if spoiled and len(seen) == 5 and spoil == "loss":
            out = out * float("nan")
        if spoiled and len(seen) == 5 and spoil == "gradient":
            out = (out - out.detach()).sqrt()  # zero, with an infinite slope
        return {"square": out.square().mean() if spoil != "gradient" else out.mean() + out.square().mean()}

    stage = stage_of(model, tmp_path, Schedule(steps=9, batch=4, lr=0.05))
    with pytest.raises(EdgefrError, match=r"nan|inf") as refused:
        train_stage(stage, batches, losses_of)
    assert "at step 5" in str(refused.value)
    before = seen[-1]

    model, spoiled = net(), False
    seen.clear()
    found: list[dict[str, Tensor]] = []

    def first_batch(first: int) -> Iterator[Tensor]:
        assert first == 5
        found.append({name: value.clone() for name, value in model.state_dict().items()})
        return batches(first)

    train_stage(stage_of(model, tmp_path, Schedule(steps=9, batch=4, lr=0.05)), first_batch, losses_of)
    for name, value in before.items():
        assert torch.equal(found[0][name], value), name
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
