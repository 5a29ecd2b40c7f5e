"""The file of an ncnn engine keeps graph and outputs, and no other file is taken for one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefr.errors import WrongModelError
from edgefr.runtimes.ncnn_file import END, MAGIC, NcnnGraph, NcnnLayer, read_ncnn_file, write_ncnn_file

GRAPH = NcnnGraph(
    "7767517\n3 3\n"
    "Input in0 0 1 in0\n"
    "Convolution conv 1 1 in0 1 0=16 1=3 6=432 8=2 -23310=2,0.1,0.2\n"
    "Gemm gemm 1 1 1 out0 8=128 9=128\n",
    {"embedding": 16, "norm": None},
)


def written(tmp_path: Path, weights: bytes = b"weights") -> Path:
    source, path = tmp_path / "weights", tmp_path / "engine.ncnn"
    source.write_bytes(weights)
    write_ncnn_file(path, GRAPH, source)
    return path


def test_begins_with_the_weights_and_keeps_the_graph(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert path.read_bytes().startswith(b"weights")
    assert read_ncnn_file(path) == GRAPH


def test_counts_int8_layers_by_the_key_of_their_kind() -> None:
    assert GRAPH.count_heavy_layers("int8") == {"fp32": 1, "int8": 1}  # 8 is a length of Gemm
    assert GRAPH.count_heavy_layers("fp16") == {"fp16": 1, "int8": 1}


def test_layers_are_written_as_they_were_read() -> None:
    again = GRAPH.with_layers(list(GRAPH.layers()))
    assert (again.text, again.outputs) == (GRAPH.text, GRAPH.outputs)


@pytest.mark.parametrize("cut", [0, 1, 7, 16, 40, 200])
def test_a_file_that_ends_early_is_refused(tmp_path: Path, cut: int) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(WrongModelError, match=r"expected an ncnn engine in .*found another or a damaged file"):
        read_ncnn_file(path)


@given(document=st.binary(max_size=200), length=st.integers(0, (1 << 64) - 1), honest=st.booleans())
def test_any_bytes_are_a_graph_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, document: bytes, length: int, honest: bool
) -> None:
    path = tmp_path_factory.mktemp("any") / "engine.ncnn"
    path.write_bytes(document + END.pack(len(document) if honest else length, MAGIC))
    with pytest.raises(WrongModelError):
        read_ncnn_file(path)


@pytest.mark.parametrize(
    "line",
    ["Convolution x -1 0", "Convolution x one 1 a b", "Convolution", "Convolution x 2 1 a", "a b 9 9 c"],
)
def test_lines_that_are_no_layers_are_errors(line: str) -> None:
    with pytest.raises(ValueError, match=r"layer|unpack|literal"):
        NcnnLayer.parse(line)
