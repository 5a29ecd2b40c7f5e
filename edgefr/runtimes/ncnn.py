"""ncnn on the processor: Winograd convolutions, the fastest for large backbones on processors without AVX-512."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from edgefr.errors import EdgefrError, UnavailableError, WrongModelError, install_command, require_extra
from edgefr.runtimes.base import (
    Array,
    Description,
    Runtime,
    TensorInfo,
    check_inputs,
    infer_in_parts,
    inference_error,
    select_precision,
)
from edgefr.runtimes.engine_file import REBUILD, Target, check_engine
from edgefr.runtimes.ncnn_branches import find_branches
from edgefr.runtimes.ncnn_file import SUFFIX, NcnnGraph, read_ncnn_file
from edgefr.runtimes.processor import processor
from edgefr.types import FACE_SIZE, INPUT_NAME

RUNTIME = "ncnn"
INPUT_BLOB = "in0"
"""pnnx's name of the first input."""

ANY_PROCESSOR = "any processor"
"""The device of all engines. In INT8 it is the same with and without VNNI: ncnn adds in 32 bits on both."""

REDUCED_STORAGE = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_packed", "use_bf16_storage")


class NcnnBackend:
    """An engine (.ncnn) that `edgefr build-engine --runtime ncnn` built.

    ncnn computes one picture at a time, so a batch takes as long as its pictures one after the other.
    """

    def __init__(self, path: Path, precision: str = "auto", threads: int | None = None) -> None:
        """Load an engine.

        Args:
            path: The engine (.ncnn).
            precision: The precision of the engine, or "auto".
            threads: Number of processor threads. None means all cores.

        Raises:
            WrongModelError: The engine is damaged or was built for another version.
            InvalidArgumentError: It has another precision.
            UnavailableError: The engine is in FP16, in which this processor does not compute.
            MissingExtraError: ncnn is not installed.
        """
        built_in = check_engine(path, _target()).key.precision
        chosen = select_precision((built_in,), precision, RUNTIME, f"use --precision {built_in}")
        check_native(chosen)
        graph = read_ncnn_file(path)
        self._net = NcnnNet(graph, path, chosen, threads)
        self._lock = Lock()  # one picture already keeps all cores busy
        self._description = Description(
            RUNTIME,
            chosen,
            (TensorInfo(INPUT_NAME, "uint8", (None, FACE_SIZE, FACE_SIZE, 3)),),
            tuple(
                TensorInfo(name, "float32", (None,) if length is None else (None, length))
                for name, length in graph.outputs.items()
            ),
        )

    def describe(self) -> Description:
        return self._description

    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        feed = check_inputs(inputs, self._description)
        with self._lock:
            return infer_in_parts(feed, 1, lambda part, _: self._net.run(part[INPUT_NAME][0]))


def check_native(precision: str) -> None:
    """Check that this processor computes in a precision.

    Raises:
        UnavailableError: The precision is FP16, which ncnn would compute in FP32 on this processor.
    """
    if precision == "fp16" and not processor().fp16:
        raise UnavailableError(
            "a processor that computes in FP16, such as 64-bit ARM from version 8.2 on, for ncnn",
            "one that does not",
            "build the engine with `edgefr build-engine --runtime ncnn --fp32` or --int8",
        )


class NcnnNet:
    """A graph with its weights in ncnn. One picture at a time may be computed."""

    def __init__(
        self, graph: NcnnGraph, weights: Path, precision: str, threads: int | None = None, keep_blobs: bool = False
    ) -> None:
        """Load a graph.

        Args:
            graph: The graph.
            weights: A file that begins with its weights.
            precision: "fp32", "fp16" or "int8". Layers of an INT8 graph that are not INT8 are computed in FP32.
            threads: Number of processor threads. None means all cores.
            keep_blobs: Whether every blob can be extracted, which takes more memory.

        Raises:
            WrongModelError: ncnn cannot load it.
            MissingExtraError: ncnn is not installed.
        """
        self._library: Any = require_extra("ncnn", "ncnn")
        unknown = sorted({layer.kind for layer in graph.layers() if self._library.layer_to_index(layer.kind) < 0})
        if unknown:
            raise WrongModelError(
                "a graph of operators that ncnn has", ", ".join(unknown), "use another --runtime for this model"
            )
        self._outputs = graph.outputs
        cores = threads or processor().cores
        branches = find_branches(graph) if graph.side_by_side and cores > 1 else ()
        self._branches = branches if len(branches) <= cores else ()
        self._pool = ThreadPoolExecutor(len(self._branches)) if self._branches else None
        self._net = self._library.Net()
        self._set_options(precision, max(1, cores // max(1, len(self._branches))), keep_blobs)
        if self._net.load_param_mem(graph.text) != 0 or self._net.load_model(str(weights)) != 0:
            raise WrongModelError(f"an engine for ncnn in {weights}", "a file that ncnn cannot load", REBUILD)

    def _set_options(self, precision: str, threads: int, keep_blobs: bool) -> None:
        options = self._net.opt
        options.num_threads = threads
        options.lightmode = not keep_blobs
        for option in REDUCED_STORAGE:
            setattr(options, option, precision == "fp16" and "fp16" in option)
        # Larger tiles save more products, but their weights are four to seven times as large and are read for each
        # picture, which took longer on an AMD EPYC (Zen 5).
        options.use_winograd43_convolution = options.use_winograd63_convolution = False
        # Products of 8 bits are added by one instruction in VNNI, which is faster than fewer products of 16 bits.
        options.use_winograd_convolution = precision != "int8" or processor().saturates_int8

    def run(self, picture: Array) -> dict[str, Array]:
        """Run the net.

        Args:
            picture: (112, 112, 3) uint8.

        Returns:
            Name -> float32 (1, K), or (1,) for a number.

        Raises:
            WrongModelError: An output has another length than that of the model.
            EdgefrError: ncnn fails.
        """
        found = self.blobs(picture, [f"out{number}" for number in range(len(self._outputs))])
        outputs = {}
        for (name, length), array in zip(self._outputs.items(), found, strict=True):
            if array.size != (length or 1):
                raise WrongModelError(
                    f"{length or 1} numbers in the output {name}",
                    f"{array.size}, because the graph was converted wrongly for ncnn",
                    "use another --runtime for this model",
                )
            outputs[name] = array.reshape((1,) if length is None else (1, length))
        return outputs

    def blobs(self, picture: Array, names: Sequence[str]) -> list[Array]:
        """Copies of the named blobs for one picture (112, 112, 3) uint8.

        Raises:
            EdgefrError: ncnn fails.
        """
        pixels = picture.astype(np.float32)  # a name, because a Mat does not keep its array alive
        # ncnn gets a copy of its own: a layer that works in place crashes on the memory of numpy (1.0.20261020).
        given = {INPUT_BLOB: self._library.Mat(pixels).clone()}
        try:
            if self._pool is not None:
                tasks = [self._pool.submit(self._extract, dict(given), ends) for ends in self._branches]
                wait(tasks)  # one that fails must not leave others behind, which compete with the next picture
                for ends, task in zip(self._branches, tasks, strict=True):
                    given.update(zip(ends, task.result(), strict=True))
            return [np.array(mat, np.float32) for mat in self._extract(given, names)]
        except EdgefrError:
            raise
        except Exception as error:  # the library's exceptions share no narrower base
            raise inference_error(RUNTIME, error) from error

    def _extract(self, given: dict[str, Any], names: Sequence[str]) -> list[Any]:
        extractor = self._net.create_extractor()
        statuses = [extractor.input(name, mat.clone()) for name, mat in given.items()]
        found = [extractor.extract(name) for name in names]
        for status in (*statuses, *(status for status, _ in found)):
            if status != 0:
                raise EdgefrError("ncnn to run the model", f"the status {status}", REBUILD)
        return [mat for _, mat in found]


def _target() -> Target:
    """ncnn chooses its kernels at every start, so that only its version counts."""
    require_extra("ncnn", "ncnn")
    return Target(RUNTIME, RUNTIMES[0].version or "unknown", ANY_PROCESSOR)


RUNTIMES = (
    Runtime(
        RUNTIME,
        open=lambda path, _name, precision, threads: NcnnBackend(path, precision, threads),
        install_command=lambda: install_command("ncnn"),
        modules=("ncnn",),
        packages=("ncnn",),
        formats=("fp32", "int8"),
        fp16=True,
        own_suffix=SUFFIX,
        target=_target,
    ),
)
