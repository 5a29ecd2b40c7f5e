"""TensorRT and TensorRT-RTX engines on an NVIDIA GPU, without torch."""

from __future__ import annotations

import weakref
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any

import numpy as np

from edgefr.errors import EdgefrError, WrongModelError
from edgefr.runtimes.base import Array, Description, Runtime, TensorInfo, check_inputs, infer_in_parts, select_precision
from edgefr.runtimes.cuda_probe import Gpu, require_gpu
from edgefr.runtimes.engine_file import Target, check_engine
from edgefr.runtimes.tensorrt.cuda import CudaPython, PyCuda, cuda_error, open_cuda
from edgefr.runtimes.tensorrt.library import MODULES, install_tensorrt, make_logger, make_runtime, tensorrt_library
from edgefr.types import INPUT_NAME

SUFFIXES = {"tensorrt": ".plan", "tensorrt-rtx": ".rtx"}

MAX_GRAPHS = 8
"""Number of batch sizes that get a CUDA graph. Each graph holds an execution context with memory of its own."""


class TensorRtBackend:
    """An engine that `edgefr build-engine` built for this GPU."""

    def __init__(self, path: Path, precision: str = "auto") -> None:
        """Load an engine.

        Args:
            path: The engine (.plan or .rtx).
            precision: The precision of the engine, or "auto".

        Raises:
            UnavailableError: There is no GPU.
            MissingExtraError: A library is not installed.
            WrongModelError: The engine is damaged or was built for something else (`engine_file.check_engine`).
        """
        runtime = "tensorrt-rtx" if path.suffix.lower() == SUFFIXES["tensorrt-rtx"] else "tensorrt"
        gpu = require_gpu(runtime)  # before any object of TensorRT exists: some versions crash without a GPU
        trt = tensorrt_library(runtime)
        built_in = check_engine(path, gpu_target(runtime, trt, gpu)).key.precision
        self._precision = select_precision((built_in,), precision, runtime, f"use --precision {built_in}")
        self._log = make_logger(trt)
        self._runtime = make_runtime(trt, self._log)  # outlives the engine
        engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if engine is None:
            raise WrongModelError(
                f"{runtime} to load {path}",
                f"an error ({'; '.join(self._log.errors)[:200]})",
                f"build it again with `edgefr build-engine --{built_in} --runtime {runtime}`",
            )
        self._session = Session(trt, engine, open_cuda(), runtime, built_in)
        weakref.finalize(self, _close, self._session)

    def describe(self) -> Description:
        return self._session.description

    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        return self._session.infer(inputs)


def _close(session: Session) -> None:
    """Free everything at the end of a backend. Errors are ignored: a lost GPU has lost its memory, too."""
    with suppress(EdgefrError):
        session.close()


def gpu_target(runtime: str, trt: ModuleType, gpu: Gpu) -> Target:
    """The target of engines that are built on this GPU."""
    return Target(runtime, trt.__version__, f"{gpu.name} SM{gpu.capability}", gpu.driver)


@dataclass(frozen=True)
class _Tensor:
    """An input or output with its buffer on the device and a pinned one on the host."""

    info: TensorInfo
    address: int
    host: Array

    def host_bytes(self, batch: int) -> Array:
        """The bytes of the first `batch` items on the host."""
        return self.host[: batch * self.item_bytes]

    @property
    def item_shape(self) -> tuple[int, ...]:
        return tuple(size or 1 for size in self.info.shape[1:])

    @property
    def item_bytes(self) -> int:
        return int(np.prod(self.item_shape, dtype=np.int64)) * np.dtype(self.info.dtype).itemsize


class Session:
    """An engine with its buffers, one stream, and a CUDA graph for each of the first batch sizes that occur twice.

    A graph holds the state of the execution context that it was captured from. So each graph has its own context, which
    no other batch size changes (TensorRT's developer guide, CUDA graphs). Batches that are larger than the engine's
    maximum are computed in parts.
    """

    def __init__(self, trt: Any, engine: Any, cuda: CudaPython | PyCuda, runtime: str, precision: str) -> None:
        self._cuda: Any = cuda
        self._engine = engine
        self._context = self._new_context()
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        self.max_batch = int(engine.get_tensor_profile_shape(INPUT_NAME, 0)[2][0])
        self._lock = Lock()
        self._graphs: dict[int, tuple[Any, Any]] = {}  # batch size -> graph and its context
        self._free_graphs = MAX_GRAPHS if cuda.has_graphs else 0
        self._used_sizes: set[int] = set()
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
            raise cuda_error("create an execution context", "out of memory")
        return context

    def _buffer(self, trt: Any, name: str) -> _Tensor:
        shape = tuple(int(size) for size in self._engine.get_tensor_shape(name))
        dtype = np.dtype(trt.nptype(self._engine.get_tensor_dtype(name)))
        info = TensorInfo(name, dtype.name, (None, *shape[1:]))
        size = self.max_batch * int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
        address = self._cuda.allocate(size)
        try:
            host = self._cuda.pinned(size)
        except EdgefrError:
            self._cuda.free(address)
            raise
        return _Tensor(info, address, host)

    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        feed = check_inputs(inputs, self.description)
        with self._lock:  # one stream, one set of buffers
            return infer_in_parts(feed, self.max_batch, self._run)

    def _run(self, feed: dict[str, Array], batch: int) -> dict[str, Array]:
        for name, array in feed.items():
            self._tensors[name].host_bytes(batch)[:] = array.reshape(-1).view(np.uint8)
        if batch in self._graphs:
            self._cuda.launch(self._graphs[batch][0], self._stream)
            self._cuda.wait(self._stream)
        else:
            self._compute(self._context, batch)
        outputs = {info.name: self._copy_output(self._tensors[info.name], batch) for info in self.description.outputs}
        if self._free_graphs and batch in self._used_sizes and batch not in self._graphs:
            self._capture(batch)
        self._used_sizes.add(batch)
        return outputs

    def _capture(self, batch: int) -> None:
        """Record the graph of a batch size. An engine that cannot be captured runs without graphs from then on."""
        try:
            context = self._new_context()
            self._compute(
                context, batch
            )  # the first run with a shape sets TensorRT up, which must not be part of the graph
            self._graphs[batch] = self._cuda.capture(self._stream, lambda: self._enqueue(context, batch)), context
            self._free_graphs -= 1
        except EdgefrError:
            self._free_graphs = 0

    def _compute(self, context: Any, batch: int) -> None:
        for info in self.description.inputs:
            if not context.set_input_shape(info.name, (batch, *info.shape[1:])):
                raise cuda_error(f"accept a batch of {batch}", "the engine rejects its shape")
        for name, tensor in self._tensors.items():
            context.set_tensor_address(name, tensor.address)
        self._enqueue(context, batch)
        self._cuda.wait(self._stream)

    def _enqueue(self, context: Any, batch: int) -> None:
        for info in self.description.inputs:
            tensor = self._tensors[info.name]
            self._cuda.copy_in(tensor.address, tensor.host_bytes(batch), self._stream)
        if not context.execute_async_v3(self._stream):
            raise cuda_error("run the engine", "TensorRT gives no reason")
        for info in self.description.outputs:
            tensor = self._tensors[info.name]
            self._cuda.copy_out(tensor.host_bytes(batch), tensor.address, self._stream)

    def _copy_output(self, tensor: _Tensor, batch: int) -> Array:
        """A copy, which the next use of the buffer does not change."""
        return tensor.host_bytes(batch).view(tensor.info.dtype).reshape(batch, *tensor.item_shape).copy()

    def close(self) -> None:
        """Free everything: graphs before their contexts, memory last."""
        self._cuda.wait(self._stream)
        for graph, _context in self._graphs.values():
            self._cuda.free_graph(graph)
        self._graphs.clear()
        self._context = self._engine = None
        self._cuda.free_stream(self._stream)
        for tensor in self._tensors.values():
            self._cuda.free(tensor.address)
            self._cuda.free_pinned(tensor.host)
        self._tensors.clear()


def _local_target(runtime: str) -> Target:
    gpu = require_gpu(runtime)
    return gpu_target(runtime, tensorrt_library(runtime), gpu)


RUNTIMES = tuple(
    Runtime(
        name,
        open=lambda path, _name, precision, _threads: TensorRtBackend(path, precision),
        install_command=partial(install_tensorrt, name),
        modules=MODULES[name],
        packages=packages,
        formats=("fp16", "int8", "fp32"),
        own_suffix=SUFFIXES[name],
        target=partial(_local_target, name),
    )
    for name, packages in (
        ("tensorrt", ("tensorrt",)),
        ("tensorrt-rtx", ("tensorrt-rtx", "tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu12-bindings")),
    )
)
