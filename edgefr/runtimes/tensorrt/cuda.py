"""The little of CUDA that a runtime needs, behind one interface: cuda-python where it is installed, else pycuda.

Addresses, streams and graphs are whole numbers or objects that only their maker looks into. No torch, no context that
is made at import.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from edgefr.errors import EdgefrError, MissingExtraError
from edgefr.runtimes.base import Array, last_line


class Graphs(Protocol):
    """Work that is put on a stream once and launched again as a whole; every call may raise an EdgefrError."""

    def capture(self, stream: int, work: Callable[[], None]) -> Any:
        """What `work` puts on the stream as a graph, without doing it."""
        ...

    def launch(self, graph: Any, stream: int) -> None: ...

    def free_graph(self, graph: Any) -> None: ...


class Cuda(Protocol):
    """Memory and copies on a stream; every call may raise an EdgefrError (`cuda_error`)."""

    @property
    def graphs(self) -> Graphs | None:
        """None where the library has no CUDA graphs."""
        ...

    def allocate(self, size: int) -> int:
        """The address of `size` bytes on the device."""
        ...

    def free(self, address: int) -> None: ...

    def pinned(self, size: int) -> Array:
        """`size` bytes of the host that the device can copy from and to by itself, (size,) uint8."""
        ...

    def free_pinned(self, host: Array) -> None: ...

    def stream(self) -> int: ...

    def free_stream(self, stream: int) -> None: ...

    def copy_in(self, address: int, host: Array, stream: int) -> None:
        """Copy a pinned array to the device, in its turn on the stream."""
        ...

    def copy_out(self, host: Array, address: int, stream: int) -> None:
        """Copy from the device to a pinned array, in its turn on the stream."""
        ...

    def wait(self, stream: int) -> None:
        """Until all on the stream is done."""
        ...


def open_cuda() -> Cuda:
    """CUDA through cuda-python, else pycuda.

    Raises:
        MissingExtraError: neither is installed.
    """
    try:
        return CudaPython()
    except ImportError:
        pass
    try:
        return PyCuda()
    except ImportError as error:
        raise MissingExtraError(
            "cuda-python or pycuda for TensorRT", f"neither ({error})", "pip install 'edgefr[trt]'"
        ) from error


def cuda_error(what: str, error: object) -> EdgefrError:
    """What CUDA reports as one sentence with what to do."""
    told = last_line(error) if isinstance(error, Exception) else str(error)
    low = told.lower().replace("_", "")
    if "memory" in low:
        mend = "close other programs on the GPU, or build the engine with a smaller batch in its --device-profile"
    elif any(word in low for word in ("lost", "illegal", "unavailable", "ecc", "reset")):
        mend = "start edgefr again; if it comes back, restart the machine and see `nvidia-smi` or `dmesg`"
    else:
        mend = "see `nvidia-smi`, or use another --runtime"
    return EdgefrError(f"CUDA to {what}", f"that it fails ({told})", mend)


class CudaPython:
    """NVIDIA's own bindings of the CUDA runtime."""

    def __init__(self) -> None:
        from cuda.bindings import runtime

        self._rt: Any = runtime

    @property
    def graphs(self) -> Graphs:
        return self

    def _call(self, what: str, name: str, *arguments: Any) -> Any:
        error, *found = getattr(self._rt, name)(*arguments)
        if error != self._rt.cudaError_t.cudaSuccess:
            raise cuda_error(what, error.name)
        return found[0] if found else None

    def allocate(self, size: int) -> int:
        return int(self._call(f"allocate {size:,} bytes", "cudaMalloc", size))

    def free(self, address: int) -> None:
        self._call("free memory", "cudaFree", address)

    def pinned(self, size: int) -> Array:
        import ctypes

        address = int(self._call(f"allocate {size:,} bytes of the host", "cudaMallocHost", size))
        view: Array = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
        return view

    def free_pinned(self, host: Array) -> None:
        self._call("free memory of the host", "cudaFreeHost", host.ctypes.data)

    def stream(self) -> int:
        flag = self._rt.cudaStreamNonBlocking
        return int(self._call("make a stream", "cudaStreamCreateWithFlags", flag))

    def free_stream(self, stream: int) -> None:
        self._call("end a stream", "cudaStreamDestroy", stream)

    def copy_in(self, address: int, host: Array, stream: int) -> None:
        kind = self._rt.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("copy to the GPU", "cudaMemcpyAsync", address, host.ctypes.data, host.nbytes, kind, stream)

    def copy_out(self, host: Array, address: int, stream: int) -> None:
        kind = self._rt.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("copy from the GPU", "cudaMemcpyAsync", host.ctypes.data, address, host.nbytes, kind, stream)

    def wait(self, stream: int) -> None:
        self._call("finish", "cudaStreamSynchronize", stream)

    def capture(self, stream: int, work: Callable[[], None]) -> Any:
        mode = self._rt.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("begin a graph", "cudaStreamBeginCapture", stream, mode)
        try:
            work()
        except BaseException:
            # The stream has to leave the capture; what it says of that is not what went wrong.
            _error, *graph = self._rt.cudaStreamEndCapture(stream)
            if any(graph):
                self._rt.cudaGraphDestroy(*graph)
            raise
        graph = self._call("end a graph", "cudaStreamEndCapture", stream)
        try:
            return self._call("make a graph ready", "cudaGraphInstantiate", graph, 0)
        finally:
            self._call("free a graph", "cudaGraphDestroy", graph)

    def launch(self, graph: Any, stream: int) -> None:
        self._call("launch a graph", "cudaGraphLaunch", graph, stream)

    def free_graph(self, graph: Any) -> None:
        self._call("free a graph", "cudaGraphExecDestroy", graph)


class PyCuda:
    """pycuda, for devices where it is already at home. It has no CUDA graphs."""

    graphs = None

    def __init__(self) -> None:
        import pycuda.driver

        self._driver: Any = pycuda.driver
        self._driver.init()
        self._context = self._driver.Device(0).retain_primary_context()
        self._live: dict[int, Any] = {}

    def _keep(self, make: Callable[[], Any], what: str) -> Any:
        self._context.push()
        try:
            return make()
        except self._driver.Error as error:
            raise cuda_error(what, error) from error
        finally:
            self._context.pop()

    def allocate(self, size: int) -> int:
        memory = self._keep(lambda: self._driver.mem_alloc(size), f"allocate {size:,} bytes")
        self._live[int(memory)] = memory
        return int(memory)

    def free(self, address: int) -> None:
        memory = self._live.pop(address)
        self._keep(memory.free, "free memory")

    def pinned(self, size: int) -> Array:
        host: Array = self._keep(
            lambda: self._driver.pagelocked_empty(size, np.uint8), f"allocate {size:,} bytes of the host"
        )
        return host

    def free_pinned(self, host: Array) -> None:
        self._keep(host.base.free, "free memory of the host")  # type: ignore[union-attr]

    def stream(self) -> int:
        stream = self._keep(self._driver.Stream, "make a stream")
        self._live[int(stream.handle)] = stream
        return int(stream.handle)

    def free_stream(self, stream: int) -> None:
        del self._live[stream]

    def copy_in(self, address: int, host: Array, stream: int) -> None:
        self._keep(lambda: self._driver.memcpy_htod_async(address, host, self._live[stream]), "copy to the GPU")

    def copy_out(self, host: Array, address: int, stream: int) -> None:
        self._keep(lambda: self._driver.memcpy_dtoh_async(host, address, self._live[stream]), "copy from the GPU")

    def wait(self, stream: int) -> None:
        self._keep(self._live[stream].synchronize, "finish")
