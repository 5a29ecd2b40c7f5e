"""Distillation of a fused model or a backbone into one small network.

The student gets a degraded face; the target is the teacher's embedding of the clean one. A student with a shorter
embedding gets the principal components of the teacher's embeddings, which preserve similarities best. A student that
starts from random weights needs more faces than there are: it gets a pool of variations, which the teacher embeds once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from edgefr.io.files import atomic_write
from edgefr.manifest import Manifest, file_reference, package_versions, read_manifest, write_manifest
from edgefr.nn.architectures import build_backbone
from edgefr.nn.backbone import Backbone
from edgefr.nn.margin_heads import Head, build_head
from edgefr.nn.upstream_checkpoints import CVLFACE_WRAPPER, backbone_from_checkpoint
from edgefr.training.common.loop import train_stage
from edgefr.training.common.optimizer import weight_decay_groups
from edgefr.training.common.parallel import World
from edgefr.training.common.progress import Progress
from edgefr.training.common.recipes import (
    AugmentationConfig,
    DataConfig,
    LabelLossConfig,
    Schedule,
    check_name_and_seed,
    check_setting,
    resolve_models,
)
from edgefr.training.common.stages import Stages
from edgefr.training.recogniser.augmented_views import (
    NOBODY,
    AugmentedBatch,
    AugmentedDataset,
    check_batch_size,
    shuffled_batches,
)
from edgefr.training.recogniser.face_tensors import to_input
from edgefr.training.recogniser.feature_source import mean_by_label
from edgefr.training.recogniser.fusion_training import set_memory_layout
from edgefr.training.recogniser.losses import cosine_distance, pairwise_distance
from edgefr.training.recogniser.teacher import Teacher
from edgefr.training.recogniser.teacher_pool import open_pool
from edgefr.training.recogniser.trained_threshold import check_threshold, measure_threshold
from edgefr.training.recogniser.training_faces import FaceImages, TrainingFaces, read_training_faces
from edgefr.types import Faces, Floats


@dataclass(frozen=True)
class DistillationRecipe:
    """A distillation.

    Attributes:
        name: Name of its folder under `runs`.
        data: Training faces.
        teacher: Checkpoint of a fused model or a backbone, or a name that `edgefr models` lists.
        schedule: Length and optimiser.
        student: Checkpoint of the backbone to start from. Give this or `arch`.
        arch: Architecture to start from with random weights.
        views: Data augmentation.
        pool: Number of pictures, faces and variations of them, that the teacher embeds first; 0 for none.
        labels: Loss on the people's labels, if any.
        pairwise: Weight of the loss on similarities within a batch.
        seed: Seed of all randomness.
        runs: Folder of results, states and pools.
    """

    name: str
    data: DataConfig
    teacher: Path
    schedule: Schedule
    student: Path | None = None
    arch: str | None = None
    views: AugmentationConfig = field(default_factory=AugmentationConfig)
    pool: int = 0
    labels: LabelLossConfig | None = None
    pairwise: float = 10.0
    seed: int = 0
    runs: Path = Path("train/runs")

    def __post_init__(self) -> None:
        resolve_models(self, "teacher", "student")
        check_name_and_seed(self.name, self.seed)
        online = '"online", because the student itself processes the images'
        check_setting(self.views.maps == "online", "views.maps", online, self.views.maps)
        check_setting(self.views.kind == "degraded", "views.kind", '"degraded"', self.views.kind)
        starts = [start for start in (self.student, self.arch) if start is not None]
        check_setting(len(starts) == 1, "the recipe", "one with either student or arch", len(starts))
        check_setting(0 <= self.pool <= 10_000_000, "pool", "0 to 10,000,000", self.pool)
        check_setting(self.pairwise >= 0, "pairwise", "at least 0", self.pairwise)
        labelled = self.labels is None or self.views.blends < 1
        expected = "below 1 with a table labels, because a blend has no label"
        check_setting(labelled, "views.blends", expected, self.views.blends)


def distill_student(recipe: DistillationRecipe, progress: Progress, world: World) -> Path:
    """Train the student. A stopped run is resumed.

    Args:
        recipe: The recipe.
        progress: Shows the work.
        world: The processes that train together.

    Returns:
        Its checkpoint, `runs/NAME/student.safetensors`, a plain state dict, with its manifest next to it.

    Raises:
        TrainingStoppedError: A signal arrived. The state is saved.
        EdgefrError: The recipe, its data or its checkpoints are not usable, or training diverges.
    """
    faces = read_training_faces(recipe.data)
    inputs = {"teacher": recipe.teacher} | ({} if recipe.student is None else {"student": recipe.student})
    faces.check_no_leakage(recipe.data, inputs.values())
    check_threshold(faces, recipe.data)
    check_batch_size((recipe.pool or len(faces)) * recipe.views.variants, recipe.schedule, world)
    teacher = Teacher(recipe.teacher, world)
    torch.manual_seed(recipe.seed)
    student = _initial_student(recipe).to(world.device).requires_grad_(True)
    set_memory_layout(student, torch.channels_last)
    images, embeddings = _training_images(recipe, faces, teacher, progress, world)
    dataset = AugmentedDataset(images, recipe.views, recipe.seed, recipe.data.workers)
    targets = Targets(teacher, embeddings, student.embedding_dim)
    modules: dict[str, nn.Module] = {"student": student}
    head = None if recipe.labels is None else _build_head(recipe.labels, targets, images).to(world.device)
    if head is not None:
        modules["head"] = head
    made_from = {role: file_reference(path) for role, path in inputs.items()}
    # The digest of the images stands for the data; name and folder do not matter.
    settings = {key: value for key, value in asdict(recipe).items() if key not in ("name", "data", "runs")}
    digests = [source["sha256"] for source in made_from.values()]
    with ExitStack() as stack:
        stages = Stages(recipe.runs, recipe.name, recipe.seed, progress, world)
        configure = stages.open("Distilling", [settings, digests, images.digest()], stack)
        groups = [group for module in modules.values() for group in weight_decay_groups(module)]
        stage = configure(modules, groups, recipe.schedule, len(dataset))
        train_stage(stage, _batches(dataset, recipe.schedule, world), _losses(student, targets, recipe, head, world))
    student.eval()
    result = recipe.runs / recipe.name / "student.safetensors"
    if world.first:
        manifest = Manifest(
            kind="checkpoint",
            name=recipe.name,
            made_from=made_from,
            trained_on=_trained_on(recipe, faces, len(dataset), world),
            thresholds=(measure_threshold(_embedder(student, world), faces, recipe.data, progress),),
            versions=package_versions("torch", "numpy", "opencv-python"),
            held_out=faces.held_out(recipe.data),
        )
        _write(student, result, manifest)
    world.barrier()
    return result


def _trained_on(recipe: DistillationRecipe, faces: TrainingFaces, samples: int, world: World) -> str:
    """The training data of the student and, as far as it is known, of its teacher."""
    schedule, name = recipe.schedule, recipe.teacher.name
    pictures = f"{recipe.pool:,} pictures, variations among them, of " if recipe.pool else ""
    steps = f"{schedule.total_steps(samples)} steps of {schedule.batch * schedule.accumulate} on {world.machine}"
    manifest = read_manifest(recipe.teacher)
    before = manifest.trained_on if manifest is not None and manifest.trained_on else "not known."
    return (
        f"Imitates {name} on {pictures}{faces.describe(recipe.data)} (seed {recipe.seed}): {steps}. "
        f"What {name} was trained on: {before}"
    )


def _initial_student(recipe: DistillationRecipe) -> Backbone:
    """The student before training.

    BatchNorm keeps the statistics of the student's own large training set if there was one, and takes those of the
    batch if the student starts from random weights or learns from a pool.
    """
    if recipe.student is not None:
        return backbone_from_checkpoint(recipe.student).train(recipe.pool > 0)
    assert recipe.arch is not None
    return build_backbone(recipe.arch).train()


def _training_images(
    recipe: DistillationRecipe, faces: TrainingFaces, teacher: Teacher, progress: Progress, world: World
) -> tuple[FaceImages, Tensor]:
    """The N images to learn from and the teacher's embeddings of them (N, K)."""
    if not recipe.pool:
        return faces, teacher.embed_all(faces, progress)
    pool = open_pool(faces, recipe.pool, teacher, recipe.runs / "pools", progress, world)
    return pool, pool.targets.to(world.device)


def _build_head(labels: LabelLossConfig, targets: Targets, images: FaceImages) -> Head:
    """A head with class weights at the people's mean targets: with two images of each they would not get there."""
    numbers = torch.from_numpy(images.labels)
    known = numbers != NOBODY
    head = build_head(labels.head, targets.clean.shape[1], images.people).train()
    with torch.no_grad():
        head.weight.copy_(F.normalize(mean_by_label(targets.clean.cpu()[known], numbers[known], images.people)))
    return head


class Targets:
    """The teacher's unit embeddings in at most `dim` principal components.

    Attributes:
        clean: (N, dim) targets of the N clean images.
    """

    def __init__(self, teacher: Teacher, embeddings: Tensor, dim: int) -> None:
        """Project the embeddings of the teacher.

        Args:
            teacher: Embeds blends.
            embeddings: (N, K) of the clean images.
            dim: Length of the student's embedding.
        """
        self._teacher = teacher
        axes = torch.eye(teacher.dim, device=embeddings.device)
        if dim < teacher.dim:
            # Not centred, because cosines are angles around the origin.
            axes = torch.linalg.svd(embeddings, full_matrices=False).Vh[:dim].T
        self._axes: Tensor = F.pad(axes, (0, dim - axes.shape[1]))  # (K, dim), zero beyond the existing components
        self.clean: Tensor = embeddings @ self._axes

    def __call__(self, batch: AugmentedBatch) -> Tensor:
        """Targets of B augmented images, (B, dim)."""
        targets = self.clean[batch.face_index.to(self.clean.device)]
        blends = batch.face_index == NOBODY
        if blends.any():
            targets[blends.to(targets.device)] = self._teacher(batch.clean[blends]) @ self._axes
        return targets


def _batches(dataset: AugmentedDataset, schedule: Schedule, world: World) -> Callable[[int], Iterator[AugmentedBatch]]:
    return lambda start: dataset.loader(
        shuffled_batches(len(dataset), schedule, dataset.seed, world, start, fresh=True)
    )


def _losses(
    student: Backbone, targets: Targets, recipe: DistillationRecipe, head: Head | None, world: World
) -> Callable[[AugmentedBatch], dict[str, Tensor]]:
    def compute_losses(batch: AugmentedBatch) -> dict[str, Tensor]:
        with world.autocast():
            embedding = student(to_input(batch.image, world)).embedding.float()
        mu, target = F.normalize(embedding), F.normalize(targets(batch))
        losses = {"cosine": cosine_distance(mu, target), "pairwise": recipe.pairwise * pairwise_distance(mu, target)}
        if recipe.labels is not None and head is not None:
            losses["labels"] = recipe.labels.weight * head.loss(embedding, batch.label.to(world.device))
        return losses

    return compute_losses


def _embedder(student: Backbone, world: World) -> Callable[[Faces], Floats]:
    def embed(faces: Faces) -> Floats:
        found: Floats = F.normalize(student(to_input(torch.from_numpy(faces), world)).embedding).cpu().numpy()
        return found

    return embed


def _write(student: Backbone, path: Path, manifest: Manifest) -> None:
    # CVLFace's prefix says that the weights take RGB, whatever the architecture.
    weights = {
        f"{CVLFACE_WRAPPER}{name}": value.detach().cpu().contiguous() for name, value in student.state_dict().items()
    }
    with atomic_write(path) as temporary:
        save_file(weights, temporary)
    write_manifest(path, manifest)
