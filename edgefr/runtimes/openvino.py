"""OpenVINO on the processor, in FP32, bf16 or INT8: starts slower than ONNX Runtime, then runs faster."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from edgefr.errors import EdgefrError, require_extra
from edgefr.io.onnx_file import graph_precision
from edgefr.runtimes.base import (
    Array,
    Description,
    TensorInfo,
    check_inputs,
    failed,
    model_file,
    select_precision,
    unreadable,
)
from edgefr.runtimes.engine_file import Target, check_engine
from edgefr.runtimes.processor import processor
from edgefr.types import EMBEDDING, INPUT_NAME, NORM, UNCERTAINTY

RUNTIME = "openvino"
NAMES = {"f32": "fp32", "bf16": "bf16", "f16": "fp16", "i8": "int8", "u8": "int8"}
"""OpenVINO's words for number formats, and ours."""

HEAVY_LAYERS = frozenset({"Convolution", "FullyConnected", "MatMul", "Gemm"})


class OpenVinoBackend:
    """An ONNX file compiled for this processor, or an engine (.blob) that was.

    An ONNX file is compiled on every start: OpenVINO's model cache would save 0.2 s of 0.5 s (two MobileFaceNets, 2
    cores of an AMD EPYC, Zen 4), but where a start counts ONNX Runtime is faster still.

    Raises:
        EdgefrError: openvino is missing, the file is no ONNX model or an engine of elsewhere, or the processor does
            not compute in `precision`.
    """

    def __init__(self, path: Path, precision: str = "auto", threads: int | None = None) -> None:
        core = openvino_core()
        native = frozenset(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
        engine = path.suffix.lower() == ".blob"
        if engine:
            made = check_engine(path, place()).key.precision
            self._precision = select_precision((made,), precision, RUNTIME, f"use --precision {made}")
        else:
            computed = graph_precision(model_file(path, ".onnx", RUNTIME)).name
            self._precision = select_precision(
                _offered(computed, native, path), precision, RUNTIME, "use --precision fp32"
            )
        try:
            # An engine is given the settings again, for it would be made ready in the processor's default precision.
            settings = _settings(self._precision, native, threads)
            self._compiled = (
                core.import_model(path.read_bytes(), "CPU", settings)
                if engine
                else core.compile_model(_read(path), "CPU", settings)
            )
        except Exception as error:  # the library's exceptions share no narrower base
            raise unreadable(path, RUNTIME, error) from error
        self._request = self._compiled.create_infer_request()
        self._lock = Lock()  # one request already keeps all cores busy
        self._description = Description(
            RUNTIME,
            self._precision,
            tuple(_info(port) for port in self._compiled.inputs),
            tuple(_info(port) for port in self._compiled.outputs),
        )

    def describe(self) -> Description:
        return self._description

    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        feed = check_inputs(inputs, self._description)
        try:
            with self._lock:
                found = self._request.infer(feed)  # copies: they outlive the request's next use
        except Exception as error:  # as above
            raise failed(RUNTIME, error) from error
        return {info.name: np.asarray(found[number]) for number, info in enumerate(self._description.outputs)}

    def layers(self) -> Counter[str]:
        """How many heavy layers really run in which number format, as the compiled model tells."""
        return heavy_layers(self._compiled)

    def export(self) -> bytes:
        """The compiled model as an engine file's bytes."""
        return bytes(self._compiled.export_model().getvalue())


def heavy_layers(compiled: Any) -> Counter[str]:
    """How many heavy layers of OpenVINO's compiled model run in which number format."""
    told = (op.get_rt_info() for op in compiled.get_runtime_model().get_ops())
    heavy = (info for info in told if info["layerType"].astype(str) in HEAVY_LAYERS)
    names = (info["runtimePrecision"].astype(str) for info in heavy)
    return Counter(NAMES.get(name, name) for name in names)


def openvino_core() -> Any:
    """OpenVINO's core.

    Raises:
        MissingExtraError: openvino is missing.
    """
    return _only_core(require_extra("openvino", "cpu"))


@cache
def _only_core(library: Any) -> Any:
    """The one core of this process, which is never let go.

    With the last core OpenVINO unloads its processor plugin, and with that goes the stack on which it made the thread
    that had loaded it handle signals: where another thread unloads it, the first one crashes at its next signal, be it
    Ctrl-C or the end of a child process (2026.4.1).
    """
    return library.Core()


def place() -> Target:
    """What an engine of OpenVINO is bound to here."""
    here = processor()
    sets = sorted(flag for flag in here.flags if flag.startswith(("avx", "amx", "asimd", "sve", "bf16")))
    return Target(RUNTIME, require_extra("openvino", "cpu").__version__, f"{here.model} ({' '.join(sets)})")


def _offered(computed: str, native: frozenset[str], path: Path) -> tuple[str, ...]:
    """The precisions that a file can run in, the default first."""
    if computed == "int8":
        return ("int8",)
    if computed == "fp16" and "FP16" not in native:
        raise EdgefrError(
            f"a processor that computes in FP16 for {path}",
            "one that would run it in FP32",
            "build it with `edgefr build-engine --bf16` or --int8",
        )
    if computed == "fp16":
        return ("fp16",)
    return ("bf16", "fp32") if "BF16" in native else ("fp32",)


def _read(path: Path) -> Any:
    # Core.read_model would offer the file to the parsers of all formats, which write to stderr.
    frontend = require_extra("openvino.frontend", "cpu").FrontEndManager().load_by_framework("onnx")
    return frontend.convert(frontend.load(str(path)))


def _settings(precision: str, native: frozenset[str], threads: int | None) -> dict[str, str]:
    # What an INT8 file leaves out of INT8 runs in the fastest other format.
    rest = "bf16" if precision == "int8" and "BF16" in native else precision
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": {"bf16": "bf16", "fp16": "f16"}.get(rest, "f32"),
        "INFERENCE_NUM_THREADS": str(threads or 0),  # 0: as many as there are cores
    }


def _info(port: Any) -> TensorInfo:
    # After optimisation one tensor can carry several names; the contract's is the one to know it by.
    known = [name for name in (INPUT_NAME, EMBEDDING, NORM, UNCERTAINTY) if name in port.names]
    name = known[0] if known else min(port.names, default="")
    shape = tuple(None if size.is_dynamic else size.get_length() for size in port.partial_shape)
    return TensorInfo(name, np.dtype(port.element_type.to_dtype()).name, shape)
