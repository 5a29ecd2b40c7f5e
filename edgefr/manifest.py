"""Manifests and safe writing: every artifact says what it was made from, and none is ever half-written.

An artifact `model.onnx` has its manifest beside it as `model.onnx.json`; an ONNX file also carries the same
text in its metadata under the key `edgefr`, so that a lone file still knows its thresholds.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from edgefr import __version__
from edgefr.errors import EdgefrError
from edgefr.protobuf import messages
from edgefr.spec import METADATA_KEY


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
class Manifest:
    """Where an artifact comes from and the thresholds that were measured on it.

    `made_from` maps a role ("backbone a", "checkpoint") to file name and SHA-256 of what went in.
    """

    kind: str
    name: str
    spec: dict[str, Any] = field(default_factory=dict)
    made_from: dict[str, dict[str, str]] = field(default_factory=dict)
    trained_on: str = ""
    thresholds: tuple[Threshold, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)

    def threshold_for(self, precision: str) -> Threshold | None:
        """The first threshold measured in this precision, else in FP32, if any."""
        for wanted in (precision, "fp32"):
            for entry in self.thresholds:
                if entry.precision == wanted:
                    return entry
        return None

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
            return cls(thresholds=thresholds, **raw)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise EdgefrError(
                f"expected an edgefr manifest in {source}, found something else ({error}): "
                "export the model again with `edgefr export`"
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
    inside = _onnx_metadata(model).get(METADATA_KEY) if model.suffix.lower() == ".onnx" else None
    return read_manifest(model) if inside is None else Manifest.from_json(inside, str(model))


def _onnx_metadata(model: Path) -> dict[str, str]:
    """`ModelProto.metadata_props` (field 14), entries of key (1) and value (2); the graph is stepped over."""
    try:
        with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            found = _metadata_entries(data)
    except (OSError, ValueError) as error:
        found = getattr(error, "strerror", None) or str(error)
    if isinstance(found, str):
        raise EdgefrError(
            f"expected an ONNX model in {model}, found another or a damaged file ({found}): make it again with "
            "`edgefr export`"
        )
    return found


def _metadata_entries(data: mmap.mmap) -> dict[str, str] | str:
    """The entries, or what is wrong; no view into the map survives this call, so that the map can be closed."""
    try:
        entries = [(messages(entry, 1), messages(entry, 2)) for entry in messages(memoryview(data), 14)]
        return {bytes(key[0]).decode(): bytes(value[0]).decode() for key, value in entries}
    except (ValueError, IndexError) as error:
        return str(error)


def write_manifest(artifact: Path, manifest: Manifest) -> None:
    with written_whole(manifest_path(artifact)) as temporary:
        temporary.write_text(manifest.to_json(), encoding="utf-8")


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder; rename it to `path` on success, remove it on failure.

    Raises:
        EdgefrError: the folder cannot be written.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        # The suffix stays, for libraries (numpy, cv2) that choose a format by it or append it.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
        os.close(handle)
    except OSError as error:
        raise _unwritable(path, error) from error
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes files private; an artifact is not
        temporary.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> EdgefrError:
    return EdgefrError(
        f"expected to write {path}, found that this cannot be done ({error.strerror or error}): choose another output "
        "path or make room"
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sha256_of(path: Path) -> str:
    """SHA-256 of a file as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def source_of(path: Path) -> dict[str, str]:
    """An entry for `Manifest.made_from`."""
    return {"file": path.name, "sha256": sha256_of(path)}


def versions_of(*packages: str) -> dict[str, str]:
    """Versions of edgefr, Python, the processor architecture and the packages that made an artifact."""
    found = {"edgefr": __version__, "python": platform.python_version(), "machine": platform.machine()}
    for package in packages:
        found[package] = metadata.version(package)
    return found
