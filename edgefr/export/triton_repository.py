"""Adds a model to a Triton model repository:

    REPO/NAME/config.pbtxt
    REPO/NAME/1/model.onnx or model.plan     the file, with its files of external data if it has some
    REPO/NAME/1/model.onnx.json              its manifest
    REPO/NAME/1/model.py                     with the Python backend only

If the model exists, the next version is added. Triton serves the newest version by default, and edgefr's client asks
for the version that fits its model. The folder of a version is renamed after everything in it is on the disk, so that
a server finds a whole version or none.

There is no ensemble. The graph accepts aligned faces and normalises them itself. Only face detection could come before
it, and then a whole photograph would be sent instead of 37 kB.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgefr.engines.engine_cache import publish_folder
from edgefr.errors import InvalidArgumentError, WrongModelError
from edgefr.io.files import atomic_write
from edgefr.io.onnx_tensors import external_files
from edgefr.manifest import Manifest, model_manifest, write_manifest
from edgefr.recognition.recogniser import INPUT, Recogniser
from edgefr.runtimes.base import Description, TensorInfo
from edgefr.runtimes.onnxruntime import OnnxRuntimeBackend
from edgefr.runtimes.triton.model_fingerprint import (
    PLAN,
    ModelFingerprint,
    check_model_name,
    default_model_name,
    parameter_name,
)
from edgefr.types import EMBEDDING, NORM, UNCERTAINTY

Kind = Literal["onnx", "plan", "python"]
"""Triton's backend for ONNX Runtime, its backend for TensorRT, or a model.py that calls onnxruntime."""

KINDS: dict[Kind, str] = {
    "onnx": 'platform: "onnxruntime_onnx"',
    "plan": 'platform: "tensorrt_plan"',
    "python": 'backend: "python"',
}

DTYPES = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32"}
"""Numpy's name of a number format of a recogniser -> Triton's."""

MAX_BATCH = 32
"""Largest batch for an ONNX file on the processor. Larger ones are not faster there."""

QUEUE_DELAY_US = 2_000
"""Microseconds that a face waits for others in a batch: a fraction of the time that its embedding takes."""

MAX_CONFIG_CHARACTERS = 1 << 20

TUNING_COMMENT = "# What follows is yours to tune; edgefr reads only the parameters that begin with its name.\n"

CHOOSE_REPOSITORY = "choose another repository, make room, or run the command again if another export was running"


@dataclass(frozen=True)
class ExportedVersion:
    """A version of a model in a repository."""

    folder: Path
    name: str
    version: int
    fingerprint: ModelFingerprint


def triton_from_model(model: Path, repository: Path, python: bool = False, name: str | None = None) -> ExportedVersion:
    """Add a model to a model repository.

    Args:
        model: An .onnx file or a TensorRT engine (.plan).
        repository: The folder of the repository.
        python: Serve an .onnx file with a model.py that calls onnxruntime, for servers without Triton's onnxruntime
            backend.
        name: Name of the model. None takes that of the file.

    Raises:
        InvalidArgumentError: The name is not valid, or the repository has another model with this name.
        WrongModelError: The file is not a recogniser.
        UnavailableError: The repository cannot be written.
    """
    name = default_model_name(model) if name is None else check_model_name(name)
    kind: Kind = "plan" if model.suffix.lower() == PLAN else "python" if python else "onnx"
    if python and kind == "plan":
        raise InvalidArgumentError("an .onnx file for the Python backend", str(model), "leave out --triton-backend")
    fingerprint, manifest = ModelFingerprint.of(model), model_manifest(model) or Manifest("onnx", model.stem)
    max_batch = _max_batch(manifest, model)
    head = _config_head(name, kind, max_batch, _description(model))
    folder = repository / name
    version = 1 + max((int(path.name) for path in folder.glob("[1-9]*") if path.name.isdecimal()), default=0)
    config = folder / "config.pbtxt"
    existing = _read_config(config, head)
    text = _add_version(existing or f"{head}\n{TUNING_COMMENT}{_tuning(kind, max_batch)}", version, fingerprint)
    with _remove_if_empty(folder), publish_folder(folder / str(version), CHOOSE_REPOSITORY, False) as temporary:
        file = temporary / ("model.plan" if kind == "plan" else "model.onnx")
        _copy_model(model, file)
        write_manifest(file, manifest)
        if kind == "python":
            shutil.copyfile(Path(__file__).with_name("triton_model.py"), temporary / "model.py")
        with atomic_write(config) as whole:
            whole.write_text(text, encoding="utf-8")
    return ExportedVersion(folder / str(version), name, version, fingerprint)


def _copy_model(model: Path, output: Path) -> None:
    """Copy a model with its external files, whose names the .onnx file holds."""
    shutil.copyfile(model, output)
    for source in external_files(model) if model.suffix.lower() == ".onnx" else ():
        target = output.parent / source.relative_to(model.parent)
        if target.exists() or target.parent != output.parent:
            raise InvalidArgumentError(
                f"external data of {model} with a name of its own in the same folder",
                str(source.relative_to(model.parent)),
                "save the model as one file, or with its data in model.data",
            )
        shutil.copyfile(source, target)


def _max_batch(manifest: Manifest, model: Path) -> int:
    """The largest batch, which the manifest of an engine names."""
    if model.suffix.lower() != PLAN:
        return MAX_BATCH
    try:
        return int(manifest.engine["batch"]["max"])
    except (KeyError, TypeError, ValueError) as error:
        raise WrongModelError(
            f"the largest batch in the manifest of {model}",
            "none, because an older edgefr built the engine",
            "remove the engine's folder and build it again with `edgefr build-engine`",
        ) from error


def _description(model: Path) -> Description:
    """Inputs and outputs. Those of an engine are read from the .onnx file next to it, so that no GPU is needed."""
    graph = model.with_name("model.onnx") if model.suffix.lower() == PLAN else model
    if graph != model and not graph.is_file():
        raise WrongModelError(f"{graph}, from which the engine was compiled", "none", "copy the engine's whole folder")
    return Recogniser(OnnxRuntimeBackend(graph), str(model)).description


def _config_head(name: str, kind: Kind, max_batch: int, description: Description) -> str:
    """The part of the configuration that is the same for all versions. Additional outputs are not served."""
    outputs = tuple(info for info in description.outputs if info.name in (EMBEDDING, NORM, UNCERTAINTY))
    return (
        f'name: "{name}"\n'
        f"{KINDS[kind]}\n"
        f"max_batch_size: {max_batch}\n"
        f"input [{_tensors(description.inputs)}]\n"
        f"output [{_tensors(outputs)}]\n"
    )


def _tensors(infos: tuple[TensorInfo, ...]) -> str:
    return ",".join(f"\n  {{ {_tensor(info)} }}" for info in infos) + "\n"


def _tensor(info: TensorInfo) -> str:
    """Without the batch, which Triton adds. It needs another axis, so that `norm` (B,) is (B, 1) there."""
    shape = ", ".join(str(size) for size in info.shape[1:])
    dims = f"dims: [ {shape} ]" if shape else "dims: [ 1 ] reshape { shape: [ ] }"
    return f'name: "{info.name}" data_type: {DTYPES[info.dtype]} {dims}'


def _tuning(kind: Kind, max_batch: int) -> str:
    """Instances, batching and warm-up to start with.

    The queue has no policy: with a maximum size or a timeout, one face in ten waited in it for half a second (Triton
    2.51, one client of bench/triton.py; without a policy none of 800). Triton drops expired requests by itself.
    """
    preferred = ", ".join(str(size) for size in sorted({max(1, max_batch // 4), max(1, max_batch // 2), max_batch}))
    sizes = sorted({1, max_batch})
    return (
        f"instance_group [ {{ count: 1 kind: {'KIND_GPU' if kind == 'plan' else 'KIND_CPU'} }} ]\n"
        "dynamic_batching {\n"
        f"  preferred_batch_size: [ {preferred} ]\n"
        f"  max_queue_delay_microseconds: {QUEUE_DELAY_US}\n"
        "}\n"
        f"model_warmup [{','.join(map(_warmup, sizes))}\n]\n"
    )


def _warmup(size: int) -> str:
    image = f'key: "{INPUT.name}" value {{ data_type: TYPE_UINT8 dims: [ 112, 112, 3 ] random_data: true }}'
    return f'\n  {{ name: "{size}" batch_size: {size} inputs {{ {image} }} }}'


def _read_config(config: Path, head: str) -> str | None:
    """The configuration of the model's existing versions, which must start with `head`. None if there is none."""
    if not config.exists():
        return None
    try:
        with config.open(encoding="utf-8") as file:
            text = file.read(MAX_CONFIG_CHARACTERS)
    except (OSError, ValueError) as error:
        raise InvalidArgumentError(f"text in {config}", f"none ({error})", "choose another --triton-name") from error
    if len(text) == MAX_CONFIG_CHARACTERS or not text.startswith(head):
        raise InvalidArgumentError(
            f"a model with this backend, largest batch and outputs in {config}",
            "another model",
            "choose another --triton-name, or remove the existing model",
        )
    return text


def _add_version(config: str, version: int, fingerprint: ModelFingerprint) -> str:
    """Add the parameter of a version, instead of one that a removed version of the same number left behind."""
    key = f'key: "{parameter_name(version)}" '
    lines = [line for line in config.splitlines(keepends=True) if key not in line]
    return "".join(lines) + f'parameters {{ {key}value {{ string_value: "{fingerprint}" }} }}\n'


@contextmanager
def _remove_if_empty(folder: Path) -> Iterator[None]:
    """Remove the folder of a model whose first version was not published."""
    try:
        yield
    finally:
        with suppress(OSError):
            folder.rmdir()
