"""Every head against its formula in float64, value and gradient, and at the edges where formulas break."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402

from edgefr.errors import EdgefrError, InvalidArgumentError  # noqa: E402
from edgefr.nn.margin_heads import (  # noqa: E402
    MARGINS,
    AdaFace,
    CurricularFace,
    Margin,
    MarginHead,
    build_head,
    head_names,
)
from edgefr.nn.partial_fc import SampledHead  # noqa: E402
from edgefr.training.common.recipes import LabelLossConfig, Schedule, VibConfig  # noqa: E402

HEADS = head_names()
MARGIN_HEADS = list(MARGINS)
CLASSES, WIDTH = 5, 8


def arc(theta, m):
    """cos(theta + m), or CosFace's continuation where the angle passes pi."""
    return torch.cos(theta + m) if theta + m <= math.pi else torch.cos(theta) - m * math.sin(math.pi - m)


def ada(theta, norm):
    z = max(-1.0, min(1.0, 0.333 * (min(max(norm.item(), 1e-3), 100.0) - 40.0) / (30.0 + 1e-3)))
    return torch.cos((theta - 0.4 * z).clamp(1e-3, math.pi - 1e-3)) - 0.4 * (1 + z)


def mag(theta, norm):
    m = 0.45 + (0.8 - 0.45) * (norm.clamp(10, 110) - 10) / (110 - 10)
    return arc(theta, m) if theta + m <= math.pi else torch.cos(theta) - m * torch.sin(m)


def sphere(theta):
    k = min(3, math.floor(4 * theta.item() / math.pi))
    return (-1) ** k * torch.cos(4 * theta) - 2 * k


TARGET = {
    "sphereface": lambda theta, norm: sphere(theta),
    "cosface": lambda theta, norm: torch.cos(theta) - 0.4,
    "arcface": lambda theta, norm: arc(theta, 0.5),
    "adaface": ada,
    "curricularface": lambda theta, norm: arc(theta, 0.5),
    "magface": mag,
}
"""METHOD's table, for one face; AdaFace's running statistics are 40 and 30, CurricularFace's t is 0.3."""


def loss_from_scratch(name, embedding, weight, labels) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits one at a time, and the loss."""
    logits, penalties = [], []
    for x, label in zip(embedding, labels, strict=True):
        cosines = [(x @ w) / (x.norm() * w.norm()) for w in weight]
        target = TARGET[name](torch.acos(cosines[label]), x.norm())
        row = []
        for index, cosine in enumerate(cosines):
            hard = name == "curricularface" and cosine > target
            row.append(target if index == label else cosine * (0.3 + cosine) if hard else cosine)
        logits.append(64 * torch.stack(row))
        a = x.norm().clamp(10, 110)
        penalties.append(35 * (a / 110**2 + 1 / a) if name == "magface" else torch.zeros_like(a))
    rows = torch.stack(logits)
    return rows, F.cross_entropy(rows, torch.tensor(labels)) + torch.stack(penalties).mean()


def head_with_known_statistics(name):
    torch.manual_seed(0)
    head = build_head(name, WIDTH, CLASSES).double().eval()
    if isinstance(getattr(head, "margin", None), AdaFace):
        head.margin.norm_mean.fill_(40.0)
        head.margin.norm_std.fill_(30.0)
    if isinstance(getattr(head, "margin", None), CurricularFace):
        head.margin.t.fill_(0.3)
    return head


def faces(weight) -> tuple[torch.Tensor, list[int]]:
    """Embeddings from beside their class to opposite it, with norms below, in and above every head's range."""
    labels = [index % CLASSES for index in range(12)]
    direction = F.normalize(weight.detach()[labels])  # (12, K)
    pull = torch.linspace(-3, 3, 12, dtype=torch.float64).unsqueeze(1)
    mixed = F.normalize(pull * direction + F.normalize(torch.randn_like(direction)))
    norms = torch.tensor([4.0, 12, 35, 60, 90, 105, 115, 130, 20, 45, 70, 99], dtype=torch.float64)
    return (norms.unsqueeze(1) * mixed).requires_grad_(), labels


@pytest.mark.parametrize("name", MARGIN_HEADS)
def test_logits_loss_and_gradients_are_the_formulas(name) -> None:
    head = head_with_known_statistics(name)
    embedding, labels = faces(head.weight)
    wanted, loss = loss_from_scratch(name, embedding, head.weight, labels)
    ours = head.loss(embedding, torch.tensor(labels))
    torch.testing.assert_close(head(embedding, torch.tensor(labels)), wanted)
    torch.testing.assert_close(ours, loss)
    inputs = (embedding, head.weight)
    for mine, theirs in zip(torch.autograd.grad(ours, inputs), torch.autograd.grad(loss, inputs), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_the_faces_of_these_tests_reach_every_branch() -> None:
    head = head_with_known_statistics("curricularface")
    embedding, labels = faces(head.weight)
    cosine = F.normalize(embedding) @ F.normalize(head.weight).T
    theta = cosine[range(12), labels].acos()
    assert (theta + 0.5 > math.pi).any()
    assert set((4 * theta / math.pi).floor().tolist()) == {0, 1, 2, 3}
    target = torch.stack([arc(angle, 0.5) for angle in theta])
    wrong = torch.ones_like(cosine).scatter(1, torch.tensor(labels).unsqueeze(1), 0) > 0
    harder = cosine[wrong] > target.unsqueeze(1).expand_as(cosine)[wrong]
    assert harder.any()
    assert not harder.all()


@pytest.mark.parametrize("name", HEADS)
def test_gradients_are_the_slopes(name) -> None:
    """With the norm given apart, since AdaFace's is detached."""
    head = head_with_known_statistics(name)
    embedding, labels = faces(head.weight)
    norm = embedding.detach().norm(dim=1, keepdim=True).clamp(11, 109).requires_grad_(name == "magface")
    assert torch.autograd.gradcheck(
        lambda embedding, norm: head.loss(embedding, torch.tensor(labels), norm), (embedding, norm)
    )


def test_softmax_is_a_linear_layer_on_the_embedding_as_it_is() -> None:
    head = build_head("softmax", WIDTH, CLASSES)
    head.bias.data.normal_()
    embedding, labels = torch.randn(6, WIDTH), torch.tensor([0, 1, 2, 3, 4, 0])
    linear = torch.nn.Linear(WIDTH, CLASSES)
    linear.load_state_dict(head.state_dict())
    torch.testing.assert_close(head.loss(embedding, labels), F.cross_entropy(linear(embedding), labels))


@pytest.mark.parametrize("name", MARGIN_HEADS)
def test_the_right_class_is_never_easier_and_falls_with_the_angle(name) -> None:
    head = head_with_known_statistics(name)
    theta = torch.linspace(0, math.pi, 400, dtype=torch.float64)
    flat = torch.stack([theta.cos(), theta.sin()], 1)  # (400, 2)
    for norm in (1.0, 40.0, 200.0):
        embedding = norm * torch.cat([flat, flat.new_zeros(400, WIDTH - 2)], 1)
        head.weight.data = torch.eye(CLASSES, WIDTH, dtype=torch.float64)
        target = head(embedding, torch.zeros(400, dtype=torch.int64))[:, 0]
        assert (target <= 64 * theta.cos() + 1e-3).all()
        assert (target.diff() <= 1e-9).all()


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("cosine", [1.0, -1.0, 0.0], ids=["aligned", "opposite", "no embedding"])
def test_loss_and_gradients_stay_finite_in_float32(name, cosine) -> None:
    torch.manual_seed(0)
    head = build_head(name, 512, CLASSES)
    embedding = (30 * cosine * F.normalize(head.weight.detach())).requires_grad_()
    loss = head.loss(embedding, torch.arange(CLASSES))
    loss.backward()
    assert loss.isfinite()
    for gradient in (embedding.grad, head.weight.grad):
        assert gradient.isfinite().all()
        assert gradient.abs().max() < 1e4 or cosine == 0  # where no embedding is, every direction is as steep


@pytest.mark.parametrize("name", HEADS)
def test_class_weights_start_small_and_training_separates_people(name) -> None:
    torch.manual_seed(0)
    head = build_head(name, 64, 20)
    assert head.weight.shape == (20, 64)
    assert head.weight.std().item() == pytest.approx(0.01, rel=0.1)
    centres = 20 * F.normalize(torch.randn(20, 64))
    labels = torch.arange(20).repeat(4)
    embedding = centres[labels] + 0.5 * torch.randn(80, 64)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.01, momentum=0.9)
    before = head.loss(embedding, labels).item()
    for _ in range(60):
        optimizer.zero_grad()
        head.loss(embedding, labels).backward()
        optimizer.step()
    assert head.loss(embedding, labels).item() < before / 2
    assert ((F.normalize(embedding) @ F.normalize(head.weight).T).argmax(1) == labels).all()


def test_adaface_takes_batch_statistics_in_before_use_and_only_in_training() -> None:
    head = build_head("adaface", 4, 3)
    embedding = 5 * F.normalize(torch.randn(4, 4)) * torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    labels = torch.zeros(4, dtype=torch.int64)
    head.margin.norm_mean.fill_(20.0)
    head.margin.norm_std.fill_(100.0)
    head.eval()(embedding, labels)
    assert head.margin.norm_mean == 20
    trained = head.train()(embedding, labels)
    assert head.margin.norm_mean.item() == pytest.approx(0.99 * 20 + 0.01 * 12.5)
    assert head.margin.norm_std.item() == pytest.approx(0.99 * 100 + 0.01 * math.sqrt(125 / 3), rel=1e-5)
    torch.testing.assert_close(head.eval()(embedding, labels), trained)
    head.train()(1e6 * embedding, labels)
    assert head.margin.norm_mean.item() == pytest.approx(0.99 * (0.99 * 20 + 0.01 * 12.5) + 1.0)  # clipped to 100


@pytest.mark.parametrize("length", [0.02, 1.4, 30.0])
def test_adafaces_margin_follows_quality_from_the_first_batch_whatever_the_norms_are(length) -> None:
    """Statistics of the batch itself: of two faces, the better one's angle is made larger, the other's smaller."""
    head = build_head("adaface", 4, 3)
    norm = length * torch.tensor([[0.5], [1.5]])
    moved = head.margin.target_logit(torch.full((2, 1), 0.5), norm)
    assert head.margin.norm_mean.item() == pytest.approx(length)
    assert head.margin.norm_std.item() == pytest.approx(length / math.sqrt(2))
    z = 0.333 * torch.tensor([-0.5, 0.5]) * length / (length / math.sqrt(2) + 1e-3)
    wanted = (math.acos(0.5) - 0.4 * z).cos() - 0.4 * (1 + z)
    torch.testing.assert_close(moved.squeeze(1), wanted)


def test_adaface_takes_every_face_for_an_average_one_before_it_has_seen_a_batch() -> None:
    head = build_head("adaface", 4, 3).eval()
    moved = head.margin.target_logit(torch.tensor([[0.5], [0.1]]), torch.tensor([[3.0], [90.0]]))
    torch.testing.assert_close(moved, torch.tensor([[0.1], [-0.3]]))


def test_adaface_sends_no_gradient_through_the_norm() -> None:
    head = build_head("adaface", 4, 3).eval()
    embedding = (30 * torch.randn(5, 4)).requires_grad_()
    head.loss(embedding, torch.zeros(5, dtype=torch.int64)).backward()
    along = (embedding.grad * F.normalize(embedding.detach())).sum(1)
    torch.testing.assert_close(along, torch.zeros(5), atol=1e-6, rtol=0)


def test_one_face_leaves_adafaces_statistics_alone() -> None:
    head = build_head("adaface", 4, 3)
    assert head.loss(torch.ones(1, 4), torch.tensor([0])).isfinite()
    assert head.margin.norm_mean.isnan()
    head.margin.norm_mean.fill_(20.0)
    head.loss(torch.ones(1, 4), torch.tensor([0]))
    assert head.margin.norm_mean == 20


def test_curricularface_weighs_hard_negatives_by_progress() -> None:
    head = build_head("curricularface", 3, 3)
    head.weight.data = torch.eye(3)
    embedding = torch.tensor([[0.6, 0.8, 0.0], [0.6, 0.8, 0.0]])
    # Right class 0: cos(acos(0.6) + 0.5) = 0.143. Class 1 is above it, class 2 below.
    logits = head(embedding, torch.tensor([0, 0]))
    t = 0.01 * 0.6
    assert head.margin.t.item() == pytest.approx(t)
    expected = [64 * math.cos(math.acos(0.6) + 0.5), 64 * 0.8 * (t + 0.8), 0.0]
    torch.testing.assert_close(logits[0], torch.tensor(expected))
    head.eval()(embedding, torch.tensor([0, 0]))
    assert head.margin.t.item() == pytest.approx(t)


def test_magface_makes_norms_grow_within_its_range_and_asks_more_of_long_ones() -> None:
    head = build_head("magface", 3, 3)
    head.weight.data = torch.eye(3)
    norm = torch.tensor([[5.0], [10.0], [60.0], [110.0], [500.0]], requires_grad=True)
    penalty = head.margin.penalty(norm)
    each = [35 * (a / 110**2 + 1 / a) for a in (10, 10, 60, 110, 110)]
    assert penalty.item() == pytest.approx(sum(each) / 5)
    penalty.backward()
    assert norm.grad[0] == norm.grad[4] == 0
    assert norm.grad[1] < norm.grad[2] < 0
    assert norm.grad[3].item() == pytest.approx(0, abs=1e-7)  # the minimum is at the upper end
    own = torch.full((5, 1), 0.8)
    moved = head.margin.target_logit(own, norm).squeeze(1)
    margins = (moved.acos() - own.squeeze(1).acos()).tolist()
    assert margins == pytest.approx([0.45, 0.45, 0.625, 0.8, 0.8], abs=1e-5)


@pytest.mark.parametrize("name", ["adaface", "magface"])
def test_a_norm_given_apart_takes_the_embeddings_place(name) -> None:
    head = head_with_known_statistics(name)
    mu, labels = 20 * torch.randn(6, WIDTH, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 4, 0])
    norm = mu.norm(dim=1, keepdim=True)
    torch.testing.assert_close(head.loss(mu / 7, labels, norm), head.loss(mu, labels))
    assert not torch.allclose(head.loss(mu / 7, labels), head.loss(mu, labels))


@pytest.mark.parametrize("name", HEADS)
def test_rows_without_a_label_are_left_out_of_everything(name) -> None:
    embedding, labels = 20 * torch.randn(6, WIDTH), torch.tensor([0, -1, 2, 3, -1, 0])
    head = build_head(name, WIDTH, CLASSES)
    loss = head.loss(embedding, labels)
    other = build_head(name, WIDTH, CLASSES)
    other.weight.data = head.weight.data
    torch.testing.assert_close(loss, other.loss(embedding[labels >= 0], labels[labels >= 0]))
    torch.testing.assert_close(dict(head.named_buffers()), dict(other.named_buffers()))


@pytest.mark.parametrize("name", HEADS)
def test_a_batch_of_nobody_costs_nothing_and_changes_nothing(name) -> None:
    """Its gradients are there and zero: processes average them with those of others."""
    head = build_head(name, WIDTH, CLASSES)
    head.loss(20 * torch.randn(6, WIDTH), torch.tensor([0, 1, 2, 3, 4, 0])).backward()
    before = {key: value.clone() for key, value in head.state_dict().items()}
    head.zero_grad()
    embedding = torch.randn(3, WIDTH, requires_grad=True)
    loss = head.loss(embedding, torch.tensor([-1, -1, -1]))
    loss.backward()
    assert loss == 0
    assert not embedding.grad.any()
    for parameter in head.parameters():
        assert not parameter.grad.any()
    torch.testing.assert_close(dict(head.state_dict()), before)


@pytest.mark.parametrize("name", MARGIN_HEADS)
def test_a_row_without_its_class_keeps_its_cosines(name) -> None:
    head = head_with_known_statistics(name)
    assert isinstance(head, MarginHead)
    embedding, labels = faces(head.weight)
    cosine = (F.normalize(embedding) @ F.normalize(head.weight).T).detach()
    norm = embedding.detach().norm(dim=1, keepdim=True)
    target = torch.tensor(labels)
    own = cosine.gather(1, target.unsqueeze(1))
    whole = head.margin(cosine, target, own, norm)
    half = head.margin(cosine[:, :3], torch.where(target < 3, target, -1), own, norm)
    torch.testing.assert_close(half, whole[:, :3])


def test_an_unknown_head_is_refused_with_the_known_ones() -> None:
    with pytest.raises(EdgefrError, match=r"expected a margin head among sphereface.*found 'arc'"):
        build_head("arc", 4, 3)


def test_a_new_head_is_a_class_and_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    class Halved(Margin):
        """Half the cosine."""

        def target_logit(self, cosine, norm):
            return cosine / 2

    monkeypatch.setitem(MARGINS, "halved", Halved)
    assert VibConfig(Schedule(steps=1), head="halved").head == "halved"
    assert LabelLossConfig(head="halved").head == "halved"
    for head in (build_head("halved", 3, 3), SampledHead("halved", 3, 3)):
        head.weight.data = torch.eye(3)
        expected = -torch.tensor([64 * 0.3, 64 * 0.8, 0.0]).log_softmax(0)[0]
        torch.testing.assert_close(head.loss(torch.tensor([[0.6, 0.8, 0.0]]), torch.tensor([0])), expected)
    monkeypatch.delitem(MARGINS, "halved")
    with pytest.raises(InvalidArgumentError, match=r"vib\.head to be one of softmax, sphereface, .*, found 'halved'"):
        VibConfig(Schedule(steps=1), head="halved")
