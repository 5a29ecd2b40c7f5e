#!/usr/bin/env bash
# The main job once, end to end: train, export, verify. Needs real weights and faces (see train/README.md);
# where there are none it says what to give.
set -euo pipefail
edgefr=.venv/bin/edgefr
data=$EDGEFR_SHARED/data
if [ ! -d "$data" ]; then
    "$edgefr" doctor
    echo
    "$edgefr" demo || true
    exit 0
fi
export EDGEFR_DETECTOR=$data/detectors/face_detection_yunet_2023mar.onnx
export EDGEFR_MODEL=export/artifacts/smoke.onnx
"$edgefr" train train/smoke.toml
"$edgefr" export train/runs/smoke/fused.safetensors -o "$EDGEFR_MODEL" --faces "$data/lfw-aligned-112.zip"
"$edgefr" demo -o demo.png
