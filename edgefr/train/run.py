"""From a recipe to a fused checkpoint with its manifest: partner, fusion, threshold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edgefr.data.faces import person_of
from edgefr.data.lfw import people_of, read_pairs
from edgefr.errors import EdgefrError
from edgefr.evaluate.threshold import impostor_pairs, threshold_at_fmr
from edgefr.manifest import Manifest, Threshold, manifest_path, source_of, versions_of, write_manifest
from edgefr.nn.backbone import Backbone
from edgefr.nn.fused import FusedModel, save_fused
from edgefr.nn.upstream import backbone_from_checkpoint
from edgefr.spec import ModelSpec
from edgefr.train.distill import clean_aims, distill
from edgefr.train.faces import TrainingFaces, read_training_faces
from edgefr.train.loop import Progress, Report
from edgefr.train.partner import finetune
from edgefr.train.recipe import Recipe, Schedule, Seat

FMR = 1e-3


def train_fused(recipe: Recipe, progress: Progress) -> Path:
    """Run a recipe; a run that was stopped goes on where it was, a finished one is only written again.

    Returns the checkpoint, `runs/NAME/fused.safetensors`.

    Raises:
        EdgefrError: the recipe, its data or its checkpoints are not as expected, or training diverges.
    """
    data = read_training_faces(recipe.data, progress)
    run = Run(recipe, data, progress)
    run.check()
    a, b = run.seated(recipe.a, "a"), run.seated(recipe.b, "b")
    torch.manual_seed(recipe.seed)
    spec = ModelSpec(a.arch, b.arch, recipe.a.loss, recipe.b.loss, recipe.fusion)
    model = FusedModel(spec, a, b)
    in_layout(model, torch.channels_last)
    state = run.folder / "fusion.state"
    with progress("Embedding clean faces", len(data.faces)) as advance:
        aims = clean_aims(model, data.faces, advance)
    with run.reporting("Training the fusion", recipe.distill.schedule) as report:
        distill(model, aims, data, recipe.distill, seed=recipe.seed, key=run.key, state=state, report=report)
    in_layout(model, torch.contiguous_format)
    result = run.folder / "fused.safetensors"
    manifest = run.manifest(model)
    manifest_path(result).unlink(missing_ok=True)  # of an earlier run: it must not speak for this one
    save_fused(model, result)
    write_manifest(result, manifest)
    return result


def in_layout(module: nn.Module, layout: torch.memory_format) -> None:
    """Convolution weights in the memory layout that convolutions prefer (channels last) or files do."""
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=layout)


class Run:
    """One recipe on its way: where its files lie and how it tells of its steps."""

    def __init__(self, recipe: Recipe, data: TrainingFaces, progress: Progress) -> None:
        self.recipe = recipe
        self.data = data
        self.progress = progress
        self.folder = recipe.runs / recipe.name
        inputs = {
            "backbone a": recipe.a.checkpoint,
            "backbone b": recipe.b.checkpoint,
            "faces": recipe.data.faces,
            "pairs": recipe.data.pairs,
        }
        # A folder of faces has no digest of its own; its names and sizes would not be one either.
        self.made_from = {role: source_of(path) for role, path in inputs.items() if path.is_file()}
        # What is trained: the recipe's choices and its inputs' contents, wherever they lie.
        told = json.dumps([_without_paths(asdict(recipe)), self.made_from], sort_keys=True)
        self.key = hashlib.sha256(told.encode()).hexdigest()

    def check(self) -> None:
        """Find out before training what would fail after it.

        Raises:
            EdgefrError: the fusion has no skip to carry its aims, there are fewer faces than a batch has, or too
                few to measure the threshold on.
        """
        if self.recipe.fusion.skip != "embeddings":
            raise EdgefrError(
                f'expected fusion.skip = "embeddings" for distillation, found {self.recipe.fusion.skip!r}: set it in '
                "the recipe"
            )
        batch = self.recipe.distill.schedule.batch
        if len(self.data.faces) < batch:
            raise EdgefrError(
                f"expected at least {batch} faces, a batch of distill.schedule, found {len(self.data.faces)}: give "
                "more or --set distill.schedule.batch"
            )
        impostor_pairs(self.data.labels[self._threshold_faces()], FMR)

    def seated(self, seat: Seat, name: str) -> Backbone:
        """A seat's backbone, fine-tuned first if the recipe says so."""
        backbone = backbone_from_checkpoint(seat.checkpoint, seat.arch, seat.colour)
        if seat.finetune is None:
            return backbone
        in_layout(backbone, torch.channels_last)
        torch.manual_seed(self.recipe.seed)
        state = self.folder / f"partner-{name}.state"
        with self.reporting(f"Fine-tuning backbone {name}", seat.finetune) as report:
            finetune(
                backbone,
                self.data,
                seat.finetune,
                seed=self.recipe.seed,
                key=self.key,
                state=state,
                report=report,
            )
        return backbone

    @contextmanager
    def reporting(self, title: str, schedule: Schedule) -> Iterator[Report]:
        """A report that moves the progress bar and writes every tenth loss to `log.jsonl`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        done = 0
        with self.progress(title, schedule.steps) as advance, (self.folder / "log.jsonl").open("a") as log:

            def report(step: int, steps: int, loss: float) -> None:
                nonlocal done
                advance(step - done)
                done = step
                if step % 10 == 0 or step == steps:
                    log.write(json.dumps({"stage": title, "step": step, "loss": round(loss, 5)}) + "\n")
                    log.flush()

            yield report

    def manifest(self, model: FusedModel) -> Manifest:
        """What the model was made from, and its threshold measured on the people it was trained on."""
        recipe = self.recipe
        told = [f"The fusion imitates its backbones on {self.data.describe(recipe.data)} (seed {recipe.seed})."]
        for name, seat in (("a", recipe.a), ("b", recipe.b)):
            if seat.finetune is not None:
                told.append(
                    f"Backbone {name} was fine-tuned from {seat.checkpoint.name} with {seat.loss} loss on the same "
                    f"people ({seat.finetune.steps} steps of {seat.finetune.batch})."
                )
        return Manifest(
            kind="checkpoint",
            name=recipe.name,
            spec=model.spec.to_dict(),
            made_from=self.made_from,
            trained_on=" ".join(told),
            thresholds=(self.threshold(model),),
            versions=versions_of("torch", "numpy", "opencv-python"),
        )

    @torch.no_grad()
    def threshold(self, model: FusedModel) -> Threshold:
        """The threshold at FMR 1e-3 over all pairs of different people of LFW's training folds."""
        chosen = self._threshold_faces()
        rows = []
        with self.progress("Measuring the threshold", len(chosen)) as advance:
            for start in range(0, len(chosen), 64):
                batch = self.data.faces[chosen[start : start + 64]]
                rows.append(model(torch.from_numpy(batch)).embedding.numpy())
                advance(len(batch))
        found = threshold_at_fmr(np.concatenate(rows), self.data.labels[chosen], FMR)
        measured_on = (
            f"{found.pairs:,} impostor pairs of {found.people:,} people of LFW folds "
            f"{', '.join(map(str, self._folds()))}, who were also trained on"
        )
        return Threshold(found.fmr, found.value, found.ci95, measured_on, "fp32")

    def _folds(self) -> tuple[int, ...]:
        return tuple(fold for fold in range(1, 11) if fold not in self.recipe.data.test_folds)

    def _threshold_faces(self) -> list[int]:
        people = people_of(read_pairs(self.recipe.data.pairs), self._folds())
        return [index for index, name in enumerate(self.data.names) if person_of(name) in people]


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_paths(entry) for key, entry in value.items() if not isinstance(entry, Path)}
    return value
