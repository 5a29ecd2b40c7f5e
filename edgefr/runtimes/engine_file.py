"""Engine files: models compiled for one device, and the checks before one is loaded.

An engine holds machine code, or something close to it. It is loaded only if the manifest next to it names its digest,
and only by the runtime and on the device that it was built for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from edgefr.errors import WrongModelError
from edgefr.io.files import sha256_of
from edgefr.manifest import Manifest, read_manifest
from edgefr.runtimes.processor import processor

MAX_ENGINE_BYTES = 4 << 30

REBUILD = "build it again with `edgefr build-engine`"

ANY_OF_GPUS = "GPUs of "
"""Prefix of the device of an engine for several kinds of GPU. Their compute capabilities follow: `SM75 SM89`."""

ANY, WITHOUT_VNNI = "any", "x86 without VNNI"
"""Devices of runtimes that compile at every start: all of them, and those that need INT8 weights of 7 bits."""

OR_LATER = "+"
"""Suffix of the version of an engine that later versions load, too."""


@dataclass(frozen=True)
class Target:
    """The runtime and the device that an engine is built for.

    Attributes:
        runtime: Name of the runtime.
        version: Its version. "10.3+" stands for 10.3 and later versions with the same major number.
        device: Name of the device with its compute capability or instruction sets.
        driver: Version of the driver, empty if there is none.
    """

    runtime: str
    version: str
    device: str
    driver: str = ""

    def for_precision(self, precision: str) -> Target:
        """This target with the instructions that the arithmetic of a precision depends on.

        Only INT8 does, on processors without VNNI, for which weights have 7 bits. Devices that are named with their
        instruction sets stay as they are.
        """
        if precision == "int8" and self.device == ANY and processor().saturates_int8:
            return replace(self, device=WITHOUT_VNNI)
        return self

    def compare(self, here: Target) -> dict[str, bool]:
        """Name of a field -> whether a machine with the target `here` fits an engine that was built for this one."""
        any_gpu = self.device.startswith(ANY_OF_GPUS) and here.device.rpartition(" ")[2] in self.device.split()
        later = self.version.endswith(OR_LATER) and _is_compatible(here.version, self.version.removesuffix(OR_LATER))
        return {
            "runtime": self.runtime == here.runtime,
            "version": self.version == here.version or later,
            "device": self.device == here.device or any_gpu,
            "driver": self.driver == here.driver or any_gpu or later,
        }


def _is_compatible(version: str, minimum: str) -> bool:
    """Whether a version is `minimum` or a later one with the same major number."""
    try:
        numbers, lowest = (tuple(map(int, text.split(".")[:2])) for text in (version, minimum))
    except ValueError:
        return False
    return numbers[0] == lowest[0] and numbers >= lowest


@dataclass(frozen=True)
class EngineKey:
    """Everything that an engine depends on. Two engines with the same key are interchangeable.

    Attributes:
        onnx: Digest of the FP32 model that it was built from (`manifest.model_digest`).
        precision: Precision of the engine.
        place: The target. The name of the field is part of the stored format.
        settings: All other inputs of the build, such as the profile and the thresholds of the model.
    """

    onnx: str
    precision: str
    place: Target
    settings: str = ""

    def digest(self) -> str:
        """Sixteen hexadecimal digits."""
        import hashlib
        import json

        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class EngineRecord:
    """The entry `engine` of an engine's manifest, without its measurements."""

    key: EngineKey
    sha256: str
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_manifest(cls, manifest: Manifest, source: Path) -> EngineRecord:
        """Read the entry of a manifest; `source` is the engine, for messages.

        Raises:
            WrongModelError: The manifest does not belong to an engine.
        """
        try:
            raw = manifest.engine
            key = dict(raw["key"])
            target = Target(**{entry.name: str(key["place"][entry.name]) for entry in fields(Target)})
            return cls(
                EngineKey(str(key["onnx"]), str(key["precision"]), target, str(key["settings"])),
                str(raw["sha256"]),
                int(raw["bytes"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise WrongModelError(f"the manifest of an engine next to {source}", "another one", REBUILD) from error


def read_engine(path: Path) -> EngineRecord:
    """Read the record of an engine for any device, and compare its size and digest with the file.

    Raises:
        WrongModelError: There is no engine or no manifest, or the manifest belongs to another file.
    """
    size = path.stat().st_size if path.is_file() else 0
    manifest = read_manifest(path) if size else None
    if size and path.suffix.lower() == ".onnx" and not (manifest and manifest.engine):
        raise WrongModelError(
            "an engine that `edgefr build-engine` built",
            f"the model {path}",
            f"build an engine of it with `edgefr build-engine {path} --runtime NAME`, or use another --runtime",
        )
    if manifest is None:
        found = "no manifest next to it" if size else "none"
        raise WrongModelError(f"an engine with its manifest at {path}", found, REBUILD)
    record = EngineRecord.from_manifest(manifest, path)
    if size != record.bytes or size > MAX_ENGINE_BYTES:
        raise WrongModelError(f"an engine of {record.bytes:,} bytes in {path}", f"{size:,} bytes", REBUILD)
    if sha256_of(path) != record.sha256:
        raise WrongModelError(f"the engine that the manifest of {path} names", "another file", REBUILD)
    return record


def check_engine(path: Path, here: Target) -> EngineRecord:
    """Read the record of an engine that is to be loaded.

    Args:
        path: The engine.
        here: The target of this machine.

    Raises:
        WrongModelError: The file is damaged or has no manifest (`read_engine`), or the engine was built by another
            version or for another device.
    """
    record = read_engine(path)
    _check_target(record, here, path)
    return record


def check_onnx_engine(path: Path, here: Callable[[], Target] | None = None) -> None:
    """Check an .onnx file that is to be loaded, if the manifest next to it says that it is an engine.

    Args:
        path: The .onnx file.
        here: Gives the target of this machine in FP32. None checks the file only, for a runtime that it was not built
            for.

    Raises:
        WrongModelError: As for `check_engine`.
    """
    manifest = read_manifest(path)
    if manifest is None or manifest.kind != "engine":
        return
    record = read_engine(path)
    if here is not None:
        _check_target(record, here().for_precision(record.key.precision), path)


def _check_target(record: EngineRecord, here: Target, path: Path) -> None:
    built_for = record.key.place
    for name, fits in built_for.compare(here).items():
        if not fits:
            raise WrongModelError(
                f"an engine for the {name} {getattr(here, name) or 'none'}",
                f"{path}, built for {getattr(built_for, name) or 'none'}",
                f"{REBUILD} --{record.key.precision} --runtime {built_for.runtime}",
            )
