"""Engines for ncnn compute what the ONNX file computes, and what cannot be converted is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("ncnn")
pytest.importorskip("pnnx")

from onnx import helper, numpy_helper  # noqa: E402

from edgefr.data.sample_faces import astronaut_faces  # noqa: E402
from edgefr.engines import ncnn_builder as module  # noqa: E402
from edgefr.engines.device_profile import read_profile  # noqa: E402
from edgefr.engines.engine_from_onnx import BuildFaces, engine_from_onnx  # noqa: E402
from edgefr.engines.precision.ncnn_int8 import int8_ncnn  # noqa: E402
from edgefr.engines.precision.ncnn_weights import split_weights  # noqa: E402
from edgefr.engines.precision.onnx_graph import read_graph  # noqa: E402
from edgefr.engines.precision.pnnx_graph import pnnx_ready  # noqa: E402
from edgefr.errors import EdgefrError, MissingExtraError, UnavailableError, WrongModelError  # noqa: E402
from edgefr.manifest import read_manifest  # noqa: E402
from edgefr.models import MINI, shipped_model  # noqa: E402
from edgefr.recognition.recogniser import open_recogniser  # noqa: E402
from edgefr.runtimes.ncnn import NcnnNet  # noqa: E402
from edgefr.runtimes.ncnn_branches import find_branches  # noqa: E402
from edgefr.runtimes.processor import processor  # noqa: E402

Build = Callable[..., Path]


@pytest.fixture
def build(faces: np.ndarray, tmp_path: Path) -> Build:
    def run(model: Path, precision: str = "fp32", shown: np.ndarray = faces) -> Path:
        sample = BuildFaces(shown, None, shown)
        profile = read_profile(None, "ncnn")
        return engine_from_onnx(model, precision, "ncnn", profile, sample, tmp_path / "cache").path

    return run


def test_transformer_and_bottleneck_give_the_embeddings_of_the_model(build: Build) -> None:
    model, faces = shipped_model(MINI), astronaut_faces(3)
    found = open_recogniser(build(model, shown=faces)).embed(faces)
    wanted = open_recogniser(model, "onnxruntime").embed(faces)
    np.testing.assert_allclose(found.embedding, wanted.embedding, atol=1e-5)
    np.testing.assert_allclose(found.norm, wanted.norm, rtol=1e-5)
    assert found.uncertainty is not None
    np.testing.assert_allclose(found.uncertainty, wanted.uncertainty, atol=1e-4)


def test_backbones_side_by_side_give_the_same_embeddings(tmp_path: Path) -> None:
    graph, weights = module.ncnn_from_onnx(read_graph(shipped_model(MINI)), tmp_path)
    assert len(find_branches(graph)) == 2
    face = astronaut_faces(1)[0]
    orders = [replace(graph, side_by_side=order) for order in (False, True)]
    whole, beside = (NcnnNet(order, weights, "fp32", threads=2).run(face) for order in orders)
    for name, array in whole.items():
        np.testing.assert_allclose(beside[name], array, rtol=1e-4, atol=1e-6)


def test_a_single_backbone_has_no_branches(model: Path, tmp_path: Path) -> None:
    graph, weights = module.ncnn_from_onnx(read_graph(model), tmp_path)
    assert find_branches(graph) == ()
    NcnnNet(replace(graph, side_by_side=True), weights, "fp32", threads=2).run(astronaut_faces(1)[0])


def test_int8_is_calibrated_and_close(build: Build, model: Path, faces: np.ndarray) -> None:
    engine = build(model, "int8")
    recorded = read_manifest(engine)
    assert recorded is not None
    assert recorded.engine["calibrated_on"] == 7
    found, wanted = (open_recogniser(path).embed(faces).embedding for path in (engine, model))
    assert 0.99 < (found * wanted).sum(1).min() < 0.9999999


def test_int8_runs_without_vnni(build: Build, model: Path, faces: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    here = replace(processor(), flags=frozenset(), machine="x86_64")
    for place in ("edgefr.runtimes.engine_file", "edgefr.runtimes.ncnn", "edgefr.engines.engine_from_onnx"):
        monkeypatch.setattr(f"{place}.processor", lambda: here)
    found, wanted = (open_recogniser(path).embed(faces).embedding for path in (build(model, "int8"), model))
    assert (found * wanted).sum(1).min() > 0.99


def test_all_weights_of_a_transformer_are_found(tmp_path: Path) -> None:
    graph, weights = module.ncnn_from_onnx(read_graph(shipped_model(MINI)), tmp_path)
    parts = split_weights(graph, weights)
    assert b"".join(part.content for part in parts) == weights.read_bytes()
    assert {"Gemm", "LayerNorm", "ConvolutionDepthWise", "InnerProduct"} <= {part.layer.kind for part in parts}


def test_layers_that_int8_would_change_too_much_stay_in_fp32(model: Path, faces: np.ndarray, tmp_path: Path) -> None:
    graph, weights = module.ncnn_from_onnx(read_graph(model), tmp_path)
    output = tmp_path / "int8.bin"
    close, none = int8_ncnn(graph, weights, faces, 0.9, output)
    assert none == ()
    assert close.count_heavy_layers("int8") == {"fp32": 0, "int8": 2}
    exact, kept = int8_ncnn(graph, weights, faces, 0.9999999, output)
    assert len(kept) == 2
    assert (exact.text, output.read_bytes()) == (graph.with_layers(list(graph.layers())).text, weights.read_bytes())


def test_weights_of_unknown_layers_are_not_guessed(model: Path, tmp_path: Path) -> None:
    graph, weights = module.ncnn_from_onnx(read_graph(model), tmp_path)
    with weights.open("ab") as file:
        file.write(bytes(4))
    with pytest.raises(EdgefrError, match="layers of ncnn whose weights are known"):
        split_weights(graph, weights)


def test_the_number_of_threads_changes_nothing_but_the_time(build: Build, model: Path, faces: np.ndarray) -> None:
    engine = build(model)
    one, two = (open_recogniser(engine, threads=threads).embed(faces).embedding for threads in (1, 2))
    np.testing.assert_allclose(one, two, atol=1e-6)


def test_a_damaged_engine_is_refused(build: Build, model: Path) -> None:
    engine = build(model)
    content = bytearray(engine.read_bytes())
    content[100] ^= 1
    engine.write_bytes(content)
    with pytest.raises(WrongModelError, match="another file"):
        open_recogniser(engine)


def test_fp16_is_refused_where_the_processor_lacks_it(
    build: Build, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = replace(processor(), flags=frozenset())
    monkeypatch.setattr("edgefr.runtimes.ncnn.processor", lambda: here)
    with pytest.raises(UnavailableError, match="a processor that computes in FP16"):
        build(model, "fp16")


def test_an_operator_that_ncnn_lacks_is_named(build: Build, model: Path, tmp_path: Path) -> None:
    graph = onnx.load(model)
    norm = next(node for node in graph.graph.node if node.output[0] == "norm")
    norm.output[0] = "length_of_each"
    graph.graph.node.append(helper.make_node("ThresholdedRelu", ["length_of_each"], ["norm"], alpha=0.0))
    path = tmp_path / "other.onnx"
    onnx.save(graph, path)
    with pytest.raises(
        WrongModelError, match=r"expected a graph of operators that ncnn has, found .* Use another --runtime"
    ):
        build(path)


def test_an_embedding_that_is_computed_from_an_embedding_is_that_of_the_model(
    build: Build, model: Path, faces: np.ndarray, tmp_path: Path
) -> None:
    """As in a file of `edgefr fuse`, where embeddings of unit length are joined, and compared with each other."""
    graph = onnx.load(model)
    length = open_recogniser(model).embedding_dim
    for node in graph.graph.node:
        node.output[:] = [f"first_{name}" if name in ("embedding", "norm") else name for name in node.output]
        node.input[:] = [f"first_{name}" if name in ("embedding", "norm") else name for name in node.input]
    square = np.random.default_rng(0).normal(size=(length, length)).astype(np.float32)
    graph.graph.initializer.append(numpy_helper.from_array(square, "square"))
    graph.graph.node.extend(
        [
            helper.make_node("MatMul", ["first_embedding", "square"], ["turned"], "turned"),
            helper.make_node("ReduceL2", ["turned"], ["turned_length"], "turned_length", axes=[1], keepdims=1),
            helper.make_node("Div", ["turned", "turned_length"], ["embedding"], "embedding"),
            helper.make_node("ReduceL2", ["turned"], ["flat_length"], "flat_length", axes=[1], keepdims=0),
            helper.make_node("Mean", ["flat_length", "first_norm"], ["norm"], "norm"),
        ]
    )
    path = tmp_path / "joined.onnx"
    onnx.save(graph, path)
    found = open_recogniser(build(path)).embed(faces)
    wanted = open_recogniser(path, "onnxruntime").embed(faces)
    np.testing.assert_allclose(found.embedding, wanted.embedding, atol=1e-5)
    np.testing.assert_allclose(found.norm, wanted.norm, rtol=1e-5)


def test_an_output_of_another_length_is_refused_in_a_sentence(model: Path, tmp_path: Path) -> None:
    graph, weights = module.ncnn_from_onnx(read_graph(model), tmp_path)
    wrong = replace(graph, outputs=dict.fromkeys(graph.outputs))
    with pytest.raises(WrongModelError, match="expected 1 numbers in the output embedding, found"):
        NcnnNet(wrong, weights, "fp32").run(astronaut_faces(1)[0])


def test_without_pnnx_the_extra_is_named(build: Build, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"\[train\]"):
        build(model)


@pytest.mark.parametrize(("opset", "keepdims"), [(13, 0), (13, 1), (18, 0), (18, 1)])
@pytest.mark.parametrize("axis", [1, -1])
def test_a_reduction_over_two_axes_is_that_over_one(opset: int, keepdims: int, axis: int) -> None:
    import onnxruntime

    picture = helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, ["B", 4, 5, 3])
    axes = {"axes": [axis]} if opset < 18 else {}
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=onnx.TensorProto.FLOAT),
        helper.make_node(
            "ReduceMean", ["floats", "axes"][: 1 if axes else 2], ["mean"], "mean", keepdims=keepdims, **axes
        ),
    ]
    result = helper.make_tensor_value_info("mean", onnx.TensorProto.FLOAT, ["B", *[None] * (2 + keepdims)])
    constants = [numpy_helper.from_array(np.array([axis], np.int64), "axes")]
    graph = helper.make_graph(nodes, "reduction", [picture], [result], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    image = np.random.default_rng(0).integers(0, 256, (1, 4, 5, 3), np.uint8)
    before = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"image": image})[0]
    rewritten = onnxruntime.InferenceSession(pnnx_ready(model).SerializeToString())
    after = rewritten.run(None, {"image": image.astype(np.float32)})[0]
    np.testing.assert_allclose(after, before, rtol=1e-6)
    assert after.shape == before.shape
