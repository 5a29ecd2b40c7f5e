"""Backbone features of augmented faces: computed at every step, or read from a cache on disk."""

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

from edgefr.nn.fused_model import BackboneFeatures, FusedModel
from edgefr.training.common.parallel import World
from edgefr.training.common.progress import Progress
from edgefr.training.common.recipes import Schedule
from edgefr.training.recogniser.augmented_views import NOBODY, AugmentedBatch, AugmentedDataset, shuffled_batches
from edgefr.training.recogniser.face_tensors import BATCH, embed_faces, to_input
from edgefr.training.recogniser.feature_shards import (
    Advance,
    Records,
    ShardReader,
    Shards,
    pack_maps,
    record_dtype,
    shard_batches,
    unpack_maps,
)

if TYPE_CHECKING:
    from edgefr.training.recogniser.teacher import Teacher


class FeatureBatch(NamedTuple):
    """Backbone features of B augmented faces.

    Attributes:
        features: Maps and embeddings of the augmented images.
        targets: (B, D) embeddings of the clean images.
        labels: (B,) labels of the people, -1 for a blend.
    """

    features: BackboneFeatures
    targets: Tensor
    labels: Tensor


class FeatureSource(Protocol):
    """Gives batches of features on the device of the world."""

    def batches(self, schedule: Schedule, seed: int) -> Callable[[int], Iterator[FeatureBatch]]:
        """A function that returns the batches from the n-th on."""

    def class_targets(self, people: int) -> Tensor:
        """Mean target of each person, (people, D)."""


class OnlineFeatures:
    """Runs the backbones at every step, on new augmented images in each epoch."""

    def __init__(
        self,
        model: FusedModel,
        dataset: AugmentedDataset,
        world: World,
        with_targets: bool,
        progress: Progress,
        teacher: Teacher | None = None,
    ) -> None:
        """Keep the parts.

        Args:
            model: Its backbones give the features.
            dataset: Augmented training faces.
            world: The processes that train together.
            with_targets: Whether the stages need targets. Otherwise the embeddings of the augmented images stand in.
            progress: Shows the embedding of clean faces.
            teacher: Gives the targets instead of the backbones.
        """
        self.model, self.dataset, self.world = model, dataset, world
        self.with_targets, self.progress, self.teacher = with_targets, progress, teacher

    def batches(self, schedule: Schedule, seed: int) -> Callable[[int], Iterator[FeatureBatch]]:
        def from_batch(start: int) -> Iterator[FeatureBatch]:
            numbers = shuffled_batches(len(self.dataset), schedule, seed, self.world, start, fresh=True)
            return (self.forward(batch) for batch in self.dataset.loader(numbers))

        return from_batch

    def class_targets(self, people: int) -> Tensor:
        return mean_by_label(self.targets, torch.from_numpy(self.dataset.faces.labels), people)

    @torch.no_grad()
    def forward(self, batch: AugmentedBatch) -> FeatureBatch:
        """Run the backbones on B augmented images and, for blends, on their clean images."""
        with self.world.autocast():
            features = self.model.backbone_features(to_input(batch.image, self.world))
        labels = batch.label.to(self.world.device)
        if not self.with_targets:
            return FeatureBatch(features, features.embeddings.float(), labels)
        targets = self.targets[batch.face_index]
        blends = batch.face_index == NOBODY
        if blends.any():
            targets[blends] = self._embed(batch.clean[blends])
        return FeatureBatch(features, targets.to(self.world.device), labels)

    @cached_property
    def targets(self) -> Tensor:
        """Targets of all N training faces, (N, D)."""
        return embed_faces(self._embed, self.dataset.faces, self.progress)

    @torch.no_grad()
    def _embed(self, clean: Tensor) -> Tensor:
        """Targets (B, D) on the CPU of clean images (B, 112, 112, 3) uint8.

        They are both backbones' unit embeddings, averaged over image and mirror image (test-time augmentation) and
        concatenated; or the embedding of the teacher, twice.
        """
        if self.teacher is not None:
            return self.teacher(clean).repeat(1, 2).cpu()
        with self.world.autocast():
            pictures = to_input(torch.cat([clean, clean.flip(2)]), self.world)
            straight, mirrored = self.model.backbone_features(pictures).embeddings.float().chunk(2)
        halves = (straight + mirrored).tensor_split([self.model.backbone_a.embedding_dim], 1)
        return torch.cat([F.normalize(half) for half in halves], 1).cpu()


class CachedFeatures:
    """Reads features from shards on disk; missing shards are made first."""

    def __init__(self, online: OnlineFeatures, folder: Path) -> None:
        """Make the missing shards.

        Args:
            online: Computes the features.
            folder: Folder of all caches; each has a folder of its own, named by its key.

        Raises:
            EdgefrError: The disk is too small, another run is making these shards, or a shard is damaged.
        """
        self.world, self.count = online.world, len(online.dataset)
        backbones = online.model.backbone_a, online.model.backbone_b
        self.channels = tuple(backbone.map_channels for backbone in backbones)
        dims = sum(backbone.embedding_dim for backbone in backbones)
        dtype = record_dtype(online.dataset.config.store, max(self.channels), dims)
        key = cache_key(online)
        self.shards = Shards(folder / key[:16], key, self.count, dtype)
        titles = "Caching feature maps", "Checking feature maps"
        self.shards.fill(titles, partial(self._make_records, online), online.progress, self.world)
        self.read = ShardReader(self.shards)

    def batches(self, schedule: Schedule, seed: int) -> Callable[[int], Iterator[FeatureBatch]]:
        def from_batch(start: int) -> Iterator[FeatureBatch]:
            numbers = shuffled_batches(self.count, schedule, seed, self.world, start, fresh=False)
            return (batch_from_records(self.read(chosen), self.channels, self.world) for chosen in numbers)

        return from_batch

    def class_targets(self, people: int) -> Tensor:
        targets, labels = (torch.from_numpy(self.shards.column(name)) for name in ("aims", "label"))
        return mean_by_label(targets[labels >= 0], labels[labels >= 0], people)

    def _make_records(self, online: OnlineFeatures, start: int, advance: Advance) -> Records:
        """Records of the shard that begins with sample `start`."""
        rows = []
        for batch in online.dataset.loader(shard_batches(start, self.count, BATCH)):
            rows.append(records_from_batch(online.forward(batch), self.shards.dtype))
            advance(len(rows[-1]))
        return np.concatenate(rows)


def mean_by_label(rows: Tensor, labels: Tensor, people: int) -> Tensor:
    """Mean of rows (N, D) with equal labels (N,) -> (people, D); zero for a label without rows."""
    sums = torch.zeros(people, rows.shape[1]).index_add_(0, labels, rows)
    return sums / torch.bincount(labels, minlength=people).clamp(min=1).unsqueeze(1)


def records_from_batch(batch: FeatureBatch, dtype: np.dtype[np.void]) -> Records:
    """Convert a batch to records (B,). The map with fewer channels is stored with channels of zeros."""
    records = np.empty(len(batch.labels), dtype)
    both = batch.features.map_a, batch.features.map_b
    channels = max(part.shape[1] for part in both)
    wide = [F.pad(part.float(), (0, 0, 0, 0, 0, channels - part.shape[1])) for part in both]
    pack_maps(torch.stack(wide, 1).cpu().numpy(), records)  # (B, 2, C, 7, 7)
    records["embeddings"] = batch.features.embeddings.float().cpu().numpy()
    records["aims"] = batch.targets.cpu().numpy()
    records["label"] = batch.labels.cpu().numpy()
    return records


def batch_from_records(records: Records, channels: tuple[int, ...], world: World) -> FeatureBatch:
    """Convert records (B,) to a batch on the device of the world, whose maps have so many channels each."""
    maps = torch.from_numpy(unpack_maps(records)).to(world.device).unbind(1)
    map_a, map_b = (both[:, :own] for both, own in zip(maps, channels, strict=True))
    fields = (torch.from_numpy(records[name].copy()).to(world.device) for name in ("embeddings", "aims", "label"))
    embeddings, targets, labels = fields
    return FeatureBatch(BackboneFeatures(map_a, map_b, embeddings), targets, labels)


def cache_key(online: OnlineFeatures) -> str:
    """Hash of everything cached features depend on: weights of the backbones, faces, augmentation and targets."""
    digest = hashlib.sha256()
    for backbone in (online.model.backbone_a, online.model.backbone_b):
        digest.update(f"{backbone.arch} {backbone.tap}".encode())
        for name, value in backbone.state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    dataset = online.dataset
    inputs = [asdict(dataset.config), dataset.seed, dataset.faces.digest(), online.with_targets]
    if online.teacher is not None:
        inputs.append(online.teacher.digest)
    digest.update(json.dumps(inputs, sort_keys=True).encode())
    return digest.hexdigest()
