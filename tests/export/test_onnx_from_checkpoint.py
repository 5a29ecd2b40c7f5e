"""The exported graph: its contract, its operators, its manifest, and its refusal to differ from torch."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from edgefr.data.sample_faces import astronaut_faces  # noqa: E402
from edgefr.errors import EdgefrError, WrongModelError  # noqa: E402
from edgefr.export import onnx_from_checkpoint as module  # noqa: E402
from edgefr.export.onnx_from_checkpoint import onnx_from_checkpoint  # noqa: E402
from edgefr.io.files import sha256_of  # noqa: E402
from edgefr.manifest import HeldOut, Manifest, model_manifest, read_manifest, write_manifest  # noqa: E402
from edgefr.nn.fused_model import FusedModel, save_fused  # noqa: E402
from edgefr.recognition.recogniser import open_recogniser  # noqa: E402
from edgefr.spec import FusionSpec, ModelSpec  # noqa: E402

HELD_OUT = HeldOut("pairs", (6, 7), "faces")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights: needs nobody's data."""
    torch.manual_seed(0)
    fusion = FusionSpec(embedding_dim=256, readout="mean", skip="embeddings")
    model = FusedModel.random(ModelSpec("mobilefacenet", "mbf", fusion=replace(fusion, embedding_dim=640)))
    torch.nn.init.normal_(model.bottleneck.mu.weight, std=1e-3)
    path = tmp_path_factory.mktemp("export") / "random.safetensors"
    save_fused(model, path)
    write_manifest(path, Manifest("checkpoint", "random", model.spec.to_dict(), held_out=HELD_OUT))
    return path


@pytest.fixture(scope="module")
def exported(checkpoint: Path) -> Path:
    output = checkpoint.with_name("model.onnx")
    onnx_from_checkpoint(checkpoint, output, astronaut_faces(4))
    return output


def test_half_weights_give_half_the_file_and_the_same_embeddings(checkpoint: Path, exported: Path) -> None:
    faces = astronaut_faces(4)
    halved = checkpoint.with_name("halved.onnx")
    told = onnx_from_checkpoint(checkpoint, halved, faces, half_weights=True)
    assert halved.stat().st_size < 0.55 * exported.stat().st_size
    whole, half = (open_recogniser(path, "onnxruntime").embed(faces).embedding for path in (exported, halved))
    cosines = (whole * half).sum(1)
    assert cosines.min() > 0.9999
    assert np.abs(whole - half).max() > 1e-6, "rounded"
    assert told.cosine_min == pytest.approx(cosines.min(), abs=1e-5)
    assert model_manifest(halved).held_out == HELD_OUT


def test_half_weights_that_change_the_embeddings_are_refused(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def coarse(model: onnx.ModelProto) -> None:
        for tensor in model.graph.initializer:
            if len(tensor.dims) == 4:
                rounded = np.round(onnx.numpy_helper.to_array(tensor), 2)
                tensor.CopyFrom(onnx.numpy_helper.from_array(rounded, tensor.name))

    monkeypatch.setattr(module, "halve_weights", coarse)
    with pytest.raises(EdgefrError, match=r"Leave out --half-weights.*Nothing was written"):
        onnx_from_checkpoint(checkpoint, tmp_path / "half.onnx", astronaut_faces(2), half_weights=True)
    assert list(tmp_path.iterdir()) == []


def shape(value) -> list[object]:
    return [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]


def test_the_graph_has_the_inputs_and_outputs_of_a_recogniser(exported: Path) -> None:
    graph = onnx.load(exported).graph
    assert [(value.name, shape(value)) for value in graph.input] == [("image", ["batch", 112, 112, 3])]
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [(value.name, shape(value)) for value in graph.output] == [
        ("embedding", ["batch", 640]),
        ("norm", ["batch"]),
        ("uncertainty", ["batch"]),
    ]
    assert {value.type.tensor_type.elem_type for value in graph.output} == {onnx.TensorProto.FLOAT}


def test_the_file_has_only_standard_operators_and_no_local_paths(exported: Path) -> None:
    model = onnx.load(exported)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert {node.op_type for node in model.graph.node}.isdisjoint({"BatchNormalization", "Identity", "Dropout"})
    assert b"site-packages" not in exported.read_bytes()


def test_the_manifest_is_beside_and_inside_the_file(exported: Path, checkpoint: Path) -> None:
    beside = read_manifest(exported)
    assert beside is not None
    assert beside.made_from["checkpoint"] == {"file": checkpoint.name, "sha256": sha256_of(checkpoint)}
    assert beside.held_out == HELD_OUT, "who may be evaluated on is known of what is exported, too"
    assert beside.spec["fusion"]["embedding_dim"] == 640
    alone = exported.with_name("alone.onnx")
    alone.write_bytes(exported.read_bytes())
    assert model_manifest(alone) == beside


def test_the_file_has_the_outputs_of_torch_at_any_batch_size(exported: Path, checkpoint: Path) -> None:
    faces = astronaut_faces(7)
    ours = open_recogniser(exported, "onnxruntime").embed(faces, batch=7)
    theirs = open_recogniser(checkpoint, "torch").embed(faces, batch=1)
    assert (ours.embedding * theirs.embedding).sum(1).min() > 0.99999
    np.testing.assert_allclose(ours.norm, theirs.norm, rtol=1e-4)
    np.testing.assert_allclose(ours.uncertainty, theirs.uncertainty, rtol=1e-4)


def test_a_graph_with_other_outputs_is_not_written(
    checkpoint: Path, exported: Path, tmp_path: Path, monkeypatch
) -> None:
    """The graph of this checkpoint with swapped channels."""
    model = onnx.load(exported)
    (skip,) = (tensor for tensor in model.graph.initializer if tensor.name == "model.bottleneck.skip.weight")
    skip.CopyFrom(onnx.numpy_helper.from_array(np.roll(onnx.numpy_helper.to_array(skip), 1, 0), skip.name))
    monkeypatch.setattr(module, "_write", lambda _graph, _manifest, path: onnx.save(model, path))
    with pytest.raises(EdgefrError, match="expected the exported graph to give the outputs of torch on real faces"):
        onnx_from_checkpoint(checkpoint, tmp_path / "model.onnx", astronaut_faces(2))
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_with_nan_is_not_exported(tmp_path: Path) -> None:
    fusion = FusionSpec(embedding_dim=64, readout="mean", vib=False, local_branch=False)
    model = FusedModel.random(ModelSpec("mobilefacenet", "mobilefacenet", fusion=fusion))
    model.bottleneck.mu.bias.data[0] = float("nan")
    save_fused(model, tmp_path / "nan.safetensors")
    with pytest.raises(WrongModelError, match=r"found NaN or infinity in bottleneck\.mu\.bias"):
        onnx_from_checkpoint(tmp_path / "nan.safetensors", tmp_path / "nan.onnx", astronaut_faces(2))
    assert not (tmp_path / "nan.onnx").exists()


def test_without_a_bottleneck_there_is_no_uncertainty_output(tmp_path: Path) -> None:
    fusion = FusionSpec(embedding_dim=64, readout="mean", vib=False, local_branch=False)
    save_fused(
        FusedModel.random(ModelSpec("mobilefacenet", "mobilefacenet", fusion=fusion)), tmp_path / "m.safetensors"
    )
    onnx_from_checkpoint(tmp_path / "m.safetensors", tmp_path / "m.onnx", astronaut_faces(2))
    assert open_recogniser(tmp_path / "m.onnx").embed(astronaut_faces(1)).uncertainty is None


def test_insightface_loads_the_classic_graph(checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "classic.onnx"
    onnx_from_checkpoint(checkpoint, output, astronaut_faces(2), classic=True)
    graph = onnx.load(output).graph
    assert [(value.name, shape(value)) for value in graph.input] == [("input.1", ["batch", 3, 112, 112])]
    assert len(graph.output) == 1
    # insightface takes nodes of these names among the first eight for normalisation inside the graph, and would
    # then feed raw pixels.
    assert not [node.name for node in graph.node[:8] if node.name.startswith(("Sub", "_minus"))]

    model_zoo = pytest.importorskip("insightface.model_zoo.arcface_onnx")
    import cv2

    face = astronaut_faces(1)[0]
    theirs = model_zoo.ArcFaceONNX(str(output)).get_feat(cv2.cvtColor(face, cv2.COLOR_RGB2BGR))[0]
    ours = open_recogniser(checkpoint, "torch").embed(face[None])
    cosine = float(theirs @ ours.embedding[0]) / float(np.linalg.norm(theirs))
    assert cosine > 0.99999
    assert np.linalg.norm(theirs) == pytest.approx(ours.norm[0], rel=1e-4)


def test_a_program_that_exports_ends_without_a_word(checkpoint: Path, tmp_path: Path) -> None:
    """onnxsim's library in C++ reports objects that are left when Python ends."""
    command = [sys.executable, "-m", "edgefr", "export", str(checkpoint), "-o", str(tmp_path / "quiet.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "nanobind" not in done.stderr
    assert "lowest cosine" in done.stdout


def test_an_output_with_another_suffix_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(EdgefrError, match=r"ends in \.onnx"):
        onnx_from_checkpoint(checkpoint, tmp_path / "model.pb", astronaut_faces(1))
