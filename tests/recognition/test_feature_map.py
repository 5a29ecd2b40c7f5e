"""The feature map of a recogniser that is only an ONNX file is found by rule or by name, and resized to 7x7."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from edgefr.errors import InvalidArgumentError, WrongModelError
from edgefr.export.native_from_published import native_from_published
from edgefr.recognition.published.convention import Convention
from edgefr.recognition.published.feature_map import resizing, tapped_from_native
from tests.published_nets import save_net, save_net_with_map

torch = pytest.importorskip("torch")

FACES = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), np.uint8)


def adopted(published: Path) -> Path:
    native = published.with_name("native.onnx")
    native_from_published(published, native, None, Convention("rgb"))
    return native


def run(graph: bytes, names: list[str]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return session.run(names, {"image": FACES})


@pytest.mark.parametrize("stride", [8, 14, 16, 28])
def test_the_last_map_is_the_tap_and_the_embedding_stays_the_same(tmp_path: Path, stride: int) -> None:
    native = adopted(save_net_with_map(tmp_path / "net.onnx", stride=stride))
    tapped, tap = tapped_from_native(native)
    side = 112 // stride
    assert (tap.name, tap.shape, tap.channels_last) == ("net/map", (8, side, side), False)
    embedding, found = run(tapped.SerializeToString(), ["embedding", "map"])
    assert np.array_equal(embedding, run(native.read_bytes(), ["embedding"])[0])
    shown = onnx.load(native)
    shown.graph.output.append(onnx.ValueInfoProto(name="net/map"))
    own = torch.from_numpy(run(shown.SerializeToString(), ["net/map"])[0])
    if side > 7:
        expected = torch.nn.functional.adaptive_avg_pool2d(own, 7)
    else:
        expected = torch.nn.functional.interpolate(own, (7, 7), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("size", range(1, 29))
def test_lines_are_resized_as_torch_does(size: int) -> None:
    x = torch.randn(2, 4, size, size, dtype=torch.float64)
    matrix = torch.from_numpy(resizing(size)).double()
    if size > 7:
        expected = torch.nn.functional.adaptive_avg_pool2d(x, 7)
    else:
        expected = torch.nn.functional.interpolate(x, (7, 7), mode="bilinear", align_corners=False)
    torch.testing.assert_close(matrix @ x @ matrix.T, expected, atol=1e-6, rtol=0)


def test_a_map_can_be_named_as_in_the_published_file(tmp_path: Path) -> None:
    native = adopted(save_net_with_map(tmp_path / "net.onnx"))
    assert tapped_from_native(native, "convolved")[1].name == "net/convolved"
    with pytest.raises(InvalidArgumentError, match=r"tap to name a feature map .* found 'pool'.*net/map \(8x8x8\)"):
        tapped_from_native(native, "pool")


def test_a_net_without_a_map_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongModelError, match=r"a feature map on the way .*, found none.*edgefr fuse"):
        tapped_from_native(adopted(save_net_with_map(tmp_path / "net.onnx", stride=0)))


def test_a_map_far_from_the_embedding_is_taken_only_if_it_is_named(tmp_path: Path) -> None:
    native = adopted(save_net_with_map(tmp_path / "net.onnx", layers=9))
    with pytest.raises(WrongModelError, match=r"found 9 layers after the last map, net/map \(8x8x8\)"):
        tapped_from_native(native)
    assert tapped_from_native(native, "map")[1].name == "net/map"


def test_a_published_file_is_to_be_adopted_first(tmp_path: Path) -> None:
    with pytest.raises(WrongModelError, match=r"a recogniser of edgefr in .*edgefr adopt"):
        tapped_from_native(save_net(tmp_path / "net.onnx"))


def test_a_map_that_only_a_subgraph_takes_is_on_the_way(tmp_path: Path) -> None:
    native = adopted(save_net_with_map(tmp_path / "net.onnx"))
    model = onnx.load(native)
    (flatten,) = [node for node in model.graph.node if "net/map" in node.input]
    make = onnx.helper.make_node
    body = onnx.helper.make_graph(
        [make("Identity", ["net/map"], ["taken"])], "body", [], [onnx.helper.make_tensor_value_info("taken", 1, None)]
    )
    position = list(model.graph.node).index(flatten)
    flatten.input[0] = "chosen"
    true = onnx.numpy_helper.from_array(np.array(True), "true")
    model.graph.initializer.append(true)
    model.graph.node.insert(position, make("If", ["true"], ["chosen"], then_branch=body, else_branch=body))
    onnx.save(model, native)
    assert tapped_from_native(native, "map")[1].name == "net/map"
