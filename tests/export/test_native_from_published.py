"""Any published recogniser becomes one with edgefr's input and outputs, and gives the same embeddings."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgefr.errors import EdgefrError, InvalidArgumentError, WrongModelError
from edgefr.export.native_from_published import native_from_published
from edgefr.recognition.published import core_worker
from edgefr.recognition.published.convention import SCALES, Convention
from edgefr.recognition.published.core_worker import read_published_net
from edgefr.recognition.recogniser import open_recogniser
from tests.published_nets import answer, save_net

FACES = np.random.default_rng(0).integers(0, 256, (5, 14, 14, 3), np.uint8).repeat(8, 1).repeat(8, 2)
PLAIN = Convention("rgb")


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"channels_last": True},
        {"batch": 1},
        {"batch": 1, "opset": 9},
        {"opset": 11},
        {"opset": 13, "channels_last": True, "batch": 1},
        {"dtype": TensorProto.FLOAT16},
        {"dtype": TensorProto.UINT8},
        {"dtype": TensorProto.UINT8, "channels_last": True},
        {"outputs": ("features", "score")},
    ],
    ids=str,
)
@pytest.mark.parametrize("colour", ["rgb", "bgr"])
def test_the_adopted_file_gives_the_embeddings_of_the_published_one(tmp_path: Path, options: dict, colour: str) -> None:
    options = {"colours": (0.6, -0.3, 0.9), "smooth": True, **options}
    published = save_net(tmp_path / "net.onnx", **options)
    native_from_published(published, tmp_path / "native.onnx", None, Convention(colour))
    recogniser = open_recogniser(tmp_path / "native.onnx", "onnxruntime")
    pixels = FACES if colour == "rgb" else FACES[..., ::-1]
    if options.get("dtype") != TensorProto.UINT8:
        pixels = ((pixels - 127.5) / 127.5).astype(np.float16 if "dtype" in options else np.float32)
    if not options.get("channels_last"):
        pixels = pixels.transpose(0, 3, 1, 2)
    expected = answer(published, np.ascontiguousarray(pixels)).astype(np.float32)
    found = recogniser.embed(FACES, batch=2)
    close = 2e-3 if options.get("dtype") == TensorProto.FLOAT16 else 1e-5
    np.testing.assert_allclose(found.embedding, unit(expected), atol=close)
    np.testing.assert_allclose(found.norm, np.linalg.norm(expected, axis=1), rtol=close)


@pytest.mark.parametrize(("mean", "std"), SCALES)
def test_every_convention_is_computed_in_the_graph(tmp_path: Path, mean: tuple, std: tuple) -> None:
    published = save_net(tmp_path / "net.onnx", colours=(0.5, 0.1, 0.4), smooth=True)
    native_from_published(published, tmp_path / "native.onnx", None, Convention("bgr", mean, std))
    pixels = ((FACES[..., ::-1] - np.array(mean)) / np.array(std)).astype(np.float32).transpose(0, 3, 1, 2)
    found = open_recogniser(tmp_path / "native.onnx", "onnxruntime").embed(FACES).embedding
    np.testing.assert_allclose(found, unit(answer(published, np.ascontiguousarray(pixels))), atol=1e-5)


@pytest.mark.parametrize("size", [(96, 96), (160, 160), (112, 96), (224, 224)], ids=str)
def test_faces_are_scaled_to_the_size_of_the_net(tmp_path: Path, size: tuple[int, int]) -> None:
    published = save_net(tmp_path / "net.onnx", size=size)
    native_from_published(published, tmp_path / "native.onnx", None, PLAIN)
    columns = 112 * size[1] // size[0]
    cut = FACES[:, :, (112 - columns) // 2 : (112 + columns) // 2].astype(np.float32)
    scaled = np.stack([cv2.resize(face, size[::-1], interpolation=cv2.INTER_LINEAR) for face in cut])
    expected = answer(published, np.ascontiguousarray(((scaled - 127.5) / 127.5).transpose(0, 3, 1, 2)))
    found = open_recogniser(tmp_path / "native.onnx", "onnxruntime").embed(FACES).embedding
    assert ((found * unit(expected)).sum(1) > 0.999).all()


def test_pictures_are_standardised_one_by_one_where_the_net_wants_it(tmp_path: Path) -> None:
    published = save_net(tmp_path / "net.onnx", size=(160, 160))
    native_from_published(published, tmp_path / "native.onnx", None, Convention(per_image=True))
    found = open_recogniser(tmp_path / "native.onnx", "onnxruntime").embed(FACES).embedding
    brighter = np.clip(FACES // 2 + 60, 0, 255).astype(np.uint8)  # a change of light that standardising undoes
    changed = open_recogniser(tmp_path / "native.onnx", "onnxruntime").embed(brighter).embedding
    assert ((found * changed).sum(1) > 0.97).all()


def test_a_net_for_one_picture_only_gets_one_picture_after_the_other(tmp_path: Path) -> None:
    """Vision transformers put a token of batch 1 beside those of the picture."""
    model = onnx.load(save_net(tmp_path / "net.onnx", batch=1, smooth=True))
    model.graph.initializer.append(numpy_helper.from_array(np.full((1, 8), 0.5, np.float32), "token"))
    model.graph.node.append(helper.make_node("Concat", ["token", "features"], ["tokens"], axis=1))
    model.graph.output[0].name = "tokens"
    onnx.save(model, tmp_path / "net.onnx")
    native_from_published(tmp_path / "net.onnx", tmp_path / "native.onnx", None, PLAIN)
    pixels = np.ascontiguousarray(((FACES - 127.5) / 127.5).astype(np.float32).transpose(0, 3, 1, 2))
    found = open_recogniser(tmp_path / "native.onnx", "onnxruntime").embed(FACES).embedding
    np.testing.assert_allclose(found, unit(answer(tmp_path / "net.onnx", pixels)), atol=1e-5)


def without_output(path: Path, **options: object) -> Path:
    """A detector: its outputs are grids of scores and boxes."""
    model = onnx.load(save_net(path))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("map", TensorProto.FLOAT, None))
    onnx.save(model, path)
    return path


def with_nan(path: Path) -> Path:
    model = onnx.load(save_net(path))
    kernel = next(tensor for tensor in model.graph.initializer if tensor.name == "kernel")
    kernel.CopyFrom(numpy_helper.from_array(np.full((1, 3, 1, 1), np.nan, np.float32), "kernel"))
    onnx.save(model, path)
    return path


def with_two_inputs(path: Path) -> Path:
    model = onnx.load(save_net(path))
    model.graph.input.append(helper.make_tensor_value_info("landmarks", TensorProto.FLOAT, ["batch", 10]))
    onnx.save(model, path)
    return path


def truncated(path: Path) -> Path:
    path.write_bytes(save_net(path).read_bytes()[:-40])
    return path


def of_another_operator(path: Path) -> Path:
    model = onnx.load(save_net(path))
    model.graph.node[0].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (without_output, "the outputs map (1, 1, 8, 8)"),
        (with_nan, "NaN"),
        (with_two_inputs, "landmarks (batch, 10)"),
        (truncated, "damaged"),
        (of_another_operator, "operators of com.example"),
        (lambda path: save_net(path, batch=8), "one of 8"),
        (lambda path: save_net(path, size=(640, 640)), "640x640 pixels"),
        (lambda path: path.write_bytes(b"\x00" * 4096) and path, ""),
    ],
)
def test_what_is_no_recogniser_is_refused_in_one_sentence(tmp_path: Path, make, found: str) -> None:
    path = make(tmp_path / "net.onnx")
    with pytest.raises(WrongModelError) as refusal:
        native_from_published(path, tmp_path / "native.onnx", None, PLAIN)
    assert found in str(refusal.value)
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]


def test_a_net_that_needs_far_more_memory_than_its_size_is_refused(tmp_path: Path, monkeypatch) -> None:
    """The child process ends, and this one goes on."""
    model = onnx.load(save_net(tmp_path / "net.onnx"))
    shape = numpy_helper.from_array(np.array([200_000, 12_000], np.int64), "many")
    zeros = numpy_helper.from_array(np.zeros(1, np.float32), "zero")
    model.graph.initializer.extend([shape, zeros])
    model.graph.node.append(helper.make_node("Expand", ["zero", "many"], ["expanded"]))
    model.graph.node.append(helper.make_node("ReduceMax", ["expanded"], ["largest"], keepdims=0))
    model.graph.node.append(helper.make_node("Add", ["features", "largest"], ["sum"]))
    model.graph.output[0].name = "sum"
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(WrongModelError, match=r"face recogniser|onnxruntime can load|pictures at once"):
        read_published_net(tmp_path / "net.onnx", tmp_path / "core.onnx")


def test_a_conversion_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(core_worker, "SECONDS", 0.01)
    with pytest.raises(WrongModelError, match=r"more than 0.01 s"):
        read_published_net(save_net(tmp_path / "net.onnx"), tmp_path / "core.onnx")


def test_an_output_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgefrError):
        native_from_published(save_net(tmp_path / "net.onnx"), tmp_path / "file" / "native.onnx", None, PLAIN)


@pytest.mark.shared
def test_a_checkpoint_and_its_onnx_file_give_the_same_embeddings(shared: Path, tmp_path: Path) -> None:
    """The loader of checkpoints normalises inside the network: the publisher's convention must not be applied twice."""
    pytest.importorskip("torch")
    folder = shared / "weights/arcface-mobilefacenet"
    embeddings = []
    for name in ("mobilefacenet.pt", "reference-batch1.onnx"):
        native_from_published(folder / name, tmp_path / f"{name}.onnx", None)
        embeddings.append(open_recogniser(tmp_path / f"{name}.onnx", "onnxruntime").embed(FACES).embedding)
    assert (embeddings[0] * embeddings[1]).sum(1).min() > 0.9999
    with pytest.raises(InvalidArgumentError, match="no --colour, --mean and --std for a checkpoint"):
        native_from_published(folder / "mobilefacenet.pt", tmp_path / "other.onnx", None, PLAIN)
