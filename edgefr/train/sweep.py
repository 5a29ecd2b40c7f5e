"""Several recipes, or one with several values of a setting: trained, tested on the held-out people, side by side.

All variants have the same backbones, so what these say of the test faces is found once, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.nn import functional as F

from edgefr.data.faces import open_faces
from edgefr.data.lfw import read_pairs
from edgefr.errors import EdgefrError
from edgefr.evaluate.ablation import Row
from edgefr.evaluate.figures import pool
from edgefr.evaluate.lfw import draw, lfw_trials
from edgefr.evaluate.protocols import CLEAN, Trial, aligned_only, conditions
from edgefr.evaluate.systems import Entrants, Model, System, of_raw
from edgefr.nn.fused import FusedModel, Seen, load_fused, normalised
from edgefr.recipe import read_recipe
from edgefr.spec import Faces, Floats
from edgefr.train.parallel import World
from edgefr.train.progress import Progress
from edgefr.train.recipe import Recipe
from edgefr.train.run import train_fused

A, B = "backbone A", "backbone B"


@dataclass(frozen=True)
class Variant:
    """A recipe to train, the name of its row, and the value that was set for it, if any."""

    name: str
    recipe: Recipe
    value: float | str | None = None


def variants(recipes: Sequence[Path], over: str | None, settings: Sequence[str]) -> list[Variant]:
    """Each recipe once, or once for each value of `over`, `key=value,value,...`.

    Their checkpoints go into folders of their own, `sweep-...`, so that none takes the place of a trained model.

    Raises:
        EdgefrError: a recipe or `over` is not as expected.
    """
    key, equals, values = (over or "").partition("=")
    if over is not None and not (key and equals and all(values.split(","))):
        raise EdgefrError(
            f"expected --over key=value,value,..., found {over!r}: write for example --over vib.beta=0,1e-3"
        )
    found = []
    for path in recipes:
        base = read_recipe(Recipe, path, settings)
        if over is None:
            found.append(Variant(base.name, replace(base, name=f"sweep-{base.name}")))
            continue
        for value in values.split(","):
            name = f"sweep-{base.name}-{key}-{value}"
            recipe = read_recipe(Recipe, path, [*settings, f"{key}={value}", f"name={name}"])
            found.append(Variant(f"{base.name}, {key} {value}", recipe, _number(value)))
    names = [variant.recipe.name for variant in found]
    if len(set(names)) < len(names):
        raise EdgefrError(f"expected recipes of different names, found {', '.join(names)}: give each its own name")
    return found


def sweep(
    chosen: Sequence[Variant], limit: int | None, progress: Progress, done: Callable[[list[Row]], None]
) -> list[Row]:
    """Train every variant and test it, on `limit` pairs if given; `done` is told of all rows so far after each.

    The first rows are the baselines of the first variant's backbones.

    Raises:
        EdgefrError: a recipe has no pairs to test on, or training fails.
    """
    memory: dict[bytes, Seen] = {}
    rows: list[Row] = []
    for variant in chosen:
        if variant.recipe.data.pairs is None:
            raise EdgefrError(f"expected data.pairs in {variant.name}, found none: give LFW's pairs file to test on")
    for variant in chosen:
        model = load_fused(train_fused(variant.recipe, progress))
        trials = tested(variant, model, limit, memory, progress)
        found = _rows(trials, variant)
        if not rows:
            rows += found[1:]
        rows.append(found[0])
        done(rows)
    return rows


def tested(
    variant: Variant, model: FusedModel, limit: int | None, memory: dict[bytes, Seen], progress: Progress
) -> list[Trial]:
    """LFW's pairs of the recipe's test folds in every quality."""
    data = variant.recipe.data
    assert data.pairs is not None
    named = [pair for pair in read_pairs(data.pairs) if pair.fold in data.test_folds]
    named = [named[index] for index in draw(len(named), limit)]
    digest = _digest(model)

    def embed(faces: Faces) -> list[System]:
        key = digest + hashlib.sha256(faces.tobytes()).digest()
        if key not in memory:
            memory[key] = _seen(model, faces)
        return _systems(model, memory[key], variant.name)

    entrants = Entrants((Model(variant.name, None, "torch", "bf16", embed, (A, B)),), (A, B))
    count = len({name for pair in named for name in (pair.first, pair.second)})
    with progress(f"Testing {variant.name}", count) as advance:
        find = aligned_only(open_faces(data.faces))
        return lfw_trials("LFW", named, find, conditions(["all"]), entrants, {}, advance)


@torch.no_grad()
def _seen(model: FusedModel, faces: Faces) -> Seen:
    """What the backbones say of (B, 112, 112, 3), in bf16, which a sweep can keep for all its test faces."""
    with World().autocast():
        seen = model.see(normalised(torch.from_numpy(faces)).contiguous(memory_format=torch.channels_last))
    return Seen(seen.map_a.bfloat16(), seen.map_b.bfloat16(), seen.embeddings.float())


@torch.no_grad()
def _systems(model: FusedModel, seen: Seen, name: str) -> list[System]:
    with World().autocast():
        code = model.encode(seen)
    uncertainty = None if code.logvar is None else code.logvar.float().mean(1).numpy()
    halves = seen.embeddings.tensor_split([model.backbone_a.embedding_dim], 1)
    parts: list[Floats] = [F.normalize(half).numpy() for half in halves]
    return [of_raw(name, code.mu.float().numpy(), uncertainty), of_raw(A, parts[0]), of_raw(B, parts[1])]


def _rows(trials: Sequence[Trial], variant: Variant) -> list[Row]:
    """One row a system, the variant's first."""
    pooled = {entry.system: entry for entry in pool(trials, (A, B))}
    found = []
    for name in trials[0].comparisons:
        by_protocol = {trial.protocol: trial.accuracy[name].estimate for trial in trials}
        against = pooled[name].against
        assert against is not None
        value = variant.value if name == variant.name else None
        found.append(Row(name, value, by_protocol[CLEAN], pooled[name].accuracy, against, by_protocol))
    return found


def _digest(model: FusedModel) -> bytes:
    digest = hashlib.sha256()
    for backbone in (model.backbone_a, model.backbone_b):
        for value in backbone.state_dict().values():
            digest.update(value.contiguous().numpy().tobytes())
    return digest.digest()


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
