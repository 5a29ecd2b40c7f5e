"""Conversions to FP16 and INT8, overflows, and the search for nodes that stay in FP32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from edgefr.engines.precision.conversion import convert_precision  # noqa: E402
from edgefr.engines.precision.fp16 import fp16_from_fp32  # noqa: E402
from edgefr.engines.precision.fp16_overflow import find_overflowing_nodes  # noqa: E402
from edgefr.engines.precision.fp32_fallback import minimal_fp32_nodes  # noqa: E402
from edgefr.engines.precision.int8 import calibrate_graph  # noqa: E402
from edgefr.engines.precision.onnx_graph import read_graph  # noqa: E402
from edgefr.errors import EdgefrError  # noqa: E402
from edgefr.io.onnx_file import graph_precision  # noqa: E402
from edgefr.runtimes import open_backend  # noqa: E402

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    values = (*inferred.value_info, *inferred.output, *inferred.input)
    return {value.name: value.type.tensor_type.elem_type for value in values}


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "converted.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture
def attention(tmp_path: Path) -> onnx.ModelProto:
    """Pixels -> projection -> LayerNormalization -> projection -> Softmax -> projection -> unit length."""
    rng = np.random.default_rng(3)

    def constant(name: str, value: object, kind: type = np.float32) -> onnx.TensorProto:
        return numpy_helper.from_array(np.asarray(value, kind), name)

    weights = [
        constant("scale", 255.0),
        constant("flat", [0, -1], np.int64),
        constant("first", rng.standard_normal((112 * 112 * 3, 16)) / 200),
        constant("gain", np.ones(16)),
        constant("shift", np.zeros(16)),
        constant("second", rng.standard_normal((16, 16))),
        constant("third", rng.standard_normal((16, 8))),
        constant("axis", [1], np.int64),
        constant("all", [-1], np.int64),
    ]
    nodes = [
        helper.make_node("Transpose", ["image"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["nchw"], ["floats"], to=FLOAT),
        helper.make_node("Div", ["floats", "scale"], ["scaled"]),
        helper.make_node("Reshape", ["scaled", "flat"], ["rows"]),
        helper.make_node("Gemm", ["rows", "first"], ["tokens"], name="first"),
        helper.make_node("LayerNormalization", ["tokens", "gain", "shift"], ["normal"], name="norm"),
        helper.make_node("Gemm", ["normal", "second"], ["scores"], name="second"),
        helper.make_node("Softmax", ["scores"], ["weights"], name="softmax"),
        helper.make_node("Gemm", ["weights", "third"], ["raw"], name="third"),
        helper.make_node("ReduceL2", ["raw", "axis"], ["length"], keepdims=1),
        helper.make_node("Div", ["raw", "length"], ["embedding"]),
        helper.make_node("Reshape", ["length", "all"], ["norm"]),
    ]
    graph = helper.make_graph(
        nodes,
        "attention",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["B", 112, 112, 3])],
        [
            helper.make_tensor_value_info("embedding", FLOAT, ["B", 8]),
            helper.make_tensor_value_info("norm", FLOAT, ["B"]),
        ],
        weights,
    )
    path = tmp_path / "attention.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return read_graph(path)


def test_pixels_become_floats_before_they_are_transposed(attention: onnx.ModelProto) -> None:
    """TensorRT's Transpose refuses uint8."""
    assert [node.op_type for node in attention.graph.node][:3] == ["Cast", "Transpose", "Div"]
    onnx.checker.check_model(attention, full_check=True)


def test_heavy_nodes_are_fp16_and_other_nodes_and_outputs_fp32(attention: onnx.ModelProto) -> None:
    half = fp16_from_fp32(attention)
    types = types_of(half)
    made = {node.name: types[node.output[0]] for node in half.graph.node}
    assert {made[name] for name in ("first", "second", "third")} == {HALF}
    assert {made[name] for name in ("norm", "softmax")} == {FLOAT}
    assert {types[name] for name in ("embedding", "norm", "length")} == {FLOAT}
    assert types["image"] == TensorProto.UINT8


def test_fp16_has_nearly_the_outputs_of_fp32_in_half_the_bytes(
    attention: onnx.ModelProto, faces, tmp_path: Path
) -> None:
    (tmp_path / "full.onnx").write_bytes(attention.SerializeToString())
    half = saved(fp16_from_fp32(attention), tmp_path)
    ours, theirs = (
        open_backend(path, "onnxruntime").infer({"image": faces}) for path in (tmp_path / "full.onnx", half)
    )
    assert 0 < np.abs(ours["embedding"] - theirs["embedding"]).max() < 2e-3
    assert half.stat().st_size < 0.55 * (tmp_path / "full.onnx").stat().st_size
    assert graph_precision(half).share("fp16") == 1
    assert open_backend(half, "onnxruntime").describe().precision == "fp16"


def test_excluded_nodes_and_weights_too_large_for_fp16_stay_fp32(attention: onnx.ModelProto) -> None:
    third = next(tensor for tensor in attention.graph.initializer if tensor.name == "third")
    third.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(third) * np.float32(1e6), "third"))
    half = fp16_from_fp32(attention, {"first"})
    types = types_of(half)
    made = {node.name: types[node.output[0]] for node in half.graph.node}
    assert (made["first"], made["second"], made["third"]) == (FLOAT, HALF, FLOAT)


def test_a_node_that_overflows_before_a_layer_norm_stays_fp32(
    attention: onnx.ModelProto, faces, tmp_path: Path
) -> None:
    """LayerNormalization cancels a factor of 100,000 in FP32, but the FP16 tensor before it overflows."""
    first = next(tensor for tensor in attention.graph.initializer if tensor.name == "first")
    first.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(first) * np.float32(1e5), "first"))
    assert find_overflowing_nodes(fp16_from_fp32(attention), faces) == ("first",)
    conversion = convert_precision(attention, "fp16", faces, 0.9995, "onnxruntime")
    assert conversion.fp32_nodes == ("first",)
    assert find_overflowing_nodes(conversion.model, faces) == ()


def test_depthwise_convolutions_do_not_become_int8(model: Path, faces) -> None:
    graph = read_graph(model)
    each = numpy_helper.from_array(np.ones((8, 1, 1, 1), np.float32), "each")
    depthwise = helper.make_node("Conv", ["positive", "each"], ["spread"], "depthwise", group=8)
    (pool,) = (node for node in graph.graph.node if node.op_type == "AveragePool")
    pool.input[0] = "spread"
    graph.graph.initializer.append(each)
    graph.graph.node.insert(list(graph.graph.node).index(pool), depthwise)
    ready = calibrate_graph(graph, faces[:2], symmetric=False)
    convolutions = [node.name for node in graph.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 2
    assert ready.nodes() == (convolutions[0],)


def test_weights_that_nothing_takes_cause_no_warning(
    model: Path, faces, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = onnx.load(model)
    whole.graph.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), "left_over"))
    calibrate_graph(read_graph(saved(whole, tmp_path)), faces[:2], symmetric=False)
    assert "left_over" not in capfd.readouterr().err


def test_int8_nodes_are_int8_with_the_right_zero_points(model: Path, faces, tmp_path: Path) -> None:
    graph = read_graph(model)
    for symmetric in (False, True):
        ready = calibrate_graph(graph, faces, symmetric)
        assert len(ready.nodes()) == 1  # the tiny model's convolution; its MatMul stays
        path = saved(ready.int8(), tmp_path)
        assert graph_precision(path).int8 == 1
        zeros = [t for t in onnx.load(path).graph.initializer if t.name.endswith("zero_point")]
        assert all(not numpy_helper.to_array(zero).any() for zero in zeros) == symmetric
        found = open_backend(path, "onnxruntime").infer({"image": faces})["embedding"]
        wanted = open_backend(model, "onnxruntime").infer({"image": faces})["embedding"]
        assert (found * wanted).sum(1).min() > 0.98
        assert graph_precision(saved(ready.int8(ready.nodes()), tmp_path)).int8 == 0


def test_nodes_that_differ_too_much_stay_in_fp32(model: Path, faces) -> None:
    """INT8 is never within a millionth, so that the only node stays in FP32."""
    conversion = convert_precision(read_graph(model), "int8", faces, 1 - 1e-6, "openvino")
    assert len(conversion.fp32_nodes) == 1
    assert convert_precision(read_graph(model), "int8", faces, 0.9, "openvino").fp32_nodes == ()


def test_conversions_need_faces(model: Path, faces) -> None:
    with pytest.raises(EdgefrError, match="expected faces to convert to int8 with"):
        convert_precision(read_graph(model), "int8", faces[:0], 0.98, "openvino")


def test_a_file_that_is_not_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"text")
    with pytest.raises(EdgefrError, match="expected an ONNX model"):
        read_graph(tmp_path / "model.onnx")
    with pytest.raises(EdgefrError, match="expected an ONNX model"):
        graph_precision(tmp_path / "model.onnx")


@settings(max_examples=50)
@given(st.integers(1, 40), st.data())
def test_the_search_finds_exactly_the_necessary_nodes(count: int, data: st.DataObject) -> None:
    nodes = [f"node {index}" for index in range(count)]
    needed = data.draw(st.sets(st.sampled_from(nodes)))
    asked: list[frozenset[str]] = []

    def good(keep: frozenset[str]) -> bool:
        asked.append(keep)
        return needed <= keep

    assert set(minimal_fp32_nodes(nodes, good)) == needed
    assert len(asked) <= 2 + 2 * len(needed) * (1 + count.bit_length())
