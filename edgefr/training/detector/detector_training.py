"""The training of the face detector `spot`: from nothing or from an earlier one, on composites of photographs, by
imitating what a teacher answers to each at every place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.optim.swa_utils import update_bn

from edgefr.errors import EdgefrError
from edgefr.io.files import atomic_write
from edgefr.manifest import Manifest, file_reference, package_versions, write_manifest
from edgefr.nn.spot_network import STRIDES, Spot, decoded, load_spot, places
from edgefr.training.common.loop import decayed_apart, descend
from edgefr.training.common.parallel import World, cores_left_by
from edgefr.training.common.progress import Progress
from edgefr.training.common.recipes import Data, Mix, Schedule, check_named, require
from edgefr.training.common.stages import Stages
from edgefr.training.detector.detector_dataset import Composites, Lesson
from edgefr.training.detector.detector_losses import losses
from edgefr.training.detector.labelled_photographs import labelled
from edgefr.training.detector.warm_start import unfolded
from edgefr.training.recogniser.training_faces import TrainingFaces, read_training_faces

SETTLING = 60
"""Batches that BatchNorm's statistics are measured on in the end, and of a graph to begin with."""


@dataclass(frozen=True)
class SpotRecipe:
    """A detector's training: `data.faces` are photographs as they were taken, `teacher` is YuNet's file, `side` that of
    the composites in pixels. `begin` is a detector to go on from, its checkpoint or its ONNX file; else the weights are
    random."""

    name: str
    data: Data
    teacher: Path
    schedule: Schedule
    begin: Path | None = None
    mix: Mix = field(default_factory=Mix)
    side: int = 192
    seed: int = 0
    runs: Path = Path("train/runs")

    def __post_init__(self) -> None:
        check_named(self.name, self.seed)
        coarsest = STRIDES[-1]
        whole = 64 <= self.side <= 1024 and self.side % coarsest == 0
        require(whole, "side", f"a multiple of {coarsest} from 64 to 1024", self.side)
        require(self.schedule.steps is not None, "schedule.steps", "given: composites have no end", self.schedule.steps)


def train_spot(recipe: SpotRecipe, progress: Progress, world: World) -> Path:
    """Train the detector; a run that was stopped goes on where it was.

    Returns its checkpoint, `runs/NAME/spot.safetensors`, with a manifest beside it.

    Raises:
        EdgefrError: the recipe, its data or its teacher are not as expected, or training diverges.
    """
    faces = read_training_faces(recipe.data)
    insist_on_beginning(recipe, faces)
    photographs = labelled(faces, recipe.teacher, recipe.runs / "labels", progress)
    composites = Composites(photographs, recipe.teacher, recipe.side, recipe.seed, recipe.data.workers, recipe.mix)
    torch.manual_seed(recipe.seed)
    made_from = {"teacher": file_reference(recipe.teacher)}
    if recipe.begin is not None:
        made_from["begin"] = file_reference(recipe.begin)
    schedule, digests = recipe.schedule, [source["sha256"] for source in made_from.values()]
    asked = [asdict(schedule), asdict(recipe.mix), recipe.side, *digests, faces.digest()]
    result = recipe.runs / recipe.name / "spot.safetensors"
    with ExitStack() as stack:
        stack.enter_context(cores_left_by(recipe.data.workers))
        net = begun(recipe, composites, world)
        stages = Stages(recipe.runs, recipe.name, recipe.seed, progress, world)
        stage_of = stages.open("Spotting", asked, stack)
        stage = stage_of({"spot": net}, decayed_apart(net), schedule, 1)
        descend(stage, lambda first: composites.batches(schedule.batch, first, world), losses_of(net, world))
        if world.first:
            settle(net, composites.batches(schedule.batch, 0, World()), world)
            weights = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
            with atomic_write(result) as temporary:
                save_file(weights, temporary)
            write_manifest(result, told_of(recipe, faces, made_from))
    world.wait()
    return result


def insist_on_beginning(recipe: SpotRecipe, faces: TrainingFaces) -> None:
    """Raises EdgefrError where the net to begin with is not there, or was trained on people whom this recipe holds
    out: before the photographs are labelled, which takes minutes."""
    if recipe.begin is None:
        return
    if not recipe.begin.is_file():
        raise EdgefrError(
            f"a detector to go on from in {recipe.begin}",
            "no file",
            (
                "train it first by the recipe that its folder is called as, with `edgefr train-detector`, or give "
                "another with --set begin=FILE"
            ),
        )
    faces.check_unseen(recipe.data, [recipe.begin])


def told_of(recipe: SpotRecipe, faces: TrainingFaces, made_from: dict[str, dict[str, str]]) -> Manifest:
    """The checkpoint's manifest."""
    pictures = recipe.schedule.length(0) * recipe.schedule.batch * recipe.schedule.accumulate
    told = faces.describe(recipe.data).replace("aligned faces", "photographs")
    begin = recipe.begin
    return Manifest(
        kind="detector",
        name=recipe.name,
        made_from=made_from,
        trained_on=f"{pictures:,} composites of {told}, answered by {recipe.teacher.name} (seed {recipe.seed}).",
        versions=package_versions("torch", "numpy", "opencv-python", "scikit-image"),
        held_out=faces.held_out(recipe.data) if begin is None else faces.held_out_after(recipe.data, begin),
    )


def begun(recipe: SpotRecipe, composites: Composites, world: World) -> Spot:
    """The net as the training begins with it."""
    if recipe.begin is None:
        return Spot().to(world.device)
    if recipe.begin.suffix.lower() != ".onnx":
        return load_spot(recipe.begin).to(world.device)
    batches = islice(composites.batches(recipe.schedule.batch, 0, World()), SETTLING)
    return unfolded(recipe.begin, (_pixels(batch.image, world) for batch in batches), world)


def settle(net: Spot, batches: Iterator[Lesson], world: World) -> None:
    """Measure BatchNorm's statistics anew: averaged weights have others than the average of all that were, and a short
    training's average still remembers those that it began with."""
    with world.autocast():
        update_bn((_pixels(batch.image, world) for batch in islice(batches, SETTLING)), net)


def losses_of(net: Spot, world: World) -> Callable[[Lesson], dict[str, Tensor]]:
    """What the net loses by what it says of a batch of composites."""
    net.train()

    def of(lesson: Lesson) -> dict[str, Tensor]:
        pixels = _pixels(lesson.image, world)
        grid = places(pixels.shape[2], pixels.shape[3], world.device)
        with world.autocast():
            answers = net(pixels)
        return losses(decoded(answers.float(), grid), lesson.answers.to(world.device))

    return of


def _pixels(image: Tensor, world: World) -> Tensor:
    """uint8 (B, S, S, 3) -> float (B, 3, S, S), channels last as they came."""
    return image.to(world.device).permute(0, 3, 1, 2).float()
