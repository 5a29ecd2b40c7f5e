"""Training of the face detector `spot`, from random or existing weights, by distillation of dense predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.optim.swa_utils import update_bn

from edgefr.data.collections import open_faces
from edgefr.errors import EdgefrError
from edgefr.io.files import atomic_write
from edgefr.manifest import Manifest, file_reference, package_versions, write_manifest
from edgefr.nn.spot_network import STRIDES, Spot, anchor_points, decode, load_spot
from edgefr.training.common.loop import train_stage
from edgefr.training.common.optimizer import weight_decay_groups
from edgefr.training.common.parallel import World, threads_beside_workers
from edgefr.training.common.progress import Progress
from edgefr.training.common.recipes import (
    CompositeConfig,
    DataConfig,
    ScenesConfig,
    Schedule,
    check_name_and_seed,
    check_setting,
)
from edgefr.training.common.stages import Stages
from edgefr.training.detector.detector_dataset import DetectorDataset, Sample
from edgefr.training.detector.detector_losses import detector_losses
from edgefr.training.detector.labelled_photographs import label_photographs
from edgefr.training.detector.warm_start import unfold_batchnorm
from edgefr.training.recogniser.training_faces import TrainingFaces, read_training_faces
from edgefr.types import Image

STATISTICS_BATCHES = 60
"""Batches on which the statistics of BatchNorm are measured, for an initial graph and at the end."""


@dataclass(frozen=True)
class DetectorRecipe:
    """Training of a detector.

    Attributes:
        name: Name of its folder under `runs`.
        data: `faces` are photographs as they were taken.
        teacher: File of YuNet.
        schedule: Length and optimiser.
        begin: Checkpoint or ONNX file of a detector to start from; random weights if not given.
        scenes: Pictures without a face, if any.
        mix: Shares of the kinds of training pictures.
        side: Width and height of training pictures in pixels.
        seed: Seed of all randomness.
        runs: Folder of results, states and labels.
    """

    name: str
    data: DataConfig
    teacher: Path
    schedule: Schedule
    begin: Path | None = None
    scenes: ScenesConfig | None = None
    mix: CompositeConfig = field(default_factory=CompositeConfig)
    side: int = 192
    seed: int = 0
    runs: Path = Path("train/runs")

    def __post_init__(self) -> None:
        check_name_and_seed(self.name, self.seed)
        coarsest = STRIDES[-1]
        whole = 64 <= self.side <= 1024 and self.side % coarsest == 0
        check_setting(whole, "side", f"a multiple of {coarsest} from 64 to 1024", self.side)
        steps = self.schedule.steps
        check_setting(steps is not None, "schedule.steps", "given, because there are no epochs", steps)


def train_detector(recipe: DetectorRecipe, progress: Progress, world: World) -> Path:
    """Train a detector. A stopped run is resumed.

    Args:
        recipe: The recipe.
        progress: Shows the work.
        world: The processes that train together.

    Returns:
        Its checkpoint, `runs/NAME/spot.safetensors`, with its manifest next to it.

    Raises:
        TrainingStoppedError: A signal arrived. The state is saved.
        EdgefrError: The recipe, its data or its teacher are not usable, or training diverges.
    """
    faces = read_training_faces(recipe.data)
    check_initial_model(recipe, faces)
    photographs = label_photographs(faces, recipe.teacher, recipe.runs / "labels", progress)
    if recipe.scenes is not None:
        scenes = read_scenes(recipe.scenes.pictures, progress)
        photographs = replace(photographs, scenes=scenes, scene_share=recipe.scenes.share)
    dataset = DetectorDataset(photographs, recipe.teacher, recipe.side, recipe.seed, recipe.data.workers, recipe.mix)
    torch.manual_seed(recipe.seed)
    made_from = {"teacher": file_reference(recipe.teacher)}
    if recipe.begin is not None:
        made_from["begin"] = file_reference(recipe.begin)
    schedule = recipe.schedule
    result = recipe.runs / recipe.name / "spot.safetensors"
    with ExitStack() as stack:
        stack.enter_context(threads_beside_workers(recipe.data.workers))
        net = initial_model(recipe, dataset, progress, world)
        stages = Stages(recipe.runs, recipe.name, recipe.seed, progress, world)
        configure = stages.open("Spotting", stage_inputs(recipe, made_from, faces), stack)
        stage = configure({"spot": net}, weight_decay_groups(net), schedule, 1)
        train_stage(stage, lambda start: dataset.batches(schedule.batch, start, world), make_losses(net, world))
        if world.first:
            recalibrate_batchnorm(net, _statistics_images(recipe, dataset, progress, world), world)
            weights = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
            with atomic_write(result) as temporary:
                save_file(weights, temporary)
            write_manifest(result, make_manifest(recipe, faces, made_from))
    world.barrier()
    return result


def read_scenes(path: Path, progress: Progress) -> list[Image]:
    """Read all pictures of a folder or zip; raises EdgefrError if there are none, or one is damaged."""
    folder = open_faces(path)
    with progress("Reading scenes", len(folder.names)) as advance:
        scenes = []
        for name in folder.names:
            scenes.append(folder.read(name))
            advance(1)
    return scenes


def check_initial_model(recipe: DetectorRecipe, faces: TrainingFaces) -> None:
    """Check the weights to start from before photographs are labelled, which takes minutes.

    Args:
        recipe: The recipe.
        faces: Its photographs.

    Raises:
        EdgefrError: The file is missing, or it was trained on the people held out here.
    """
    if recipe.begin is None:
        return
    if not recipe.begin.is_file():
        raise EdgefrError(
            f"a detector to start from in {recipe.begin}",
            "no file",
            "train it first by the recipe with the name of its folder (`edgefr train-detector`), or --set begin=FILE",
        )
    faces.check_no_leakage(recipe.data, [recipe.begin])


def stage_inputs(recipe: DetectorRecipe, made_from: dict[str, dict[str, str]], faces: TrainingFaces) -> list[object]:
    """Everything the training depends on."""
    digests = [source["sha256"] for source in made_from.values()]
    inputs = [asdict(recipe.schedule), asdict(recipe.mix), recipe.side, *digests, faces.digest()]
    if recipe.scenes is not None:  # the states of recipes without scenes keep their keys
        inputs += [recipe.scenes.share, open_faces(recipe.scenes.pictures).digest()]
    return inputs


def make_manifest(recipe: DetectorRecipe, faces: TrainingFaces, made_from: dict[str, dict[str, str]]) -> Manifest:
    """The manifest of the checkpoint."""
    pictures = recipe.schedule.total_steps(0) * recipe.schedule.batch * recipe.schedule.accumulate
    photographs = faces.describe(recipe.data).replace("aligned faces", "photographs")
    if recipe.scenes is not None:
        photographs += f" and of scenes without a face in {recipe.scenes.pictures.name}"
    begin = recipe.begin
    return Manifest(
        kind="detector",
        name=recipe.name,
        made_from=made_from,
        trained_on=f"{pictures:,} composites of {photographs}, answered by {recipe.teacher.name} (seed {recipe.seed}).",
        versions=package_versions("torch", "numpy", "opencv-python", "scikit-image"),
        held_out=faces.held_out(recipe.data) if begin is None else faces.held_out_with_initial(recipe.data, begin),
    )


def initial_model(recipe: DetectorRecipe, dataset: DetectorDataset, progress: Progress, world: World) -> Spot:
    """The network that training starts from: random, or that of `begin`.

    Raises:
        EdgefrError: `begin` is not a detector of this kind.
    """
    if recipe.begin is None:
        return Spot().to(world.device)
    if recipe.begin.suffix.lower() != ".onnx":
        return load_spot(recipe.begin).to(world.device)
    return unfold_batchnorm(recipe.begin, _statistics_images(recipe, dataset, progress, world), world)


def recalibrate_batchnorm(net: Spot, images: Iterable[Tensor], world: World) -> None:
    """Measure the statistics of BatchNorm on images (B, 3, H, W) from 0 to 255.

    Averaged weights need other statistics than the average of those of all steps, and the average of a short training
    still contains the initial ones.
    """
    with world.autocast():
        update_bn(images, net)


def make_losses(net: Spot, world: World) -> Callable[[Sample], dict[str, Tensor]]:
    """Make the function from a batch to its losses, and put the network into training mode."""
    net.train()

    def compute_losses(batch: Sample) -> dict[str, Tensor]:
        image = _to_input(batch.image, world)
        points = anchor_points(image.shape[2], image.shape[3], world.device)
        with world.autocast():
            offsets = net(image)
        return detector_losses(decode(offsets.float(), points), batch.predictions.to(world.device))

    return compute_losses


def _statistics_images(
    recipe: DetectorRecipe, dataset: DetectorDataset, progress: Progress, world: World
) -> Iterator[Tensor]:
    with progress("Measuring BatchNorm statistics", STATISTICS_BATCHES) as advance:
        for batch in islice(dataset.batches(recipe.schedule.batch, 0, World()), STATISTICS_BATCHES):
            yield _to_input(batch.image, world)
            advance(1)


def _to_input(image: Tensor, world: World) -> Tensor:
    """uint8 (B, S, S, 3) -> float (B, 3, S, S) in the same memory layout, channels last."""
    return image.to(world.device).permute(0, 3, 1, 2).float()
