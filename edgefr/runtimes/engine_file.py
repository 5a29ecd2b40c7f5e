"""Engines: files that a runtime compiled for one device, and what must be true before one is loaded.

An engine is machine code or close to it. It is loaded only with the manifest beside it that names its digest, its
runtime and its device, and only where all of them are still what they were.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from edgefr.errors import EdgefrError
from edgefr.io.files import sha256_of
from edgefr.manifest import Manifest, read_manifest

LARGEST_ENGINE = 4 << 30

SUFFIXES = {".blob": "openvino", ".plan": "tensorrt", ".rtx": "tensorrt-rtx"}
"""What an engine's name ends in, by the runtime that made it."""

REBUILD = "build it again with `edgefr build-engine`"

AHEAD = "GPUs of "
"""How the device of an engine begins that is for several kinds of GPU; the compute capabilities follow: `SM75 SM89`."""

LATER = "+"
"""How the version of an engine ends that later ones load, too."""


@dataclass(frozen=True)
class Target:
    """Where an engine runs: the runtime's version, `10.3+` for all from there on with the same major one; the device's
    name with its compute capability or instruction sets, and its driver ("" where there is none)."""

    runtime: str
    version: str
    device: str
    driver: str = ""

    def holds(self, here: Target) -> dict[str, bool]:
        """Which of the fields of a place `here` suit an engine that was made for this one."""
        kinds = self.device.startswith(AHEAD) and here.device.rpartition(" ")[2] in self.device.split()
        later = self.version.endswith(LATER) and _reaches(here.version, self.version.removesuffix(LATER))
        return {
            "runtime": self.runtime == here.runtime,
            "version": self.version == here.version or later,
            "device": self.device == here.device or kinds,
            "driver": self.driver == here.driver or kinds or later,
        }


def _reaches(version: str, least: str) -> bool:
    """Whether a version is `least` or a later one with the same major number."""
    try:
        numbers, lowest = (tuple(map(int, text.split(".")[:2])) for text in (version, least))
    except ValueError:
        return False
    return numbers[0] == lowest[0] and numbers >= lowest


@dataclass(frozen=True)
class EngineKey:
    """All that an engine depends on; two engines with one key are interchangeable. `onnx` is the digest of the FP32
    model that it was made from (`manifest.model_digest`), `settings` whatever else its making was told: the profile,
    and what was calibrated of the model."""

    onnx: str
    precision: str
    place: Target
    settings: str = ""

    def digest(self) -> str:
        """Sixteen hexadecimal digits."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class EngineRecord:
    """What an engine's manifest says of it under `engine`."""

    key: EngineKey
    sha256: str
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_manifest(cls, manifest: Manifest, source: Path) -> EngineRecord:
        """Read it back; what else stands there (measurements) is left alone.

        Raises:
            EdgefrError: the manifest is no engine's.
        """
        try:
            raw = manifest.engine
            key = dict(raw["key"])
            place = Target(**{entry.name: str(key["place"][entry.name]) for entry in fields(Target)})
            return cls(
                EngineKey(str(key["onnx"]), str(key["precision"]), place, str(key["settings"])),
                str(raw["sha256"]),
                int(raw["bytes"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise EdgefrError(
                f"an engine's manifest beside {source}", "another", "build it again with `edgefr build-engine`"
            ) from error


def whole_engine(path: Path) -> EngineRecord:
    """The record of an engine that is the file it was built as, for whatever device.

    Raises:
        EdgefrError: there is no engine or no manifest, or the engine is another file than the manifest's.
    """
    size = path.stat().st_size if path.is_file() else 0
    manifest = read_manifest(path) if size else None
    if manifest is None:
        found = "no manifest beside it" if size else "none"
        raise EdgefrError(f"an engine with its manifest at {path}", found, REBUILD)
    record = EngineRecord.from_manifest(manifest, path)
    if size != record.bytes or size > LARGEST_ENGINE:
        raise EdgefrError(f"an engine of {record.bytes:,} bytes in {path}", f"{size:,}", REBUILD)
    if sha256_of(path) != record.sha256:
        raise EdgefrError(f"the engine that the manifest of {path} names", "another file", REBUILD)
    return record


def check_engine(path: Path, here: Target) -> EngineRecord:
    """The record of an engine that may be loaded here.

    Raises:
        EdgefrError: there is no whole engine (`whole_engine`), or it was built by another version or for another
            device; the sentence names which, and the command that rebuilds it.
    """
    record = whole_engine(path)
    made = record.key.place
    for name, suits in made.holds(here).items():
        if not suits:
            wanted, found = getattr(here, name), getattr(made, name)
            raise EdgefrError(
                f"an engine for the {name} {wanted or 'none'}",
                f"{path} built for {found or 'none'}",
                f"{REBUILD} {precision_option(record)}",
            )
    return record


def precision_option(record: EngineRecord) -> str:
    return f"--{record.key.precision} --runtime {record.key.place.runtime}"
