"""Two processes train as one does: gradients averaged, classes shared, killed and continued, by torchrun too."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402
from torch import Tensor, multiprocessing, nn  # noqa: E402
from torch import distributed as dist  # noqa: E402

from edgefr.errors import EdgefrError  # noqa: E402
from edgefr.io.toml_dataclass import read_toml  # noqa: E402
from edgefr.training.common.loop import StageConfig, train_stage  # noqa: E402
from edgefr.training.common.optimizer import weight_decay_groups  # noqa: E402
from edgefr.training.common.parallel import World, join_world, threads_beside_workers  # noqa: E402
from edgefr.training.common.progress import no_progress  # noqa: E402
from edgefr.training.common.recipes import FusionRecipe, Schedule  # noqa: E402
from edgefr.training.recogniser.fusion_training import FusionTraining, train_fused  # noqa: E402
from tests.training import tiny  # noqa: E402

# Without sampling of the code, whose noise differs, and without BatchNorm.
ALIKE = (
    "name=alike",
    "fusion.vib=false",
    "vib.head=cosface",
    "vib.schedule.steps=4",
    "vib.schedule.batch=8",
    "vib.schedule.optimizer=sgd",
    "vib.schedule.lr=0.5",
)
SHARED_CLASSES = (
    "name=classes",
    "views.maps=cache",
    "views.blends=0.2",
    "b.finetune.steps=2",
    "b.finetune.batch=8",
    "vib.head=arcface",
    "vib.classes=0.5",
    "vib.schedule.steps=4",
    "vib.schedule.batch=8",
    "vib.schedule.ema=0.5",
)


def fitted(folder: Path, world: World) -> dict[str, Tensor]:
    """A convolution fitted in the loop, in full precision, each process with its part of every batch of eight."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.GELU(), nn.Flatten(), nn.Linear(27, 2))
    model.to(memory_format=torch.channels_last)

    def batches(first: int) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(1)
        while True:
            yield torch.randn(8, 2, 5, 5, generator=generator)[world.rank :: world.size]

    def losses_of(x: Tensor) -> dict[str, Tensor]:
        return {"square": (model(x) - x.mean((2, 3))).square().mean()}

    schedule = Schedule(steps=5, batch=8, lr=0.1, optimizer="sgd")
    groups = weight_decay_groups(model)
    state = folder / "fitted.safetensors"
    stage = StageConfig({"model": model}, groups, schedule, 8, 0, "k", state, lambda step: None, world)
    train_stage(stage, batches, losses_of)
    return model.state_dict()


def normed(folder: Path, world: World) -> dict[str, Tensor]:
    """Running statistics of batches that differ between processes."""
    torch.manual_seed(0)
    model = nn.BatchNorm1d(3)
    state = folder / "normed.safetensors"
    stage = StageConfig(
        {"model": model}, weight_decay_groups(model), Schedule(steps=2), 64, 0, "k", state, lambda step: None, world
    )
    train_stage(
        stage, lambda first: iter(torch.randn(2, 16, 3) + world.rank), lambda x: {"x": model(x).square().mean()}
    )
    return model.state_dict()


def names_of_threads() -> set[str]:
    return {path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")}


def run_rank(rank: int, folder: Path, recipe: Path) -> None:
    """One of two processes."""
    torch.set_num_threads(1)
    tiny.use()
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    told: dict[str, dict[str, Tensor]] = {}
    with join_world(f"file://{folder}/store") as world:
        tensors = [torch.full((3,), float(rank)), torch.tensor(float(rank))]
        world.mean(tensors)
        told["agreed"] = {"mean": tensors[0], "one": tensors[1], "largest": torch.tensor(world.maximum(-rank))}
        told["fitted"] = fitted(folder, world)
        told["normed"] = normed(folder, world)
        recipes = [read_toml(FusionRecipe, recipe, settings) for settings in (ALIKE, SHARED_CLASSES)]
        for each in recipes:
            train_fused(each, no_progress, world)
        dist.barrier()
        if rank:
            for path in (folder / "runs/states").glob("*.1.safetensors"):
                path.unlink()
        dist.barrier()
        try:
            train_fused(recipes[0], no_progress, world)
        except EdgefrError as error:
            told["refused"] = {str(error): torch.tensor(0)}
    told["threads"] = {name: torch.tensor(1) for name in names_of_threads()}
    torch.save(told, folder / f"{rank}.told")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, faces: Path) -> Path:
    """What two processes left."""
    folder = tmp_path_factory.mktemp("two")
    multiprocessing.spawn(run_rank, (folder, tiny.write_recipe(folder, faces)), nprocs=2)
    return folder


@pytest.fixture(scope="module")
def told(folder: Path) -> list[dict[str, dict[str, Tensor]]]:
    """What each of them told."""
    return [torch.load(folder / f"{rank}.told", weights_only=True) for rank in range(2)]


def test_processes_agree(told) -> None:
    for rank in told:
        assert rank["agreed"]["mean"].tolist() == [0.5, 0.5, 0.5]
        assert rank["agreed"]["one"] == 0.5
        assert rank["agreed"]["largest"] == 0


def test_threads_between_processes_end_with_the_training(told) -> None:
    # A thread that is left aborts the process at its exit now and then, and torchrun reports a failure.
    for rank in told:
        assert rank["threads"]
        assert not [name for name in rank["threads"] if "gloo" in name]


def test_gradients_are_those_of_the_whole_batch(told, tmp_path: Path) -> None:
    wanted = fitted(tmp_path, World())
    for name, value in wanted.items():
        torch.testing.assert_close(told[0]["fitted"][name], value)
        assert torch.equal(told[1]["fitted"][name], told[0]["fitted"][name]), name


def test_running_statistics_are_averaged(told) -> None:
    for name, value in told[0]["normed"].items():
        assert torch.equal(told[1]["normed"][name], value), name
    assert 0.05 < told[0]["normed"]["running_mean"].mean() < 0.15  # two steps of a tenth towards a half


def weights(path: Path) -> Tensor:
    """What is trained, in one row."""
    found = load_file(path)
    return torch.cat([found[name].flatten() for name in sorted(found) if name.startswith(("fusion", "bottleneck"))])


def test_a_recipe_trained_by_two_processes_is_the_one_trained_by_one(folder: Path, nets, faces, tmp_path) -> None:
    recipe = tiny.tiny_recipe(tmp_path, faces, *ALIKE)
    start = FusionTraining(recipe, no_progress, World()).build_model().state_dict()
    before = torch.cat([start[name].flatten() for name in sorted(start) if name.startswith(("fusion", "bottleneck"))])
    one, two = (weights(path) for path in (train_fused(recipe, no_progress), folder / "runs/alike/fused.safetensors"))
    moved = (one - before).norm()
    assert moved > 0.1
    assert (one - two).norm() < 0.02 * moved  # bf16


def test_processes_share_the_classes(told, folder: Path) -> None:
    """The states that are left are the first process's."""
    heads = [load_file(path) for path in (folder / "runs/states").glob("*.safetensors")]
    sharded = [
        state["head/weight"] for state in heads if "fusion/layers.0.weight" in state and "ema/n_averaged" in state
    ]
    assert [len(weight) for weight in sharded] == [tiny.PEOPLE // 2]
    assert torch.isfinite(weights(folder / "runs/classes/fused.safetensors")).all()


def test_states_of_different_steps_are_refused_by_all(told) -> None:
    for rank in told:
        (sentence,) = rank["refused"]
        assert "states of all processes" in sentence
        assert "to start again" in sentence


def torchrun(recipe: Path, settings: tuple[str, ...], stop: str = "") -> subprocess.CompletedProcess[str]:
    """`edgefr train` by two processes, as a user starts it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port)]
    overrides = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, *launcher, "-m", "tests.training.tiny", "train", str(recipe), "--json", *overrides]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TINY_STOP": stop}
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=500)


def test_torchrun_killed_and_started_again_ends_with_the_same_weights(folder: Path, faces, tmp_path: Path) -> None:
    recipe = tiny.write_recipe(tmp_path, faces)
    killed = torchrun(recipe, SHARED_CLASSES, stop="Training by labels/16")
    assert killed.returncode != 0
    assert not (tmp_path / "runs/classes/fused.safetensors").exists()
    states = [load_file(path) for path in sorted((tmp_path / "runs/states").glob("*.safetensors"))]
    assert len(states) == 4, "of two stages and two processes"

    again = torchrun(recipe, SHARED_CLASSES)
    assert again.returncode == 0, again.stderr
    document: dict[str, Any] = json.loads(again.stdout)  # one, though two processes trained
    result = tmp_path / "runs/classes/fused.safetensors"
    assert document["checkpoint"] == str(result)
    assert "2 processes" in document["trained_on"]
    assert result.read_bytes() == (folder / "runs/classes/fused.safetensors").read_bytes()

    label = [path for path in (tmp_path / "runs/states").glob("*.safetensors") if "ema/n_averaged" in load_file(path)]
    first, second = (load_file(path) for path in label)
    for name, value in first.items():
        if name.startswith(("fusion", "bottleneck")):
            assert torch.equal(second[name], value), name
    assert not torch.equal(first["head/weight"], second["head/weight"]), "each has classes of its own"


def test_loading_processes_get_cores_of_their_own_while_training_lasts() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        for workers, left in ((0, 3), (1, 2), (8, 1)):
            with contextlib.suppress(EdgefrError), threads_beside_workers(workers):
                assert torch.get_num_threads() == left
                raise EdgefrError("", "stopped", "start again")
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
