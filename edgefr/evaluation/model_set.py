"""Who is compared: a model, the backbones inside it, other models, and what needs no training beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgefr.errors import EdgefrError
from edgefr.evaluation.bin_protocol import unit
from edgefr.io.files import sha256_of
from edgefr.recognition.recogniser import open_recogniser
from edgefr.runtimes import FAKE
from edgefr.types import Faces, Floats

SUM = "sum"
CONCATENATION = "concatenation"


@dataclass(frozen=True)
class System:
    """What a system says of N faces: `embedding` (N, K) of unit length, its `norm` (N,) before that and `uncertainty`
    (N,) where it has them."""

    name: str
    embedding: Floats
    norm: Floats | None = None
    uncertainty: Floats | None = None

    @property
    def raw(self) -> Floats:
        """A model's output (N, K) before it was made unit; baselines have none."""
        assert self.norm is not None
        return self.embedding * self.norm[:, None]


def of_raw(name: str, raw: Floats, uncertainty: Floats | None = None) -> System:
    """A system from its output (N, K) of any length."""
    return System(name, unit(raw).astype(np.float32), np.linalg.norm(raw, axis=1), uncertainty)


def _added(one: System, other: System) -> System:
    uncertainty = None
    if one.uncertainty is not None and other.uncertainty is not None:
        uncertainty = np.asarray((one.uncertainty + other.uncertainty) / 2, np.float32)
    return of_raw(one.name, one.raw + other.raw, uncertainty)


def baselines(a: System, b: System) -> list[System]:
    """Sum (where both are equally wide) and concatenation of two systems' unit embeddings, of unit length again.

    Cosine on the concatenation of unit vectors is the mean of both cosines: it is the score average, too.
    """
    found = [System(CONCATENATION, unit(np.concatenate([a.embedding, b.embedding], 1)).astype(np.float32))]
    if a.embedding.shape == b.embedding.shape:
        found.insert(0, System(SUM, unit(a.embedding + b.embedding).astype(np.float32)))
    return found


def joined(parts: Sequence[System]) -> System:
    """One system's answers to successive batches as one."""

    def column(values: list[Floats | None]) -> Floats | None:
        known = [value for value in values if value is not None]
        return np.concatenate(known) if known else None

    norm, uncertainty = column([part.norm for part in parts]), column([part.uncertainty for part in parts])
    return System(parts[0].name, np.concatenate([part.embedding for part in parts]), norm, uncertainty)


@dataclass(frozen=True)
class Model:
    """A model file and how it runs; `embed` gives the model's own answer first, then its `backbones`' if it has any."""

    name: str
    sha256: str | None
    runtime: str
    precision: str
    embed: Callable[[Faces], list[System]]
    backbones: tuple[str, str] | None = None


@dataclass(frozen=True)
class ModelSet:
    """All that take part, the model that is judged first; `pair` names the two whose sum and concatenation stand
    beside it, and the better of which it has to beat."""

    models: tuple[Model, ...]
    pair: tuple[str, str] | None

    @property
    def judged(self) -> str:
        return self.models[0].name

    @property
    def systems(self) -> int:
        """How many stand in every table, at most: the models, a pair of backbones, and their two baselines."""
        return len(self.models) + (4 if self.pair else 0)

    def embed(self, faces: Faces) -> list[System]:
        """(B, 112, 112, 3) -> every model's answer; `with_baselines` follows when all batches are joined.

        Raises:
            EdgefrError: a model fails or gives numbers that are not finite.
        """
        found = [system for model in self.models for system in model.embed(faces)]
        for system in found:
            if not np.isfinite(system.embedding).all():
                raise EdgefrError(
                    f"finite embeddings from {system.name}", "others", "use --precision fp32 or train the model again"
                )
        return found

    def embed_both_flips(self, faces: Faces) -> list[System]:
        """As `embed`, of each model's output for the faces plus that for their mirror images: upstream's flip test.

        The uncertainty is the mean of both.
        """
        both = zip(self.embed(faces), self.embed(np.ascontiguousarray(faces[:, :, ::-1])), strict=True)
        return [_added(straight, mirrored) for straight, mirrored in both]

    def with_baselines(self, systems: list[System]) -> list[System]:
        """`systems`, and behind them the sum and the concatenation of the pair, where there is one."""
        if self.pair is None:
            return systems
        by_name = {system.name: system for system in systems}
        return systems + baselines(by_name[self.pair[0]], by_name[self.pair[1]])


def open_entrants(model: Path, beside: Sequence[Path] = (), runtime: str = "auto", precision: str = "fp32") -> ModelSet:
    """Open the model that is judged and those beside it.

    A fused checkpoint brings its two backbones along. Otherwise, of exactly two models beside, sum and concatenation
    are formed.

    Raises:
        EdgefrError: a file cannot be opened, or is given twice.
    """
    paths = [model, *beside]
    if repeated := [path for path in paths if paths.count(path) > 1]:
        raise EdgefrError("every model once", f"{repeated[0]} {len(repeated)} times", "leave it out of --beside")
    models = [_open(path, name, runtime, precision) for path, name in zip(paths, names_of(paths), strict=True)]
    pair = models[0].backbones or ((models[1].name, models[2].name) if len(beside) == 2 else None)
    return ModelSet((models[0], *map(_alone, models[1:])), pair)


def _open(path: Path, name: str, runtime: str, precision: str) -> Model:
    if path.suffix.lower() == ".safetensors" and runtime in ("auto", "torch"):
        return _fused(path, name, precision)
    recogniser = open_recogniser(path, runtime, precision)

    def embed(faces: Faces) -> list[System]:
        found = recogniser.embed(faces, len(faces))
        return [System(name, found.embedding, found.norm, found.uncertainty)]

    sha256 = None if path == FAKE else sha256_of(path)
    return Model(name, sha256, recogniser.description.runtime, recogniser.description.precision, embed)


def _fused(path: Path, name: str, precision: str) -> Model:
    from edgefr.runtimes.torch import RUNTIME, FusedPass

    fused = FusedPass(path, precision)
    spec = fused.spec
    a, b = f"backbone A: {spec.arch_a}, {spec.loss_a}", f"backbone B: {spec.arch_b}, {spec.loss_b}"

    def embed(faces: Faces) -> list[System]:
        parts = fused(faces)
        return [of_raw(name, parts.fused, parts.uncertainty), of_raw(a, parts.a), of_raw(b, parts.b)]

    return Model(name, sha256_of(path), RUNTIME, fused.precision, embed, (a, b))


def _alone(model: Model) -> Model:
    """Without its backbones: those of the judged model are the ones to beat."""
    return replace(model, embed=lambda faces: model.embed(faces)[:1], backbones=None)


def names_of(paths: Sequence[Path]) -> list[str]:
    """The files' names, or the whole paths where two are called the same (`runs/*/fused.safetensors`)."""
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]
