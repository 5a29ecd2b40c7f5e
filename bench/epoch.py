"""Time of a training epoch from cached feature maps and of one that runs the backbones, over the same images.

The networks have random weights and the faces are noise, which does not change the time. The shards are still in the
page cache, because they were just written.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import cv2
import numpy as np

from edgefr.nn.fused_model import FusedModel
from edgefr.nn.margin_heads import build_head
from edgefr.spec import FusionSpec, ModelSpec
from edgefr.training.common.loop import StageConfig, Step, train_stage
from edgefr.training.common.optimizer import weight_decay_groups
from edgefr.training.common.parallel import World, join_world
from edgefr.training.common.progress import no_progress
from edgefr.training.common.recipes import AugmentationConfig, DataConfig, Schedule, VibConfig
from edgefr.training.recogniser.augmented_views import AugmentedDataset
from edgefr.training.recogniser.feature_source import CachedFeatures, FeatureSource, OnlineFeatures
from edgefr.training.recogniser.losses import label_losses
from edgefr.training.recogniser.training_faces import TrainingFaces, read_training_faces
from edgefr.types import FACE_SIZE

ROUNDS = 2


@dataclass(frozen=True)
class Case:
    """Two backbones with the paper's fusion, and the views of an epoch."""

    a: str
    b: str
    views: AugmentationConfig
    faces: int
    batch: int


CASES = {
    "r100": Case("iresnet100", "ir_101", AugmentationConfig(kind="mirrored", maps="cache"), faces=64, batch=128),
    "mobilefacenet": Case(
        "mobilefacenet", "mobilefacenet", AugmentationConfig(variants=4, maps="cache"), faces=32, batch=64
    ),
}


def run(cases: Sequence[str] = tuple(CASES)) -> dict[str, Any]:
    """One row a case: seconds of an epoch online and from shards, of making the shards once, and the speed-up."""
    with join_world() as here, TemporaryDirectory() as folder:
        rows = [_row(name, CASES[name], Path(folder) / name, here) for name in cases]
    return {"rounds": ROUNDS, "rows": rows}


def _row(name: str, case: Case, folder: Path, here: World) -> dict[str, Any]:
    views = AugmentedDataset(_noise(folder, case.faces), case.views, seed=0)
    model = FusedModel.random(ModelSpec(case.a, case.b, fusion=FusionSpec())).to(here.device).train()
    online = OnlineFeatures(model, views, here, with_targets=False, progress=no_progress)
    start = perf_counter()
    cached = CachedFeatures(online, folder / "maps")
    making = perf_counter() - start
    sources: dict[str, FeatureSource] = {"online": online, "cached": cached}
    seconds = {kind: _epoch(model, source, views, case.batch, folder / kind, here) for kind, source in sources.items()}
    return {
        "backbones": name,
        "device": here.device.type,
        "views": len(views),
        "batch": case.batch,
        "kind": case.views.kind,
        "store": case.views.store,
        "megabytes": round(len(views) * cached.shards.dtype.itemsize / 1e6, 1),
        "making_shards_s": round(making, 2),
        "online_epoch_s": round(seconds["online"], 3),
        "cached_epoch_s": round(seconds["cached"], 3),
        "speed_up": round(seconds["online"] / seconds["cached"], 2),
    }


def _epoch(
    model: FusedModel, source: FeatureSource, views: AugmentedDataset, batch: int, folder: Path, here: World
) -> float:
    """Median seconds of an epoch by labels, as `edgefr train` takes its steps; the first one warms up."""
    schedule = Schedule(epochs=ROUNDS + 1, batch=batch, optimizer="sgd", lr=1e-3)
    a_epoch = schedule.steps_per_epoch(len(views))
    head = build_head("softmax", model.spec.fusion.embedding_dim, views.faces.people).to(here.device)
    modules = {"fusion": model.fusion, "bottleneck": model.bottleneck, "head": head}
    groups = [group for module in modules.values() for group in weight_decay_groups(module)]
    ends: list[float] = []

    def report(step: Step) -> None:
        if step.step % a_epoch == 0:
            ends.append(perf_counter())

    stage = StageConfig(modules, groups, schedule, len(views), 0, "", folder / "state.safetensors", report, here)
    losses_of = label_losses(model, head.loss, VibConfig(schedule), here)
    train_stage(stage, source.batches(schedule, 0), losses_of)
    return median(later - earlier for earlier, later in pairwise(ends))


def _noise(folder: Path, count: int) -> TrainingFaces:
    """`count` people with one face of noise each, in a zip."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(folder / "faces.zip", "w") as archive:
        for person in range(count):
            face = rng.integers(0, 256, (FACE_SIZE, FACE_SIZE, 3), np.uint8)
            archive.writestr(f"{person:03d}/0.jpg", cv2.imencode(".jpg", face)[1].tobytes())
    return read_training_faces(DataConfig(folder / "faces.zip"))
