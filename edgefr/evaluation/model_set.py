"""The models that an evaluation compares: a candidate, the backbones inside it, other models, and simple baselines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgefr.errors import EdgefrError, InvalidArgumentError
from edgefr.evaluation.bin_protocol import normalise_rows
from edgefr.io.files import sha256_of
from edgefr.recognition.recogniser import open_recogniser
from edgefr.runtimes import FAKE
from edgefr.types import Faces, Floats

SUM = "sum"
CONCATENATION = "concatenation"


@dataclass(frozen=True)
class System:
    """What one system computes for N faces. A system is a model, a backbone inside a model, or a baseline.

    Attributes:
        name: Its name in tables.
        embedding: (N, K) of unit length.
        norm: (N,) length of the embedding before it was normalised; None for a baseline.
        uncertainty: (N,) that of the model's output (`recogniser.Embeddings`), if it gives one.
    """

    name: str
    embedding: Floats
    norm: Floats | None = None
    uncertainty: Floats | None = None

    @property
    def raw(self) -> Floats:
        """The output of a model (N, K) before it was normalised. Baselines have none."""
        assert self.norm is not None
        return self.embedding * self.norm[:, None]

    @property
    def signals(self) -> dict[str, Floats]:
        """Quality signals (N,) that the model itself gives, by their names in a manifest."""
        certainty = None if self.uncertainty is None else -self.uncertainty
        return {name: values for name, values in (("norm", self.norm), ("certainty", certainty)) if values is not None}

    def map_rows(self, change: Callable[[Floats], Floats]) -> System:
        """The system with the rows of all its arrays changed in the same way."""
        norm, uncertainty = (None if part is None else change(part) for part in (self.norm, self.uncertainty))
        return System(self.name, change(self.embedding), norm, uncertainty)


def system_from_output(name: str, raw: Floats, uncertainty: Floats | None = None) -> System:
    """A system from its output (N, K) of any length."""
    return System(name, normalise_rows(raw).astype(np.float32), np.linalg.norm(raw, axis=1), uncertainty)


def _add(one: System, other: System) -> System:
    uncertainty = None
    if one.uncertainty is not None and other.uncertainty is not None:
        uncertainty = np.asarray((one.uncertainty + other.uncertainty) / 2, np.float32)
    return system_from_output(one.name, one.raw + other.raw, uncertainty)


def fusion_baselines(a: System, b: System) -> list[System]:
    """Fusions without training: the sum (of equally long embeddings) and the concatenation of two systems, at unit
    length. The cosine of concatenated unit vectors is the mean of both cosines, so concatenation is also the score
    average.
    """
    found = [System(CONCATENATION, normalise_rows(np.concatenate([a.embedding, b.embedding], 1)).astype(np.float32))]
    if a.embedding.shape == b.embedding.shape:
        found.insert(0, System(SUM, normalise_rows(a.embedding + b.embedding).astype(np.float32)))
    return found


def join_batches(parts: Sequence[System]) -> System:
    """Join what one system computed for successive batches."""

    def column(values: list[Floats | None]) -> Floats | None:
        known = [value for value in values if value is not None]
        return np.concatenate(known) if known else None

    norm, uncertainty = column([part.norm for part in parts]), column([part.uncertainty for part in parts])
    return System(parts[0].name, np.concatenate([part.embedding for part in parts]), norm, uncertainty)


@dataclass(frozen=True)
class Model:
    """A model that is open.

    Attributes:
        name: Its name in tables.
        sha256: SHA-256 of its file; None for the fake model.
        runtime: Name of the runtime.
        precision: Its precision.
        embed: (B, 112, 112, 3) -> what the model computes, followed by what its backbones compute, if it has any.
        backbones: Names of the two backbones inside it.
    """

    name: str
    sha256: str | None
    runtime: str
    precision: str
    embed: Callable[[Faces], list[System]]
    backbones: tuple[str, str] | None = None


@dataclass(frozen=True)
class ModelSet:
    """The models of an evaluation.

    Attributes:
        models: The candidate, followed by the models to compare it with.
        pair: Names of the two systems whose sum and concatenation are baselines, and the better of which the candidate
            has to beat.
    """

    models: tuple[Model, ...]
    pair: tuple[str, str] | None

    @property
    def candidate(self) -> str:
        """Name of the model that is compared with all others."""
        return self.models[0].name

    @property
    def systems(self) -> int:
        """The highest number of systems in a table: the models, a pair of backbones, and their two baselines."""
        return len(self.models) + (4 if self.pair else 0)

    def embed(self, faces: Faces) -> list[System]:
        """Run all models on a batch. `with_baselines` follows once all batches are joined.

        Args:
            faces: (B, 112, 112, 3) uint8 RGB.

        Returns:
            The systems, the candidate first.

        Raises:
            EdgefrError: A model fails or gives numbers that are not finite.
        """
        found = [system for model in self.models for system in model.embed(faces)]
        for system in found:
            if not np.isfinite(system.embedding).all():
                raise EdgefrError(
                    f"finite embeddings from {system.name}", "others", "use --precision fp32 or train the model again"
                )
        return found

    def embed_both_flips(self, faces: Faces) -> list[System]:
        """As `embed`, of the sum of each model's outputs for the faces and their mirror images: upstream's flip test.

        The uncertainty is the mean of both.
        """
        both = zip(self.embed(faces), self.embed(np.ascontiguousarray(faces[:, :, ::-1])), strict=True)
        return [_add(straight, mirrored) for straight, mirrored in both]

    def with_baselines(self, systems: list[System]) -> list[System]:
        """`systems`, followed by the sum and the concatenation of the pair, if there is one."""
        if self.pair is None:
            return systems
        by_name = {system.name: system for system in systems}
        return systems + fusion_baselines(by_name[self.pair[0]], by_name[self.pair[1]])


def open_models(model: Path, others: Sequence[Path] = (), runtime: str = "auto", precision: str = "fp32") -> ModelSet:
    """Open the models of an evaluation.

    Args:
        model: The candidate. A fused checkpoint brings its two backbones along.
        others: Models to compare it with. If there are exactly two and the candidate has no backbones, their sum and
            concatenation are baselines.
        runtime: Name of the runtime, or "auto".
        precision: "fp32", "bf16" or "auto".

    Returns:
        The models.

    Raises:
        EdgefrError: A file cannot be opened, or is given twice.
    """
    paths = [model, *others]
    if repeated := [path for path in paths if paths.count(path) > 1]:
        raise InvalidArgumentError(
            "every model once", f"{repeated[0]} {len(repeated)} times", "leave it out of --beside"
        )
    models = [_open(path, name, runtime, precision) for path, name in zip(paths, unique_names(paths), strict=True)]
    pair = models[0].backbones or ((models[1].name, models[2].name) if len(others) == 2 else None)
    return ModelSet((models[0], *map(_without_backbones, models[1:])), pair)


def _open(path: Path, name: str, runtime: str, precision: str) -> Model:
    if path.suffix.lower() == ".safetensors" and runtime in ("auto", "torch"):
        return _open_fused(path, name, precision)
    recogniser = open_recogniser(path, runtime, precision)

    def embed(faces: Faces) -> list[System]:
        found = recogniser.embed(faces, len(faces))
        return [System(name, found.embedding, found.norm, found.uncertainty)]

    sha256 = None if path == FAKE else sha256_of(path)
    return Model(name, sha256, recogniser.description.runtime, recogniser.description.precision, embed)


def _open_fused(path: Path, name: str, precision: str) -> Model:
    from edgefr.runtimes.torch import RUNTIME, FusedPass

    fused = FusedPass(path, precision)
    spec = fused.spec
    a, b = f"backbone A: {spec.arch_a}, {spec.loss_a}", f"backbone B: {spec.arch_b}, {spec.loss_b}"

    def embed(faces: Faces) -> list[System]:
        parts = fused(faces)
        fusion = system_from_output(name, parts.fused, parts.uncertainty)
        return [fusion, system_from_output(a, parts.a), system_from_output(b, parts.b)]

    return Model(name, sha256_of(path), RUNTIME, fused.precision, embed, (a, b))


def _without_backbones(model: Model) -> Model:
    """The candidate is compared with its own backbones only."""
    return replace(model, embed=lambda faces: model.embed(faces)[:1], backbones=None)


def unique_names(paths: Sequence[Path]) -> list[str]:
    """The names of files, or the whole paths if two have the same name (`runs/*/fused.safetensors`)."""
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]
