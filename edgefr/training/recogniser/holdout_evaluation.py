"""A trained variant and its baselines on LFW's pairs of the people held out, in every quality."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch.nn import functional as F

from edgefr.data.collections import open_faces
from edgefr.data.lfw_pairs import NamedPair, read_pairs
from edgefr.errors import EdgefrError
from edgefr.evaluation.lfw_protocol import check_present, draw_indices, index_pairs, lfw_trials
from edgefr.evaluation.model_set import Model, ModelSet, System, system_from_output
from edgefr.evaluation.protocols import Trial, aligned_crops, select_conditions
from edgefr.nn.fused_model import Features, FusedModel, normalise
from edgefr.training.common.parallel import World
from edgefr.training.common.progress import Progress
from edgefr.training.common.recipes import Data
from edgefr.types import Faces, Floats

A, B = "backbone A", "backbone B"

KEPT = 1 << 30
"""Bytes of what backbones say of test faces that are kept for the next variant, a third of 3,000 pairs': backbones
see the others again."""


def held_out_pairs(data: Data, limit: int | None) -> list[NamedPair]:
    """The pairs of the test folds, at most `limit` of them.

    Raises:
        EdgefrError: there are none, or none of a second fold to choose thresholds on, or a picture is not there.
    """
    if data.pairs is None:
        raise EdgefrError("data.pairs to test on", "none", "give LFW's pairs file in every recipe")
    named = [pair for pair in read_pairs(data.pairs) if pair.fold in data.test_folds]
    named = [named[index] for index in draw_indices(len(named), limit)]
    if (folds := len({pair.fold for pair in named})) < 2:
        raise EdgefrError(
            "test pairs of at least two folds, for thresholds come from the others",
            f"{len(named)} of {folds}",
            "name two folds or more in data.test_folds, or raise --limit",
        )
    check_present(index_pairs(named)[0], open_faces(data.faces))
    return named


class Examiner:
    """Tests one model after another on the same pairs; what the same backbones said before is not asked again."""

    def __init__(self, data: Data, named: Sequence[NamedPair], world: World, progress: Progress) -> None:
        self.data, self.named, self.world, self.progress = data, named, world, progress
        self._whose = b""
        self._memory: dict[bytes, Features] = {}
        self._bytes = 0

    def trials(self, name: str, model: FusedModel) -> list[Trial]:
        """The model under this `name`, its backbones, their sum and their concatenation."""
        if (whose := backbones_digest(model)) != self._whose:
            self._whose, self._bytes = whose, 0
            self._memory.clear()

        def embed(faces: Faces) -> list[System]:
            return self._systems(model, self._seen(model, faces), name)

        entrants = ModelSet((Model(name, None, "torch", "bf16", embed, (A, B)),), (A, B))
        count = len(index_pairs(self.named)[0])
        with self.progress(f"Testing {name}", count) as advance:
            find = aligned_crops(open_faces(self.data.faces))
            return lfw_trials("LFW", self.named, find, select_conditions(["all"]), entrants, advance)

    @torch.no_grad()
    def _seen(self, model: FusedModel, faces: Faces) -> Features:
        """What the backbones say of (B, 112, 112, 3), in bf16."""
        key = hashlib.sha256(faces.tobytes()).digest()
        if key in self._memory:
            return self._memory[key]
        image = normalise(torch.from_numpy(faces).to(self.world.device))
        with self.world.autocast():
            seen = model.backbone_features(image.contiguous(memory_format=torch.channels_last))
        seen = Features(seen.map_a.bfloat16(), seen.map_b.bfloat16(), seen.embeddings.float())
        size = sum(part.nbytes for part in seen)
        if self._bytes + size <= KEPT:
            self._memory[key] = seen
            self._bytes += size
        return seen

    @torch.no_grad()
    def _systems(self, model: FusedModel, seen: Features, name: str) -> list[System]:
        with self.world.autocast():
            code = model.encode(seen)
        uncertainty = None if code.logvar is None else code.logvar.float().mean(1).cpu().numpy()
        halves = seen.embeddings.tensor_split([model.backbone_a.embedding_dim], 1)
        parts: list[Floats] = [F.normalize(half).cpu().numpy() for half in halves]
        return [
            system_from_output(name, code.mu.float().cpu().numpy(), uncertainty),
            system_from_output(A, parts[0]),
            system_from_output(B, parts[1]),
        ]


def backbones_digest(model: FusedModel) -> bytes:
    """Tells backbones, and where their maps are taken, from others."""
    digest = hashlib.sha256(model.spec.fusion.tap.encode())
    for backbone in (model.backbone_a, model.backbone_b):
        for value in backbone.state_dict().values():
            digest.update(value.contiguous().cpu().numpy().tobytes())
    return digest.digest()
