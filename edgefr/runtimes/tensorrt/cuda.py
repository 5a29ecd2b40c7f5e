"""The part of CUDA that inference needs: by cuda-python if it is installed, else by pycuda.

Addresses and streams are integers, graphs are objects that only `CudaPython` has. Every call may raise `cuda_error`.
No torch is needed, and no context is created at import.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgefr.errors import EdgefrError, MissingExtraError, UnavailableError, install_command
from edgefr.runtimes.base import Array, last_line


def open_cuda() -> CudaPython | PyCuda:
    """Open CUDA with cuda-python, else with pycuda.

    Raises:
        MissingExtraError: Neither is installed.
    """
    for binding in (CudaPython, PyCuda):
        try:
            return binding()
        except ImportError as error:
            missing = error
    raise MissingExtraError(
        "cuda-python or pycuda for TensorRT", f"neither ({missing})", f"run: {install_command('trt')}"
    ) from missing


def cuda_error(action: str, error: object) -> EdgefrError:
    """The error for a failed call of CUDA.

    Args:
        action: What was to be done, as an infinitive.
        error: The exception or the status of the library.
    """
    status = last_line(error) if isinstance(error, Exception) else str(error)
    words = status.lower().replace("_", "")
    if "memory" in words:
        fix = "close other programs on the GPU, or build the engine with a smaller batch in its --device-profile"
    elif any(word in words for word in ("lost", "illegal", "unavailable", "ecc", "reset")):
        fix = "start edgefr again. If the error returns, restart the machine and check `nvidia-smi` and `dmesg`"
    else:
        fix = "see `nvidia-smi`, or use another --runtime"
    return UnavailableError(f"CUDA to {action}", f"a failure ({status})", fix)


class CudaPython:
    """NVIDIA's own bindings of the CUDA runtime."""

    has_graphs = True

    def __init__(self) -> None:
        from cuda.bindings import runtime

        self._rt: Any = runtime

    def _call(self, action: str, name: str, *arguments: Any) -> Any:
        error, *values = getattr(self._rt, name)(*arguments)
        if error != self._rt.cudaError_t.cudaSuccess:
            raise cuda_error(action, error.name)
        return values[0] if values else None

    def allocate(self, size: int) -> int:
        """Allocate `size` bytes on the device and return their address."""
        return int(self._call(f"allocate {size:,} bytes", "cudaMalloc", size))

    def free(self, address: int) -> None:
        self._call("free memory", "cudaFree", address)

    def pinned(self, size: int) -> Array:
        """Allocate `size` bytes of page-locked host memory, which asynchronous copies need: (size,) uint8."""
        import ctypes

        address = int(self._call(f"allocate {size:,} bytes of host memory", "cudaMallocHost", size))
        view: Array = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
        return view

    def free_pinned(self, host: Array) -> None:
        self._call("free host memory", "cudaFreeHost", host.ctypes.data)

    def stream(self) -> int:
        flag = self._rt.cudaStreamNonBlocking
        return int(self._call("create a stream", "cudaStreamCreateWithFlags", flag))

    def free_stream(self, stream: int) -> None:
        self._call("destroy a stream", "cudaStreamDestroy", stream)

    def copy_in(self, address: int, host: Array, stream: int) -> None:
        kind = self._rt.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("copy to the GPU", "cudaMemcpyAsync", address, host.ctypes.data, host.nbytes, kind, stream)

    def copy_out(self, host: Array, address: int, stream: int) -> None:
        kind = self._rt.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("copy from the GPU", "cudaMemcpyAsync", host.ctypes.data, address, host.nbytes, kind, stream)

    def wait(self, stream: int) -> None:
        """Wait until the stream is empty."""
        self._call("synchronise", "cudaStreamSynchronize", stream)

    def capture(self, stream: int, work: Callable[[], None]) -> Any:
        """Record what `work` puts on the stream, without running it, as a graph."""
        mode = self._rt.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("begin a capture", "cudaStreamBeginCapture", stream, mode)
        try:
            work()
        except BaseException:
            # The stream has to end the capture. The status of that call is not the cause.
            _error, *graph = self._rt.cudaStreamEndCapture(stream)
            if any(graph):
                self._rt.cudaGraphDestroy(*graph)
            raise
        graph = self._call("end a capture", "cudaStreamEndCapture", stream)
        try:
            return self._call("instantiate a graph", "cudaGraphInstantiate", graph, 0)
        finally:
            self._call("free a graph", "cudaGraphDestroy", graph)

    def launch(self, graph: Any, stream: int) -> None:
        self._call("launch a graph", "cudaGraphLaunch", graph, stream)

    def free_graph(self, graph: Any) -> None:
        self._call("free a graph", "cudaGraphExecDestroy", graph)


class PyCuda:
    """pycuda, for devices that already have it. It has no CUDA graphs."""

    has_graphs = False

    def __init__(self) -> None:
        import pycuda.driver

        self._driver: Any = pycuda.driver
        self._driver.init()
        self._context = self._driver.Device(0).retain_primary_context()
        self._live: dict[int, Any] = {}

    def _in_context(self, call: Callable[[], Any], action: str) -> Any:
        self._context.push()
        try:
            return call()
        except self._driver.Error as error:
            raise cuda_error(action, error) from error
        finally:
            self._context.pop()

    def allocate(self, size: int) -> int:
        memory = self._in_context(lambda: self._driver.mem_alloc(size), f"allocate {size:,} bytes")
        self._live[int(memory)] = memory
        return int(memory)

    def free(self, address: int) -> None:
        memory = self._live.pop(address)
        self._in_context(memory.free, "free memory")

    def pinned(self, size: int) -> Array:
        host: Array = self._in_context(
            lambda: self._driver.pagelocked_empty(size, np.uint8), f"allocate {size:,} bytes of host memory"
        )
        return host

    def free_pinned(self, host: Array) -> None:
        self._in_context(host.base.free, "free host memory")  # type: ignore[union-attr]

    def stream(self) -> int:
        stream = self._in_context(self._driver.Stream, "create a stream")
        self._live[int(stream.handle)] = stream
        return int(stream.handle)

    def free_stream(self, stream: int) -> None:
        del self._live[stream]

    def copy_in(self, address: int, host: Array, stream: int) -> None:
        self._in_context(lambda: self._driver.memcpy_htod_async(address, host, self._live[stream]), "copy to the GPU")

    def copy_out(self, host: Array, address: int, stream: int) -> None:
        self._in_context(lambda: self._driver.memcpy_dtoh_async(host, address, self._live[stream]), "copy from the GPU")

    def wait(self, stream: int) -> None:
        self._in_context(self._live[stream].synchronize, "synchronise")
