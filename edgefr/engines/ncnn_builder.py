"""Builds an ncnn engine from an FP32 ONNX file by pnnx, the converter of ncnn's authors."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from importlib import util
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from edgefr.engines.compiled_engine import CompiledEngine
from edgefr.engines.precision.ncnn_int8 import int8_ncnn
from edgefr.engines.precision.onnx_graph import read_graph
from edgefr.engines.precision.pnnx_graph import pnnx_ready
from edgefr.errors import EdgefrError, MissingExtraError, WrongModelError, install_command, require_extra
from edgefr.runtimes.ncnn import NcnnNet, check_native
from edgefr.runtimes.ncnn_branches import find_branches
from edgefr.runtimes.ncnn_file import NcnnGraph, write_ncnn_file
from edgefr.runtimes.processor import processor
from edgefr.types import FACE_SIZE, Faces

if TYPE_CHECKING:
    import onnx

MAX_SECONDS = 1800
"""pnnx takes 5 s for two iresnet100."""

LARGE_WEIGHTS = 512 * 512 * 9
"""Number of weights of a convolution from which Winograd costs more time for reading weights than it saves, on an AMD
EPYC (Zen 5)."""
NO_WINOGRAD = "64"
"""The bit of ncnn's parameter 31 (feature mask) that turns Winograd off for a layer."""

ROUNDS, CALLS = 2, 4
"""Each order of the backbones is measured so often, in turns."""


def build_ncnn_engine(model: Path, precision: str, path: Path, faces: Faces, min_cosine: float) -> CompiledEngine:
    """Build an engine.

    Args:
        model: The FP32 .onnx file.
        precision: "fp32", "fp16" or "int8".
        path: The engine to write.
        faces: (N, 112, 112, 3) aligned faces, on which INT8 is calibrated.
        min_cosine: The lowest cosine of an INT8 embedding to that in FP32 on these faces.

    Raises:
        WrongModelError: The graph has an operator that ncnn lacks.
        UnavailableError: The processor does not compute in the precision.
        MissingExtraError: ncnn or pnnx is not installed.
        EdgefrError: pnnx fails.
    """
    check_native(precision)
    graph = read_graph(model)
    with TemporaryDirectory(dir=path.parent) as folder:
        converted, weights = ncnn_from_onnx(graph, Path(folder))
        kept: tuple[str, ...] = ()
        if precision == "int8":
            int8 = Path(folder) / "int8.bin"
            converted, kept = int8_ncnn(converted, weights, faces, min_cosine, int8)
            weights = int8
        converted = _faster_order(converted, weights, precision)
        write_ncnn_file(path, converted, weights)
    calibrated_on = len(faces) if precision == "int8" else 0
    return CompiledEngine(path, converted.count_heavy_layers(precision), fp32_nodes=kept, faces=calibrated_on)


def ncnn_from_onnx(model: onnx.ModelProto, folder: Path) -> tuple[NcnnGraph, Path]:
    """Convert a graph by pnnx.

    Args:
        model: The FP32 graph, as `onnx_graph.read_graph` gives it.
        folder: An empty folder for the files that pnnx writes.

    Returns:
        The graph, and the file of its weights in `folder`.

    Raises:
        MissingExtraError: pnnx is not installed.
        WrongModelError: The graph cannot be converted.
        EdgefrError: pnnx fails.
    """
    source = folder / "model.onnx"
    require_extra("onnx", "train").save(pnnx_ready(model), source)
    # pnnx rounds weights to FP16 unless told otherwise.
    command = [str(_pnnx()), source.name, "fp16=0"]
    try:
        result = subprocess.run(  # noqa: S603 (no input of others)
            command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=MAX_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EdgefrError("pnnx to convert the model", str(error)[:200], "use another --runtime") from error
    parameters, weights = folder / "model.ncnn.param", folder / "model.ncnn.bin"
    if result.returncode != 0 or not (parameters.is_file() and weights.is_file()):
        lines = [line for line in (result.stdout + result.stderr).splitlines() if line.strip()]
        raise WrongModelError(
            "a graph that pnnx converts for ncnn",
            f"one on which it fails ({(lines or ['no message'])[-1][:200]})",
            "use another --runtime for this model",
        )
    return _without_large_winograd(NcnnGraph(parameters.read_text(encoding="utf-8"), _outputs(model))), weights


def _without_large_winograd(graph: NcnnGraph) -> NcnnGraph:
    """Compute convolutions of many channels, which have small maps, without Winograd's larger weights."""
    layers = list(graph.layers())
    for layer in layers:
        if layer.kind == "Convolution" and layer.number("6") >= LARGE_WEIGHTS:
            layer.parameters["31"] = NO_WINOGRAD
    return graph.with_layers(layers)


def _faster_order(graph: NcnnGraph, weights: Path, precision: str) -> NcnnGraph:
    """Note whether the backbones are faster side by side, each on its share of the cores, on this machine."""
    if not find_branches(graph) or processor().cores < 2:
        return graph
    orders = [replace(graph, side_by_side=side_by_side) for side_by_side in (False, True)]
    times = [min(pair) for pair in zip(*(_times(orders, weights, precision) for _ in range(ROUNDS)), strict=True)]
    return orders[times.index(min(times))]


def _times(orders: list[NcnnGraph], weights: Path, precision: str) -> list[float]:
    return [_shortest_time(NcnnNet(order, weights, precision)) for order in orders]


def _shortest_time(net: NcnnNet) -> float:
    """Seconds for a picture. The net is freed with this call: two of a large model would need gigabytes."""
    picture, times = np.zeros((FACE_SIZE, FACE_SIZE, 3), np.uint8), []
    for _ in range(1 + CALLS):
        start = perf_counter()
        net.run(picture)
        times.append(perf_counter() - start)
    return min(times[1:])


def _outputs(model: onnx.ModelProto) -> dict[str, int | None]:
    """Name -> length of its vector, None for a number. pnnx keeps the order of the outputs, but not their names."""
    shapes = {value.name: value.type.tensor_type.shape.dim for value in model.graph.output}
    return {name: None if len(shape) == 1 else shape[1].dim_value for name, shape in shapes.items()}


def _pnnx() -> Path:
    """The program, which is looked up without an import of the package, because that imports torch."""
    package = util.find_spec("pnnx")
    folder = None if package is None or package.origin is None else Path(package.origin).parent
    program = next((path for path in folder.glob("pnnx*") if path.is_file()), None) if folder is not None else None
    if program is None:
        raise MissingExtraError("the program of pnnx", "none", f"run: {install_command('train')}")
    return program
