"""Sampled and sharded classes: the same loss and gradients as one process with all classes."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
# Imported before a group is made, as in `training.common.parallel`: otherwise threads may abort a process at its end.
pytest.importorskip("torch.distributed.nn")

from torch import distributed as dist  # noqa: E402
from torch import multiprocessing  # noqa: E402

from edgefr.errors import EdgefrError  # noqa: E402
from edgefr.nn.margin_heads import MARGINS, build_head  # noqa: E402
from edgefr.nn.partial_fc import SampledHead  # noqa: E402

MARGIN_HEADS = list(MARGINS)
CLASSES, WIDTH, PIXELS, STEPS = 7, 6, 9, 3


def images() -> tuple[torch.Tensor, torch.Tensor]:
    """The batches of both ranks in turn, (STEPS, 8, PIXELS), and labels (STEPS, 8)."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(STEPS, 8, PIXELS, generator=generator, dtype=torch.float64)
    labels = torch.randint(CLASSES, (STEPS, 8), generator=generator)
    labels[1, :3] = -1  # more of one rank's rows have no label than of the other's
    labels[2] = -1  # a step of blends alone
    return x, labels


def model_and_class_weights() -> tuple[torch.nn.Linear, torch.Tensor]:
    torch.manual_seed(5)
    backbone = torch.nn.Linear(PIXELS, WIDTH).double()
    backbone.weight.data *= 30  # norms within MagFace's range
    return backbone, torch.randn(CLASSES, WIDTH, dtype=torch.float64)


def trained(head, backbone, x, labels, mean_over_ranks) -> dict[str, torch.Tensor]:
    """Losses and gradients of some steps as the training loop takes them; what a rank must agree on with one."""
    parameters = [*backbone.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=5e-4)
    told: dict[str, torch.Tensor] = {}
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = head.loss(backbone(x[step]), labels[step])
        loss.backward()
        for parameter in backbone.parameters():
            mean_over_ranks(parameter.grad)
        told |= {
            f"{step}/loss": loss.detach(),
            f"{step}/backbone": backbone.weight.grad.clone(),
            f"{step}/classes": head.weight.grad.clone(),
        }
        optimizer.step()
    return told | {f"margin/{name}": value.clone() for name, value in head.margin.named_buffers()}


def run_rank(rank: int, folder: str) -> None:
    """One of two processes: every head with this rank's half of the batch and its share of the classes."""
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=timedelta(minutes=10))

    def mean_over_ranks(gradient) -> None:
        dist.all_reduce(gradient)
        gradient /= 2

    x, labels = images()
    half = slice(4 * rank, 4 * rank + 4)
    told = {}
    for name in MARGIN_HEADS:
        backbone, weight = model_and_class_weights()
        head = SampledHead(name, WIDTH, CLASSES).double()
        told[f"start/{name}"] = {"weight": head.weight.detach().clone(), "generator": torch.get_rng_state()}
        head.weight.data = weight[head.first : head.first + len(head.weight)].clone()
        told[name] = trained(head, backbone, x[:, half], labels[:, half], mean_over_ranks)
    torch.manual_seed(9)
    head = SampledHead("arcface", WIDTH, 100, sample=0.2).double()
    head.loss(torch.randn(4, WIDTH, dtype=torch.float64), torch.arange(4) + 48).backward()
    told["sampled"] = {"used": head.weight.grad.abs().sum(1) > 0}
    try:
        SampledHead("arcface", WIDTH, 1)
    except EdgefrError as error:
        told["refused"] = {str(error): torch.tensor(0)}
    dist.destroy_process_group()
    torch.save(told, Path(folder) / f"{rank}.pt")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[dict[str, dict[str, torch.Tensor]]]:
    """What each of two processes told."""
    folder = tmp_path_factory.mktemp("ranks")
    multiprocessing.spawn(run_rank, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("name", MARGIN_HEADS)
def test_two_processes_train_as_one_does(ranks, name) -> None:
    backbone, weight = model_and_class_weights()
    head = build_head(name, WIDTH, CLASSES).double()
    head.weight.data = weight.clone()
    wanted = trained(head, backbone, *images(), lambda gradient: None)
    first, second = ranks[0][name], ranks[1][name]
    assert first.keys() == second.keys() == wanted.keys()
    for key, value in wanted.items():
        if key.endswith("/classes"):
            assert (len(first[key]), len(second[key])) == (3, 4)
            torch.testing.assert_close(torch.cat([first[key], second[key]]), value)
        else:
            torch.testing.assert_close(first[key], value)
            torch.testing.assert_close(second[key], value)


def test_ranks_start_with_different_weights_and_the_same_generator(ranks) -> None:
    first, second = (rank["start/arcface"] for rank in ranks)
    assert not torch.isclose(first["weight"], second["weight"][:3]).any()
    assert torch.equal(first["generator"], second["generator"])


def test_each_rank_samples_its_own_classes(ranks) -> None:
    first, second = (rank["sampled"]["used"] for rank in ranks)
    assert (first.sum(), second.sum()) == (10, 10)
    assert first[48:].all()  # labels 48, 49 are rank 0's
    assert second[:2].all()  # 50, 51 are rank 1's


def test_fewer_classes_than_processes_are_refused(ranks) -> None:
    for rank in ranks:
        assert list(rank["refused"]) == [
            "expected at least one class for each of the 2 processes, found 1. Start fewer processes."
        ]


@pytest.mark.parametrize("name", MARGIN_HEADS)
def test_one_process_with_all_classes_is_the_full_head(name) -> None:
    _, weight = model_and_class_weights()
    full, sampled = build_head(name, WIDTH, CLASSES).double(), SampledHead(name, WIDTH, CLASSES).double()
    full.weight.data, sampled.weight.data = weight.clone(), weight.clone()
    x, labels = images()
    embedding = (20 * x[0, :, :WIDTH]).requires_grad_()
    norm = torch.full((8, 1), 50.0, dtype=torch.float64)
    for arguments in ((labels[0],), (labels[1],), (labels[1], norm), (labels[2],)):
        wanted = full.loss(embedding, *arguments)
        ours = sampled.loss(embedding, *arguments)
        torch.testing.assert_close(ours, wanted)
        mine = torch.autograd.grad(ours, (embedding, sampled.weight))
        theirs = torch.autograd.grad(wanted, (embedding, full.weight))
        torch.testing.assert_close(mine, theirs)


def used(head, labels) -> torch.Tensor:
    """The classes that a step gives a gradient to, as flags (classes,)."""
    head.zero_grad()
    head.loss(torch.randn(len(labels), WIDTH), labels).backward()
    return head.weight.grad.abs().sum(1) > 0


def test_a_step_uses_its_share_of_the_classes_and_always_the_right_ones() -> None:
    torch.manual_seed(0)
    head = SampledHead("cosface", WIDTH, 200, sample=0.1)
    labels = torch.tensor([7, 199, 7, 0, 133])
    seen = torch.zeros(200, dtype=torch.bool)
    for _ in range(150):
        now = used(head, labels)
        assert now.sum() == 20
        assert now[labels].all()
        seen |= now
    assert seen.all()  # one is missed with a chance of 200 * 0.9 ** 150 = 3e-5


def test_all_right_classes_are_used_where_they_exceed_the_share() -> None:
    head = SampledHead("cosface", WIDTH, 200, sample=0.01)
    now = used(head, torch.arange(50, 90))
    assert now[50:90].all()
    assert now.sum() == 40


def test_a_sampled_loss_is_that_of_the_classes_in_use() -> None:
    torch.manual_seed(1)
    head = SampledHead("arcface", WIDTH, 40, sample=0.25).double()
    embedding, labels = torch.randn(6, WIDTH, dtype=torch.float64), torch.tensor([3, 3, 9, 20, 39, 0])
    loss = head.loss(embedding, labels)
    loss.backward()
    chosen = (head.weight.grad.abs().sum(1) > 0).nonzero().squeeze(1)
    small = build_head("arcface", WIDTH, len(chosen)).double()
    small.weight.data = head.weight.data[chosen]
    wanted = small.loss(embedding, torch.searchsorted(chosen, labels))
    torch.testing.assert_close(loss, wanted)


def test_the_seed_of_a_step_decides_its_sample() -> None:
    head = SampledHead("cosface", WIDTH, 200, sample=0.1)
    picks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        picks.append(used(head, torch.tensor([5])))
    assert torch.equal(picks[0], picks[1])
    assert not torch.equal(picks[0], picks[2])


def test_weight_decay_never_turns_an_unsampled_class() -> None:
    torch.manual_seed(0)
    head = SampledHead("cosface", WIDTH, 50, sample=0.2)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1, weight_decay=0.1)
    before = head.weight.detach().clone()
    idle = ~used(head, torch.tensor([5]))
    optimizer.step()
    torch.testing.assert_close(head.weight.detach()[idle], 0.99 * before[idle])
    assert not torch.allclose(head.weight.detach()[~idle], 0.99 * before[~idle])


@pytest.mark.parametrize("sample", [0.0, -0.1, 1.5, float("nan")])
def test_a_share_out_of_range_is_refused(sample) -> None:
    with pytest.raises(EdgefrError, match="share of classes above 0 and at most 1"):
        SampledHead("arcface", WIDTH, 10, sample)


def test_softmax_is_refused_since_it_has_no_cosines() -> None:
    with pytest.raises(EdgefrError, match="found 'softmax'"):
        SampledHead("softmax", WIDTH, 10)
