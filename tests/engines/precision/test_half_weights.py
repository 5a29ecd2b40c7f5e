"""Weights stored in FP16: half the file, the same decisions, and the graph that conversions expect."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from edgefr.engines.precision.half_weights import halve_weights, widen_weights  # noqa: E402
from edgefr.engines.precision.onnx_graph import read_graph  # noqa: E402
from edgefr.errors import EdgefrError  # noqa: E402
from edgefr.io.onnx_file import graph_precision  # noqa: E402


def graph_of(weight: np.ndarray) -> onnx.ModelProto:
    """A matrix product with a large weight, and a small bias that is exact in FP32 only."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Add", ["y", "b"], ["z"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", weight.shape[0]])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", weight.shape[1]])],
        [
            numpy_helper.from_array(weight, "w"),
            numpy_helper.from_array(np.full(weight.shape[1], 0.1, np.float32), "b"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.fixture
def weight() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((64, 48)).astype(np.float32)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def test_large_weights_take_half_the_bytes_and_the_graph_still_computes_in_fp32(tmp_path: Path, weight) -> None:
    whole, model = graph_of(weight), graph_of(weight)
    halve_weights(model)
    x = np.random.default_rng(1).standard_normal((5, 64)).astype(np.float32)
    assert np.allclose(run(model, x), x @ weight.astype(np.float16).astype(np.float32) + np.float32(0.1), atol=1e-5)
    assert model.ByteSize() < 0.55 * whole.ByteSize()
    onnx.save(model, tmp_path / "half.onnx")
    assert graph_precision(tmp_path / "half.onnx").name == "fp32"


def test_a_conversion_sees_fp32_weights_and_no_casts(tmp_path: Path, weight) -> None:
    model = graph_of(weight)
    halve_weights(model)
    onnx.save(model, tmp_path / "half.onnx")
    graph = read_graph(tmp_path / "half.onnx").graph
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    assert [node.op_type for node in graph.node] == ["MatMul", "Add"]
    assert set(weights) == {"w", "b"}
    assert np.array_equal(weights["w"], weight.astype(np.float16).astype(np.float32))
    assert np.array_equal(weights["b"], np.full(48, 0.1, np.float32)), "small tensors keep their precision"


def test_a_graph_without_halved_weights_stays_as_it_is(weight) -> None:
    model = graph_of(weight)
    before = model.SerializeToString()
    widen_weights(model)
    assert model.SerializeToString() == before


def test_a_weight_beyond_fp16_is_refused(weight) -> None:
    weight[3, 4] = 1e5
    with pytest.raises(EdgefrError, match=r"a larger one in w"):
        halve_weights(graph_of(weight))
