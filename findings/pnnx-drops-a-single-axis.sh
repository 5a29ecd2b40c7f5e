#!/usr/bin/env bash
# pnnx drops the axis of a ReduceMean over one axis of an ONNX file. It writes the parameter of ncnn's Reduction as
# `-23303=0`, an array of no axes, instead of one that begins with the number of axes, 1. ncnn then reduces nothing: a
# mean over the 49 tokens of a transformer stays 49 x 128 numbers, and the embedding is noise. There is no message. A mean
# over two axes, as of global pooling, keeps its axes.
#
# Seen on 2026-12-01 with pnnx 20261020:
#   one axis: -23303=0
#   two axes: -23303=2,1,2
# Insert an axis of length 1 (Unsqueeze) behind the one to reduce and reduce over both, and compare the outputs of every
# converted model with those of the ONNX file.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --no-deps pnnx==20261020
venv/bin/pip install --quiet onnx==1.23.2
cat > make.py <<'PY'
import onnx
from onnx import TensorProto, helper, numpy_helper
import numpy as np

for name, shape, axes in (("one", [1, 49, 128], [1]), ("two", [1, 49, 1, 128], [1, 2])):
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("ReduceMean", ["y", "axes"], ["z"], keepdims=0)]
    values = [helper.make_tensor_value_info(at, TensorProto.FLOAT, of) for at, of in (("x", shape), ("z", [1, 128]))]
    constants = [numpy_helper.from_array(np.array(axes, np.int64), "axes")]
    graph = helper.make_graph(nodes, name, values[:1], values[1:], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), f"{name}.onnx")
PY
venv/bin/python make.py
program=$(echo venv/lib/python3*/site-packages/pnnx/pnnx)
for name in one two; do
    "$program" "$name.onnx" fp16=0 > log 2>&1
    echo "$name $([ "$name" = one ] && echo axis || echo axes): $(grep Reduction "$name.ncnn.param" | grep -o -e '-23303=[0-9,]*')"
done | tee seen
expected=$'one axis: -23303=0\ntwo axes: -23303=2,1,2'
[ "$(cat seen)" = "$expected" ] || { echo "changed: pnnx keeps the axis"; exit 1; }
