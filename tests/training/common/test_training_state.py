"""The state of an unfinished training comes back exactly, or is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from edgefr.errors import EdgefrError  # noqa: E402
from edgefr.training.common.training_state import load_state, save_state  # noqa: E402


def trained(optimizer_type) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)).to(memory_format=torch.channels_last)
    groups = [{"params": model[0].parameters()}, {"params": model[1].parameters(), "weight_decay": 0.0}]
    optimizer = optimizer_type(groups)
    for _ in range(3):
        model(torch.randn(2, 2, 5, 5)).square().mean().backward()
        optimizer.step()
    return model, optimizer


def fresh(optimizer_type) -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))
    return model, optimizer_type([{"params": model[0].parameters()}, {"params": model[1].parameters()}])


@pytest.mark.parametrize(
    "optimizer_type",
    [torch.optim.AdamW, lambda groups: torch.optim.SGD(groups, 0.1, 0.9), lambda groups: torch.optim.SGD(groups, 0.1)],
    ids=["adamw", "momentum", "sgd"],
)
def test_modules_optimiser_and_step_come_back(optimizer_type, tmp_path: Path) -> None:
    model, optimizer = trained(optimizer_type)
    save_state(tmp_path / "s", "k", 7, {"model": model}, optimizer)
    other, other_optimizer = fresh(optimizer_type)
    assert load_state(tmp_path / "s", "k", {"model": other}, other_optimizer) == 7
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    wanted, found = optimizer.state_dict()["state"], other_optimizer.state_dict()["state"]
    assert wanted.keys() == found.keys()
    for index, entries in wanted.items():
        for name, value in entries.items():
            assert value is found[index][name] is None or torch.equal(found[index][name], value), name


def test_the_optimiser_resumes_with_any_memory_layout(tmp_path: Path) -> None:
    """The file knows no layout; AdamW's fused kernel takes that of weights and averages for the same."""

    def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        model(torch.ones(2, 2, 5, 5).cumsum(3)).square().mean().backward()
        optimizer.step()

    def fused(groups) -> torch.optim.Optimizer:
        return torch.optim.AdamW(groups, 0.1, fused=True)

    model, optimizer = trained(fused)
    save_state(tmp_path / "s", "k", 3, {"model": model}, optimizer)
    other, other_optimizer = fresh(fused)
    other.to(memory_format=torch.channels_last)
    load_state(tmp_path / "s", "k", {"model": other}, other_optimizer)
    step(model, optimizer)
    step(other, other_optimizer)
    torch.testing.assert_close(other[0].weight, model[0].weight)


def test_without_a_saved_state_training_starts_at_step_zero(tmp_path: Path) -> None:
    model, optimizer = fresh(torch.optim.AdamW)
    assert load_state(tmp_path / "s", "k", {"model": model}, optimizer) == 0


@pytest.mark.parametrize("content", [b"", b"half a file", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0{}"])
def test_a_damaged_state_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(content)
    model, optimizer = fresh(torch.optim.AdamW)
    with pytest.raises(EdgefrError, match="Remove the file to start again"):
        load_state(tmp_path / "s", "k", {"model": model}, optimizer)


def test_half_a_state_is_refused(tmp_path: Path) -> None:
    model, optimizer = trained(torch.optim.AdamW)
    save_state(tmp_path / "s", "k", 7, {"model": model}, optimizer)
    whole = (tmp_path / "s").read_bytes()
    (tmp_path / "s").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EdgefrError, match="Remove the file to start again"):
        load_state(tmp_path / "s", "k", {"model": model}, optimizer)


def test_the_state_of_another_recipe_is_refused(tmp_path: Path) -> None:
    model, optimizer = trained(torch.optim.AdamW)
    save_state(tmp_path / "s", "k", 7, {"model": model}, optimizer)
    with pytest.raises(EdgefrError, match="found that of another"):
        load_state(tmp_path / "s", "other", {"model": model}, optimizer)
