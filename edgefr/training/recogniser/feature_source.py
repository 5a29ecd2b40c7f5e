"""Where a stage's batches come from: backbones that run at every step, or feature maps that were kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edgefr.nn.fused_model import Features, FusedModel
from edgefr.training.common.parallel import World
from edgefr.training.common.progress import Progress
from edgefr.training.common.recipes import Schedule
from edgefr.training.recogniser.augmented_views import NOBODY, Shown, ViewSet, shuffled
from edgefr.training.recogniser.face_tensors import BATCH, as_input
from edgefr.training.recogniser.feature_shards import (
    Advance,
    Records,
    Shards,
    numbers_of,
    packed,
    record_type,
    unpacked,
)

if TYPE_CHECKING:
    from edgefr.training.recogniser.teacher import Teacher


class Batch(NamedTuple):
    """What the backbones say of B views; `aims` (B, D): what they or a teacher say of the clean faces; `labels` (B,),
    -1 for a blend."""

    seen: Features
    aims: Tensor
    labels: Tensor


class Source(Protocol):
    """`batches(schedule, seed)(n)` gives the batches from the n-th on, on the world's device; `class_aims` the mean aim
    of each of so many people, (people, D)."""

    def batches(self, schedule: Schedule, seed: int) -> Callable[[int], Iterator[Batch]]: ...

    def class_aims(self, people: int) -> Tensor: ...


class Online:
    """Backbones that look at fresh views at every step."""

    def __init__(
        self,
        model: FusedModel,
        views: ViewSet,
        world: World,
        aimed: bool,
        progress: Progress,
        teacher: Teacher | None = None,
    ) -> None:
        """`aimed`: whether aims are wanted; without, the views' own embeddings stand in their place. `teacher`: whose
        aims they are, unless the backbones' own."""
        self.model, self.views, self.world, self.aimed, self.progress = model, views, world, aimed, progress
        self.teacher = teacher

    def batches(self, schedule: Schedule, seed: int) -> Callable[[int], Iterator[Batch]]:
        def start(first: int) -> Iterator[Batch]:
            numbers = shuffled(len(self.views), schedule, seed, self.world, first, fresh=True)
            return (self.look(shown) for shown in self.views.loader(numbers))

        return start

    def class_aims(self, people: int) -> Tensor:
        return means_by_label(self.aims, torch.from_numpy(self.views.faces.labels), people)

    @torch.no_grad()
    def look(self, shown: Shown) -> Batch:
        """Run the backbones on B views and, for aims that are not known yet, on the clean pictures."""
        with self.world.autocast():
            seen = self.model.backbone_features(as_input(shown.seen, self.world))
        labels = shown.label.to(self.world.device)
        if not self.aimed:
            return Batch(seen, seen.embeddings.float(), labels)
        aims = self.aims[shown.face]
        blends = shown.face == NOBODY
        if blends.any():
            aims[blends] = self._aims(shown.clean[blends])
        return Batch(seen, aims.to(self.world.device), labels)

    @cached_property
    def aims(self) -> Tensor:
        """Aims of all training faces, (N, D)."""
        faces = self.views.faces
        rows = []
        with self.progress("Embedding clean faces", len(faces)) as advance:
            for start in range(0, len(faces), BATCH):
                chosen = np.arange(start, min(start + BATCH, len(faces)))
                rows.append(self._aims(torch.from_numpy(faces.read(chosen))))
                advance(len(chosen))
        return torch.cat(rows)

    @torch.no_grad()
    def _aims(self, clean: Tensor) -> Tensor:
        """Both backbones' unit embeddings, averaged over image and mirror image (test-time flip), side by side; with a
        teacher, its own twice.

        (B, 112, 112, 3) uint8 -> (B, D) on the CPU.
        """
        if self.teacher is not None:
            return self.teacher(clean).repeat(1, 2).cpu()
        with self.world.autocast():
            pictures = torch.cat([clean, clean.flip(2)])
            straight, mirrored = (
                self.model.backbone_features(as_input(pictures, self.world)).embeddings.float().chunk(2)
            )
        halves = (straight + mirrored).tensor_split([self.model.backbone_a.embedding_dim], 1)
        return torch.cat([F.normalize(half) for half in halves], 1).cpu()


class Cached:
    """Feature maps from shards; those that are missing are made first."""

    def __init__(self, online: Online, folder: Path) -> None:
        self.world, self.count = online.world, len(online.views)
        dims = online.model.backbone_a.embedding_dim + online.model.backbone_b.embedding_dim
        dtype = record_type(online.views.views.store, online.model.backbone_a.map_channels, dims)
        key = cache_key(online)
        self.shards = Shards(folder / key[:16], key, self.count, dtype)
        titles = "Caching feature maps", "Checking feature maps"
        self.shards.fill(titles, partial(self._records, online), online.progress, self.world)
        self.read, self.column = self.shards.open(), self.shards.column

    def batches(self, schedule: Schedule, seed: int) -> Callable[[int], Iterator[Batch]]:
        def start(first: int) -> Iterator[Batch]:
            numbers = shuffled(self.count, schedule, seed, self.world, first, fresh=False)
            return (batch_from_records(self.read(chosen), self.world) for chosen in numbers)

        return start

    def class_aims(self, people: int) -> Tensor:
        aims, labels = (torch.from_numpy(self.column(name)) for name in ("aims", "label"))
        return means_by_label(aims[labels >= 0], labels[labels >= 0], people)

    def _records(self, online: Online, start: int, advance: Advance) -> Records:
        """Those of the shard that begins with view `start`."""
        rows = []
        for shown in online.views.loader(numbers_of(start, self.count, BATCH)):
            rows.append(records_from_batch(online.look(shown), self.shards.dtype))
            advance(len(rows[-1]))
        return np.concatenate(rows)


def means_by_label(aims: Tensor, labels: Tensor, people: int) -> Tensor:
    """Mean of the aims (N, D) of each label (N,), (people, D)."""
    sums = torch.zeros(people, aims.shape[1]).index_add_(0, labels, aims)
    return sums / torch.bincount(labels, minlength=people).clamp(min=1).unsqueeze(1)


def records_from_batch(batch: Batch, dtype: np.dtype[np.void]) -> Records:
    """A batch as records (B,)."""
    records = np.empty(len(batch.labels), dtype)
    maps = torch.stack([batch.seen.map_a, batch.seen.map_b], 1).float()  # (B, 2, C, 7, 7)
    packed(maps.cpu().numpy(), records)
    records["embeddings"] = batch.seen.embeddings.float().cpu().numpy()
    records["aims"] = batch.aims.cpu().numpy()
    records["label"] = batch.labels.cpu().numpy()
    return records


def batch_from_records(records: Records, world: World) -> Batch:
    """Records (B,) as a batch on the world's device."""
    map_a, map_b = torch.from_numpy(unpacked(records)).to(world.device).unbind(1)
    fields = (torch.from_numpy(records[name].copy()).to(world.device) for name in ("embeddings", "aims", "label"))
    embeddings, aims, labels = fields
    return Batch(Features(map_a, map_b, embeddings), aims, labels)


def cache_key(online: Online) -> str:
    """What cached maps depend on: the backbones' weights, the faces, and how they are shown."""
    digest = hashlib.sha256()
    for backbone in (online.model.backbone_a, online.model.backbone_b):
        digest.update(f"{backbone.arch} {backbone.tap}".encode())
        for name, value in backbone.state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    views = online.views
    told = [asdict(views.views), views.seed, views.faces.digest(), online.aimed]
    if online.teacher is not None:
        told.append(online.teacher.digest)
    digest.update(json.dumps(told, sort_keys=True).encode())
    return digest.hexdigest()
