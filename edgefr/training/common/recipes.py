"""The tables of training recipes. A recipe in `train/*.toml` is read into one of these dataclasses.

The names of fields are the keys of the TOML files. They are part of the keys of saved states and must not change.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgefr.errors import InvalidArgumentError
from edgefr.models import find_model
from edgefr.recognition.published.adopted_files import native_copy
from edgefr.spec import FusionSpec


@dataclass(frozen=True)
class DataConfig:
    """The training faces, `[data]`.

    Attributes:
        faces: Aligned faces by person: a folder, a zip, a .rec or a .csv.
        pairs: LFW's pairs file.
        test_folds: Folds of `pairs` whose people are never trained on.
        limit: Use only this many faces, evenly spread, for a quick run.
        workers: Processes that decode and augment.
    """

    faces: Path
    pairs: Path | None = None
    test_folds: tuple[int, ...] = (6, 7, 8, 9, 10)
    limit: int | None = None
    workers: int = 0

    def __post_init__(self) -> None:
        folds = "folds from 1 to 10"
        check_setting(set(self.test_folds) <= set(range(1, 11)), "data.test_folds", folds, self.test_folds)
        check_setting(self.limit is None or self.limit >= 2, "data.limit", "at least 2", self.limit)
        check_setting(0 <= self.workers <= 256, "data.workers", "0 to 256", self.workers)


@dataclass(frozen=True)
class AugmentationConfig:
    """Data augmentation of the training faces, `[views]`.

    Attributes:
        kind: `mirrored`: each face as it is and mirrored. `degraded`: each face in several variants, slightly warped.
        variants: Number of degraded variants of a face in one epoch.
        clean: Share of the variants that are only warped; the others are degraded, too.
        blends: Share of the variants that are first blended with the face of another person.
        maps: `online` runs the backbones at every step, with new variants in each epoch. `cache` runs them once and
            keeps their feature maps on disk.
        store: Format of cached feature maps.
    """

    kind: Literal["mirrored", "degraded"] = "degraded"
    variants: int = 8
    clean: float = 0.35
    blends: float = 0.0
    maps: Literal["online", "cache"] = "online"
    store: Literal["fp16", "int8"] = "fp16"

    def __post_init__(self) -> None:
        check_setting(1 <= self.variants <= 1000, "views.variants", "1 to 1000", self.variants)
        check_setting(0 <= self.clean <= 1, "views.clean", "0 to 1", self.clean)
        check_setting(0 <= self.blends <= 1, "views.blends", "0 to 1", self.blends)


@dataclass(frozen=True)
class CompositeConfig:
    """Shares of the kinds of training pictures of a detector, `[mix]`. All others are composites.

    Attributes:
        as_taken: Windows of photographs, mirrored or not.
        exact: Of these, the share that is neither scaled nor tilted.
        faceless: Composites without a face.
        turned: Of all pictures, the share that is rotated as a whole.
        hard: Of the photographs, the share that is selected for a face that the teacher is unsure of.
    """

    as_taken: float = 0.5
    exact: float = 0.3
    faceless: float = 0.15
    turned: float = 0.4
    hard: float = 0.3

    def __post_init__(self) -> None:
        for name, share in vars(self).items():
            check_setting(0 <= share <= 1, f"mix.{name}", "0 to 1", share)
        total = self.as_taken + self.faceless
        check_setting(total <= 1, "mix.as_taken and mix.faceless", "at most 1 together", total)


@dataclass(frozen=True)
class ScenesConfig:
    """Pictures without a face for a detector, `[scenes]`. They are also backgrounds of composites.

    Attributes:
        pictures: Folder or zip.
        share: Of all training pictures, the share that shows a window of a scene.
    """

    pictures: Path
    share: float = 0.15

    def __post_init__(self) -> None:
        check_setting(0 <= self.share <= 1, "scenes.share", "0 to 1", self.share)


@dataclass(frozen=True)
class Schedule:
    """Length, batch size and optimiser of a stage.

    Attributes:
        steps: Number of steps. Give this or `epochs`.
        epochs: Number of passes over all samples.
        batch: Samples of a batch, over all processes.
        accumulate: Batches of a step.
        optimizer: `adamw` or `sgd`.
        lr: Peak learning rate. It rises over the first twentieth of the steps and falls as a cosine to zero.
        weight_decay: Weight decay of all but norms and biases.
        momentum: Momentum of SGD.
        drops: Instead of the cosine, the learning rate starts at `lr` and falls to a tenth after each of these epochs.
        ema: Decay of a running average of the weights, which is the result; 0 for none.
    """

    steps: int | None = None
    epochs: int | None = None
    batch: int = 64
    accumulate: int = 1
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = 1e-4
    weight_decay: float = 0.01
    momentum: float = 0.9
    drops: tuple[int, ...] = ()
    ema: float = 0.0

    def __post_init__(self) -> None:
        length = self.steps if self.epochs is None else self.epochs
        one = (self.steps is None) != (self.epochs is None) and length is not None and length >= 1
        check_setting(one, "a schedule", "either steps or epochs of at least 1", (self.steps, self.epochs))
        check_setting(2 <= self.batch <= 65536, "a schedule's batch", "2 to 65536", self.batch)
        check_setting(1 <= self.accumulate <= 4096, "a schedule's accumulate", "1 to 4096", self.accumulate)
        check_setting(0 < self.lr < 10, "a schedule's lr", "between 0 and 10", self.lr)
        for name in ("weight_decay", "momentum", "ema"):
            value = getattr(self, name)
            check_setting(0 <= value < 1, f"a schedule's {name}", "at least 0 and below 1", value)
        rising = not self.drops or (self.epochs is not None and list(self.drops) == sorted(set(self.drops)))
        check_setting(rising, "a schedule's drops", "rising epochs of a schedule in epochs", self.drops)

    def total_steps(self, samples: int) -> int:
        """Steps of the whole stage if an epoch has so many samples. The last, smaller batch of an epoch is dropped."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return self.epochs * self.steps_per_epoch(samples)

    def steps_per_epoch(self, samples: int) -> int:
        """Whole steps of an epoch, at least one."""
        return max(1, samples // (self.batch * self.accumulate))


@dataclass(frozen=True)
class BackboneConfig:
    """One backbone, `[a]` or `[b]`.

    Attributes:
        checkpoint: File with its weights, an .onnx file of edgefr or one that was adopted, or a name that
            `edgefr models` lists.
        loss: Margin loss that it was trained with.
        arch: Architecture; found from the file if not given.
        colour: Colour order of the weights; found from the file if not given.
        finetune: Fine-tune it first with AdaFace loss.
        clean: Share of images that fine-tuning leaves undegraded.
        tap: Tensor of an .onnx file that is its feature map; the last map before the embedding if not given.
        weight: Its share of the similarity before training, relative to the weight of the other backbone, and of the
            distillation targets. `edgefr fuse` measures good ones. Needs fusion.skip.
    """

    checkpoint: Path
    loss: Literal["arcface", "adaface"]
    arch: str | None = None
    colour: Literal["rgb", "bgr"] | None = None
    finetune: Schedule | None = None
    clean: float = 0.5
    tap: str | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        resolve_models(self, "checkpoint")
        check_setting(0 < self.weight <= 1000, "a backbone's weight", "above 0 and at most 1000", self.weight)
        if self.is_graph:
            for name in ("arch", "colour", "finetune"):
                value = getattr(self, name)
                check_setting(value is None, f"a backbone's {name}", "absent for an .onnx file", value)
        else:
            check_setting(self.tap is None, "a backbone's tap", "absent for a checkpoint of torch", self.tap)
        adaface = self.finetune is None or self.loss == "adaface"
        check_setting(adaface, "the loss of a backbone with finetune", "adaface, which fine-tuning uses", self.loss)
        check_setting(0 <= self.clean <= 1, "a backbone's clean", "0 to 1", self.clean)

    @property
    def is_graph(self) -> bool:
        """Whether the backbone is an ONNX graph."""
        return self.checkpoint.suffix.lower() == ".onnx"

    @property
    def settings(self) -> dict[str, Any]:
        """What a training depends on, for keys of states: those of older versions unless a newer field is used."""
        newer = {"tap": None, "weight": 1.0}
        return {name: value for name, value in asdict(self).items() if name not in newer or value != newer[name]}


@dataclass(frozen=True)
class DistillConfig:
    """Distillation, `[distill]`: for a degraded image the fusion learns the embeddings of the clean image.

    Attributes:
        schedule: Length and optimiser.
        pairwise: Weight of the loss on similarities within a batch.
        likelihood: Weight of the Gaussian likelihood, which trains the log-variance.
    """

    schedule: Schedule
    pairwise: float = 10.0
    likelihood: float = 0.01

    def __post_init__(self) -> None:
        check_setting(self.pairwise >= 0, "distill.pairwise", "at least 0", self.pairwise)
        check_setting(self.likelihood >= 0, "distill.likelihood", "at least 0", self.likelihood)


@dataclass(frozen=True)
class VibConfig:
    """Training by labels through the variational information bottleneck, `[vib]`.

    Attributes:
        schedule: Length and optimiser.
        beta: Weight of the KL divergence in nats, next to the cross-entropy of the sampled code.
        head: Decoder, a name of `nn.margin_heads.MARGINS` or `softmax`.
        classes: Share of the classes that is sampled for each step (PartialFC below 1).
        anchor: Weight of the distillation targets next to the labels.
    """

    schedule: Schedule
    beta: float = 1e-3
    head: str = "softmax"
    classes: float = 1.0
    anchor: float = 0.0

    def __post_init__(self) -> None:
        check_setting(self.beta >= 0, "vib.beta", "at least 0", self.beta)
        _check_head("vib.head", self.head)
        check_setting(0 < self.classes <= 1, "vib.classes", "above 0 and at most 1", self.classes)
        margin = self.classes == 1 or self.head != "softmax"
        check_setting(margin, "vib.head", "a margin head if classes are sampled", self.head)
        check_setting(self.anchor >= 0, "vib.anchor", "at least 0", self.anchor)


@dataclass(frozen=True)
class TargetConfig:
    """Distillation targets of a fusion, `[aims]`, other than the backbones' own embeddings of clean faces.

    Attributes:
        teacher: Checkpoint of a backbone or fused model that both backbones were distilled from, an .onnx file of
            edgefr or one that was adopted, or a name that `edgefr models` lists.
    """

    teacher: Path

    def __post_init__(self) -> None:
        resolve_models(self, "teacher")


@dataclass(frozen=True)
class LabelLossConfig:
    """Loss on the people's labels next to distillation, `[labels]`. Faces of nobody are left out.

    Attributes:
        head: A name of `nn.margin_heads.MARGINS` or `softmax`.
        weight: Weight of the loss.
    """

    head: str = "arcface"
    weight: float = 0.1

    def __post_init__(self) -> None:
        _check_head("labels.head", self.head)
        check_setting(self.weight > 0, "labels.weight", "above 0", self.weight)


@dataclass(frozen=True)
class FusionRecipe:
    """Training of a fused model by distillation, by labels, or by distillation and then labels.

    Attributes:
        name: Name of its folder under `runs`.
        data: Training faces.
        a: First backbone.
        b: Second backbone.
        fusion: The network between the backbones and the embedding.
        views: Data augmentation.
        distill: Distillation stage, if any.
        vib: Label stage, if any.
        aims: Targets of another teacher, if any.
        seed: Seed of all randomness.
        runs: Folder of results, states and cached feature maps.
    """

    name: str
    data: DataConfig
    a: BackboneConfig
    b: BackboneConfig
    fusion: FusionSpec = field(default_factory=FusionSpec)
    views: AugmentationConfig = field(default_factory=AugmentationConfig)
    distill: DistillConfig | None = None
    vib: VibConfig | None = None
    aims: TargetConfig | None = None
    seed: int = 0
    runs: Path = Path("train/runs")

    def __post_init__(self) -> None:
        check_name_and_seed(self.name, self.seed)
        weighted = self.a.weight != self.b.weight
        skip = 'equal with fusion.skip = "none"'
        check_setting(not weighted or self.fusion.skip != "none", "a.weight and b.weight", skip, "others")
        by_name = '"bn" for two .onnx files, whose maps a.tap and b.tap name'
        graphs = self.a.is_graph and self.b.is_graph
        check_setting(not graphs or self.fusion.tap == "bn", "fusion.tap", by_name, self.fusion.tap)
        stages = self.distill is not None or self.vib is not None
        check_setting(stages, "the recipe", "one with a table distill or vib, or both", "neither")
        if self.needs_targets:
            skip = self.fusion.skip
            check_setting(skip == "embeddings", "fusion.skip", '"embeddings", which maps the targets to mu', skip)
        if self.vib is not None:
            blends = self.views.blends if self.views.kind == "degraded" else 0.0
            check_setting(blends < 1, "views.blends", "below 1 with a table vib, because a blend has no label", blends)
            unit = self.vib.head == "magface" and self.fusion.skip == "embeddings"
            expected = 'another head with fusion.skip = "embeddings", whose unit norms never reach MagFace\'s 10 to 110'
            check_setting(not unit, "vib.head", expected, self.vib.head)

    @property
    def needs_targets(self) -> bool:
        """Whether a stage uses distillation targets."""
        return self.distill is not None or (self.vib is not None and self.vib.anchor > 0)


def check_name_and_seed(name: str, seed: int) -> None:
    """Check that a recipe's name can be a folder under `runs`, and that every random generator accepts its seed.

    Raises:
        InvalidArgumentError: One of them is not allowed.
    """
    plain = name not in ("", ".", "..") and "/" not in name and "\\" not in name
    check_setting(plain, "name", "the name of a folder under runs", name)
    check_setting(0 <= seed < 1 << 31, "seed", "0 to 2**31 - 1", seed)


def resolve_models(config: object, *keys: str) -> None:
    """Replace names of published models by their files, and published .onnx files by their adopted copies.

    Args:
        config: The table of a recipe, while it is made.
        keys: Its keys that hold files of models.

    Raises:
        WrongModelError: A published model is not present.
    """
    for key in keys:
        if (value := getattr(config, key)) is not None:
            object.__setattr__(config, key, native_copy(find_model(value)))  # it is frozen


def check_setting(valid: bool, key: str, expected: str, found: object) -> None:
    """Check a setting of a recipe.

    Args:
        valid: Whether it is allowed.
        key: Its key in the recipe.
        expected: The allowed values, in words.
        found: Its value.

    Raises:
        InvalidArgumentError: It is not allowed.
    """
    if not valid:
        raise InvalidArgumentError(f"{key} to be {expected}", f"{found!r}", "correct the recipe or use --set")


def _check_head(key: str, name: str) -> None:
    from edgefr.nn.margin_heads import head_names  # recipes are read before torch is needed

    check_setting(name in head_names(), key, f"one of {', '.join(head_names())}", name)
