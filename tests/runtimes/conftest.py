"""Small ONNX models that keep the contract, or break it in one way that a test names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bench.tritonserver import Tritonserver
from edgefr.engines.device_profile import read_profile
from edgefr.engines.engine_from_onnx import BuildFaces, engine_from_onnx
from tests.runtimes.triton.servers import make_repository

DIM = 16

MakeModel = Callable[..., Path]


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> MakeModel:
    """`make_model(**how)` writes a model of a convolution, a pooling and a projection, and gives its path."""

    def make(
        size: int = 112,
        batch: str | int = "B",
        dtype: int = TensorProto.UINT8,
        uncertainty: bool = True,
        unit: bool = True,
        batch_really: int = -1,
    ) -> Path:
        rng = np.random.default_rng(7)
        features = 8 * (size // 28) ** 2

        def constant(name: str, value: npt.ArrayLike, kind: type = np.float32) -> onnx.TensorProto:
            return numpy_helper.from_array(np.asarray(value, kind), name)

        weights = [
            constant("scale", 127.5),
            constant("one", 1.0),
            constant("tiny", 1e-12),
            constant("conv", rng.standard_normal((8, 3, 7, 7)) / 12),
            constant("projection", rng.standard_normal((features, DIM)) / 4),
            constant("flat", [batch_really, features], np.int64),
            constant("all", [-1], np.int64),
            constant("spare", 0.0),  # unused: libraries like to warn of it
        ]
        nodes = [
            helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Div", ["floats", "scale"], ["scaled"]),
            helper.make_node("Sub", ["scaled", "one"], ["centred"]),
            helper.make_node("Transpose", ["centred"], ["nchw"], perm=[0, 3, 1, 2]),
            helper.make_node("Conv", ["nchw", "conv"], ["maps"], strides=[7, 7]),
            helper.make_node("Relu", ["maps"], ["positive"]),
            helper.make_node("AveragePool", ["positive"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]),
            helper.make_node("Reshape", ["pooled", "flat"], ["rows"]),
            helper.make_node("MatMul", ["rows", "projection"], ["raw"]),
            helper.make_node("ReduceL2", ["raw"], ["length"], axes=[1], keepdims=1),
            helper.make_node("Max", ["length", "tiny"], ["divisor"]),
            helper.make_node("Div", ["raw", "divisor" if unit else "scale"], ["embedding"]),
            helper.make_node("Reshape", ["length", "all"], ["norm"]),
        ]
        outputs = [("embedding", [batch, DIM]), ("norm", [batch])]
        if uncertainty:
            nodes.append(helper.make_node("ReduceMean", ["raw"], ["uncertainty"], axes=[1], keepdims=0))
            outputs.append(("uncertainty", [batch]))
        graph = helper.make_graph(
            nodes,
            "tiny",
            [helper.make_tensor_value_info("image", dtype, [batch, size, size, 3])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
            weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        path = tmp_path_factory.mktemp("model") / "tiny.onnx"
        onnx.save(model, path)
        return path

    return make


@pytest.fixture(scope="session")
def model(make_model: MakeModel) -> Path:
    """A model that keeps the contract."""
    return make_model()


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], Path]:
    """`make_checkpoint(vib)` writes a fused checkpoint of random weights, and gives its path."""
    pytest.importorskip("torch")
    from edgefr.nn.fused_model import FusedModel, save_fused
    from edgefr.spec import FusionSpec, ModelSpec

    def make(vib: bool) -> Path:
        fusion = FusionSpec(embedding_dim=DIM, global_branch=False, vib=vib, readout="mean")
        path = tmp_path_factory.mktemp("checkpoint") / "random.safetensors"
        save_fused(FusedModel.random(ModelSpec("mobilefacenet", "mobilefacenet", fusion=fusion)), path)
        return path

    return make


@pytest.fixture(scope="session")
def checkpoint(make_checkpoint: Callable[[bool], Path]) -> Path:
    """A fused checkpoint of the full contract."""
    return make_checkpoint(True)


@pytest.fixture(scope="session")
def faces() -> npt.NDArray[np.uint8]:
    """Seven pictures of coarse random patches, (7, 112, 112, 3)."""
    patches = np.random.default_rng(1).integers(0, 256, (7, 8, 8, 3), np.uint8)
    return patches.repeat(14, 1).repeat(14, 2)


@pytest.fixture(scope="session")
def ncnn_engines(
    model: Path, faces: npt.NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """`ncnn_engines(precision)` gives an engine of the model for ncnn."""
    root, sample = tmp_path_factory.mktemp("engines"), BuildFaces(faces, None, faces)

    def build(precision: str) -> Path:
        return engine_from_onnx(model, precision, "ncnn", read_profile(None, "ncnn"), sample, root).path

    return build


@pytest.fixture(scope="session")
def triton(
    tritonserver: type[Tritonserver], model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tritonserver]:
    """A server of the models of `make_repository`."""
    repository = make_repository(tmp_path_factory.mktemp("repository"), model)
    server = tritonserver(repository, tmp_path_factory.mktemp("tritonserver"))
    server.start()
    yield server
    server.kill()
