"""Manifests: every artifact says what it was made from.

An artifact `model.onnx` has its manifest beside it as `model.onnx.json`; an ONNX file also carries the same
text in its metadata under the key `edgefr`, so that a lone file still knows its thresholds.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args

from edgefr import __version__
from edgefr.errors import EdgefrError
from edgefr.io.files import atomic_write, sha256_of
from edgefr.io.protobuf import map_file, read_metadata, with_metadata
from edgefr.types import METADATA_KEY

Signal = Literal["certainty", "norm", "detector", "sharpness"]
"""What may tell a good face from a poor one, each higher for a better face: the negated uncertainty, the norm of the
embedding before it is made unit, the detector's score, the sharpness of the aligned face."""

DEFAULT_FMR = 1e-3
"""Decisions are made at this false match rate where nobody asks for another and it was measured."""


@dataclass(frozen=True)
class Threshold:
    """A decision threshold on cosine similarity and the false match rate it was measured at, where one was."""

    fmr: float | None
    value: float
    ci95: tuple[float, float]
    measured_on: str
    precision: str = "fp32"

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Threshold:
        """Read one of a manifest's thresholds; ValueError, TypeError or KeyError where it is none."""
        low, high = raw["ci95"]
        fmr = None if raw["fmr"] is None else float(raw["fmr"])
        interval = (float(low), float(high))
        return cls(fmr, float(raw["value"]), interval, str(raw["measured_on"]), str(raw["precision"]))


@dataclass(frozen=True)
class QualityLimit:
    """A face whose `signal` lies below `limit` is too poor to be judged; `measured_on` says whose limit it is, and
    `detector` whose score it is a limit of, if it is one."""

    signal: Signal
    limit: float
    measured_on: str
    detector: str | None = None

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> QualityLimit:
        """Read a manifest's limit; ValueError, TypeError or KeyError where it is none."""
        signal, limit = raw["signal"], float(raw["limit"])
        if signal not in get_args(Signal) or not math.isfinite(limit):
            raise ValueError(f"a quality limit of {signal} {limit}")
        detector = raw.get("detector")  # absent from limits of before it was told
        return cls(signal, limit, str(raw["measured_on"]), None if detector is None else str(detector))


@dataclass(frozen=True)
class HeldOut:
    """Whom a model never saw: everyone in a pair of these `folds` of the pairs file with the SHA-256 `pairs`.

    None and no folds where nobody was held out. `faces` is the digest of the collection that the others are from.
    """

    pairs: str | None
    folds: tuple[int, ...]
    faces: str

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> HeldOut:
        """Read what a manifest says of it; ValueError, TypeError or KeyError where it says something else."""
        pairs = None if raw["pairs"] is None else str(raw["pairs"])
        return cls(pairs, tuple(int(fold) for fold in raw["folds"]), str(raw["faces"]))


@dataclass(frozen=True)
class Manifest:
    """Where an artifact comes from and the thresholds that were measured on it.

    `made_from` maps a role ("backbone a", "checkpoint") to file name and SHA-256 of what went in. `held_out` is None
    where it is not known whom the model was trained on. `engine` says of an engine what it was built on and for, and
    what was measured of it (backends/engine_file.py).
    """

    kind: str
    name: str
    spec: dict[str, Any] = field(default_factory=dict)
    made_from: dict[str, dict[str, str]] = field(default_factory=dict)
    trained_on: str = ""
    thresholds: tuple[Threshold, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    quality: QualityLimit | None = None
    held_out: HeldOut | None = None
    engine: dict[str, Any] = field(default_factory=dict)

    def threshold_for(self, precision: str, fmr: float | None = None) -> Threshold | None:
        """The threshold measured at `fmr` in this precision, else in FP32, if any.

        Without `fmr` the one at DEFAULT_FMR, or the first where there is none.
        """
        for wanted in (precision, "fp32"):
            known = [entry for entry in self.thresholds if entry.precision == wanted]
            found = [entry for entry in known if entry.fmr == (DEFAULT_FMR if fmr is None else fmr)]
            if found or (known and fmr is None):
                return (found or known)[0]
        return None

    def calibrated(self, precision: str) -> tuple[float, ...]:
        """All thresholds measured in this precision, else in FP32, lowest first."""
        for wanted in (precision, "fp32"):
            if known := sorted(entry.value for entry in self.thresholds if entry.precision == wanted):
                return tuple(known)
        return ()

    def with_thresholds(self, measured: tuple[Threshold, ...]) -> Manifest:
        """With these in place of those of the same rate and precision, and all others kept."""
        again = {(entry.fmr, entry.precision) for entry in measured}
        kept = tuple(entry for entry in self.thresholds if (entry.fmr, entry.precision) not in again)
        return replace(self, thresholds=kept + measured)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str, source: str) -> Manifest:
        """Read what `to_json` wrote.

        Raises:
            EdgefrError: the text is not a manifest of this version.
        """
        try:
            raw = json.loads(text)
            thresholds = tuple(Threshold.from_dict(entry) for entry in raw.pop("thresholds"))
            # Both are absent from manifests of before they were known.
            known, left = raw.pop("quality", None), raw.pop("held_out", None)
            quality = None if known is None else QualityLimit.from_dict(known)
            held_out = None if left is None else HeldOut.from_dict(left)
            return cls(thresholds=thresholds, quality=quality, held_out=held_out, **raw)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise EdgefrError(
                f"an edgefr manifest in {source}",
                f"something else ({error})",
                "export the model again with `edgefr export`",
            ) from error


def manifest_path(artifact: Path) -> Path:
    """Where the manifest of `artifact` lies."""
    return artifact.with_name(artifact.name + ".json")


def read_manifest(artifact: Path) -> Manifest | None:
    """The manifest beside `artifact`, or None where there is none."""
    path = manifest_path(artifact)
    if not path.is_file():
        return None
    return Manifest.from_json(path.read_text(encoding="utf-8", errors="replace"), str(path))


def model_manifest(model: Path) -> Manifest | None:
    """What is known of a model: the manifest in an ONNX file's own metadata, else the one beside it.

    The one inside comes first, for a file that was copied over another leaves that other's manifest beside it.

    Raises:
        EdgefrError: a manifest is there but cannot be read.
    """
    if model.suffix.lower() != ".onnx":
        return read_manifest(model)
    try:
        inside = read_metadata(map_file(model)).get(METADATA_KEY)
    except (OSError, ValueError) as error:
        raise _no_model(model, error) from error
    return read_manifest(model) if inside is None else Manifest.from_json(inside, str(model))


def write_manifest(artifact: Path, manifest: Manifest) -> None:
    with atomic_write(manifest_path(artifact)) as temporary:
        temporary.write_text(manifest.to_json(), encoding="utf-8")


def write_model_manifest(model: Path, manifest: Manifest) -> None:
    """Put a manifest where `model_manifest` looks: into an ONNX file's metadata, and beside the model.

    An ONNX file is written anew, which needs as much room again; all else in it stays byte for byte.

    Raises:
        EdgefrError: the model is none, or its folder cannot be written.
    """
    if model.suffix.lower() == ".onnx":
        with atomic_write(model) as temporary:
            _copy_with_manifest(model, temporary, manifest)
    write_manifest(model, manifest)


def _copy_with_manifest(model: Path, output: Path, manifest: Manifest) -> None:
    with output.open("wb") as file:
        try:
            file.writelines(with_metadata(map_file(model), METADATA_KEY, manifest.to_json()))
        except ValueError as error:
            raise _no_model(model, error) from error


def _no_model(model: Path, error: Exception) -> EdgefrError:
    found = getattr(error, "strerror", None) or str(error)
    return EdgefrError(
        f"an ONNX model in {model}", f"another or a damaged file ({found})", "make it again with `edgefr export`"
    )


def model_digest(model: Path) -> str:
    """Tells a model from others: SHA-256 of its file, of an ONNX file without the manifest in it, for one that is
    calibrated is still the same model.

    Raises:
        EdgefrError: an ONNX file is none, or cannot be read.
    """
    if model.suffix.lower() != ".onnx":
        return sha256_of(model)
    digest = hashlib.sha256()
    try:
        for part in with_metadata(map_file(model), METADATA_KEY, ""):
            digest.update(part)
    except (OSError, ValueError) as error:
        raise _no_model(model, error) from error
    return digest.hexdigest()


def file_reference(path: Path) -> dict[str, str]:
    """An entry for `Manifest.made_from`."""
    return {"file": path.name, "sha256": sha256_of(path)}


def package_versions(*packages: str) -> dict[str, str]:
    """Versions of edgefr, Python, the processor architecture and the packages that made an artifact."""
    found = {"edgefr": __version__, "python": platform.python_version(), "machine": platform.machine()}
    for package in packages:
        found[package] = metadata.version(package)
    return found
