"""What a training recipe says; `train/*.toml` are instances of `Recipe`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgefr.errors import EdgefrError
from edgefr.spec import FusionSpec


@dataclass(frozen=True)
class Data:
    """Aligned faces by person, LFW's pairs file, and the folds whose people are never trained on.

    `limit` takes only that many faces, evenly spread, for a quick run.
    """

    faces: Path
    pairs: Path
    test_folds: tuple[int, ...] = (6, 7, 8, 9, 10)
    limit: int | None = None

    def __post_init__(self) -> None:
        known = set(range(1, 11))
        folds = set(self.test_folds)
        require(folds < known, "data.test_folds", "some of the folds 1 to 10, but not all", self.test_folds)
        require(self.limit is None or self.limit >= 2, "data.limit", "at least 2", self.limit)


@dataclass(frozen=True)
class Schedule:
    """AdamW with a linear warm-up of a twentieth of the steps, then a cosine to zero."""

    steps: int
    batch: int = 64
    lr: float = 1e-4
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        require(self.steps >= 1, "a schedule's steps", "at least 1", self.steps)
        require(2 <= self.batch <= 4096, "a schedule's batch", "2 to 4096", self.batch)
        require(0 < self.lr < 1, "a schedule's lr", "between 0 and 1", self.lr)
        require(0 <= self.weight_decay < 1, "a schedule's weight_decay", "at least 0 and below 1", self.weight_decay)


@dataclass(frozen=True)
class Seat:
    """One backbone: its checkpoint and, for a partner made here, how it is fine-tuned with AdaFace loss."""

    checkpoint: Path
    loss: Literal["arcface", "adaface"]
    arch: str | None = None
    colour: Literal["rgb", "bgr"] | None = None
    finetune: Schedule | None = None

    def __post_init__(self) -> None:
        tuned = self.finetune is None or self.loss == "adaface"
        require(tuned, "the loss of a seat with finetune", "adaface, which is what fine-tuning uses", self.loss)


@dataclass(frozen=True)
class Distill:
    """Teaching the fusion to give, for a degraded image, what the backbones say of the clean one.

    `clean` is the share of images left as they are, `pairwise` the weight of the similarities within a batch,
    `likelihood` that of the log-variance's Gaussian likelihood.
    """

    schedule: Schedule
    clean: float = 0.35
    pairwise: float = 10.0
    likelihood: float = 0.01

    def __post_init__(self) -> None:
        require(0 <= self.clean <= 1, "distill.clean", "0 to 1", self.clean)
        require(self.pairwise >= 0, "distill.pairwise", "at least 0", self.pairwise)
        require(self.likelihood >= 0, "distill.likelihood", "at least 0", self.likelihood)


@dataclass(frozen=True)
class Recipe:
    """A whole training: `name` is that of its folder under train/runs."""

    name: str
    data: Data
    a: Seat
    b: Seat
    fusion: FusionSpec
    distill: Distill
    seed: int = 0
    runs: Path = Path("train/runs")

    def __post_init__(self) -> None:
        require(0 <= self.seed < 1 << 31, "seed", "0 to 2**31 - 1", self.seed)
        plain = self.name not in ("", ".", "..") and "/" not in self.name and "\\" not in self.name
        require(plain, "name", "the name of a folder under runs", self.name)


def require(good: bool, key: str, expected: str, found: object) -> None:
    """Raise an EdgefrError that names the recipe's key unless its value is good."""
    if not good:
        raise EdgefrError(f"expected {key} to be {expected}, found {found!r}: correct the recipe or --set it")
