"""The interface of a runtime, its description, and the checks that all runtimes share."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from edgefr import __version__
from edgefr.errors import EdgefrError, InvalidArgumentError, WrongModelError
from edgefr.io.onnx_file import ParsedModel
from edgefr.io.onnx_tensors import check_weights, has_full_range
from edgefr.runtimes.processor import processor

if TYPE_CHECKING:
    from edgefr.runtimes.engine_file import Target

Array = npt.NDArray[Any]

MAX_MODEL_BYTES = 2 << 30
"""The limit of a protobuf message, and so of an ONNX file."""


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of a model.

    Attributes:
        name: Name of the tensor.
        dtype: Name of the numpy dtype.
        shape: Length of each axis. None stands for a dynamic axis.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} ({','.join('B' if n is None else str(n) for n in self.shape)})"


@dataclass(frozen=True)
class Description:
    """The runtime and precision of an opened model, and its inputs and outputs."""

    runtime: str
    precision: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


class Backend(Protocol):
    """A model that is opened on one runtime. Several threads may call `infer` at once."""

    def describe(self) -> Description: ...

    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Run the model.

        Args:
            inputs: Name -> array, for every input of the description.

        Returns:
            Name -> array, for every output of the description.

        Raises:
            InvalidArgumentError: An input has another name, dtype or shape than described.
            EdgefrError: The runtime fails.
        """
        ...


@dataclass(frozen=True)
class Runtime:
    """What edgefr has to know about a runtime before it imports the library.

    Attributes:
        name: Name on the command line.
        open: Opens a model: path, name or URL given by the user, precision, number of threads.
        install_command: Gives the command that installs the library.
        modules: Modules of the library, one of which must be present. Empty for a runtime that is part of edgefr.
        packages: Distributions that may contain the module. The version is that of the first one that is installed.
        exact_package: Whether the module counts only if one of `packages` brought it.
        formats: The precisions it offers on every processor, the default first.
        bf16: Whether it offers bf16 on processors that have it.
        fp16: Whether it offers FP16 on processors that have it.
        takes_file: Whether it opens a file. Otherwise the model is `runtime_registry.FAKE`.
        own_suffix: Suffix of files that only this runtime opens.
        url: Form of the URL that is given instead of the name, for runtimes on a server.
        target: Gives the target of engines for this machine. None if the runtime has no engines.
        open_without_spinning: Opens a model whose threads keep no core busy while they wait. None if they never do.
    """

    name: str
    open: Callable[[Path, str, str, int | None], Backend]
    install_command: Callable[[], str]
    modules: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    exact_package: bool = False
    formats: tuple[str, ...] = ("fp32",)
    bf16: bool = False
    fp16: bool = False
    takes_file: bool = True
    own_suffix: str = ""
    url: str = ""
    target: Callable[[], Target] | None = None
    open_without_spinning: Callable[[Path, str, str, int | None], Backend] | None = None

    @property
    def is_installed(self) -> bool:
        return not self.modules or any(util.find_spec(module) is not None for module in self.modules)

    @property
    def version(self) -> str | None:
        """The version of the library, "unknown" if no known package brought it, None if it is not installed."""
        if not self.modules:
            return __version__
        if not self.is_installed:
            return None
        from importlib import metadata

        for package in self.packages:
            with suppress(metadata.PackageNotFoundError):
                return metadata.version(package)
        return None if self.exact_package else "unknown"

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions that it offers on this processor, the default first."""
        bf16 = ("bf16",) if self.bf16 and processor().bf16 else ()
        fp16 = ("fp16",) if self.fp16 and processor().fp16 else ()
        return (*self.formats, *bf16, *fp16)

    def has_name(self, name: str) -> bool:
        """Whether the user means this runtime by `name`, which may be a URL."""
        return "://" in name if self.url else name == self.name


def check_inputs(inputs: dict[str, Array], description: Description) -> dict[str, Array]:
    """Compare inputs with the description of a model, and return them as contiguous arrays.

    Raises:
        InvalidArgumentError: A name, dtype or shape differs.
    """
    if set(inputs) != {info.name for info in description.inputs}:
        raise InvalidArgumentError(
            f"the inputs {', '.join(info.name for info in description.inputs)}",
            ", ".join(sorted(inputs)) or "none",
            "use the names of the model",
        )
    for info in description.inputs:
        array = inputs[info.name]
        fits = array.ndim == len(info.shape) and all(
            length >= 1 if expected is None else length == expected
            for length, expected in zip(array.shape, info.shape, strict=True)
        )
        if array.dtype != np.dtype(info.dtype) or not fits:
            shape = ",".join(str(n) for n in array.shape)
            raise InvalidArgumentError(
                f"input {info} with B at least 1", f"{array.dtype} ({shape})", "align the faces first"
            )
    return {name: np.ascontiguousarray(array) for name, array in inputs.items()}


def infer_in_parts(
    feed: dict[str, Array], max_batch: int, run: Callable[[dict[str, Array], int], dict[str, Array]]
) -> dict[str, Array]:
    """Run checked inputs in batches of at most `max_batch`; `run` gets each with its size."""
    total = len(next(iter(feed.values())))
    parts = []
    for start in range(0, total, max_batch):
        part = {name: array[start : start + max_batch] for name, array in feed.items()}
        parts.append(run(part, min(max_batch, total - start)))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


OTHER_FORMATS = {
    ".xml": (
        "an OpenVINO IR, which cannot be converted back to ONNX",
        "give the .onnx file that it was made from, which --runtime openvino runs; `edgefr adopt` makes a recogniser "
        "of another project usable",
    ),
    **dict.fromkeys(
        (".pt", ".pth", ".ckpt"),
        ("a checkpoint", "make an .onnx file of it with `edgefr adopt CHECKPOINT --faces FACES -o model.onnx`"),
    ),
}
"""Suffix -> what such a file is, and what to do, for files that people have instead of an .onnx file."""


def wrong_suffix(path: Path, expected: str, fix: str) -> InvalidArgumentError:
    """The error for a file that is not one of the expected formats; a known other format gets advice of its own."""
    suffix = path.suffix.lower()
    if suffix == ".bin" and path.with_suffix(".xml").is_file():  # the weights of an IR
        suffix = ".xml"
    if path.is_file() and suffix in OTHER_FORMATS:
        what, fix = OTHER_FORMATS[suffix]
        return InvalidArgumentError(expected, f"{path}, {what}", fix)
    return InvalidArgumentError(expected, str(path), fix)


def check_model_file(path: Path, suffix: str, runtime: str) -> Path:
    """Check suffix and size of a model file, and return it; `runtime` is for messages.

    Raises:
        InvalidArgumentError: It has another suffix.
        WrongModelError: It is missing, not a file, empty, or larger than 2 GiB.
    """
    if path.suffix.lower() != suffix:
        raise wrong_suffix(path, f"a {suffix} file for {runtime}", "choose another file or --runtime")
    try:
        size = path.stat().st_size if path.is_file() else None
    except OSError:
        size = None
    if size is None:
        found = "a folder" if path.is_dir() else "no such file"
        raise WrongModelError(f"a model at {path}", found, "make one with `edgefr export`")
    if not 0 < size <= MAX_MODEL_BYTES:
        raise WrongModelError(
            f"1 byte to 2 GiB in {path}", f"{size} bytes", "export it again, or get the file again from its publisher"
        )
    return path


def check_onnx_file(path: Path, runtime: str) -> ParsedModel:
    """Check an ONNX file before a library opens it: suffix, size, external data and weights.

    Raises:
        InvalidArgumentError: It has another suffix.
        WrongModelError: It is not a whole ONNX model (`check_model_file`), a file of external data is missing or
            outside its folder, or a weight is NaN or infinite.
    """
    model = ParsedModel.read(check_model_file(path, ".onnx", runtime))
    check_weights(model)
    return model


def check_int8_range(model: ParsedModel) -> None:
    """Check that this processor does not overflow in the sums of an INT8 file.

    Raises:
        WrongModelError: The weights have 8 bits, and the processor lacks VNNI.
    """
    if processor().saturates_int8 and has_full_range(model):
        raise WrongModelError(
            f"INT8 weights of 7 bits in {model.path} for a processor without VNNI",
            "8 bits, with which sums overflow",
            "build it on this machine with `edgefr build-engine MODEL --int8`",
        )


def load_error(path: Path, runtime: str, error: Exception) -> WrongModelError:
    """The error for a model file that a library cannot load."""
    return WrongModelError(
        f"an ONNX model in {path}",
        f"a file that {runtime} cannot load ({last_line(error)})",
        "export it again, or get the file again from its publisher",
    )


def inference_error(runtime: str, error: Exception) -> EdgefrError:
    """The error for a library that fails on checked inputs."""
    return EdgefrError(
        f"{runtime} to run the model",
        f"a failure ({last_line(error)})",
        "use a smaller batch, or make the model again with `edgefr export`",
    )


def last_line(error: Exception) -> str:
    """The last line of a library's message, usually the most specific one, without a full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:200].rstrip(". ")


def select_precision(supported: tuple[str, ...], precision: str, runtime: str, fix: str) -> str:
    """Choose one of the supported precisions, or for "auto" the first; `runtime` and `fix` are for the error.

    Raises:
        InvalidArgumentError: It is not supported.
    """
    if precision == "auto":
        return supported[0]
    if precision not in supported:
        raise InvalidArgumentError(
            f"precision auto or {' or '.join(supported)} for {runtime} on this processor", precision, fix
        )
    return precision
