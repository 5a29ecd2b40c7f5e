"""Manifests: JSON that states what an artifact was made from, and the thresholds that were measured on it.

The manifest of `model.onnx` is the file `model.onnx.json` next to it. An ONNX file also carries the same text in its
metadata under the key `edgefr`, so that a single file is enough.
"""

from __future__ import annotations

import json
import logging
import math
import platform
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from edgefr import __version__
from edgefr.choices import Signal
from edgefr.errors import EdgefrError
from edgefr.io.files import atomic_write, sha256_of
from edgefr.io.onnx_file import damaged_model, map_file, read_metadata, with_metadata, without_metadata
from edgefr.io.onnx_tensors import external_files
from edgefr.types import METADATA_KEY

ROUNDING = 1e-5
"""How far the similarity of equal float32 embeddings may be from 1."""

DEFAULT_FMR = 1e-3
"""The false match rate that decisions are made at unless another one is asked for."""


@dataclass(frozen=True)
class Threshold:
    """A decision threshold on cosine similarity: pairs that reach `value` count as the same person.

    Attributes:
        fmr: The false match rate it was calibrated at, None if it was chosen otherwise.
        value: The similarity, -1 to 1.
        ci95: Its 95 % interval.
        measured_on: The data it was calibrated on, in words.
        precision: Precision of the model that was calibrated.
        unseen_fmr: The false match rate of `value` on people that the model was not trained on, None if it was not
            measured. It differs from `fmr` if the threshold was calibrated on training people.
    """

    fmr: float | None
    value: float
    ci95: tuple[float, float]
    measured_on: str
    precision: str = "fp32"
    unseen_fmr: float | None = field(default=None, repr=False)  # the digests of engines are made from the others

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Threshold:
        """Read a threshold from JSON; ValueError, TypeError or KeyError if it is none."""
        low, high = raw["ci95"]
        return cls(
            _rate(raw["fmr"]),
            _similarity(raw["value"]),
            (_similarity(low), _similarity(high)),
            str(raw["measured_on"]),
            str(raw["precision"]),
            _rate(raw.get("unseen_fmr")),  # older manifests do not have it
        )


def _similarity(value: Any) -> float:
    """A cosine similarity; ValueError for NaN and values outside -1 to 1. Rounding may exceed 1 by a little."""
    if not -1 - ROUNDING <= (number := float(value)) <= 1 + ROUNDING:
        raise ValueError(f"a threshold of {number}, which is no similarity between -1 and 1")
    return number


def _rate(value: Any) -> float | None:
    if value is not None and not 0 <= float(value) <= 1:
        raise ValueError(f"a false match rate of {value}, which is not between 0 and 1")
    return None if value is None else float(value)


@dataclass(frozen=True)
class QualityLimit:
    """The least quality that a face needs for a reliable decision.

    Attributes:
        signal: The quality signal.
        limit: Faces below this value are too poor.
        measured_on: The faces it was measured on, in words.
        detector: The detector whose score it limits, None for other signals.
    """

    signal: Signal
    limit: float
    measured_on: str
    detector: str | None = None

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> QualityLimit:
        """Read a limit from JSON; ValueError, TypeError or KeyError if it is none."""
        signal, limit = raw["signal"], float(raw["limit"])
        if signal not in get_args(Signal) or not math.isfinite(limit):
            raise ValueError(f"a quality limit of {signal} {limit}")
        detector = raw.get("detector")  # older manifests do not have it
        return cls(signal, limit, str(raw["measured_on"]), None if detector is None else str(detector))


@dataclass(frozen=True)
class HeldOut:
    """The people that a model was not trained on: everyone in the `folds` of the pairs file with the SHA-256
    `pairs`, which is None if nobody was held out. `faces` is the digest of the collection it was trained on.
    """

    pairs: str | None
    folds: tuple[int, ...]
    faces: str

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> HeldOut:
        """Read it from JSON; ValueError, TypeError or KeyError if it is something else."""
        pairs = None if raw["pairs"] is None else str(raw["pairs"])
        return cls(pairs, tuple(int(fold) for fold in raw["folds"]), str(raw["faces"]))


@dataclass(frozen=True)
class Manifest:
    """Where an artifact comes from, and what was measured on it.

    Attributes:
        kind: "onnx", "checkpoint", "engine", ...
        name: Name of the artifact.
        spec: Description of its network, see `spec.ModelSpec`.
        made_from: Role ("backbone a", "checkpoint") -> file name and SHA-256 of what it was made from.
        trained_on: Its training data, in words.
        thresholds: Calibrated thresholds.
        versions: Versions of the packages that made it.
        quality: The least quality of a face, if it was measured.
        held_out: The people it was not trained on, None if that is not known.
        engine: For an engine, what it was built on and for, see `runtimes/engine_file.py`.
        model_sha256: Digest of the model that its figures were measured on (`model_digest`), empty if it is not known.
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
    model_sha256: str = ""

    def thresholds_for(self, precision: str) -> list[Threshold]:
        """The thresholds that were measured in this precision, or those for FP32 if there are none."""
        own = [entry for entry in self.thresholds if entry.precision == precision]
        return own or [entry for entry in self.thresholds if entry.precision == "fp32"]

    def threshold_for(self, precision: str, fmr: float | None = None) -> Threshold | None:
        """The threshold to decide by.

        Args:
            precision: Precision of the model.
            fmr: False match rate that the threshold was measured at. None means DEFAULT_FMR, or the first threshold
                of the precision if there is none at that rate.

        Returns:
            The threshold for this precision, or for FP32 if the precision has none; None if there is none at all.
        """
        known = self.thresholds_for(precision)
        if fmr is not None:
            known += self.thresholds_for("fp32")
        exact = (entry for entry in known if entry.fmr == (DEFAULT_FMR if fmr is None else fmr))
        return next(exact, known[0] if known and fmr is None else None)

    def with_thresholds(self, measured: tuple[Threshold, ...]) -> Manifest:
        """A manifest in which `measured` replaces the thresholds of the same rate and precision."""
        replaced = {(entry.fmr, entry.precision) for entry in measured}
        kept = tuple(entry for entry in self.thresholds if (entry.fmr, entry.precision) not in replaced)
        return replace(self, thresholds=kept + measured)

    def is_outdated(self, model: Path) -> bool:
        """Whether the figures were measured on another model than this one; False if the manifest holds no digest."""
        return bool(self.model_sha256) and self.model_sha256 != model_digest(model)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str, source: str) -> Manifest:
        """Read what `to_json` wrote; `source` is the file it comes from, for messages.

        Raises:
            EdgefrError: The text is not a manifest of this version.
        """
        try:
            raw = json.loads(text)
            thresholds = tuple(Threshold.from_dict(entry) for entry in raw.pop("thresholds"))
            quality, held_out = raw.pop("quality", None), raw.pop("held_out", None)  # older manifests lack both
            return cls(
                thresholds=thresholds,
                quality=None if quality is None else QualityLimit.from_dict(quality),
                held_out=None if held_out is None else HeldOut.from_dict(held_out),
                **raw,
            )
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise EdgefrError(
                f"an edgefr manifest in {source}",
                f"something else ({error})",
                "export the model again with `edgefr export`",
            ) from error


def manifest_path(artifact: Path) -> Path:
    """The file of an artifact's manifest."""
    return artifact.with_name(artifact.name + ".json")


def read_manifest(artifact: Path) -> Manifest | None:
    """The manifest next to an artifact, None if there is none; EdgefrError if it cannot be read."""
    path = manifest_path(artifact)
    if not path.is_file():
        return None
    return Manifest.from_json(path.read_text(encoding="utf-8", errors="replace"), str(path))


def write_manifest(artifact: Path, manifest: Manifest) -> None:
    """Write the manifest next to an artifact; UnavailableError if the folder cannot be written."""
    with atomic_write(manifest_path(artifact)) as temporary:
        temporary.write_text(manifest.to_json(), encoding="utf-8")


def model_manifest(model: Path) -> Manifest | None:
    """The manifest of a model.

    The one inside an ONNX file comes first. A file that is copied over another one leaves the other's manifest next
    to it.

    Args:
        model: An .onnx file, or another model with its manifest next to it.

    Returns:
        The manifest, None if there is none.

    Raises:
        EdgefrError: The manifest cannot be read, or the file is not an ONNX model.
    """
    if model.suffix.lower() != ".onnx":
        return read_manifest(model)
    try:
        inside = read_metadata(map_file(model)).get(METADATA_KEY)
    except (OSError, ValueError) as error:
        raise damaged_model(model, error) from error
    return read_manifest(model) if inside is None else Manifest.from_json(inside, str(model))


def write_model_manifest(model: Path, manifest: Manifest) -> None:
    """Write the manifest of a model, next to it and into the metadata of an ONNX file.

    All other bytes of an ONNX file stay as they are. It is written anew, which needs as much disk space again.

    Args:
        model: The model.
        manifest: Its new manifest. The digest of the model is entered.

    Raises:
        WrongModelError: The file is not an ONNX model.
        UnavailableError: The folder cannot be written.
    """
    manifest = replace(manifest, model_sha256=model_digest(model))
    if model.suffix.lower() == ".onnx":
        with atomic_write(model) as temporary:
            _copy_with_manifest(model, temporary, manifest)
    write_manifest(model, manifest)


def _copy_with_manifest(model: Path, output: Path, manifest: Manifest) -> None:
    with output.open("wb") as file:
        try:
            file.writelines(with_metadata(map_file(model), METADATA_KEY, manifest.to_json()))
        except ValueError as error:
            raise damaged_model(model, error) from error


def model_digest(model: Path) -> str:
    """SHA-256 of a model that stays the same when it is calibrated: of an ONNX file without the manifest in it.

    The digests of its external files are part of it.

    Raises:
        WrongModelError: The file is not an ONNX model or cannot be read, or an external file is missing.
    """
    if model.suffix.lower() != ".onnx":
        return sha256_of(model)
    import hashlib  # only here: it loads OpenSSL, and few runs need a digest

    digest = hashlib.sha256()
    try:
        for part in with_metadata(map_file(model), METADATA_KEY, ""):
            digest.update(part)
        for file in external_files(model):
            digest.update(f"{file.relative_to(model.parent).as_posix()} {sha256_of(file)}\n".encode())
    except (OSError, ValueError) as error:
        raise damaged_model(model, error) from error
    return digest.hexdigest()


def original_digest(model: Path) -> str:
    """SHA-256 of a model file as its publisher made it, to look it up in the catalogue.

    Args:
        model: Any model. The manifest that edgefr wrote into an ONNX file is left out.

    Returns:
        The digest as hexadecimal digits.

    Raises:
        WrongModelError: The file is not an ONNX model, or cannot be read.
    """
    if model.suffix.lower() != ".onnx":
        return sha256_of(model)
    import hashlib  # only here: it loads OpenSSL, and few runs need a digest

    digest = hashlib.sha256()
    try:
        for part in without_metadata(map_file(model), METADATA_KEY):
            digest.update(part)
    except (OSError, ValueError) as error:
        raise damaged_model(model, error) from error
    return digest.hexdigest()


def warn_if_changed(model: Path) -> None:
    """Log a warning if a model has changed since its manifest was written, so that its thresholds may not fit it.

    Python prints it on stderr unless the program has configured logging. The manifests of versions before 0.2 and of
    models that were never calibrated hold no digest.
    """
    manifest = model_manifest(model)
    if manifest is not None and manifest.is_outdated(model):
        logging.getLogger("edgefr").warning(
            "%s has changed since its manifest was written: its thresholds were measured on another model. Measure "
            "them again with `edgefr calibrate`.",
            model,
        )


def file_reference(path: Path) -> dict[str, str]:
    """File name and SHA-256 for `Manifest.made_from`."""
    return {"file": path.name, "sha256": sha256_of(path)}


def onnx_references(role: str, model: Path) -> dict[str, dict[str, str]]:
    """The entries of an ONNX file and of its external files for `Manifest.made_from`."""
    external = {f"{role} data {file.name}": file_reference(file) for file in external_files(model)}
    return {role: file_reference(model)} | external


def package_versions(*packages: str) -> dict[str, str]:
    """Versions of edgefr, Python and some packages, and the processor architecture."""
    from importlib import metadata  # here and in other places: its import takes longer than the rest of the module

    found = {"edgefr": __version__, "python": platform.python_version(), "machine": platform.machine()}
    return found | {package: metadata.version(package) for package in packages}
