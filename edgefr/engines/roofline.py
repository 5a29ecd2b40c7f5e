"""What this machine could do at best: how fast it multiplies matrices, and how much of that a model needs.

NumPy multiplies in FP32, OpenVINO in what NumPy has not: of the libraries at hand they are the fastest. (On 2 cores of
an AMD EPYC, Zen 4, OpenVINO reached 110 to 190 GFLOP/s in FP32 where NumPy reached 200, and in bf16 what torch did.)
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import util
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from edgefr.types import Floats

SIDE = 2048
"""Large enough that a product is bound by arithmetic: 17 GFLOP on 50 MB."""

LARGEST = 4.0
"""Beyond which the product's numbers are clipped in INT8."""

FEWEST, SECONDS = 5, 1.0
HINTS = {"bf16": "bf16", "int8": "f32"}


def gemm_rate(precision: str, side: int = SIDE) -> float | None:
    """Operations a second of a square matrix product, two for each multiplication with its addition.

    It is the fastest product of a second, for what else the machine does makes one slower and never faster. In INT8 the
    left matrix is rounded within the time, as a model rounds what it multiplies. None for a precision that is not
    measured or that this processor would compute in another one, and for those of OpenVINO without it.
    """
    multiply = _in_numpy(side) if precision == "fp32" else _in_openvino(precision, side)
    if multiply is None:
        return None
    times: list[float] = []
    end = perf_counter() + SECONDS
    while len(times) <= FEWEST or perf_counter() < end:  # the first one warms up, and is never the best
        start = perf_counter()
        multiply()
        times.append(perf_counter() - start)
    return 2.0 * side**3 / min(times)


def _in_numpy(side: int) -> Callable[[], object]:
    left, right, product = _numbers(side), _numbers(side), np.empty((side, side), np.float32)
    return lambda: np.matmul(left, right, out=product)


def _in_openvino(precision: str, side: int) -> Callable[[], object] | None:
    if precision not in HINTS or util.find_spec("openvino") is None:
        return None
    import openvino

    from edgefr.runtimes.openvino import heavy_layers, openvino_core

    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": HINTS[precision]}
    compiled = openvino_core().compile_model(_product(precision, side), "CPU", settings)
    if set(heavy_layers(compiled)) != {precision}:
        return None
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(_numbers(side)))
    infer: Callable[[], object] = request.infer
    return infer


def _product(precision: str, side: int) -> Any:
    """OpenVINO's model of a (side, side) matrix times a constant one."""
    import openvino
    from openvino import opset8 as ops

    def rounded(matrix: Any, lowest: float, levels: int) -> Any:
        ends = ops.constant(np.float32(lowest)), ops.constant(np.float32(LARGEST))
        return ops.fake_quantize(matrix, *ends, *ends, levels)

    left: Any = ops.parameter([side, side], np.float32, name="left")
    right = ops.constant(_numbers(side))
    # The left one without a sign, as what follows a clip in a model.
    factors = (rounded(left, 0.0, 256), rounded(right, -LARGEST, 255)) if precision == "int8" else (left, right)
    return openvino.Model([ops.matmul(*factors, False, False)], [left], "gemm")


def _numbers(side: int) -> Floats:
    """The same (side, side) every time."""
    return np.random.default_rng(0).standard_normal((side, side)).astype(np.float32)


def operations(path: Path) -> int | None:
    """Operations that the convolutions and matrix products of an ONNX file need for one image; None without `onnx`."""
    if util.find_spec("onnx") is None:
        return None
    import onnx

    model = onnx.load(path)
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {
        value.name: [size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    shapes |= {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    return sum(_operations(node, shapes) for node in graph.node)


def _operations(node: Any, shapes: dict[str, list[int]]) -> int:
    """Two for each output number and each weight that goes into it; of unknown sizes 1 is the batch."""
    if node.op_type not in ("Conv", "Gemm", "MatMul"):
        return 0
    output = int(np.prod([size or 1 for size in shapes.get(node.output[0], ())], dtype=np.int64))
    weight = shapes.get(node.input[1], [])
    if node.op_type == "Conv":  # (out, in / groups, height, width)
        return 2 * output * int(np.prod(weight[1:], dtype=np.int64))
    transposed = any(entry.name == "transB" and entry.i for entry in node.attribute)
    return 2 * output * (weight[-1 if transposed else -2] if len(weight) > 1 else 1)
