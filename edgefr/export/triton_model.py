"""The model.py of a model for Triton's Python backend: onnxruntime on the processor, with edgefr's settings.

`edgefr export --triton REPO --triton-backend python` copies this file. It runs in Triton's Python, which has numpy and
onnxruntime but not edgefr.

onnxruntime reports its usage to its makers unless a variable is set before it is imported (see edgefr/telemetry.py).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

if os.environ.get("EDGEFR_TELEMETRY") != "1":
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton


class TritonPythonModel:
    """Runs model.onnx next to this file."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        version = args["model_version"]
        fingerprint = config["parameters"][f"edgefr-{version}"]["string_value"]
        options = onnxruntime.SessionOptions()
        if fingerprint.endswith(" fp16"):  # all optimisations crash on some FP16 graphs (1.24 to 1.32)
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        path = Path(args["model_repository"], version, "model.onnx")
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._inputs = [entry["name"] for entry in config["input"]]
        self._outputs = [entry["name"] for entry in config["output"]]

    def execute(self, requests: list[Any]) -> list[Any]:
        """One run for all requests of a batch."""
        feeds = [
            {name: triton.get_input_tensor_by_name(request, name).as_numpy() for name in self._inputs}
            for request in requests
        ]
        joined = {name: np.concatenate([feed[name] for feed in feeds]) for name in self._inputs}
        counts = [len(feed[self._inputs[0]]) for feed in feeds]
        outputs = self._session.run(self._outputs, joined)
        ends = np.cumsum(counts)[:-1]
        parts = [np.split(array.reshape(sum(counts), -1), ends) for array in outputs]  # Triton needs (B, 1) for (B,)
        return [
            triton.InferenceResponse([triton.Tensor(*named) for named in zip(self._outputs, response, strict=True)])
            for response in zip(*parts, strict=True)
        ]
