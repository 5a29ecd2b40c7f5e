"""The rate of matrix products on this machine, and the number of operations of a model.

NumPy multiplies in FP32, OpenVINO in the other precisions. They are the fastest of the libraries that are installed: on
2 cores of an AMD EPYC (Zen 4) OpenVINO reached 110 to 190 GFLOP/s in FP32, NumPy 200; in bf16 OpenVINO equalled torch.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import util
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from edgefr.engines.precision.half_weights import widen_weights
from edgefr.runtimes.base import check_onnx_file
from edgefr.types import Floats

SIDE = 2048
"""Large enough that arithmetic, not memory, limits a product: 17 GFLOP on 50 MB."""

INT8_RANGE = 4.0
"""Larger numbers are clipped in INT8."""

MIN_PRODUCTS, SECONDS = 5, 1.0
HINTS = {"bf16": "bf16", "int8": "f32"}


def gemm_rate(precision: str, side: int = SIDE) -> float | None:
    """Measure the rate of a square matrix product.

    The fastest product within a second counts, because other work on the machine only makes products slower. In INT8
    the time includes rounding the left matrix, as a model rounds its activations.

    Args:
        precision: "fp32", "bf16" or "int8".
        side: Length of the matrices.

    Returns:
        Operations a second; a multiplication and its addition are two. None for another precision, for one that this
        processor computes in another format, and without OpenVINO, except for FP32.
    """
    multiply = _in_numpy(side) if precision == "fp32" else _in_openvino(precision, side)
    if multiply is None:
        return None
    times: list[float] = []
    end = perf_counter() + SECONDS
    while len(times) <= MIN_PRODUCTS or perf_counter() < end:  # the first one is a warm-up and never the fastest
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

    from edgefr.runtimes.openvino import count_heavy_layers, openvino_core

    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": HINTS[precision]}
    compiled = openvino_core().compile_model(_product(precision, side), "CPU", settings)
    if set(count_heavy_layers(compiled)) != {precision}:
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
        ends = ops.constant(np.float32(lowest)), ops.constant(np.float32(INT8_RANGE))
        return ops.fake_quantize(matrix, *ends, *ends, levels)

    left: Any = ops.parameter([side, side], np.float32, name="left")
    right = ops.constant(_numbers(side))
    # The left matrix is unsigned, like the activations of a model after a clip.
    factors = (rounded(left, 0.0, 256), rounded(right, -INT8_RANGE, 255)) if precision == "int8" else (left, right)
    return openvino.Model([ops.matmul(*factors, False, False)], [left], "gemm")


def _numbers(side: int) -> Floats:
    """(side, side), the same at every call."""
    return np.random.default_rng(0).standard_normal((side, side)).astype(np.float32)


def count_operations(path: Path) -> int | None:
    """Count the operations of the convolutions and matrix products of an ONNX file for one image; None without onnx.

    Raises:
        EdgefrError: It is not an ONNX model.
    """
    if util.find_spec("onnx") is None:
        return None
    import onnx

    check_onnx_file(path, "edgefr bench")
    model = onnx.load(path)
    widen_weights(model)
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
    """Two for each output element and each of its weights. An unknown size is the batch, 1."""
    if node.op_type not in ("Conv", "Gemm", "MatMul"):
        return 0
    output = int(np.prod([size or 1 for size in shapes.get(node.output[0], ())], dtype=np.int64))
    weight = shapes.get(node.input[1], [])
    if node.op_type == "Conv":  # (out, in / groups, height, width)
        return 2 * output * int(np.prod(weight[1:], dtype=np.int64))
    transposed = any(entry.name == "transB" and entry.i for entry in node.attribute)
    return 2 * output * (weight[-1 if transposed else -2] if len(weight) > 1 else 1)
