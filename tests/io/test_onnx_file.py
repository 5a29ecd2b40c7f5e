from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgefr.errors import EdgefrError, WrongModelError
from edgefr.io.onnx_file import MAX_DETECTOR_BYTES, graph_inputs, graph_outputs
from tests.detection.models import message, model_bytes

MODEL = model_bytes({"a": (1, None, 4), "b": (None, 10), "c": (1, None), "scalar": ()})


def test_names_and_last_axes_are_read(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(MODEL)
    assert graph_outputs(path) == {"a": 4, "b": 10, "c": None, "scalar": None}


def test_what_the_onnx_library_writes_is_read(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    x = helper.make_tensor_value_info("x", kind, ["batch", 3, 300])
    y = helper.make_tensor_value_info("y", kind, ["batch", 3, 300])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    onnx.save(helper.make_model(graph), tmp_path / "relu.onnx")
    assert graph_outputs(tmp_path / "relu.onnx") == {"y": 300}


@pytest.mark.parametrize(
    "data",
    [b"", b"not a model\n", MODEL[:-3], b"\xff" * 100, message(7, b""), message(7, message(12, b"\x0a\x02\xff\xfe"))],
)
def test_what_is_no_model_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(EdgefrError, match="found no whole ONNX file"):
        graph_outputs(path)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    for length in range(len(MODEL)):
        path.write_bytes(MODEL[:length])
        with pytest.raises(EdgefrError, match="found no whole ONNX file"):
            graph_outputs(path)


def test_missing_and_huge_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EdgefrError, match="No such file"):
        graph_outputs(tmp_path / "none.onnx")
    with pytest.raises(EdgefrError, match="cannot be read"):
        graph_outputs(tmp_path)
    with (tmp_path / "huge.onnx").open("wb") as stream:
        stream.truncate(MAX_DETECTOR_BYTES + 1)
    with pytest.raises(EdgefrError, match="more than 64 MiB"):
        graph_outputs(tmp_path / "huge.onnx")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(MODEL) - 1), st.integers(0, 255)), max_size=5), st.binary())
def test_mutated_files_are_read_or_refused(tmp_path: Path, changes: list[tuple[int, int]], tail: bytes) -> None:
    mutated = bytearray(MODEL)
    for at, value in changes:
        mutated[at] = value
    path = tmp_path / "model.onnx"
    path.write_bytes(bytes(mutated) + tail)
    try:
        graph_outputs(path)
    except EdgefrError as error:
        assert "found no whole ONNX file" in str(error)  # noqa: PT017 - either outcome is right


def test_the_error_of_a_damaged_file_also_helps_who_downloaded_it(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"hello")
    with pytest.raises(WrongModelError, match="get the file again from its publisher"):
        graph_inputs(tmp_path / "net.onnx")
