"""What a training recipe says; `train/*.toml` are instances of `Recipe`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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


@dataclass(frozen=True)
class Schedule:
    """AdamW with a linear warm-up of a twentieth of the steps, then a cosine to zero."""

    steps: int
    batch: int = 64
    lr: float = 1e-4
    weight_decay: float = 0.01


@dataclass(frozen=True)
class Seat:
    """One backbone: its checkpoint and, for a partner made here, how it is fine-tuned with AdaFace loss."""

    checkpoint: Path
    loss: Literal["arcface", "adaface"]
    arch: str | None = None
    colour: Literal["rgb", "bgr"] | None = None
    finetune: Schedule | None = None


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
