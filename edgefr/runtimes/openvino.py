"""OpenVINO on the processor, in FP32, bf16 or INT8: starts slower than ONNX Runtime, then runs faster."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from edgefr.errors import WrongModelError, install_command, require_extra
from edgefr.io.onnx_file import graph_precision
from edgefr.runtimes.base import (
    Array,
    Description,
    Runtime,
    TensorInfo,
    check_inputs,
    check_int8_range,
    check_onnx_file,
    inference_error,
    load_error,
    select_precision,
)
from edgefr.runtimes.engine_file import Target, check_engine, check_onnx_engine
from edgefr.runtimes.processor import processor
from edgefr.types import EMBEDDING, INPUT_NAME, NORM, UNCERTAINTY

RUNTIME = "openvino"
SUFFIX = ".blob"
PRECISIONS = {"f32": "fp32", "bf16": "bf16", "f16": "fp16", "i8": "int8", "u8": "int8"}
"""OpenVINO's name of a number format -> ours."""

HEAVY_LAYERS = frozenset({"Convolution", "FullyConnected", "MatMul", "Gemm"})


class OpenVinoBackend:
    """An ONNX file that is compiled for this processor, or an engine (.blob) that was.

    An ONNX file is compiled at every start. OpenVINO's model cache would save 0.2 s of 0.5 s (two MobileFaceNets, 2
    cores of an AMD EPYC, Zen 4), but where the start matters ONNX Runtime is faster still.
    """

    def __init__(self, path: Path, precision: str = "auto", threads: int | None = None) -> None:
        """Open a file.

        Args:
            path: An .onnx file or an engine (.blob).
            precision: "fp32", "bf16", "int8", "fp16" or "auto", as file and processor allow.
            threads: Number of processor threads. None means all cores.

        Raises:
            WrongModelError: The file is not an ONNX model, or an engine for another device.
            InvalidArgumentError: The processor or the file does not have the precision.
            MissingExtraError: openvino is not installed.
        """
        core = openvino_core()
        native = frozenset(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
        is_engine = path.suffix.lower() == SUFFIX
        if is_engine:
            built_in = check_engine(path, _target()).key.precision
            self._precision = select_precision((built_in,), precision, RUNTIME, f"use --precision {built_in}")
        else:
            model = check_onnx_file(path, RUNTIME)
            check_onnx_engine(path)
            computed = graph_precision(model).name
            if computed == "int8":
                check_int8_range(model)
            offered = _offered_precisions(computed, native, path)
            self._precision = select_precision(offered, precision, RUNTIME, "use --precision fp32")
        settings = _settings(self._precision, native, threads)
        try:
            # An engine needs the settings again. Without them it is loaded in the default precision of the processor.
            self._compiled = (
                core.import_model(path.read_bytes(), "CPU", settings)
                if is_engine
                else core.compile_model(_read(path), "CPU", settings)
            )
        except Exception as error:  # the library's exceptions share no narrower base
            raise load_error(path, RUNTIME, error) from error
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
                outputs = self._request.infer(feed)  # copies, which the next use of the request does not change
        except Exception as error:  # as above
            raise inference_error(RUNTIME, error) from error
        return {info.name: np.asarray(outputs[number]) for number, info in enumerate(self._description.outputs)}

    def layers(self) -> Counter[str]:
        """Number format -> number of heavy layers that the compiled model runs in it."""
        return count_heavy_layers(self._compiled)

    def export(self) -> bytes:
        """The compiled model as the content of an engine file."""
        return bytes(self._compiled.export_model().getvalue())


def count_heavy_layers(compiled: Any) -> Counter[str]:
    """Count the heavy layers of an `openvino.CompiledModel` by number format."""
    infos = (op.get_rt_info() for op in compiled.get_runtime_model().get_ops())
    heavy = (info for info in infos if info["layerType"].astype(str) in HEAVY_LAYERS)
    names = (info["runtimePrecision"].astype(str) for info in heavy)
    return Counter(PRECISIONS.get(name, name) for name in names)


def openvino_core() -> Any:
    """OpenVINO's core, the only one of this process.

    Raises:
        MissingExtraError: openvino is not installed.
    """
    return _core(require_extra("openvino", "cpu"))


@cache
def _core(library: Any) -> Any:
    """The core, which is never released.

    With its last core OpenVINO unloads its processor plugin, and with it the stack on which the thread that loaded it
    handles signals. If another thread unloads it, the first one crashes at its next signal, for example at Ctrl-C or
    when a child process ends (2026.4.1).
    """
    return library.Core()


def _target() -> Target:
    here = processor()
    sets = sorted(flag for flag in here.flags if flag.startswith(("avx", "amx", "asimd", "sve", "bf16")))
    return Target(RUNTIME, require_extra("openvino", "cpu").__version__, f"{here.model} ({' '.join(sets)})")


def _offered_precisions(computed: str, native: frozenset[str], path: Path) -> tuple[str, ...]:
    """The precisions that a file can run in, the default first."""
    if computed == "int8":
        return ("int8",)
    if computed == "fp16" and "FP16" not in native:
        raise WrongModelError(
            f"a processor that computes in FP16 for {path}",
            "one that would run it in FP32",
            "build it with `edgefr build-engine --bf16` or --int8",
        )
    if computed == "fp16":
        return ("fp16",)
    return ("fp32", "bf16") if "BF16" in native else ("fp32",)


def _read(path: Path) -> Any:
    # Core.read_model would try the parsers of all formats, which write to stderr.
    frontend = require_extra("openvino.frontend", "cpu").FrontEndManager().load_by_framework("onnx")
    return frontend.convert(frontend.load(str(path)))


def _settings(precision: str, native: frozenset[str], threads: int | None) -> dict[str, str]:
    # The layers of an INT8 file that are not INT8 run in the fastest other format.
    rest = "bf16" if precision == "int8" and "BF16" in native else precision
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": {"bf16": "bf16", "fp16": "f16"}.get(rest, "f32"),
        "INFERENCE_NUM_THREADS": str(threads or 0),  # 0: as many as there are cores
    }


def _info(port: Any) -> TensorInfo:
    # After optimisation one tensor can have several names. Ours counts.
    known = [name for name in (INPUT_NAME, EMBEDDING, NORM, UNCERTAINTY) if name in port.names]
    name = known[0] if known else min(port.names, default="")
    shape = tuple(None if size.is_dynamic else size.get_length() for size in port.partial_shape)
    return TensorInfo(name, np.dtype(port.element_type.to_dtype()).name, shape)


RUNTIMES = (
    Runtime(
        RUNTIME,
        open=lambda path, _name, precision, threads: OpenVinoBackend(path, precision, threads),
        install_command=lambda: install_command("cpu"),
        modules=("openvino",),
        packages=("openvino",),
        bf16=True,
        own_suffix=SUFFIX,
        target=_target,
    ),
)
