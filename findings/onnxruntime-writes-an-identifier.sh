#!/usr/bin/env bash
# Creating an inference session with onnxruntime on Linux writes a device identifier and a database into the home
# directory, without a call to any telemetry function. ORT_DISABLE_TELEMETRY=1 prevents it.
#
# Seen on 2026-11-30 with onnxruntime 1.32.0 (PyPI, manylinux x86-64), Python 3.11, Debian:
#   ~/.cache/Microsoft/DeveloperTools/.onnxruntime/deviceid          a UUID that stays the same
#   ~/.cache/Microsoft/DeveloperTools/.onnxruntime/onnxruntime.db    SQLite, events waiting to be sent
# The documentation of the Python package describes enable_telemetry_events and disable_telemetry_events as acting on
# "platform-specific" telemetry, which earlier releases had on Windows only. On a read-only or shared home directory the
# files are a surprise, and an auditor of a device that must not identify itself has to be told.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6

cat >"$folder/session.py" <<'PYTHON'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "negate", value[:1], value[1:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
assert session.run(None, {"x": np.float32([2])})[0] == -2
PYTHON

files() { (cd "$1" && find . -type f | sort); }
mkdir "$folder/home" "$folder/quiet"
HOME=$folder/home "$folder/venv/bin/python" "$folder/session.py"
HOME=$folder/quiet ORT_DISABLE_TELEMETRY=1 "$folder/venv/bin/python" "$folder/session.py"
echo "by default:"; files "$folder/home"
echo "with ORT_DISABLE_TELEMETRY=1:"; files "$folder/quiet"
files "$folder/home" | grep -q '/deviceid$' || { echo "changed: no identifier is written any more"; exit 1; }
[ -z "$(files "$folder/quiet")" ] || { echo "changed: the variable no longer prevents it"; exit 1; }
