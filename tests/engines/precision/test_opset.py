"""Graphs in the operator set of TensorRT 8.x."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")

from edgefr.engines.precision.fp16 import fp16_from_fp32
from edgefr.engines.precision.onnx_graph import read_graph
from edgefr.engines.precision.opset import downgrade_opset
from edgefr.errors import EdgefrError
from edgefr.models import MINI, shipped_model
from edgefr.types import INPUT_NAME, Faces


@pytest.mark.parametrize(("precision", "apart"), [("fp32", 1e-5), ("fp16", 2e-3)])
def test_the_older_graph_has_the_same_outputs(precision: str, apart: float, faces: Faces) -> None:
    import onnxruntime

    model = read_graph(shipped_model(MINI))
    if precision == "fp16":
        model = fp16_from_fp32(model)
    older = downgrade_opset(model, 17)
    assert [(entry.domain, entry.version) for entry in older.opset_import] == [("", 17)]
    assert older.ir_version == 8
    assert model.opset_import[0].version > 17
    answers = []
    for graph in (model, older):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        session = onnxruntime.InferenceSession(graph.SerializeToString(), options)
        answers.append(session.run(None, {INPUT_NAME: faces[:4]}))
    for newer, same in zip(*answers, strict=True):
        assert np.abs(newer - same).max() < apart


def test_a_graph_in_an_older_operator_set_is_unchanged() -> None:
    older = downgrade_opset(read_graph(shipped_model(MINI)), 17)
    assert downgrade_opset(older, 17) is older


def test_an_operator_without_an_older_form_is_refused() -> None:
    import onnx

    node = onnx.helper.make_node("Gelu", ["x"], ["y"])
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    graph = onnx.helper.make_graph([node], "g", value[:1], value[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)])
    with pytest.raises(EdgefrError, match="expected a graph of operator set 17"):
        downgrade_opset(model, 17)
