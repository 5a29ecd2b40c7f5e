"""From a recipe to a fused checkpoint with its manifest: partner, distillation, labels, threshold."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgefr.manifest import Manifest, Threshold, file_reference, manifest_path, package_versions, write_manifest
from edgefr.nn.backbone import Backbone
from edgefr.nn.fused_model import FusedModel, save_fused
from edgefr.nn.margin_heads import Head, build_head
from edgefr.nn.partial_fc import SampledHead
from edgefr.nn.upstream_checkpoints import backbone_from_checkpoint
from edgefr.spec import ModelSpec
from edgefr.training.common.loop import decayed_apart, descend
from edgefr.training.common.parallel import World
from edgefr.training.common.progress import Progress
from edgefr.training.common.recipes import Distill, Recipe, Schedule, Seat, Vib, Views
from edgefr.training.common.stages import Stages
from edgefr.training.recogniser.augmented_views import ViewSet, check_batch
from edgefr.training.recogniser.feature_source import Cached, Online, Source
from edgefr.training.recogniser.finetune_backbone import finetune
from edgefr.training.recogniser.losses import distillation, labelled
from edgefr.training.recogniser.teacher import Teacher, aims_teacher
from edgefr.training.recogniser.trained_threshold import check_threshold, measured_threshold
from edgefr.training.recogniser.training_faces import TrainingFaces, read_training_faces
from edgefr.types import Faces, Floats


def train_fused(recipe: Recipe, progress: Progress, world: World | None = None) -> Path:
    """Run a recipe; a run that was stopped goes on where it was, a finished one is only written again.

    Returns the checkpoint, `runs/NAME/fused.safetensors`.

    Raises:
        EdgefrError: the recipe, its data or its checkpoints are not as expected, or training diverges.
    """
    run = Run(recipe, progress, world or World())
    run.check()
    model = run.assembled()
    if recipe.distill is not None:
        run.distill(model, recipe.distill)
    if recipe.vib is not None:
        run.label(model, recipe.vib)
    model.eval()
    in_layout(model, torch.contiguous_format)
    result = run.folder / "fused.safetensors"
    if run.world.first:
        manifest = run.manifest(model)
        manifest_path(result).unlink(missing_ok=True)  # of an earlier run: it must not speak for this one
        save_fused(model, result)
        write_manifest(result, manifest)
    run.world.wait()
    return result


def in_layout(module: nn.Module, layout: torch.memory_format) -> None:
    """Convolution weights in the memory layout that convolutions prefer (channels last) or files do."""
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=layout)


class Run:
    """One recipe on its way: its stages, where their states lie and how they tell of their steps.

    States and feature maps are kept by what they were made from, not by the recipe's name: recipes that begin alike
    share their beginning.
    """

    def __init__(self, recipe: Recipe, progress: Progress, world: World) -> None:
        self.recipe, self.progress, self.world = recipe, progress, world
        self.data: TrainingFaces = read_training_faces(recipe.data)
        self.folder = recipe.runs / recipe.name
        self.stages = Stages(recipe.runs, recipe.name, recipe.seed, progress, world)
        inputs = {"backbone a": recipe.a.checkpoint, "backbone b": recipe.b.checkpoint, "faces": recipe.data.faces}
        if recipe.data.pairs is not None:
            inputs["pairs"] = recipe.data.pairs
        if recipe.aims is not None:
            inputs["teacher"] = recipe.aims.teacher
        self.made_from = {role: file_reference(path) for role, path in inputs.items() if path.is_file()}
        self.faces = self.data.digest()
        self._source: Source | None = None
        self._teacher: Teacher | None = None

    def check(self) -> None:
        """Find out before training what would fail after it.

        Raises:
            EdgefrError: there are fewer views than a step takes, batches that the processes cannot share, too few
                faces to measure the threshold on, or a checkpoint was trained on people held out.
        """
        for seat in (self.recipe.a, self.recipe.b):
            if seat.finetune is not None:
                check_batch(len(self.data), seat.finetune, self.world)
        for stage in (self.recipe.distill, self.recipe.vib):
            if stage is not None:
                check_batch(len(self.views(self.recipe.views)), stage.schedule, self.world)
        check_threshold(self.data, self.recipe.data)
        teacher = [] if self.recipe.aims is None else [self.recipe.aims.teacher]
        self.data.check_unseen(self.recipe.data, [self.recipe.a.checkpoint, self.recipe.b.checkpoint, *teacher])

    def views(self, views: Views) -> ViewSet:
        return ViewSet(self.data, views, self.recipe.seed, self.recipe.data.workers)

    def assembled(self) -> FusedModel:
        """The fused model before its first stage, with a partner where the recipe wants one.

        Raises:
            EdgefrError: as `untrained` does, before a partner is trained; or its training fails.
        """
        recipe, model = self.recipe, self.untrained()
        for name, seat, backbone in (("a", recipe.a, model.backbone_a), ("b", recipe.b, model.backbone_b)):
            if seat.finetune is not None:
                self.finetune(backbone, name, seat, seat.finetune)
        return model

    def untrained(self) -> FusedModel:
        """The fused model before anything of it is trained.

        Raises:
            EdgefrError: the backbones, the teacher and the fusion do not fit together.
        """
        recipe = self.recipe
        a, b = (backbone_from_checkpoint(seat.checkpoint, seat.arch, seat.colour) for seat in (recipe.a, recipe.b))
        torch.manual_seed(recipe.seed)
        spec = ModelSpec(a.arch, b.arch, recipe.a.loss, recipe.b.loss, recipe.fusion)
        model = FusedModel(spec, a, b).to(self.world.device)
        in_layout(model, torch.channels_last)
        self._teacher = aims_teacher(recipe, model, self.world)
        return model

    def finetune(self, backbone: Backbone, name: str, seat: Seat, schedule: Schedule) -> None:
        """Make a partner of the backbone in seat `name`."""
        torch.manual_seed(self.recipe.seed)
        made_from = [self._digest(f"backbone {name}"), asdict(seat)]
        with ExitStack() as stack:
            stage_of = self.stages.open(f"Fine-tuning backbone {name}", [made_from, self.faces], stack)
            finetune(backbone, self.views(Views(variants=1, clean=seat.clean)), schedule, stage_of, self.world)

    def distill(self, model: FusedModel, distill: Distill) -> None:
        """Distillation of the clean faces' embeddings."""
        source = self.source(model)
        model.train()
        with ExitStack() as stack:
            stage_of = self.stages.open("Distilling", [self._begun("distill"), self.faces], stack)
            modules: dict[str, nn.Module] = {"fusion": model.fusion, "bottleneck": model.bottleneck}
            losses_of = distillation(model, distill, self.world)
            groups = fusion_groups(model, distill.schedule)
            stage = stage_of(modules, groups, distill.schedule, len(self.views(self.recipe.views)))
            descend(stage, source.batches(distill.schedule, self.recipe.seed), losses_of)

    def label(self, model: FusedModel, vib: Vib) -> None:
        """Training by labels through the bottleneck."""
        source = self.source(model)
        model.train()
        torch.manual_seed(self.recipe.seed)
        sharded = vib.classes < 1
        dim, people = model.spec.fusion.embedding_dim, self.data.people
        head = SampledHead(vib.head, dim, people, vib.classes) if sharded else build_head(vib.head, dim, people)
        if self.recipe.distill is not None:
            start_at_aims(head, model, source.class_aims(people))
        head.to(self.world.device).train()
        with ExitStack() as stack:
            stage_of = self.stages.open("Training by labels", [self._begun("distill", "vib"), self.faces], stack)
            modules: dict[str, nn.Module] = {"fusion": model.fusion, "bottleneck": model.bottleneck, "head": head}
            losses_of = labelled(model, head.loss, vib, self.world)
            groups = [*fusion_groups(model, vib.schedule), *decayed_apart(head, sharded=sharded)]
            stage = stage_of(modules, groups, vib.schedule, len(self.views(self.recipe.views)))
            descend(stage, source.batches(vib.schedule, self.recipe.seed + 1), losses_of)

    def source(self, model: FusedModel) -> Source:
        """Batches for both stages, from the backbones or from kept feature maps."""
        if self._source is None:
            views = self.views(self.recipe.views)
            aimed = self.recipe.distill is not None or (self.recipe.vib is not None and self.recipe.vib.anchor > 0)
            online = Online(model, views, self.world, aimed, self.progress, self._teacher)
            cached = self.recipe.views.maps == "cache"
            self._source = Cached(online, self.recipe.runs / "maps") if cached else online
        return self._source

    def manifest(self, model: FusedModel) -> Manifest:
        """What the model was made from, and its threshold measured on the people it was trained on."""
        recipe = self.recipe
        told = [f"The fusion was trained on {self.data.describe(recipe.data)} (seed {recipe.seed}):"]
        for verb, stage in (("by distillation", recipe.distill), ("by labels", recipe.vib)):
            if stage is not None:
                steps = stage.schedule.length(len(self.views(recipe.views)))
                told.append(f"{steps} steps of {stage.schedule.batch * stage.schedule.accumulate} {verb},")
        told.append(f"on {self.world.machine}.")
        for name, seat in (("a", recipe.a), ("b", recipe.b)):
            if seat.finetune is not None:
                steps = seat.finetune.length(len(self.data))
                told.append(
                    f"Backbone {name} was fine-tuned from {seat.checkpoint.name} with {seat.loss} loss on the same "
                    f"people ({steps} steps of {seat.finetune.batch})."
                )
        return Manifest(
            kind="checkpoint",
            name=recipe.name,
            spec=model.spec.to_dict(),
            made_from=self.made_from,
            trained_on=" ".join(told),
            thresholds=(self.threshold(model),),
            versions=package_versions("torch", "numpy", "opencv-python"),
            held_out=self.data.held_out(recipe.data),
        )

    def threshold(self, model: FusedModel) -> Threshold:
        def embed(faces: Faces) -> Floats:
            found: Floats = model(torch.from_numpy(faces).to(self.world.device)).embedding.cpu().numpy()
            return found

        return measured_threshold(embed, self.data, self.recipe.data, self.progress)

    def _begun(self, *stages: str) -> list[Any]:
        """What the fusion depends on up to the last of these stages."""
        recipe = asdict(self.recipe)
        seats = [self._digest("backbone a"), self._digest("backbone b")]
        teacher = [] if self.recipe.aims is None else [self._digest("teacher")]
        return [seats, *(recipe[part] for part in ("a", "b", "fusion", "views", *stages)), *teacher]

    def _digest(self, role: str) -> str:
        return self.made_from[role]["sha256"]


@torch.no_grad()
def start_at_aims(head: Head | SampledHead, model: FusedModel, aims: Tensor) -> None:
    """Class weights at the people's mean aims: with two images a person they would not get there from chance."""
    skip = model.bottleneck.skip
    assert skip is not None  # distillation has one
    first = head.first if isinstance(head, SampledHead) else 0
    weight = nn.functional.normalize(skip(aims.to(skip.weight.device)))[first : first + len(head.weight)]
    head.weight.copy_(weight.to(head.weight.device))


def fusion_groups(model: FusedModel, schedule: Schedule) -> list[dict[str, Any]]:
    """The optimiser's groups: the fusion, and the bottleneck's heads.

    Adam moves every weight equally far, so a head over 26,112 inputs would move its output 51 times as far as one
    over 512 (Yang et al. 2022): its learning rate shrinks with its width. SGD's steps follow the gradient's size.
    """
    scale = model.backbone_a.map_channels / model.fusion.width if schedule.optimizer == "adamw" else 1.0
    return [*decayed_apart(model.fusion), *decayed_apart(model.bottleneck, scale=scale)]
