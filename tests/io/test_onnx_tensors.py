"""The weights of ONNX files, wherever the format allows them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from edgefr.errors import WrongModelError  # noqa: E402
from edgefr.io.onnx_file import ParsedModel  # noqa: E402
from edgefr.io.onnx_tensors import check_weights, external_files, has_full_range, model_size  # noqa: E402

NUMBERS = np.linspace(-1, 1, 12, dtype=np.float32)


def tensor(values: object, kind: int = TensorProto.FLOAT, raw: bool = True, name: str = "w") -> TensorProto:
    """A tensor as `numpy_helper` (raw bytes) or `make_tensor` (a field of its type) writes it."""
    array = np.atleast_1d(np.asarray(values, np.float64))
    if kind == TensorProto.BFLOAT16 and raw:
        bits = (array.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
        return helper.make_tensor(name, kind, array.shape, bits.tobytes(), raw=True)
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    if raw:
        return helper.make_tensor(name, kind, array.shape, array.astype(dtype).tobytes(), raw=True)
    return helper.make_tensor(name, kind, array.shape, array.astype(dtype))


def as_initializer(weight: TensorProto) -> onnx.GraphProto:
    return helper.make_graph([], "g", [], [], [weight])


def as_constant(weight: TensorProto) -> onnx.GraphProto:
    return helper.make_graph([helper.make_node("Constant", [], ["c"], value=weight)], "g", [], [])


def as_sparse(weight: TensorProto) -> onnx.GraphProto:
    indices = numpy_helper.from_array(np.arange(weight.dims[0]), "i")
    graph = helper.make_graph([], "g", [], [])
    graph.sparse_initializer.append(helper.make_sparse_tensor(weight, indices, [weight.dims[0]]))
    return graph


def in_subgraph(weight: TensorProto) -> onnx.GraphProto:
    branch = as_constant(weight)
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=as_initializer(weight))
    return helper.make_graph([node], "g", [], [])


PLACES = (as_initializer, as_constant, as_sparse, in_subgraph)


def write(graph: onnx.GraphProto, path: Path) -> Path:
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


def write_external(folder: Path, location: str, weight: TensorProto, **span: int) -> Path:
    """A model whose only tensor refers to another file."""
    external = TensorProto(name=weight.name, data_type=weight.data_type, dims=weight.dims)
    external.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **span}.items():
        external.external_data.add(key=key, value=str(value))
    return write(as_initializer(external), folder / "model.onnx")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (TensorProto.FLOAT, True),
        (TensorProto.FLOAT, False),
        (TensorProto.FLOAT16, True),
        (TensorProto.FLOAT16, False),
        (TensorProto.BFLOAT16, True),
        (TensorProto.DOUBLE, True),
        (TensorProto.DOUBLE, False),
    ],
)
def test_a_weight_that_is_not_finite_is_found(
    kind: int, raw: bool, wrong: float, place: Callable[[TensorProto], onnx.GraphProto], tmp_path: Path
) -> None:
    check_weights(ParsedModel.read(write(place(tensor(NUMBERS, kind, raw)), tmp_path / "good.onnx")))
    values = NUMBERS.copy()
    values[7] = wrong
    path = write(place(tensor(values, kind, raw)), tmp_path / "bad.onnx")
    with pytest.raises(WrongModelError, match=r"expected finite weights in .*bad\.onnx, found NaN or infinity in w\."):
        check_weights(ParsedModel.read(path))


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_a_single_number_may_be_infinite_but_not_nan(kind: int, tmp_path: Path) -> None:
    check_weights(ParsedModel.read(write(as_initializer(tensor(np.inf, kind)), tmp_path / "limit.onnx")))
    with pytest.raises(WrongModelError, match="NaN or infinity in w"):
        check_weights(ParsedModel.read(write(as_initializer(tensor(np.nan, kind)), tmp_path / "nan.onnx")))


def test_external_files_are_listed_once_and_count_for_the_size(tmp_path: Path) -> None:
    graph = helper.make_graph([], "g", [], [], [tensor(NUMBERS, name=name) for name in "ab"])
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph), path, save_as_external_data=True, location="model.data", size_threshold=0)
    data = tmp_path / "model.data"
    assert external_files(path) == (data,)
    assert model_size(path) == path.stat().st_size + data.stat().st_size
    check_weights(ParsedModel.read(path))
    data.write_bytes(data.read_bytes().replace(NUMBERS.tobytes(), np.full_like(NUMBERS, np.nan).tobytes(), 1))
    with pytest.raises(WrongModelError, match="NaN or infinity in a"):
        check_weights(ParsedModel.read(path))


def test_a_file_without_external_data_has_none(tmp_path: Path) -> None:
    path = write(as_initializer(tensor(NUMBERS)), tmp_path / "model.onnx")
    assert external_files(path) == ()
    assert model_size(path) == path.stat().st_size


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.INT64])
@pytest.mark.parametrize("location", ["/etc/hostname", "../secret", "a/../../secret", "..\\secret", "C:\\secret", ""])
def test_external_data_outside_the_folder_is_refused(location: str, kind: int, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(400))
    (tmp_path / "models").mkdir()
    path = write_external(tmp_path / "models", location, tensor(NUMBERS, kind))
    for check in (external_files, lambda model: check_weights(ParsedModel.read(model))):
        with pytest.raises(WrongModelError, match=r"expected external data in the folder of .*, found a reference to"):
            check(path)


def test_missing_and_short_external_data_is_refused(tmp_path: Path) -> None:
    path = write_external(tmp_path, "w.bin", tensor(NUMBERS), offset=0, length=48)
    with pytest.raises(WrongModelError, match=r"expected the external data of .* in .*w\.bin, found no such file"):
        external_files(path)
    (tmp_path / "w.bin").write_bytes(bytes(40))
    with pytest.raises(WrongModelError, match="ends too early"):
        check_weights(ParsedModel.read(path))


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize(("largest", "full"), [(64, False), (-64, False), (65, True), (-65, True), (-128, True)])
def test_the_range_of_int8_weights_is_found(largest: int, full: bool, raw: bool, tmp_path: Path) -> None:
    weight = tensor([0, 1, largest], TensorProto.INT8, raw)
    assert has_full_range(ParsedModel.read(write(as_initializer(weight), tmp_path / "m.onnx"))) is full
