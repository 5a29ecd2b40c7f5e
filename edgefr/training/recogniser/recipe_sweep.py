"""A sweep: several recipes, or one with several values of a setting, trained, tested and compared."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgefr.errors import InvalidArgumentError
from edgefr.evaluation.bootstrap import resampled_share
from edgefr.evaluation.figures import compare_candidate, compare_with_backbones, degraded_decisions
from edgefr.evaluation.protocols import CLEAN, Trial
from edgefr.evaluation.variants import Row
from edgefr.io.toml_dataclass import read_toml
from edgefr.nn.fused_model import load_fused
from edgefr.training.common.parallel import World
from edgefr.training.common.progress import Progress
from edgefr.training.common.recipes import FusionRecipe
from edgefr.training.recogniser.fusion_training import FusionTraining, train_fused
from edgefr.training.recogniser.holdout_evaluation import A, B, HoldoutEvaluator, backbones_digest, held_out_pairs
from edgefr.types import Bools


@dataclass(frozen=True)
class Variant:
    """A recipe to train and test.

    Attributes:
        name: Name of its row.
        base: Name of the recipe in its file.
        recipe: The recipe.
        value: The value that was set for it, if any.
    """

    name: str
    base: str
    recipe: FusionRecipe
    value: float | str | None = None


def expand_variants(recipes: Sequence[Path], over: str | None, settings: Sequence[str]) -> list[Variant]:
    """List each recipe once, or once for each value of a setting.

    Checkpoints go into separate folders, `sweep-...`, so that no trained model is replaced.

    Args:
        recipes: Recipe files.
        over: `key=value,value,...`, or None.
        settings: `key=value` for all recipes.

    Returns:
        The variants.

    Raises:
        EdgefrError: A recipe or `over` is not valid.
    """
    key, equals, values = (over or "").partition("=")
    if over is not None and not (key and equals and all(values.split(","))):
        raise InvalidArgumentError(
            "--over key=value,value,...", f"{over!r}", "write for example --over vib.beta=0,1e-3"
        )
    suffix = f"-{hashlib.sha256(repr(list(settings)).encode()).hexdigest()[:8]}" if settings else ""
    variants = []
    for path in recipes:
        base = read_toml(FusionRecipe, path, settings)
        if over is None:
            variants.append(Variant(base.name, base.name, replace(base, name=f"sweep-{base.name}{suffix}")))
            continue
        for value in values.split(","):
            name = f"sweep-{base.name}-{key}-{value}{suffix}"
            recipe = read_toml(FusionRecipe, path, [*settings, f"{key}={value}", f"name={name}"])
            variants.append(Variant(f"{base.name}, {key} {value}", base.name, recipe, _parse_number(value)))
    names = [variant.recipe.name for variant in variants]
    if len(set(names)) < len(names):
        raise InvalidArgumentError("recipes with different names", ", ".join(names), "give each its own name")
    return variants


def sweep(
    variants: Sequence[Variant],
    limit: int | None,
    progress: Progress,
    on_rows: Callable[[list[Row]], None],
    world: World | None = None,
) -> list[Row]:
    """Train and test every variant. All processes train; the first one tests.

    Args:
        variants: The variants. The first is compared with every other system.
        limit: Number of test pairs to draw; all if None.
        progress: Shows the work.
        on_rows: Called with all rows so far after each variant.
        world: The processes that train together; this one alone if not given.

    Returns:
        The rows, baselines before the first variant with their backbones; none in other processes than the first.

    Raises:
        EdgefrError: A variant cannot be trained, tested or compared, which is checked before any training; or training
            fails.
    """
    world = world or World()
    check_variants(variants, progress, world)
    data = variants[0].recipe.data
    evaluator = HoldoutEvaluator(data, held_out_pairs(data, limit), world, progress)
    rows: list[Row] = []
    first: dict[str, Bools] = {}
    tested: set[bytes] = set()
    for variant in variants:
        path = train_fused(variant.recipe, progress, world)
        if not world.first:
            continue
        model = load_fused(path).to(world.device)
        trials = evaluator.trials(variant.name, model)
        first = first or {variant.name: degraded_decisions(trials)[0][variant.name]}
        variant_row, *baselines = _make_rows(trials, variant, first, other_backbones=bool(tested))
        if (backbones := backbones_digest(model)) not in tested:
            tested.add(backbones)
            rows += baselines
        rows.append(variant_row)
        on_rows(rows)
    return rows


def check_variants(variants: Sequence[Variant], progress: Progress, world: World) -> None:
    """Check before training what would fail after it.

    Args:
        variants: The variants.
        progress: Passed on.
        world: The processes that train together.

    Raises:
        EdgefrError: A variant cannot be trained, or its test pairs differ from those of the first.
    """
    for variant in variants:
        if _test_data(variant) != _test_data(variants[0]):
            raise InvalidArgumentError(
                "the same data.faces, data.pairs and data.test_folds in all recipes",
                f"others in {variant.name} than in {variants[0].name}",
                "sweep recipes with different test pairs separately, because their rows cannot be compared",
            )
        training = FusionTraining(variant.recipe, progress, world)
        training.check()
        training.build_untrained()


def _test_data(variant: Variant) -> tuple[object, ...]:
    data = variant.recipe.data
    return data.faces.resolve(), data.pairs and data.pairs.resolve(), sorted(set(data.test_folds))


def _make_rows(
    trials: Sequence[Trial], variant: Variant, first: dict[str, Bools], *, other_backbones: bool
) -> list[Row]:
    """One row for each system, the variant's first; baselines of other backbones than the first get longer names."""
    right, people = degraded_decisions(trials)
    against, judged = compare_with_backbones(right, people, (A, B)), compare_candidate(first | right, people)
    rows = []
    for name, decided in right.items():
        by_protocol = {trial.protocol: trial.accuracy[name].estimate for trial in trials}
        baseline = name != variant.name
        rows.append(
            Row(
                f"{name} of {variant.name}" if other_backbones and baseline else name,
                None if baseline else variant.value,
                by_protocol[CLEAN],
                resampled_share(decided, people),
                against[name],
                judged.get(name),
                by_protocol,
            )
        )
    return rows


def _parse_number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
