"""Training of a fused model by a recipe: fine-tuning, distillation, labels, threshold, checkpoint and manifest."""

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
from edgefr.nn.graph_backbone import GraphBackbone
from edgefr.nn.margin_heads import Head, build_head
from edgefr.nn.partial_fc import SampledHead
from edgefr.spec import ModelSpec
from edgefr.training.common.loop import train_stage
from edgefr.training.common.optimizer import weight_decay_groups
from edgefr.training.common.parallel import World
from edgefr.training.common.progress import Progress
from edgefr.training.common.recipes import (
    AugmentationConfig,
    BackboneConfig,
    DistillConfig,
    FusionRecipe,
    Schedule,
    VibConfig,
)
from edgefr.training.common.stages import Stages
from edgefr.training.recogniser.augmented_views import AugmentedDataset, check_batch_size
from edgefr.training.recogniser.backbone_files import open_backbone
from edgefr.training.recogniser.feature_source import CachedFeatures, FeatureSource, OnlineFeatures
from edgefr.training.recogniser.finetune_backbone import finetune_backbone
from edgefr.training.recogniser.losses import distillation_losses, label_losses
from edgefr.training.recogniser.teacher import Teacher, load_target_teacher
from edgefr.training.recogniser.trained_threshold import check_threshold, measure_threshold
from edgefr.training.recogniser.training_faces import TrainingFaces, read_training_faces
from edgefr.types import Faces, Floats


def train_fused(recipe: FusionRecipe, progress: Progress, world: World | None = None) -> Path:
    """Train a fused model. A stopped run is resumed; a finished one is only written again.

    Args:
        recipe: The recipe.
        progress: Shows the stages.
        world: The processes that train together; this one alone if not given.

    Returns:
        The checkpoint, `runs/NAME/fused.safetensors`, with its manifest next to it.

    Raises:
        TrainingStoppedError: A signal arrived. The state is saved.
        EdgefrError: The recipe, its data or its checkpoints are not usable, or training diverges.
    """
    training = FusionTraining(recipe, progress, world or World())
    training.check()
    model = training.build_model()
    if recipe.distill is not None:
        training.distill(model, recipe.distill)
    if recipe.vib is not None:
        training.train_by_labels(model, recipe.vib)
    model.eval()
    set_memory_layout(model, torch.contiguous_format)
    result = recipe.runs / recipe.name / "fused.safetensors"
    if training.world.first:
        manifest = training.make_manifest(model)
        manifest_path(result).unlink(missing_ok=True)  # that of an earlier run must not describe this one
        save_fused(model, result)
        write_manifest(result, manifest)
    training.world.barrier()
    return result


def set_memory_layout(module: nn.Module, layout: torch.memory_format) -> None:
    """Store convolution weights channels last, which convolutions prefer, or contiguously, as files need them."""
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=layout)


class FusionTraining:
    """The stages of one recipe.

    States and feature maps are stored by what they were made from, not by the name of the recipe: recipes with equal
    first stages share them.
    """

    def __init__(self, recipe: FusionRecipe, progress: Progress, world: World) -> None:
        """Open the training faces.

        Args:
            recipe: The recipe.
            progress: Shows the stages.
            world: The processes that train together.

        Raises:
            EdgefrError: The data is missing.
        """
        self.recipe, self.progress, self.world = recipe, progress, world
        self.faces: TrainingFaces = read_training_faces(recipe.data)
        self._faces_digest = self.faces.digest()
        self._stages = Stages(recipe.runs, recipe.name, recipe.seed, progress, world)
        inputs = {"backbone a": recipe.a.checkpoint, "backbone b": recipe.b.checkpoint, "faces": recipe.data.faces}
        if recipe.data.pairs is not None:
            inputs["pairs"] = recipe.data.pairs
        if recipe.aims is not None:
            inputs["teacher"] = recipe.aims.teacher
        self._made_from = {role: file_reference(path) for role, path in inputs.items() if path.is_file()}
        self._dataset = self._augmented(recipe.views)
        self._source: FeatureSource | None = None
        self._teacher: Teacher | None = None

    def check(self) -> None:
        """Check before training what would fail after it.

        Raises:
            EdgefrError: A step takes more images than there are, the processes cannot share a batch, there are too
                few faces to measure the threshold, or a checkpoint was trained on the people held out.
        """
        recipe = self.recipe
        for backbone in (recipe.a, recipe.b):
            if backbone.finetune is not None:
                check_batch_size(len(self.faces), backbone.finetune, self.world)
        for stage in (recipe.distill, recipe.vib):
            if stage is not None:
                check_batch_size(len(self._dataset), stage.schedule, self.world)
        check_threshold(self.faces, recipe.data)
        teacher = [] if recipe.aims is None else [recipe.aims.teacher]
        self.faces.check_no_leakage(recipe.data, [recipe.a.checkpoint, recipe.b.checkpoint, *teacher])

    def build_model(self) -> FusedModel:
        """Build the fused model and fine-tune its backbones if the recipe says so.

        Raises:
            EdgefrError: As for `build_untrained`, or fine-tuning fails.
        """
        recipe, model = self.recipe, self.build_untrained()
        for name, config, backbone in (("a", recipe.a, model.backbone_a), ("b", recipe.b, model.backbone_b)):
            if config.finetune is not None:
                self._finetune(backbone, name, config, config.finetune)
        return model

    def build_untrained(self) -> FusedModel:
        """Build the fused model before any training.

        Raises:
            EdgefrError: The backbones, the teacher and the fusion do not fit together.
        """
        recipe = self.recipe
        a, b = (open_backbone(each.checkpoint, each.arch, each.colour, each.tap) for each in (recipe.a, recipe.b))
        torch.manual_seed(recipe.seed)
        spec = ModelSpec(a.arch, b.arch, recipe.a.loss, recipe.b.loss, recipe.fusion)
        model = FusedModel(spec, a, b).to(self.world.device)
        model.bottleneck.weigh_embeddings(recipe.a.weight, recipe.b.weight)
        set_memory_layout(model, torch.channels_last)
        self._teacher = load_target_teacher(recipe, model, self.world)
        return model

    def distill(self, model: FusedModel, config: DistillConfig) -> None:
        """Train the fusion to give the embeddings of clean faces for degraded ones."""
        source = self._features(model)
        model.train()
        with ExitStack() as stack:
            configure = self._stages.open("Distilling", [self._inputs("distill"), self._faces_digest], stack)
            modules: dict[str, nn.Module] = {"fusion": model.fusion, "bottleneck": model.bottleneck}
            compute_losses = distillation_losses(model, config, self.world)
            groups = parameter_groups(model, config.schedule)
            stage = configure(modules, groups, config.schedule, len(self._dataset))
            train_stage(stage, source.batches(config.schedule, self.recipe.seed), compute_losses)

    def train_by_labels(self, model: FusedModel, config: VibConfig) -> None:
        """Train the fusion by labels through the bottleneck."""
        source = self._features(model)
        model.train()
        torch.manual_seed(self.recipe.seed)
        sharded = config.classes < 1
        shape = model.spec.fusion.embedding_dim, self.faces.people
        head = SampledHead(config.head, *shape, config.classes) if sharded else build_head(config.head, *shape)
        if self.recipe.distill is not None:
            init_class_weights(head, model, source.class_targets(self.faces.people))
        head.to(self.world.device).train()
        with ExitStack() as stack:
            inputs = [self._inputs("distill", "vib"), self._faces_digest]
            configure = self._stages.open("Training by labels", inputs, stack)
            modules: dict[str, nn.Module] = {"fusion": model.fusion, "bottleneck": model.bottleneck, "head": head}
            compute_losses = label_losses(model, head.loss, config, self.world)
            groups = [*parameter_groups(model, config.schedule), *weight_decay_groups(head, sharded=sharded)]
            stage = configure(modules, groups, config.schedule, len(self._dataset))
            train_stage(stage, source.batches(config.schedule, self.recipe.seed + 1), compute_losses)

    def make_manifest(self, model: FusedModel) -> Manifest:
        """The manifest of the model, with its threshold measured on the people it was trained on."""
        recipe = self.recipe
        text = [f"The fusion was trained on {self.faces.describe(recipe.data)} (seed {recipe.seed}):"]
        for verb, stage in (("by distillation", recipe.distill), ("by labels", recipe.vib)):
            if stage is not None:
                steps = stage.schedule.total_steps(len(self._dataset))
                text.append(f"{steps} steps of {stage.schedule.batch * stage.schedule.accumulate} {verb},")
        text.append(f"on {self.world.machine}.")
        for name, config, backbone in (("a", recipe.a, model.backbone_a), ("b", recipe.b, model.backbone_b)):
            if isinstance(backbone, GraphBackbone):
                text.append(f"Backbone {name} is {config.checkpoint.name} with the feature map {backbone.map_name}.")
            if config.finetune is not None:
                steps = config.finetune.total_steps(len(self.faces))
                text.append(
                    f"Backbone {name} was fine-tuned from {config.checkpoint.name} with {config.loss} loss on the same "
                    f"people ({steps} steps of {config.finetune.batch})."
                )
        return Manifest(
            kind="checkpoint",
            name=recipe.name,
            spec=model.spec.to_dict(),
            made_from=self._made_from,
            trained_on=" ".join(text),
            thresholds=(self._measure_threshold(model),),
            versions=package_versions("torch", "numpy", "opencv-python"),
            held_out=self.faces.held_out(recipe.data),
        )

    def _finetune(self, backbone: Backbone, name: str, config: BackboneConfig, schedule: Schedule) -> None:
        torch.manual_seed(self.recipe.seed)
        inputs = [[self._digest(f"backbone {name}"), config.settings], self._faces_digest]
        with ExitStack() as stack:
            configure = self._stages.open(f"Fine-tuning backbone {name}", inputs, stack)
            dataset = self._augmented(AugmentationConfig(variants=1, clean=config.clean))
            finetune_backbone(backbone, dataset, schedule, configure, self.world)

    def _augmented(self, config: AugmentationConfig) -> AugmentedDataset:
        return AugmentedDataset(self.faces, config, self.recipe.seed, self.recipe.data.workers)

    def _features(self, model: FusedModel) -> FeatureSource:
        """The features for both stages, computed online or cached."""
        if self._source is None:
            needed = self.recipe.needs_targets
            online = OnlineFeatures(model, self._dataset, self.world, needed, self.progress, self._teacher)
            cached = self.recipe.views.maps == "cache"
            self._source = CachedFeatures(online, self.recipe.runs / "maps") if cached else online
        return self._source

    def _measure_threshold(self, model: FusedModel) -> Threshold:
        def embed(faces: Faces) -> Floats:
            embedding: Floats = model(torch.from_numpy(faces).to(self.world.device)).embedding.cpu().numpy()
            return embedding

        return measure_threshold(embed, self.faces, self.recipe.data, self.progress)

    def _inputs(self, *stages: str) -> list[Any]:
        """Everything the fusion depends on up to the last of these stages."""
        recipe = asdict(self.recipe) | {"a": self.recipe.a.settings, "b": self.recipe.b.settings}
        backbones = [self._digest("backbone a"), self._digest("backbone b")]
        teacher = [] if self.recipe.aims is None else [self._digest("teacher")]
        return [backbones, *(recipe[part] for part in ("a", "b", "fusion", "views", *stages)), *teacher]

    def _digest(self, role: str) -> str:
        return self._made_from[role]["sha256"]


@torch.no_grad()
def init_class_weights(head: Head | SampledHead, model: FusedModel, targets: Tensor) -> None:
    """Set class weights to the mean targets (people, D): with two images of each person they would not get there."""
    skip = model.bottleneck.skip
    assert skip is not None  # distillation has one
    first = head.first if isinstance(head, SampledHead) else 0
    weight = nn.functional.normalize(skip(targets.to(skip.weight.device)))[first : first + len(head.weight)]
    head.weight.copy_(weight.to(head.weight.device))


def parameter_groups(model: FusedModel, schedule: Schedule) -> list[dict[str, Any]]:
    """Parameter groups of the fusion and of the bottleneck.

    Adam moves every weight equally far, so a linear map of 26,112 inputs would move its output 51 times as far as one
    of 512 (Yang et al. 2022). Its learning rate is therefore divided by its width. The steps of SGD follow the size of
    the gradient.
    """
    channels = max(model.backbone_a.map_channels, model.backbone_b.map_channels)
    scale = channels / model.fusion.width if schedule.optimizer == "adamw" else 1.0
    return [*weight_decay_groups(model.fusion), *weight_decay_groups(model.bottleneck, scale=scale)]
