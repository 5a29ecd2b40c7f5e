"""A model in a Triton model repository:

    REPO/NAME/config.pbtxt
    REPO/NAME/1/model.onnx or model.plan     the file as it is
    REPO/NAME/1/model.onnx.json              its manifest
    REPO/NAME/1/model.py                     with the Python backend only

A model that is there already gets the next version, as Triton's users expect: by Triton's own policy the newest one is
served, and a client of edgefr asks for the version that it knows. A version's folder is renamed into its place after
everything in it is on the disk: whenever this ends, a server finds a whole version or none.

There is no ensemble. The graph takes aligned faces as they are cut out, and normalises them itself: nothing is left to
put before it but finding faces, and for that a whole photograph would have to travel instead of 37 kB.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgefr.engines.engine_cache import on_disk
from edgefr.errors import EdgefrError
from edgefr.io.files import atomic_write
from edgefr.manifest import Manifest, model_manifest, write_manifest
from edgefr.recognition.recogniser import INPUT, Recogniser
from edgefr.runtimes.base import Description, TensorInfo
from edgefr.runtimes.onnxruntime import OnnxRuntimeBackend
from edgefr.runtimes.triton.model_fingerprint import PLAN, ModelFingerprint, checked_name, fingerprint_name, parameter
from edgefr.types import EMBEDDING, NORM, UNCERTAINTY

Kind = Literal["onnx", "plan", "python"]
"""Triton's backend for ONNX Runtime, its backend for TensorRT, or a model.py around onnxruntime."""

KINDS: dict[Kind, str] = {
    "onnx": 'platform: "onnxruntime_onnx"',
    "plan": 'platform: "tensorrt_plan"',
    "python": 'backend: "python"',
}

DTYPES = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32"}
"""Those of the contract (backends/recogniser.py)."""

LARGEST_BATCH = 32
"""Faces that Triton puts together for an ONNX file on the processor, where more at a time are no faster."""

DELAY = 2_000
"""Microseconds that a face waits for others to be put together with: a fraction of what embedding it takes."""

LARGEST_CONFIG = 1 << 20

YOURS = "# What follows is yours to tune; edgefr reads only the parameters that begin with its name.\n"


@dataclass(frozen=True)
class Exported:
    """Where a version lies, what it is called and what it is."""

    folder: Path
    name: str
    version: int
    served: ModelFingerprint


def triton_from_model(model: Path, repository: Path, python: bool = False, name: str | None = None) -> Exported:
    """Add an .onnx file or a TensorRT engine (.plan) to a model repository.

    `python`: serve an .onnx file by a model.py around onnxruntime, for servers without Triton's own onnxruntime
    backend.

    Raises:
        EdgefrError: the model does not keep the contract, the repository has another model of that name, or it cannot
            be written.
    """
    name = fingerprint_name(model) if name is None else checked_name(name)
    kind: Kind = "plan" if model.suffix.lower() == PLAN else "python" if python else "onnx"
    if python and kind == "plan":
        raise EdgefrError("an .onnx file to serve by Python", str(model), "leave out --triton-backend")
    served, manifest = ModelFingerprint.of(model), model_manifest(model) or Manifest("onnx", model.stem)
    largest = _largest(manifest, model)
    head = _head(name, kind, largest, _description(model))
    folder = repository / name
    version = 1 + max((int(path.name) for path in folder.glob("[1-9]*") if path.name.isdecimal()), default=0)
    config = folder / "config.pbtxt"
    text = _with_version(_known(config, head) or f"{head}\n{YOURS}{_tuning(kind, largest)}", version, served)
    with _version_folder(folder / str(version)) as temporary:
        file = temporary / ("model.plan" if kind == "plan" else "model.onnx")
        shutil.copyfile(model, file)
        write_manifest(file, manifest)
        if kind == "python":
            shutil.copyfile(Path(__file__).with_name("triton_model.py"), temporary / "model.py")
        with atomic_write(config) as whole:
            whole.write_text(text, encoding="utf-8")
    return Exported(folder / str(version), name, version, served)


def _largest(manifest: Manifest, model: Path) -> int:
    """Faces at a time: for an engine what it was built for.

    Raises:
        EdgefrError: its manifest does not tell.
    """
    if model.suffix.lower() != PLAN:
        return LARGEST_BATCH
    try:
        return int(manifest.engine["batch"]["max"])
    except (KeyError, TypeError, ValueError) as error:
        raise EdgefrError(
            f"the largest batch in the manifest of {model}",
            "none, as in engines of before it was told",
            "remove the engine's folder and build it again with `edgefr build-engine`",
        ) from error


def _description(model: Path) -> Description:
    """Inputs and outputs. An engine's are those of the file that it was compiled from, which lies beside it: no GPU is
    needed.

    Raises:
        EdgefrError: there is no such file, or they are not the contract's.
    """
    graph = model.with_name("model.onnx") if model.suffix.lower() == PLAN else model
    if graph != model and not graph.is_file():
        raise EdgefrError(
            f"{graph}, which the engine there was compiled from", "none", "copy the engine's whole folder"
        )
    return Recogniser(OnnxRuntimeBackend(graph), str(model)).description


def _head(name: str, kind: Kind, largest: int, description: Description) -> str:
    """What all versions of a model have in common. Outputs beyond the contract stay in the server."""
    outputs = tuple(info for info in description.outputs if info.name in (EMBEDDING, NORM, UNCERTAINTY))
    return (
        f'name: "{name}"\n'
        f"{KINDS[kind]}\n"
        f"max_batch_size: {largest}\n"
        f"input [{_tensors(description.inputs)}]\n"
        f"output [{_tensors(outputs)}]\n"
    )


def _tensors(infos: tuple[TensorInfo, ...]) -> str:
    return ",".join(f"\n  {{ {_tensor(info)} }}" for info in infos) + "\n"


def _tensor(info: TensorInfo) -> str:
    """Without the batch, which Triton adds. It knows no tensor of a batch alone: `norm` has one number a face there."""
    shape = ", ".join(str(size) for size in info.shape[1:])
    dims = f"dims: [ {shape} ]" if shape else "dims: [ 1 ] reshape { shape: [ ] }"
    return f'name: "{info.name}" data_type: {DTYPES[info.dtype]} {dims}'


def _tuning(kind: Kind, largest: int) -> str:
    """Instances, batching and warm-up, as they are good to begin with.

    The queue has no policy: with a largest size or a timeout, one face of ten lay in it for half a second (Triton 2.51,
    one client of bench/triton.py; without, none of 800). Triton drops by itself what a client no longer waits for.
    """
    preferred = ", ".join(str(size) for size in sorted({max(1, largest // 4), max(1, largest // 2), largest}))
    sizes = sorted({1, largest})
    return (
        f"instance_group [ {{ count: 1 kind: {'KIND_GPU' if kind == 'plan' else 'KIND_CPU'} }} ]\n"
        "dynamic_batching {\n"
        f"  preferred_batch_size: [ {preferred} ]\n"
        f"  max_queue_delay_microseconds: {DELAY}\n"
        "}\n"
        f"model_warmup [{','.join(map(_warmup, sizes))}\n]\n"
    )


def _warmup(size: int) -> str:
    image = f'key: "{INPUT.name}" value {{ data_type: TYPE_UINT8 dims: [ 112, 112, 3 ] random_data: true }}'
    return f'\n  {{ name: "{size}" batch_size: {size} inputs {{ {image} }} }}'


def _known(config: Path, head: str) -> str | None:
    """The config.pbtxt of the model's other versions, None where there is none.

    Raises:
        EdgefrError: it is of another model.
    """
    if not config.exists():
        return None
    try:
        with config.open(encoding="utf-8") as file:
            text = file.read(LARGEST_CONFIG)
    except (OSError, ValueError) as error:
        raise EdgefrError(f"text in {config}", f"none ({error})", "choose another --triton-name") from error
    if len(text) == LARGEST_CONFIG or not text.startswith(head):
        raise EdgefrError(
            f"{config} to begin as that of a model with this backend, largest batch and outputs",
            "another",
            "choose another --triton-name, or remove the model that is there",
        )
    return text


def _with_version(config: str, version: int, served: ModelFingerprint) -> str:
    """With one parameter more, and what a version of this number left behind taken out."""
    key = f'key: "{parameter(version)}" '
    lines = [line for line in config.splitlines(keepends=True) if key not in line]
    return "".join(lines) + f'parameters {{ {key}value {{ string_value: "{served}" }} }}\n'


@contextmanager
def _version_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to fill, whose name no server takes for a version's; rename it on success, remove it on failure.

    Raises:
        EdgefrError: it cannot be written, or another export was faster.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        yield temporary
        on_disk(temporary)
        temporary.chmod(0o755)
        temporary.rename(folder)
    except OSError as error:
        raise _unwritable(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        with suppress(OSError):
            folder.parent.rmdir()  # if nothing came of the model's first version


def _unwritable(folder: Path, error: OSError) -> EdgefrError:
    return EdgefrError(
        f"to write {folder}",
        f"that this cannot be done ({error.strerror or error})",
        "choose another repository, make room, or run it again if another export was at work",
    )
