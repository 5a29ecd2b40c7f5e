"""OpenVINO on the processor, in FP32 or bf16: starts slower than ONNX Runtime, then runs faster."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from edgefr.backends.base import Array, Description, TensorInfo, checked, failed, model_file, only, unreadable
from edgefr.errors import need
from edgefr.spec import EMBEDDING, INPUT_NAME, NORM, UNCERTAINTY

RUNTIME = "openvino"
HINTS = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoBackend:
    """An ONNX file compiled for this processor.

    Compiled on every start: OpenVINO's model cache would save 0.2 s of 0.5 s (two MobileFaceNets, 2 cores of
    an AMD EPYC, Zen 4), but where a start counts ONNX Runtime is faster still, and a cache can be stale.

    Raises:
        EdgefrError: openvino is missing, the file is not an ONNX model, or `precision` is not fp32 or, where
            the processor computes in it natively, bf16.
    """

    def __init__(self, path: Path, precision: str = "auto") -> None:
        library = need("openvino", "cpu")
        core = library.Core()
        native = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self._precision = only(("bf16", "fp32") if native else ("fp32",), precision, RUNTIME, "use --precision fp32")
        model_file(path, ".onnx", RUNTIME)
        try:
            # Core.read_model would offer the file to the parsers of all formats, which write to stderr.
            frontend = need("openvino.frontend", "cpu").FrontEndManager().load_by_framework("onnx")
            model = frontend.convert(frontend.load(str(path)))
            compiled = core.compile_model(
                model,
                "CPU",
                {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": HINTS[self._precision]},
            )
        except Exception as error:  # the library's exceptions share no narrower base
            raise unreadable(path, RUNTIME, error) from error
        self._request = compiled.create_infer_request()
        self._lock = Lock()  # one request already keeps all cores busy
        self._description = Description(
            RUNTIME,
            self._precision,
            tuple(_info(port) for port in compiled.inputs),
            tuple(_info(port) for port in compiled.outputs),
        )

    def describe(self) -> Description:
        return self._description

    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        feed = checked(inputs, self._description)
        try:
            with self._lock:
                found = self._request.infer(feed)  # copies: they outlive the request's next use
        except Exception as error:  # as above
            raise failed(RUNTIME, error) from error
        return {info.name: np.asarray(found[number]) for number, info in enumerate(self._description.outputs)}


def _info(port: Any) -> TensorInfo:
    # After optimisation one tensor can carry several names; the contract's is the one to know it by.
    known = [name for name in (INPUT_NAME, EMBEDDING, NORM, UNCERTAINTY) if name in port.names]
    name = known[0] if known else min(port.names, default="")
    shape = tuple(None if size.is_dynamic else size.get_length() for size in port.partial_shape)
    return TensorInfo(name, np.dtype(port.element_type.to_dtype()).name, shape)
