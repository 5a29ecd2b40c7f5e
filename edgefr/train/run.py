"""From a recipe to a fused checkpoint with its manifest: partner, fusion, threshold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgefr.data.lfw import people_of, read_pairs
from edgefr.evaluate.threshold import threshold_at_fmr
from edgefr.manifest import Manifest, Threshold, source_of, versions_of, write_manifest
from edgefr.nn.backbone import Backbone
from edgefr.nn.fused import FusedModel, save_fused
from edgefr.nn.upstream import backbone_from_checkpoint
from edgefr.spec import ModelSpec
from edgefr.train.distill import distill
from edgefr.train.faces import TrainingFaces, read_training_faces
from edgefr.train.loop import Report
from edgefr.train.partner import finetune
from edgefr.train.recipe import Recipe, Schedule, Seat

FMR = 1e-3

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""`with progress(title, total) as advance: advance(1)`"""


def train_fused(recipe: Recipe, progress: Progress) -> Path:
    """Run a recipe; a run that was stopped goes on where it was, a finished one is only written again.

    Returns the checkpoint, `runs/NAME/fused.safetensors`.

    Raises:
        EdgefrError: the recipe, its data or its checkpoints are not as expected, or training diverges.
    """
    data = read_training_faces(recipe.data)
    run = Run(recipe, data, progress)
    a, b = run.seated(recipe.a, "a"), run.seated(recipe.b, "b")
    torch.manual_seed(recipe.seed)
    spec = ModelSpec(a.arch, b.arch, recipe.a.loss, recipe.b.loss, recipe.fusion)
    model = FusedModel(spec, a, b)
    in_layout(model, torch.channels_last)
    state = run.folder / "fusion.state"
    with run.reporting("Training the fusion", recipe.distill.schedule) as report:
        distill(model, data, recipe.distill, seed=recipe.seed, key=run.key, state=state, report=report)
    in_layout(model, torch.contiguous_format)
    result = run.folder / "fused.safetensors"
    save_fused(model, result)
    write_manifest(result, run.manifest(model))
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
        told = json.dumps(asdict(recipe), default=str, sort_keys=True)
        self.key = hashlib.sha256(told.encode()).hexdigest()

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
        made_from = {
            "backbone a": source_of(recipe.a.checkpoint),
            "backbone b": source_of(recipe.b.checkpoint),
        }
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
            made_from=made_from,
            trained_on=" ".join(told),
            thresholds=(self.threshold(model),),
            versions=versions_of("torch", "numpy", "opencv-python"),
        )

    @torch.no_grad()
    def threshold(self, model: FusedModel) -> Threshold:
        """The threshold at FMR 1e-3 over all pairs of different people of LFW's training folds."""
        folds = tuple(fold for fold in range(1, 11) if fold not in self.recipe.data.test_folds)
        people = people_of(read_pairs(self.recipe.data.pairs), folds)
        chosen = [index for index, name in enumerate(self.data.names) if name.partition("/")[0] in people]
        rows = []
        with self.progress("Measuring the threshold", len(chosen)) as advance:
            for start in range(0, len(chosen), 64):
                batch = self.data.faces[chosen[start : start + 64]]
                rows.append(model(torch.from_numpy(batch)).embedding.numpy())
                advance(len(batch))
        found = threshold_at_fmr(np.concatenate(rows), self.data.labels[chosen], FMR)
        measured_on = (
            f"{found.pairs:,} impostor pairs of {found.people:,} people of LFW folds "
            f"{', '.join(map(str, folds))}, who were also trained on"
        )
        return Threshold(found.fmr, found.value, found.ci95, measured_on, "fp32")
