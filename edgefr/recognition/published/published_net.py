"""Reads a recogniser as another project publishes it: what it takes, what it gives, and a core graph of it.

Files of unknown origin are only read in a child process with limits of memory and time (`read_published_net`). The
libraries that read and convert graphs are written in C++ and can be ended by a damaged or hostile file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefr.errors import EdgefrError, WrongModelError, require_extra
from edgefr.recognition.published.core_graph import OPSET, PIXELS, picture_by_picture, upgrade_opset, with_free_batch
from edgefr.runtimes.base import check_onnx_file, last_line
from edgefr.types import FACE_SIZE

if TYPE_CHECKING:
    import onnx

SHORTEST_EMBEDDING, LONGEST_EMBEDDING = 64, 4096
"""Lengths of an output that counts as an embedding: shorter ones are scores, longer ones classes."""

SMALLEST_SIDE, LARGEST_SIDE = 32, 512

CORE_TOLERANCE = 1e-3
"""Largest difference of a core's output from the published net's, as a share of the largest value."""

FIX = "give the .onnx file of a face recogniser, as its publisher names it"


@dataclass(frozen=True)
class PublishedNet:
    """The input and the outputs of a published recogniser.

    Attributes:
        channels_last: Whether the input is (B, H, W, 3) instead of (B, 3, H, W).
        size: Height and width of the input in pixels.
        dtype: "float32", "float16" or "uint8".
        outputs: Name of each output that can be an embedding -> its length K.
    """

    channels_last: bool
    size: tuple[int, int]
    dtype: str
    outputs: dict[str, int]


def core_from_published(path: Path, output: Path) -> PublishedNet:
    """Write the core of a published recogniser: its graph with one input `pixels` of any batch and standard operators.

    Args:
        path: The published .onnx file.
        output: The .onnx file to write. Its input is float32 or uint8, (B, 3, H, W) or (B, H, W, 3) as the net wants.

    Returns:
        What was found.

    Raises:
        WrongModelError: The file is no recogniser, or cannot be converted.
    """
    check_onnx_file(path, "edgefr adopt")
    library = require_extra("onnx", "onnx")
    try:
        model = library.load(path)
    except Exception as error:  # protobuf's own exceptions share no narrower base
        raise _refusal(path, "an ONNX model", f"another or a damaged file ({last_line(error)})") from error
    _check_domains(model, path)
    picture = _picture_input(model, path)
    channels_last, size = _layout(picture, path)
    names = [value.name for value in model.graph.output]
    was = _session(model, path)
    dtype = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}[
        was.get_inputs()[0].type
    ]
    sample = _sample(3, size, channels_last, dtype)
    expected = [_run(was, names, picture.name, sample[index : index + 1], path) for index in range(len(sample))]
    outputs = _embeddings(names, expected[0], path)
    wanted = [np.concatenate(rows) for name, *rows in zip(names, *expected, strict=True) if name in outputs]
    upgraded = upgrade_opset(model, path)
    free_batch = with_free_batch(upgraded, picture.name, tuple(outputs), channels_last, size)
    try:
        _check_core(free_batch, outputs, sample, wanted, path)
        core = free_batch
    except EdgefrError:
        core = picture_by_picture(upgraded, picture.name, tuple(outputs), channels_last, size)
        _check_core(core, outputs, sample, wanted, path)
    library.save(core, output)
    return PublishedNet(channels_last, size, dtype, outputs)


def _check_core(core: onnx.ModelProto, outputs: dict[str, int], sample: Any, wanted: list[Any], path: Path) -> None:
    """Compare what a core answers to several pictures at once, and to one, with what the published net answers."""
    session = _session(core, path)
    _compare(_run(session, list(outputs), PIXELS, sample, path), wanted, path)
    _compare(_run(session, list(outputs), PIXELS, sample[:1], path), [rows[:1] for rows in wanted], path)


def _refusal(path: Path, expected: str, found: str, fix: str = FIX) -> WrongModelError:
    return WrongModelError(f"{expected} in {path}", found, fix)


def _check_domains(model: onnx.ModelProto, path: Path) -> None:
    foreign = sorted({node.domain for node in model.graph.node} - {"", "ai.onnx"})
    if foreign or model.functions:
        found = f"operators of {', '.join(foreign)}" if foreign else "functions of its own"
        raise _refusal(path, "standard ONNX operators", found, "export the model again with standard operators")


def _picture_input(model: onnx.ModelProto, path: Path) -> onnx.ValueInfoProto:
    weights = {tensor.name for tensor in model.graph.initializer}  # old exporters list them as inputs
    inputs: list[onnx.ValueInfoProto] = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1 or len(inputs[0].type.tensor_type.shape.dim) != 4:
        shapes = "; ".join(f"{value.name} ({', '.join(_axes(value))})" for value in inputs) or "none"
        raise _refusal(path, "one input, a batch of pictures,", f"the inputs {shapes}")
    if inputs[0].type.tensor_type.elem_type not in (1, 2, 10):  # float, uint8, float16
        raise _refusal(path, "an input of floats or bytes", f"numbers of another type in {inputs[0].name}")
    return inputs[0]


def _axes(value: onnx.ValueInfoProto) -> list[str]:
    return [axis.dim_param or str(axis.dim_value or "?") for axis in value.type.tensor_type.shape.dim]


def _layout(picture: onnx.ValueInfoProto, path: Path) -> tuple[bool, tuple[int, int]]:
    """Whether channels come last, and height and width; 112 where the file leaves them open."""
    batch, *axes = (axis.dim_value for axis in picture.type.tensor_type.shape.dim)
    if batch > 1:
        raise _refusal(path, "a batch of 1 or of any size", f"one of {batch}", "export it with a dynamic batch")
    if (axes[0] == 3) == (axes[2] == 3):
        raise _refusal(path, "three colour channels, first or last,", f"the axes {', '.join(_axes(picture))}")
    channels_last = axes[2] == 3
    sides = axes[:2] if channels_last else axes[1:]
    height, width = (FACE_SIZE if side <= 0 else side for side in sides)
    if not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in (height, width)):
        raise _refusal(
            path, f"pictures with sides of {SMALLEST_SIDE} to {LARGEST_SIDE} pixels", f"{width}x{height} pixels"
        )
    return channels_last, (height, width)


def _sample(count: int, size: tuple[int, int], channels_last: bool, dtype: str) -> Any:
    """Smooth random pictures: what a net answers to plain noise can be dominated by rounding."""
    rng = np.random.default_rng(count)
    coarse = rng.uniform(0, 255, (count, 8, 8, 3))
    rows, columns = (np.linspace(0, 7, side).round().astype(int) for side in size)
    pictures = coarse[:, rows][:, :, columns]
    if not channels_last:
        pictures = pictures.transpose(0, 3, 1, 2)
    if dtype == "uint8":
        return np.ascontiguousarray(pictures, np.uint8)
    return np.ascontiguousarray((pictures - 127.5) / 127.5, dtype)


def _embeddings(names: list[str], answers: list[Any], path: Path) -> dict[str, int]:
    """The outputs that hold one vector of numbers for a picture."""
    lengths = {name: int(np.prod(answer.shape[1:])) for name, answer in zip(names, answers, strict=True)}
    vectors = {
        name: lengths[name]
        for name, answer in zip(names, answers, strict=True)
        if answer.ndim >= 2 and answer.shape[0] == 1 and lengths[name] == max(answer.shape[1:])
        if answer.dtype in (np.float32, np.float16)
    }
    found = {name: k for name, k in vectors.items() if SHORTEST_EMBEDDING <= k <= LONGEST_EMBEDDING}
    if not found:
        shapes = "; ".join(f"{name} {answer.shape}" for name, answer in zip(names, answers, strict=True))
        raise _refusal(
            path,
            f"an embedding of {SHORTEST_EMBEDDING} to {LONGEST_EMBEDDING} numbers for a face",
            f"the outputs {shapes[:300]}",
        )
    return found


def _session(model: onnx.ModelProto, path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no narrower base; protobuf's limit is a ValueError
        raise _refusal(path, "a model that onnxruntime can load", f"that it cannot ({last_line(error)})") from error


def _run(session: Any, names: list[str], picture: str, sample: Any, path: Path) -> list[Any]:
    try:
        answers: list[Any] = session.run(names, {picture: sample})
    except Exception as error:  # as above
        raise _refusal(
            path,
            f"a net that takes {len(sample)} pictures at once",
            f"a failure ({last_line(error)})",
            "export the model again with a dynamic batch",
        ) from error
    return answers


def _compare(found: list[Any], expected: list[Any], path: Path) -> None:
    for was, now in zip(expected, found, strict=True):
        difference = float(np.abs(was.astype(np.float64).ravel() - now.astype(np.float64).ravel()).max())
        if not difference <= CORE_TOLERANCE * max(float(np.abs(was).max()), 1e-9):  # "not" also refuses NaN
            raise EdgefrError(
                f"the outputs of {path} from its converted graph",
                f"a difference of {difference:.3g}",
                f"export the model again with operator set {OPSET} and a dynamic batch",
            )
