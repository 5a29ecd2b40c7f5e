"""One small net that imitates a fused model: half the cost on a device.

The student sees a degraded face, the aim is the fused model's embedding of the clean one. A student with a shorter
embedding aims at the principal components of the teacher's embeddings, which keep similarities best.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from edgefr.manifest import Manifest, source_of, versions_of, write_manifest, written_whole
from edgefr.nn.backbone import Backbone
from edgefr.nn.fused import FusedModel, load_fused
from edgefr.nn.upstream import backbone_from_checkpoint
from edgefr.spec import Faces, Floats
from edgefr.train.faces import read_training_faces
from edgefr.train.log import Log
from edgefr.train.loop import Stage, decayed_apart, descend
from edgefr.train.losses import cosine_distance, pairwise_distance
from edgefr.train.parallel import World
from edgefr.train.progress import Progress
from edgefr.train.recipe import Data, Schedule, Views, require
from edgefr.train.source import BATCH, as_input
from edgefr.train.threshold import check_threshold, measured_threshold
from edgefr.train.views import NOBODY, Shown, ViewSet, check_batch, shuffled


@dataclass(frozen=True)
class Student:
    """A distillation: `teacher` is a fused checkpoint, `student` the backbone's checkpoint to start from."""

    name: str
    data: Data
    teacher: Path
    student: Path
    schedule: Schedule
    views: Views = field(default_factory=Views)
    pairwise: float = 10.0
    seed: int = 0
    runs: Path = Path("train/runs")

    def __post_init__(self) -> None:
        require(self.views.maps == "online", "views.maps", '"online": the student itself looks', self.views.maps)
        require(self.views.kind == "degraded", "views.kind", '"degraded"', self.views.kind)


def distill_student(recipe: Student, progress: Progress, world: World) -> Path:
    """Train the student; a run that was stopped goes on where it was.

    Returns its checkpoint, `runs/NAME/student.safetensors`, a plain state dict under its upstream names.

    Raises:
        EdgefrError: the recipe, its data or its checkpoints are not as expected, or training diverges.
    """
    faces = read_training_faces(recipe.data)
    check_threshold(faces, recipe.data)
    views = ViewSet(faces, recipe.views, recipe.seed, recipe.data.workers)
    check_batch(len(views), recipe.schedule, world)
    teacher = load_fused(recipe.teacher).to(world.device)
    student = backbone_from_checkpoint(recipe.student).to(world.device).requires_grad_(True)
    aims = Aims(teacher, views, student.embedding_dim, world, progress)
    made_from = {role: source_of(path) for role, path in (("teacher", recipe.teacher), ("student", recipe.student))}
    told = json.dumps([asdict(recipe), made_from, faces.digest(), *world.key], sort_keys=True, default=str)
    key = hashlib.sha256(told.encode()).hexdigest()
    schedule, folder = recipe.schedule, recipe.runs / recipe.name
    images = schedule.length(len(views)) * schedule.batch * schedule.accumulate
    with ExitStack() as stack:
        log = Log(folder, "Distilling", stack.enter_context(progress("Distilling", images)), world)
        stack.callback(log.close)
        state = recipe.runs / "states" / f"{key[:16]}.safetensors"
        groups = decayed_apart(student)
        stage = Stage({"student": student}, groups, schedule, len(views), recipe.seed, key, state, log, world)
        descend(stage, _batches(views, schedule, world), _losses(student, aims, recipe.pairwise, world))
    result = folder / "student.safetensors"
    if world.first:
        _write(student, result, Manifest(
            kind="checkpoint",
            name=recipe.name,
            made_from=made_from,
            trained_on=f"Imitates {recipe.teacher.name} on {faces.describe(recipe.data)} (seed {recipe.seed}).",
            thresholds=(measured_threshold(_embedding(student, world), faces, recipe.data, progress),),
            versions=versions_of("torch", "numpy", "opencv-python"),
        ))  # fmt: skip
    world.wait()
    return result


class Aims:
    """The teacher's embeddings of clean faces, in at most `dim` principal components."""

    def __init__(self, teacher: FusedModel, views: ViewSet, dim: int, world: World, progress: Progress) -> None:
        self.teacher, self.world = teacher, world
        rows = []
        with progress("Embedding clean faces", len(views.faces)) as advance:
            for start in range(0, len(views.faces), BATCH):
                chosen = np.arange(start, min(start + BATCH, len(views.faces)))
                rows.append(self._embedding(torch.from_numpy(views.faces.read(chosen))))
                advance(len(chosen))
        known = torch.cat(rows)
        # Not centred: what counts are cosines, which are angles around the origin.
        axes = torch.linalg.svd(known, full_matrices=False).Vh[:dim].T
        self.axes: Tensor = F.pad(axes, (0, dim - axes.shape[1]))  # (K, dim), zero beyond the components there are
        self.known: Tensor = known @ self.axes

    def of(self, shown: Shown) -> Tensor:
        """Aims of B views, (B, dim)."""
        aims = self.known[shown.face.to(self.known.device)]
        blends = shown.face == NOBODY
        if blends.any():
            aims[blends.to(aims.device)] = self._embedding(shown.clean[blends]) @ self.axes
        return aims

    @torch.no_grad()
    def _embedding(self, clean: Tensor) -> Tensor:
        """Faces (B, 112, 112, 3) -> unit embeddings (B, K), averaged over face and mirror image."""
        with self.world.autocast():
            seen = self.teacher.see(as_input(torch.cat([clean, clean.flip(2)]), self.world))
            straight, mirrored = self.teacher.encode(seen).mu.float().chunk(2)
        both: Tensor = F.normalize(F.normalize(straight) + F.normalize(mirrored))
        return both


def _batches(views: ViewSet, schedule: Schedule, world: World) -> Callable[[int], Iterator[Shown]]:
    return lambda first: iter(views.loader(shuffled(len(views), schedule, views.seed, world, first, fresh=True)))


def _losses(student: Backbone, aims: Aims, pairwise: float, world: World) -> Callable[[Shown], dict[str, Tensor]]:
    # BatchNorm keeps the statistics of the student's own large training set.
    student.eval()

    def losses_of(shown: Shown) -> dict[str, Tensor]:
        with world.autocast():
            embedding = student(as_input(shown.seen, world)).embedding
        mu, aim = F.normalize(embedding.float()), F.normalize(aims.of(shown))
        return {"cosine": cosine_distance(mu, aim), "pairwise": pairwise * pairwise_distance(mu, aim)}

    return losses_of


def _embedding(student: Backbone, world: World) -> Callable[[Faces], Floats]:
    def embed(faces: Faces) -> Floats:
        found: Floats = F.normalize(student(as_input(torch.from_numpy(faces), world)).embedding).cpu().numpy()
        return found

    return embed


def _write(student: Backbone, path: Path, manifest: Manifest) -> None:
    # Under CVLFace's prefix, for it says that the weights take RGB whatever the architecture.
    weights = {f"net.{name}": value.detach().cpu().contiguous() for name, value in student.state_dict().items()}
    with written_whole(path) as temporary:
        save_file(weights, temporary)
    write_manifest(path, manifest)
