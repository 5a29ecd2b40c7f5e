"""Several recipes, or one with several values of a setting: trained, tested on the held-out people, side by side."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgefr.errors import EdgefrError
from edgefr.evaluation.bootstrap import resampled_share
from edgefr.evaluation.figures import compare_candidate, compare_with_backbones, degraded_decisions
from edgefr.evaluation.protocols import CLEAN, Trial
from edgefr.evaluation.variants import Row
from edgefr.io.toml_dataclass import read_toml
from edgefr.nn.fused_model import load_fused
from edgefr.training.common.parallel import World
from edgefr.training.common.progress import Progress
from edgefr.training.common.recipes import Recipe
from edgefr.training.recogniser.fusion_training import Run, train_fused
from edgefr.training.recogniser.holdout_evaluation import A, B, Examiner, backbones_digest, held_out_pairs
from edgefr.types import Bools


@dataclass(frozen=True)
class Variant:
    """A recipe to train, the name of its row, that of the recipe as it is written, and the value that was set for it,
    if any."""

    name: str
    base: str
    recipe: Recipe
    value: float | str | None = None


def variants(recipes: Sequence[Path], over: str | None, settings: Sequence[str]) -> list[Variant]:
    """Each recipe once, or once for each value of `over`, `key=value,value,...`.

    Their checkpoints go into folders of their own, `sweep-...`, so that none takes the place of a trained model; with
    settings into others than without them.

    Raises:
        EdgefrError: a recipe or `over` is not as expected.
    """
    key, equals, values = (over or "").partition("=")
    if over is not None and not (key and equals and all(values.split(","))):
        raise EdgefrError("--over key=value,value,...", f"{over!r}", "write for example --over vib.beta=0,1e-3")
    set_so = f"-{hashlib.sha256(repr(list(settings)).encode()).hexdigest()[:8]}" if settings else ""
    found = []
    for path in recipes:
        base = read_toml(Recipe, path, settings)
        if over is None:
            found.append(Variant(base.name, base.name, replace(base, name=f"sweep-{base.name}{set_so}")))
            continue
        for value in values.split(","):
            name = f"sweep-{base.name}-{key}-{value}{set_so}"
            recipe = read_toml(Recipe, path, [*settings, f"{key}={value}", f"name={name}"])
            found.append(Variant(f"{base.name}, {key} {value}", base.name, recipe, _number(value)))
    names = [variant.recipe.name for variant in found]
    if len(set(names)) < len(names):
        raise EdgefrError("recipes of different names", str(", ".join(names)), "give each its own name")
    return found


def sweep(
    chosen: Sequence[Variant],
    limit: int | None,
    progress: Progress,
    done: Callable[[list[Row]], None],
    world: World | None = None,
) -> list[Row]:
    """Train every variant and test it, on `limit` pairs if given; `done` is told of all rows so far after each.

    Baselines stand before the first variant that has their backbones. All processes train; the first one tests, and
    it alone has rows.

    Raises:
        EdgefrError: the variants cannot be trained, tested or compared, which is found out before any is trained; or
            training fails.
    """
    world = world or World()
    check(chosen, progress, world)
    data = chosen[0].recipe.data
    examiner = Examiner(data, held_out_pairs(data, limit), world, progress)
    rows: list[Row] = []
    first: dict[str, Bools] = {}
    known: set[bytes] = set()
    for variant in chosen:
        path = train_fused(variant.recipe, progress, world)
        if not world.first:
            continue
        model = load_fused(path).to(world.device)
        trials = examiner.trials(variant.name, model)
        first = first or {variant.name: degraded_decisions(trials)[0][variant.name]}
        found = _rows(trials, variant, first, others=bool(known))
        if (whose := backbones_digest(model)) not in known:
            known.add(whose)
            rows += found[1:]
        rows.append(found[0])
        done(rows)
    return rows


def check(chosen: Sequence[Variant], progress: Progress, world: World) -> None:
    """Find out before training what would fail after it, or make rows that cannot be compared.

    Raises:
        EdgefrError: a variant cannot be trained, or is tested on other pairs than the first.
    """
    for variant in chosen:
        if _tested_on(variant) != _tested_on(chosen[0]):
            raise EdgefrError(
                "the same data.faces, data.pairs and data.test_folds in all recipes",
                f"others in {variant.name} than in {chosen[0].name}",
                "rows of different test pairs cannot be compared",
            )
        run = Run(variant.recipe, progress, world)
        run.check()
        run.untrained()


def _tested_on(variant: Variant) -> tuple[object, ...]:
    data = variant.recipe.data
    return data.faces.resolve(), data.pairs and data.pairs.resolve(), sorted(set(data.test_folds))


def _rows(trials: Sequence[Trial], variant: Variant, first: dict[str, Bools], *, others: bool) -> list[Row]:
    """One row a system, the variant's first; the baselines of `others` than the first backbones are told apart."""
    right, people = degraded_decisions(trials)
    against, judged = compare_with_backbones(right, people, (A, B)), compare_candidate(first | right, people)
    found = []
    for name, decided in right.items():
        by_protocol = {trial.protocol: trial.accuracy[name].estimate for trial in trials}
        mine = name == variant.name
        found.append(
            Row(
                f"{name} of {variant.name}" if others and not mine else name,
                variant.value if mine else None,
                by_protocol[CLEAN],
                resampled_share(decided, people),
                against[name],
                judged.get(name),
                by_protocol,
            )
        )
    return found


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
