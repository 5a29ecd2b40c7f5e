"""What a runtime must do - say what it takes and gives, and infer - and the checks that all of them share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgefr.errors import EdgefrError

Array = npt.NDArray[Any]

LARGEST_MODEL = 2 << 30
"""A protobuf message, and so an ONNX file, ends at 2 GiB."""


@dataclass(frozen=True)
class TensorInfo:
    """Name, numpy dtype name and shape of an input or output; None stands for a dynamic dimension."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} ({','.join('B' if n is None else str(n) for n in self.shape)})"


@dataclass(frozen=True)
class Description:
    """What a backend runs on, how precisely it computes, and its inputs and outputs."""

    runtime: str
    precision: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


class Backend(Protocol):
    """A model made ready on one runtime; `infer` may be called from several threads at once."""

    def describe(self) -> Description: ...

    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Run the model on every input by name, and give every output by name.

        Raises:
            EdgefrError: an input has another name, dtype or shape than described, or the runtime fails.
        """
        ...


def check_inputs(inputs: dict[str, Array], description: Description) -> dict[str, Array]:
    """`inputs` as contiguous arrays.

    Raises:
        EdgefrError: they are not what `description` says.
    """
    if set(inputs) != {info.name for info in description.inputs}:
        raise EdgefrError(
            f"the inputs {', '.join(info.name for info in description.inputs)}",
            str(", ".join(sorted(inputs)) or "none"),
            "name them as the model does",
        )
    for info in description.inputs:
        array = inputs[info.name]
        fits = array.ndim == len(info.shape) and all(
            found >= 1 if wanted is None else found == wanted
            for found, wanted in zip(array.shape, info.shape, strict=True)
        )
        if array.dtype != np.dtype(info.dtype) or not fits:
            shape = ",".join(str(n) for n in array.shape)
            raise EdgefrError(f"input {info} with B at least 1", f"{array.dtype} ({shape})", "align the faces first")
    return {name: np.ascontiguousarray(array) for name, array in inputs.items()}


def model_file(path: Path, suffix: str, runtime: str) -> Path:
    """`path`, if it can be a model for `runtime`.

    Raises:
        EdgefrError: it has another suffix, or is missing, not a file, empty or beyond 2 GiB.
    """
    if path.suffix.lower() != suffix:
        raise EdgefrError(f"a {suffix} file for {runtime}", str(path), "choose another file or another --runtime")
    try:
        size = path.stat().st_size if path.is_file() else None
    except OSError:
        size = None
    if size is None:
        found = "a folder" if path.is_dir() else "no such file"
        raise EdgefrError(f"a model at {path}", found, "make one with `edgefr export`")
    if not 0 < size <= LARGEST_MODEL:
        raise EdgefrError(
            f"a model of 1 byte to 2 GiB at {path}", f"{size} bytes", "make it again with `edgefr export`"
        )
    return path


def unreadable(path: Path, runtime: str, error: Exception) -> EdgefrError:
    """The library's refusal of a model file as one sentence."""
    return EdgefrError(
        f"an ONNX model in {path}",
        f"one that {runtime} cannot load ({last_line(error)})",
        "make it again with `edgefr export`",
    )


def failed(runtime: str, error: Exception) -> EdgefrError:
    """The library's failure on checked inputs as one sentence."""
    return EdgefrError(
        f"{runtime} to run the model",
        f"that it fails ({last_line(error)})",
        "use a smaller batch or make the model again with `edgefr export`",
    )


def last_line(error: Exception) -> str:
    """The last line of a library's message, which says most, without its trailing full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:200].rstrip(". ")


def select_precision(supported: tuple[str, ...], precision: str, runtime: str, mend: str) -> str:
    """The precision to use: `precision` itself, or for "auto" the first supported one.

    Raises:
        EdgefrError: `precision` is not supported.
    """
    if precision == "auto":
        return supported[0]
    if precision not in supported:
        raise EdgefrError(
            f"precision auto or {' or '.join(supported)} for {runtime} on this processor", precision, mend
        )
    return precision
