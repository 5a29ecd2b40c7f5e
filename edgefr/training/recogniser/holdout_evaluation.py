"""Evaluation of trained variants and their baselines on LFW pairs of the people held out, in every quality."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch.nn import functional as F

from edgefr.data.collections import open_faces
from edgefr.data.lfw_pairs import NamedPair, read_pairs
from edgefr.errors import InvalidArgumentError
from edgefr.evaluation.lfw_protocol import check_present, draw_indices, index_pairs, lfw_trials
from edgefr.evaluation.model_set import Model, ModelSet, System, system_from_output
from edgefr.evaluation.protocols import Trial, aligned_crops, select_conditions
from edgefr.nn.fused_model import BackboneFeatures, FusedModel
from edgefr.training.common.parallel import World
from edgefr.training.common.progress import Progress
from edgefr.training.common.recipes import DataConfig
from edgefr.training.recogniser.face_tensors import to_input
from edgefr.types import Faces

A, B = "backbone A", "backbone B"

CACHE_BYTES = 1 << 30
"""Backbone features of test faces that are kept for the next variant: a third of those of 3,000 pairs."""


def held_out_pairs(data: DataConfig, limit: int | None) -> list[NamedPair]:
    """The pairs of the test folds.

    Args:
        data: Table of the recipe.
        limit: Number of pairs to draw with a fixed seed; all if None.

    Returns:
        The pairs.

    Raises:
        EdgefrError: There are no pairs, or none of a second fold to choose thresholds on, or a picture is missing.
    """
    if data.pairs is None:
        raise InvalidArgumentError("data.pairs to test on", "none", "give LFW's pairs file in every recipe")
    named = [pair for pair in read_pairs(data.pairs) if pair.fold in data.test_folds]
    named = [named[index] for index in draw_indices(len(named), limit)]
    if (folds := len({pair.fold for pair in named})) < 2:
        raise InvalidArgumentError(
            "test pairs of at least two folds, because the threshold of a fold comes from the others",
            f"{len(named)} of {folds}",
            "name two folds or more in data.test_folds, or raise --limit",
        )
    check_present(index_pairs(named)[0], open_faces(data.faces))
    return named


class HoldoutEvaluator:
    """Tests one model after another on the same pairs. Models with the same backbones share their features."""

    def __init__(self, data: DataConfig, named: Sequence[NamedPair], world: World, progress: Progress) -> None:
        self._data, self._named, self._world, self._progress = data, named, world, progress
        self._backbones = b""
        self._cache: dict[bytes, BackboneFeatures] = {}
        self._bytes = 0

    def trials(self, name: str, model: FusedModel) -> list[Trial]:
        """Test a model, its backbones, their sum and their concatenation.

        Args:
            name: Name of the model in the result.
            model: The model in eval mode.

        Returns:
            The trials of all protocols.
        """
        if (backbones := backbones_digest(model)) != self._backbones:
            self._backbones, self._bytes = backbones, 0
            self._cache.clear()

        def embed(faces: Faces) -> list[System]:
            return self._systems(model, self._features(model, faces), name)

        models = ModelSet((Model(name, None, "torch", "bf16", embed, (A, B)),), (A, B))
        count = len(index_pairs(self._named)[0])
        with self._progress(f"Testing {name}", count) as advance:
            find = aligned_crops(open_faces(self._data.faces))
            return lfw_trials("LFW", self._named, find, select_conditions(["all"]), models, advance)

    @torch.no_grad()
    def _features(self, model: FusedModel, faces: Faces) -> BackboneFeatures:
        """Features of (B, 112, 112, 3), maps in bf16."""
        key = hashlib.sha256(faces.tobytes()).digest()
        if key in self._cache:
            return self._cache[key]
        with self._world.autocast():
            features = model.backbone_features(to_input(torch.from_numpy(faces), self._world))
        features = BackboneFeatures(features.map_a.bfloat16(), features.map_b.bfloat16(), features.embeddings.float())
        size = sum(part.nbytes for part in features)
        if self._bytes + size <= CACHE_BYTES:
            self._cache[key] = features
            self._bytes += size
        return features

    @torch.no_grad()
    def _systems(self, model: FusedModel, features: BackboneFeatures, name: str) -> list[System]:
        with self._world.autocast():
            code = model.encode(features)
        uncertainty = None if code.logvar is None else code.logvar.float().mean(1).cpu().numpy()
        halves = features.embeddings.tensor_split([model.backbone_a.embedding_dim], 1)
        a, b = (F.normalize(half).cpu().numpy() for half in halves)
        return [
            system_from_output(name, code.mu.float().cpu().numpy(), uncertainty),
            system_from_output(A, a),
            system_from_output(B, b),
        ]


def backbones_digest(model: FusedModel) -> bytes:
    """SHA-256 of the backbones and of where their maps are taken."""
    digest = hashlib.sha256(model.spec.fusion.tap.encode())
    for backbone in (model.backbone_a, model.backbone_b):
        for value in backbone.state_dict().values():
            digest.update(value.contiguous().cpu().numpy().tobytes())
    return digest.digest()
