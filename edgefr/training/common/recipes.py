"""What a training recipe says; `train/*.toml` are instances of `Recipe`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgefr.errors import EdgefrError
from edgefr.spec import FusionSpec

HeadName = Literal["softmax", "sphereface", "cosface", "arcface", "adaface", "curricularface", "magface"]


@dataclass(frozen=True)
class Data:
    """Aligned faces by person: a folder, a zip, a .rec or a .csv; and who is left out.

    `pairs` is LFW's pairs file and `test_folds` the folds whose people are never trained on. `limit` takes only
    that many faces, evenly spread, for a quick run. `workers` are processes that decode and degrade.
    """

    faces: Path
    pairs: Path | None = None
    test_folds: tuple[int, ...] = (6, 7, 8, 9, 10)
    limit: int | None = None
    workers: int = 0

    def __post_init__(self) -> None:
        known = set(range(1, 11))
        folds = set(self.test_folds)
        require(folds < known, "data.test_folds", "some of the folds 1 to 10, but not all", self.test_folds)
        require(self.limit is None or self.limit >= 2, "data.limit", "at least 2", self.limit)
        require(0 <= self.workers <= 256, "data.workers", "0 to 256", self.workers)


@dataclass(frozen=True)
class Views:
    """How each face is shown to the backbones.

    `mirrored`: as it is and mirrored. `degraded`: in so many `variants`, warped a little; a share of `clean` is
    left at that, the rest is degraded; a share of `blends` is first mixed with another person's face.
    `maps`: run the backbones at every step (`online`: fresh views each epoch) or once, keeping their feature maps
    in shards (`cache`), as `fp16` or `int8`.
    """

    kind: Literal["mirrored", "degraded"] = "degraded"
    variants: int = 8
    clean: float = 0.35
    blends: float = 0.0
    maps: Literal["online", "cache"] = "online"
    store: Literal["fp16", "int8"] = "fp16"

    def __post_init__(self) -> None:
        require(1 <= self.variants <= 1000, "views.variants", "1 to 1000", self.variants)
        require(0 <= self.clean <= 1, "views.clean", "0 to 1", self.clean)
        require(0 <= self.blends <= 1, "views.blends", "0 to 1", self.blends)


@dataclass(frozen=True)
class Mix:
    """What a detector is shown, as shares: pictures nearly `as_taken` and `faceless` ones, all others composites; of
    those as taken, the ones that are `exact`, neither scaled nor tilted (but spoiled and turned like others); of all,
    those `turned` as a whole; of the photographs in them, those chosen for a face that is `hard` to find."""

    as_taken: float = 0.5
    exact: float = 0.3
    faceless: float = 0.15
    turned: float = 0.4
    hard: float = 0.3

    def __post_init__(self) -> None:
        for name, share in vars(self).items():
            require(0 <= share <= 1, f"mix.{name}", "0 to 1", share)
        both = self.as_taken + self.faceless
        require(both <= 1, "mix.as_taken and mix.faceless", "at most 1 together", both)


@dataclass(frozen=True)
class Schedule:
    """How far and how fast: `steps`, or `epochs` over all views.

    The learning rate rises over the first twentieth and falls as a cosine to zero; with `drops` it starts at
    `lr` and falls to a tenth after each of these epochs. A step takes `accumulate` batches. `ema` is the decay of
    the weights' running average that is kept in the end, 0 for none.
    """

    steps: int | None = None
    epochs: int | None = None
    batch: int = 64
    accumulate: int = 1
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = 1e-4
    weight_decay: float = 0.01
    momentum: float = 0.9
    drops: tuple[int, ...] = ()
    ema: float = 0.0

    def __post_init__(self) -> None:
        length = self.steps if self.epochs is None else self.epochs
        one = (self.steps is None) != (self.epochs is None) and length is not None and length >= 1
        require(one, "a schedule", "either steps or epochs of at least 1", (self.steps, self.epochs))
        require(2 <= self.batch <= 65536, "a schedule's batch", "2 to 65536", self.batch)
        require(1 <= self.accumulate <= 4096, "a schedule's accumulate", "1 to 4096", self.accumulate)
        require(0 < self.lr < 10, "a schedule's lr", "between 0 and 10", self.lr)
        require(0 <= self.weight_decay < 1, "a schedule's weight_decay", "at least 0 and below 1", self.weight_decay)
        require(0 <= self.momentum < 1, "a schedule's momentum", "at least 0 and below 1", self.momentum)
        require(0 <= self.ema < 1, "a schedule's ema", "at least 0 and below 1", self.ema)
        known = not self.drops or (self.epochs is not None and list(self.drops) == sorted(set(self.drops)))
        require(known, "a schedule's drops", "rising epochs of a schedule in epochs", self.drops)

    def length(self, views: int) -> int:
        """Steps over `views` views; an epoch's last, smaller batch is left out."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return self.epochs * self.steps_of_an_epoch(views)

    def steps_of_an_epoch(self, views: int) -> int:
        return max(1, views // (self.batch * self.accumulate))


@dataclass(frozen=True)
class Seat:
    """One backbone: its checkpoint and, for a partner made here, how it is fine-tuned with AdaFace loss.

    `clean` is the share of images that fine-tuning leaves undegraded.
    """

    checkpoint: Path
    loss: Literal["arcface", "adaface"]
    arch: str | None = None
    colour: Literal["rgb", "bgr"] | None = None
    finetune: Schedule | None = None
    clean: float = 0.5

    def __post_init__(self) -> None:
        tuned = self.finetune is None or self.loss == "adaface"
        require(tuned, "the loss of a seat with finetune", "adaface, which is what fine-tuning uses", self.loss)
        require(0 <= self.clean <= 1, "a seat's clean", "0 to 1", self.clean)


@dataclass(frozen=True)
class Distill:
    """Teaching the fusion to give, for a degraded image, what the backbones say of the clean one.

    `pairwise` is the weight of the similarities within a batch, `likelihood` that of the log-variance's Gaussian
    likelihood.
    """

    schedule: Schedule
    pairwise: float = 10.0
    likelihood: float = 0.01

    def __post_init__(self) -> None:
        require(self.pairwise >= 0, "distill.pairwise", "at least 0", self.pairwise)
        require(self.likelihood >= 0, "distill.likelihood", "at least 0", self.likelihood)


@dataclass(frozen=True)
class Vib:
    """Teaching by labels: cross-entropy of the sampled code plus `beta` times its KL divergence in nats.

    `head` is the decoder, `classes` the share of classes sampled for each step (PartialFC below 1). `anchor`
    keeps the aim of distillation beside the labels, with this weight.
    """

    schedule: Schedule
    beta: float = 1e-3
    head: HeadName = "softmax"
    classes: float = 1.0
    anchor: float = 0.0

    def __post_init__(self) -> None:
        require(self.beta >= 0, "vib.beta", "at least 0", self.beta)
        require(0 < self.classes <= 1, "vib.classes", "above 0 and at most 1", self.classes)
        margin = self.classes == 1 or self.head != "softmax"
        require(margin, "vib.head", "a margin head where classes are sampled", self.head)
        require(self.anchor >= 0, "vib.anchor", "at least 0", self.anchor)


@dataclass(frozen=True)
class AimsOf:
    """Aims that are not the backbones' own embeddings of clean faces but those of a `teacher`, the checkpoint of a
    backbone or a fused model that both were taught to imitate."""

    teacher: Path


@dataclass(frozen=True)
class Labels:
    """A loss of the people's labels with this `weight`, beside imitation; faces of nobody take no part."""

    head: HeadName = "arcface"
    weight: float = 0.1

    def __post_init__(self) -> None:
        require(self.weight > 0, "labels.weight", "above 0", self.weight)


@dataclass(frozen=True)
class Recipe:
    """A whole training, by labels, by distillation, or by both in this order: distillation, then labels.

    `name` is that of its folder under `runs`, where the feature maps are cached, too.
    """

    name: str
    data: Data
    a: Seat
    b: Seat
    fusion: FusionSpec = field(default_factory=FusionSpec)
    views: Views = field(default_factory=Views)
    distill: Distill | None = None
    vib: Vib | None = None
    aims: AimsOf | None = None
    seed: int = 0
    runs: Path = Path("train/runs")

    def __post_init__(self) -> None:
        check_named(self.name, self.seed)
        if self.distill is None and self.vib is None:
            require(False, "the recipe", "a table distill or vib, or both", "neither")
        if self.distill is not None or (self.vib is not None and self.vib.anchor > 0):
            skip = self.fusion.skip
            require(skip == "embeddings", "fusion.skip", '"embeddings", which carries the aims of distillation', skip)
        if self.vib is not None:
            blends = self.views.blends if self.views.kind == "degraded" else 0.0
            require(blends < 1, "views.blends", "below 1 with a table vib: a blend has no label", blends)
            unit = self.vib.head == "magface" and self.fusion.skip == "embeddings"
            expected = 'another head with fusion.skip = "embeddings": of unit length, they never reach MagFace\'s norms'
            require(not unit, "vib.head", expected + ", 10 to 110", self.vib.head)


def check_named(name: str, seed: int) -> None:
    """Refuse a name that is no folder's under `runs`, and a seed that not every random generator takes."""
    plain = name not in ("", ".", "..") and "/" not in name and "\\" not in name
    require(plain, "name", "the name of a folder under runs", name)
    require(0 <= seed < 1 << 31, "seed", "0 to 2**31 - 1", seed)


def require(good: bool, key: str, expected: str, found: object) -> None:
    """Raise an EdgefrError that names the recipe's key unless its value is good."""
    if not good:
        raise EdgefrError(f"{key} to be {expected}", f"{found!r}", "correct the recipe or --set it")
