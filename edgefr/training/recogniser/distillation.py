"""One small net that imitates a fused model or a backbone.

The student sees a degraded face, the aim is the teacher's embedding of the clean one. A student with a shorter
embedding aims at the principal components of the teacher's embeddings, which keep similarities best. One that starts
from nothing needs more faces than there are: a pool of variations, of which the teacher was asked once.
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
from edgefr.nn.upstream_checkpoints import backbone_from_checkpoint
from edgefr.training.common.loop import decayed_apart, descend
from edgefr.training.common.parallel import World
from edgefr.training.common.progress import Progress
from edgefr.training.common.recipes import Data, Labels, Schedule, Views, check_named, require
from edgefr.training.common.stages import Stages
from edgefr.training.recogniser.augmented_views import NOBODY, Shown, ViewSet, check_batch, shuffled
from edgefr.training.recogniser.face_tensors import as_input
from edgefr.training.recogniser.feature_source import means_by_label
from edgefr.training.recogniser.fusion_training import in_layout
from edgefr.training.recogniser.losses import cosine_distance, pairwise_distance
from edgefr.training.recogniser.teacher import Teacher
from edgefr.training.recogniser.teacher_pool import open_pool
from edgefr.training.recogniser.trained_threshold import check_threshold, measured_threshold
from edgefr.training.recogniser.training_faces import Pictures, TrainingFaces, read_training_faces
from edgefr.types import Faces, Floats


@dataclass(frozen=True)
class Student:
    """A distillation: `teacher` is the checkpoint of a fused model or a backbone.

    `student` is the backbone's checkpoint to start from; or `arch`, the architecture to start with random weights.
    `pool` is the number of pictures, faces and variations of them, that the teacher is asked of beforehand; 0 for none.
    """

    name: str
    data: Data
    teacher: Path
    schedule: Schedule
    student: Path | None = None
    arch: str | None = None
    views: Views = field(default_factory=Views)
    pool: int = 0
    labels: Labels | None = None
    pairwise: float = 10.0
    seed: int = 0
    runs: Path = Path("train/runs")

    def __post_init__(self) -> None:
        check_named(self.name, self.seed)
        require(self.views.maps == "online", "views.maps", '"online": the student itself looks', self.views.maps)
        require(self.views.kind == "degraded", "views.kind", '"degraded"', self.views.kind)
        starts = [start for start in (self.student, self.arch) if start is not None]
        require(len(starts) == 1, "the recipe", "either student or arch", len(starts))
        require(0 <= self.pool <= 10_000_000, "pool", "0 to 10,000,000", self.pool)
        require(self.pairwise >= 0, "pairwise", "at least 0", self.pairwise)
        somebody = self.labels is None or self.views.blends < 1
        require(somebody, "views.blends", "below 1 with a table labels: a blend has no label", self.views.blends)


def distill_student(recipe: Student, progress: Progress, world: World) -> Path:
    """Train the student; a run that was stopped goes on where it was.

    Returns its checkpoint, `runs/NAME/student.safetensors`, a plain state dict under its upstream names.

    Raises:
        EdgefrError: the recipe, its data or its checkpoints are not as expected, or training diverges.
    """
    faces = read_training_faces(recipe.data)
    inputs = {"teacher": recipe.teacher} | ({} if recipe.student is None else {"student": recipe.student})
    faces.check_unseen(recipe.data, inputs.values())
    check_threshold(faces, recipe.data)
    check_batch((recipe.pool or len(faces)) * recipe.views.variants, recipe.schedule, world)
    teacher = Teacher(recipe.teacher, world)
    torch.manual_seed(recipe.seed)
    student = _beginner(recipe).to(world.device).requires_grad_(True)
    in_layout(student, torch.channels_last)
    shown, known = _lessons(recipe, faces, teacher, progress, world)
    views = ViewSet(shown, recipe.views, recipe.seed, recipe.data.workers)
    aims = Aims(teacher, known, student.embedding_dim)
    modules: dict[str, nn.Module] = {"student": student}
    head = None if recipe.labels is None else _head(recipe.labels, aims, shown).to(world.device)
    if head is not None:
        modules["head"] = head
    made_from = {role: file_reference(path) for role, path in inputs.items()}
    # Faces count by what is shown; name and runs do not.
    asked = {key: value for key, value in asdict(recipe).items() if key not in ("name", "data", "runs")}
    digests = [source["sha256"] for source in made_from.values()]
    with ExitStack() as stack:
        stages = Stages(recipe.runs, recipe.name, recipe.seed, progress, world)
        stage_of = stages.open("Distilling", [asked, digests, shown.digest()], stack)
        groups = [group for module in modules.values() for group in decayed_apart(module)]
        stage = stage_of(modules, groups, recipe.schedule, len(views))
        descend(stage, _batches(views, recipe.schedule, world), _losses(student, aims, recipe, head, world))
    student.eval()
    result = recipe.runs / recipe.name / "student.safetensors"
    if world.first:
        _write(student, result, Manifest(
            kind="checkpoint",
            name=recipe.name,
            made_from=made_from,
            trained_on=_trained_on(recipe, faces, len(views), world),
            thresholds=(measured_threshold(_embedding(student, world), faces, recipe.data, progress),),
            versions=package_versions("torch", "numpy", "opencv-python"),
            held_out=faces.held_out(recipe.data),
        ))  # fmt: skip
    world.wait()
    return result


def _trained_on(recipe: Student, faces: TrainingFaces, views: int, world: World) -> str:
    """What taught the student, and what had taught its teacher, as far as that is known."""
    schedule, name = recipe.schedule, recipe.teacher.name
    pictures = f"{recipe.pool:,} pictures, variations among them, of " if recipe.pool else ""
    steps = f"{schedule.length(views)} steps of {schedule.batch * schedule.accumulate} on {world.machine}"
    known = read_manifest(recipe.teacher)
    before = known.trained_on if known is not None and known.trained_on else "not known."
    return (
        f"Imitates {name} on {pictures}{faces.describe(recipe.data)} (seed {recipe.seed}): {steps}. "
        f"What {name} was trained on: {before}"
    )


def _beginner(recipe: Student) -> Backbone:
    """The student before training. BatchNorm keeps the statistics of the student's own large training set where there
    was one, and takes them from the batch where it starts from nothing or learns from a pool."""
    if recipe.student is not None:
        return backbone_from_checkpoint(recipe.student).train(recipe.pool > 0)
    assert recipe.arch is not None
    return build_backbone(recipe.arch).train()


def _lessons(
    recipe: Student, faces: TrainingFaces, teacher: Teacher, progress: Progress, world: World
) -> tuple[Pictures, Tensor]:
    """The pictures (N) to learn from and the teacher's embeddings of them (N, K)."""
    if not recipe.pool:
        return faces, teacher.of_all(faces, progress)
    pool = open_pool(faces, recipe.pool, teacher, recipe.runs / "pools", progress, world)
    return pool, pool.aims.to(world.device)


def _head(labels: Labels, aims: Aims, shown: Pictures) -> Head:
    """Class weights at the people's mean aims: with two images a person they would not get there from chance."""
    known = torch.from_numpy(shown.labels)
    somebody = known != NOBODY
    head = build_head(labels.head, aims.known.shape[1], shown.people).train()
    with torch.no_grad():
        head.weight.copy_(F.normalize(means_by_label(aims.known.cpu()[somebody], known[somebody], shown.people)))
    return head


class Aims:
    """The teacher's unit embeddings, in at most `dim` principal components."""

    def __init__(self, teacher: Teacher, known: Tensor, dim: int) -> None:
        """`known` (N, K) are its embeddings of the pictures that views are made of."""
        self.teacher = teacher
        axes = torch.eye(teacher.dim, device=known.device)
        if dim < teacher.dim:
            # Not centred: what counts are cosines, which are angles around the origin.
            axes = torch.linalg.svd(known, full_matrices=False).Vh[:dim].T
        self.axes: Tensor = F.pad(axes, (0, dim - axes.shape[1]))  # (K, dim), zero beyond the components there are
        self.known: Tensor = known @ self.axes

    def of(self, shown: Shown) -> Tensor:
        """Aims of B views, (B, dim)."""
        aims = self.known[shown.face.to(self.known.device)]
        blends = shown.face == NOBODY
        if blends.any():
            aims[blends.to(aims.device)] = self.teacher(shown.clean[blends]) @ self.axes
        return aims


def _batches(views: ViewSet, schedule: Schedule, world: World) -> Callable[[int], Iterator[Shown]]:
    return lambda first: iter(views.loader(shuffled(len(views), schedule, views.seed, world, first, fresh=True)))


def _losses(
    student: Backbone, aims: Aims, recipe: Student, head: Head | None, world: World
) -> Callable[[Shown], dict[str, Tensor]]:
    def losses_of(shown: Shown) -> dict[str, Tensor]:
        with world.autocast():
            embedding = student(as_input(shown.seen, world)).embedding.float()
        mu, aim = F.normalize(embedding), F.normalize(aims.of(shown))
        losses = {"cosine": cosine_distance(mu, aim), "pairwise": recipe.pairwise * pairwise_distance(mu, aim)}
        if recipe.labels is not None and head is not None:
            losses["labels"] = recipe.labels.weight * head.loss(embedding, shown.label.to(world.device))
        return losses

    return losses_of


def _embedding(student: Backbone, world: World) -> Callable[[Faces], Floats]:
    def embed(faces: Faces) -> Floats:
        found: Floats = F.normalize(student(as_input(torch.from_numpy(faces), world)).embedding).cpu().numpy()
        return found

    return embed


def _write(student: Backbone, path: Path, manifest: Manifest) -> None:
    # Under CVLFace's prefix, for it says that the weights take RGB whatever the architecture.
    weights = {f"net.{name}": value.detach().cpu().contiguous() for name, value in student.state_dict().items()}
    with atomic_write(path) as temporary:
        save_file(weights, temporary)
    write_manifest(path, manifest)
