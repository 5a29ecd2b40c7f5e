"""What training asks of the code: the aim, the label, as few nats as beta wants."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from edgefr.nn.architectures import build_backbone  # noqa: E402
from edgefr.nn.bottleneck import Code  # noqa: E402
from edgefr.nn.fused_model import BackboneFeatures, FusedModel  # noqa: E402
from edgefr.nn.margin_heads import build_head  # noqa: E402
from edgefr.spec import FusionSpec, ModelSpec  # noqa: E402
from edgefr.training.common.parallel import World  # noqa: E402
from edgefr.training.common.recipes import DistillConfig, Schedule, VibConfig  # noqa: E402
from edgefr.training.recogniser.feature_source import FeatureBatch  # noqa: E402
from edgefr.training.recogniser.losses import distillation_losses, encode, imitation_losses, label_losses  # noqa: E402

ONE = Schedule(steps=1)


@pytest.fixture
def model(nets: None) -> FusedModel:
    return fused()


def fused(**options) -> FusedModel:
    torch.manual_seed(0)
    fusion = FusionSpec(**{"body": "mlp", "embedding_dim": 16, "skip": "embeddings", **options})
    model = FusedModel(ModelSpec("tiny", "tiny", fusion=fusion), build_backbone("tiny"), build_backbone("tiny"))
    torch.nn.init.normal_(model.bottleneck.mu.weight, std=0.1)
    return model.train()


def batch(*labels: int) -> FeatureBatch:
    torch.manual_seed(1)
    count = len(labels)
    embeddings, aims = F.normalize(torch.randn(count, 16)), F.normalize(torch.randn(count, 16))
    return FeatureBatch(
        BackboneFeatures(torch.zeros(count, 1), torch.zeros(count, 1), embeddings), aims, torch.tensor(labels)
    )


def total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum()


def test_the_imitation_loss_is_zero_only_at_the_target() -> None:
    torch.manual_seed(0)
    aims, recipe = torch.randn(6, 16), DistillConfig(ONE)
    at_aim = imitation_losses(Code(3 * aims, None), aims, recipe)
    assert at_aim.keys() == {"cosine", "pairwise"}
    assert total(at_aim).item() == pytest.approx(0, abs=1e-5)
    assert total(imitation_losses(Code(aims + torch.randn(6, 16), None), aims, recipe)) > 0.1


def test_the_imitation_losses_follow_their_formulas() -> None:
    """1 - cosine, plus pairwise times how far the similarities are, plus likelihood times the Gaussian's."""
    torch.manual_seed(0)
    mu, logvar, aims = torch.randn(5, 8), torch.randn(5, 8), torch.randn(5, 8)
    losses = imitation_losses(Code(mu, logvar), aims, DistillConfig(ONE, pairwise=3.0, likelihood=0.2))
    unit, aim = mu / mu.norm(dim=1, keepdim=True), aims / aims.norm(dim=1, keepdim=True)
    pairs = [(i, j) for i in range(5) for j in range(5)]
    to_aims = sum(float(unit[i] @ aim[j] - aim[i] @ aim[j]) ** 2 for i, j in pairs) / 25
    to_each_other = sum(float(unit[i] @ unit[j] - aim[i] @ aim[j]) ** 2 for i, j in pairs) / 25
    gaussian = torch.distributions.Normal(mu, (0.5 * logvar).exp())
    nats = -gaussian.log_prob(aims).mean() - 0.5 * torch.tensor(2 * torch.pi).log()
    assert losses["cosine"].item() == pytest.approx(1 - float((unit * aim).sum(1).mean()), abs=1e-6)
    assert losses["pairwise"].item() == pytest.approx(3 * (to_aims + to_each_other), rel=1e-5)
    assert losses["likelihood"].item() == pytest.approx(0.2 * nats.item(), rel=1e-4)


def test_the_log_variance_learns_its_own_error_and_leaves_mu_alone() -> None:
    """The likelihood is at rest where the variance is the squared distance to the aim."""
    torch.manual_seed(0)
    aims, recipe = torch.randn(6, 16), DistillConfig(ONE, pairwise=0, likelihood=100.0)
    mu = (aims + 0.5).requires_grad_()
    for variance, sign in ((0.25, 0), (0.2, -1), (0.3, 1)):
        logvar = torch.full((6, 16), variance).log().requires_grad_()
        likelihood = imitation_losses(Code(mu, logvar), aims, recipe)["likelihood"]
        slope, moved = torch.autograd.grad(likelihood, (logvar, mu), allow_unused=True)
        assert (slope.mul(1e3).round().sign() == sign).all()
        assert moved is None


def test_distillation_targets_are_the_skip_paths_map_of_the_clean_embeddings(model: FusedModel) -> None:
    losses_of = distillation_losses(model, DistillConfig(ONE), World())
    seen = batch(0, 1, 2, 3)
    wanted = imitation_losses(encode(model, seen, World()), model.bottleneck.skip(seen.targets), DistillConfig(ONE))
    found = losses_of(seen)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value)
    assert not model.bottleneck.skip.weight.requires_grad, "or the aims could meet the code half-way"


def test_the_code_is_in_full_precision(model: FusedModel) -> None:
    code = encode(model, batch(0, 1), World())
    assert code.mu.dtype == code.logvar.dtype == torch.float32


@pytest.mark.parametrize("beta", [0.0, 1e-3, 0.5])
def test_the_label_loss_is_cross_entropy_of_the_sample_plus_beta_times_kl(model: FusedModel, beta: float) -> None:
    head = build_head("softmax", 16, 5)
    seen = batch(0, 4, 2)
    torch.manual_seed(9)
    losses = label_losses(model, head.loss, VibConfig(ONE, beta=beta), World())(seen)
    assert losses.keys() == {"labels", "beta kl", "kl"}
    with torch.no_grad():
        mu, logvar = encode(model, seen, World())
    kl = sum(0.5 * float((m * m + v.exp() - 1 - v).sum()) for m, v in zip(mu, logvar, strict=True)) / 3
    assert losses["beta kl"].item() == pytest.approx(beta * kl, rel=1e-5)
    assert losses["kl"].item() == pytest.approx(kl, rel=1e-5)
    assert not losses["kl"].requires_grad, "only told"
    torch.manual_seed(9)
    z = mu + (0.5 * logvar).exp() * torch.randn_like(mu)
    wanted = -F.linear(z, head.weight, head.bias).log_softmax(1)[range(3), seen.labels].mean()
    torch.testing.assert_close(losses["labels"], wanted)


def test_without_a_bottleneck_mu_is_classified_and_there_is_no_kl(nets: None) -> None:
    model, head, seen = fused(vib=False), build_head("softmax", 16, 5), batch(0, 4, 2)
    losses = label_losses(model, head.loss, VibConfig(ONE), World())(seen)
    assert losses.keys() == {"labels"}
    torch.testing.assert_close(losses["labels"], head.loss(encode(model, seen, World()).mu, seen.labels))


def test_blends_count_for_all_losses_but_labels(nets: None) -> None:
    model, head = fused(vib=False), build_head("softmax", 16, 5)
    losses_of = label_losses(model, head.loss, VibConfig(ONE, anchor=2.0), World())
    seen = batch(0, -1, 2, -1)
    rows = seen.features.embeddings.clone().requires_grad_()
    losses = losses_of(seen._replace(features=seen.features._replace(embeddings=rows)))
    (labels,) = torch.autograd.grad(losses["labels"], rows, retain_graph=True)
    (anchor,) = torch.autograd.grad(losses["anchor"], rows)
    assert (labels.abs().sum(1) > 0).tolist() == [True, False, True, False]
    assert (anchor.abs().sum(1) > 0).all()
    plain = batch(0, -1, 2, -1)
    known = FeatureBatch(
        BackboneFeatures(*(part[[0, 2]] for part in plain.features)), plain.targets[[0, 2]], plain.labels[[0, 2]]
    )
    torch.testing.assert_close(losses["labels"], losses_of(known)["labels"], atol=1e-3, rtol=1e-3)  # bf16


def test_the_anchor_is_zero_only_at_the_targets(nets: None) -> None:
    model = fused(vib=False)
    head = build_head("softmax", 16, 5)
    seen = batch(0, 4, 2)
    losses_of = label_losses(model, head.loss, VibConfig(ONE, anchor=2.0), World())
    assert losses_of(seen)["anchor"] > 0.1
    assert not model.bottleneck.skip.weight.requires_grad
    torch.nn.init.zeros_(model.bottleneck.mu.weight)
    at_aims = seen._replace(targets=seen.features.embeddings)
    assert losses_of(at_aims)["anchor"].item() == pytest.approx(0, abs=1e-2)  # bf16


def test_the_skip_path_is_trained_unless_there_is_an_anchor(model: FusedModel) -> None:
    """Whatever distillation, which comes before, has made of it."""
    head, seen = build_head("softmax", 16, 5), batch(0, 4, 2)
    skip = model.bottleneck.skip
    for anchor, learns in ((0.0, True), (2.0, False)):
        distillation_losses(model, DistillConfig(ONE), World())
        losses = label_losses(model, head.loss, VibConfig(ONE, anchor=anchor), World())(seen)
        skip.weight.grad = None
        losses["labels"].backward()
        assert (skip.weight.grad is not None) == learns


def test_a_margin_follows_the_norm_of_mu_not_of_the_sample(model: FusedModel) -> None:
    """The norm of a sample is mostly noise."""
    told: list[Tensor | None] = []

    def head(embedding: Tensor, labels: Tensor, norm: Tensor | None = None) -> Tensor:
        told.append(norm)
        return embedding.sum()

    seen = batch(0, -1, 2)
    label_losses(model, head, VibConfig(ONE, head="adaface"), World())(seen)
    label_losses(model, head, VibConfig(ONE, head="magface"), World())(seen)
    assert told[0] is not None
    torch.testing.assert_close(told[0], encode(model, seen, World()).mu.norm(dim=1, keepdim=True))
    assert not told[0].requires_grad
    assert told[1] is None, "MagFace shapes the norm: it wants the sample's own"
