"""TensorRT and TensorRT-RTX engines on an NVIDIA GPU, without torch."""

from __future__ import annotations

import weakref
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any

import numpy as np

from edgefr.errors import EdgefrError
from edgefr.runtimes.base import Array, Description, TensorInfo, check_inputs, select_precision
from edgefr.runtimes.cuda_probe import Gpu, require_gpu
from edgefr.runtimes.engine_file import SUFFIXES, Target, check_engine
from edgefr.runtimes.tensorrt.cuda import Cuda, Graphs, cuda_error, open_cuda
from edgefr.runtimes.tensorrt.library import logger, runtime_of, tensorrt_library
from edgefr.types import INPUT_NAME

MOST_GRAPHS = 8
"""Batch sizes that get a CUDA graph: each holds an execution context with memory of its own."""


class TensorRtBackend:
    """An engine that `edgefr build-engine` wrote for this GPU.

    Raises:
        EdgefrError: there is no GPU, a library is missing, or the engine is another's (engine_file.py).
    """

    def __init__(self, path: Path, precision: str = "auto") -> None:
        runtime = SUFFIXES.get(path.suffix.lower(), "tensorrt")
        gpu = require_gpu(runtime)  # before any object of TensorRT is made: some versions crash without one
        trt = tensorrt_library(runtime)
        made = check_engine(path, place(runtime, trt, gpu)).key.precision
        self._precision = select_precision((made,), precision, runtime, f"use --precision {made}")
        self._log = logger(trt)
        self._runtime = runtime_of(trt, self._log)  # outlives the engine
        engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if engine is None:
            raise EdgefrError(
                f"{runtime} to load {path}",
                f"that it refuses ({'; '.join(self._log.errors)[:200]})",
                f"build it again with `edgefr build-engine --{made} --runtime {runtime}`",
            )
        self._session = Session(trt, engine, open_cuda(), runtime, made)
        weakref.finalize(self, _end, self._session)

    def describe(self) -> Description:
        return self._session.description

    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        return self._session.infer(inputs)


def _end(session: Session) -> None:
    """When nobody is left to be told: a GPU that has gone has taken its memory along."""
    with suppress(EdgefrError):
        session.close()


def place(runtime: str, trt: ModuleType, gpu: Gpu) -> Target:
    """What an engine built on this GPU is bound to."""
    return Target(runtime, trt.__version__, f"{gpu.name} SM{gpu.capability}", gpu.driver)


@dataclass(frozen=True)
class _Tensor:
    """An input or output: its bytes on the device, and pinned ones on the host for copies on the stream."""

    info: TensorInfo
    address: int
    host: Array

    def part(self, batch: int) -> Array:
        """The bytes of the first `batch` items."""
        return self.host[: batch * self.item_bytes]

    @property
    def item_shape(self) -> tuple[int, ...]:
        return tuple(size or 1 for size in self.info.shape[1:])

    @property
    def item_bytes(self) -> int:
        return int(np.prod(self.item_shape, dtype=np.int64)) * np.dtype(self.info.dtype).itemsize


class Session:
    """An engine with its buffers, one stream, and a CUDA graph for the first batch sizes that come a second time.

    A graph holds the state of the execution context that it was captured from, so each has a context of its own, which
    no other batch size changes (TensorRT's developer guide, CUDA graphs). Batches beyond what the engine was built for
    are computed in parts.
    """

    def __init__(self, trt: Any, engine: Any, cuda: Cuda, runtime: str, precision: str) -> None:
        self._cuda, self._engine = cuda, engine
        self._context = self._new_context()
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        self.largest = int(engine.get_tensor_profile_shape(INPUT_NAME, 0)[2][0])
        self._lock = Lock()
        self._graphs: dict[int, tuple[Any, Any]] = {}  # a graph and its context by batch size
        self._room = MOST_GRAPHS
        self._seen: set[int] = set()
        self._tensors: dict[str, _Tensor] = {}
        self._stream = cuda.stream()
        try:
            for name in names:
                self._tensors[name] = self._buffer(trt, name)
        except EdgefrError:
            self.close()
            raise
        infos = {name: tensor.info for name, tensor in self._tensors.items()}
        self.description = Description(
            runtime,
            precision,
            tuple(infos[name] for name in inputs),
            tuple(infos[name] for name in names if name not in inputs),
        )

    def _new_context(self) -> Any:
        context = self._engine.create_execution_context()
        if context is None:
            raise cuda_error("make an execution context", "out of memory")
        return context

    def _buffer(self, trt: Any, name: str) -> _Tensor:
        shape = tuple(int(size) for size in self._engine.get_tensor_shape(name))
        dtype = np.dtype(trt.nptype(self._engine.get_tensor_dtype(name)))
        info = TensorInfo(name, dtype.name, (None, *shape[1:]))
        size = self.largest * int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
        address = self._cuda.allocate(size)
        try:
            host = self._cuda.pinned(size)
        except EdgefrError:
            self._cuda.free(address)
            raise
        return _Tensor(info, address, host)

    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        feed = check_inputs(inputs, self.description)
        total = len(next(iter(feed.values())))
        parts = []
        with self._lock:  # one stream, one set of buffers
            for start in range(0, total, self.largest):
                batch = {name: array[start : start + self.largest] for name, array in feed.items()}
                parts.append(self._run(batch, min(self.largest, total - start)))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _run(self, feed: dict[str, Array], batch: int) -> dict[str, Array]:
        for name, array in feed.items():
            self._tensors[name].part(batch)[:] = array.reshape(-1).view(np.uint8)
        graphs = self._cuda.graphs
        if graphs is not None and batch in self._graphs:
            graphs.launch(self._graphs[batch][0], self._stream)
            self._cuda.wait(self._stream)
        else:
            self._compute(self._context, batch)
        answers = {info.name: self._answer(self._tensors[info.name], batch) for info in self.description.outputs}
        if graphs is not None and self._room and batch in self._seen and batch not in self._graphs:
            self._capture(graphs, batch)
        self._seen.add(batch)
        return answers

    def _capture(self, graphs: Graphs, batch: int) -> None:
        """Make the graph of a batch size; an engine that cannot be captured goes on without, and is not asked again."""
        try:
            context = self._new_context()
            self._compute(context, batch)  # after a new shape TensorRT sets itself up, which is no part of a graph
            self._graphs[batch] = graphs.capture(self._stream, lambda: self._enqueue(context, batch)), context
            self._room -= 1
        except EdgefrError:
            self._room = 0

    def _compute(self, context: Any, batch: int) -> None:
        for info in self.description.inputs:
            if not context.set_input_shape(info.name, (batch, *info.shape[1:])):
                raise cuda_error(f"take a batch of {batch}", "the engine refuses its shape")
        for name, tensor in self._tensors.items():
            context.set_tensor_address(name, tensor.address)
        self._enqueue(context, batch)
        self._cuda.wait(self._stream)

    def _enqueue(self, context: Any, batch: int) -> None:
        for info in self.description.inputs:
            tensor = self._tensors[info.name]
            self._cuda.copy_in(tensor.address, tensor.part(batch), self._stream)
        if not context.execute_async_v3(self._stream):
            raise cuda_error("run the engine", "TensorRT reports a failure")
        for info in self.description.outputs:
            tensor = self._tensors[info.name]
            self._cuda.copy_out(tensor.part(batch), tensor.address, self._stream)

    def _answer(self, tensor: _Tensor, batch: int) -> Array:
        """A copy, which outlives the buffer's next use."""
        return tensor.part(batch).view(tensor.info.dtype).reshape(batch, *tensor.item_shape).copy()

    def close(self) -> None:
        """Give everything back: graphs before the context that they launch, memory last."""
        self._cuda.wait(self._stream)
        if (graphs := self._cuda.graphs) is not None:
            for graph, _context in self._graphs.values():
                graphs.free_graph(graph)
        self._graphs.clear()
        self._context = self._engine = None
        self._cuda.free_stream(self._stream)
        for tensor in self._tensors.values():
            self._cuda.free(tensor.address)
            self._cuda.free_pinned(tensor.host)
        self._tensors.clear()
