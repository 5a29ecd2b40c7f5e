"""A strict fake of CUDA in host memory, and an engine on it that doubles its input.

Work on a stream runs in order when the stream is waited for, and only in memory that is allocated and large enough.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from edgefr.runtimes.tensorrt.cuda import cuda_error

Work = Callable[[], None]


@dataclass
class FakeCuda:
    has_graphs: bool = True
    room: int = 1 << 30
    device: dict[int, np.ndarray] = field(default_factory=dict)
    hosts: dict[int, np.ndarray] = field(default_factory=dict)
    streams: set[int] = field(default_factory=set)
    made: dict[int, list[Work]] = field(default_factory=dict)
    queue: list[Work] = field(default_factory=list)
    captured: list[Work] | None = None
    launched: int = 0
    calls: list[str] = field(default_factory=list)
    last: int = 4096

    def _next(self) -> int:
        self.last += 256
        return self.last

    def put(self, name: str, work: Work) -> None:
        (self.queue if self.captured is None else self.captured).append(work)
        self.calls.append(name)

    def allocate(self, size: int) -> int:
        if size > self.room:
            raise cuda_error(f"allocate {size:,} bytes", "cudaErrorMemoryAllocation")
        address = self._next()
        self.device[address] = np.zeros(size, np.uint8)
        return address

    def free(self, address: int) -> None:
        assert not self.queue, "memory freed before the stream was waited for"
        del self.device[address]

    def pinned(self, size: int) -> np.ndarray:
        host = np.zeros(size, np.uint8)
        self.hosts[host.ctypes.data] = host
        return host

    def free_pinned(self, host: np.ndarray) -> None:
        assert not self.queue, "memory freed before the stream was waited for"
        del self.hosts[host.ctypes.data]

    def stream(self) -> int:
        stream = self._next()
        self.streams.add(stream)
        return stream

    def free_stream(self, stream: int) -> None:
        assert not self.made, "a stream destroyed before its graphs"
        self.streams.remove(stream)

    def copy_in(self, address: int, host: np.ndarray, stream: int) -> None:
        self._check(address, host, stream)
        self.put("in", lambda: self.device[address].__setitem__(slice(host.nbytes), host))

    def copy_out(self, host: np.ndarray, address: int, stream: int) -> None:
        self._check(address, host, stream)
        self.put("out", lambda: host.__setitem__(slice(None), self.device[address][: host.nbytes]))

    def _check(self, address: int, host: np.ndarray, stream: int) -> None:
        assert stream in self.streams
        assert host.ctypes.data in self.hosts, "a copy to or from memory that is not pinned"
        assert host.nbytes <= len(self.device[address])

    def wait(self, stream: int) -> None:
        assert stream in self.streams
        for work in self.queue:
            work()
        self.queue.clear()

    def capture(self, stream: int, work: Work) -> int:
        assert not self.queue, "captured while the stream has work"
        self.captured = []
        try:
            work()
            graph = self._next()
            self.made[graph] = self.captured
            return graph
        finally:
            self.captured = None

    def launch(self, graph: int, stream: int) -> None:
        self.queue.extend(self.made[graph])
        self.launched += 1

    def free_graph(self, graph: int) -> None:
        del self.made[graph]

    @property
    def left(self) -> tuple[int, int, int, int]:
        """What is still allocated: device memory, pinned memory, streams, graphs."""
        return len(self.device), len(self.hosts), len(self.streams), len(self.made)


TRT: Any = SimpleNamespace(TensorIOMode=SimpleNamespace(INPUT="input", OUTPUT="output"), nptype=np.dtype)


class FakeEngine:
    """`image` uint8 (B, 112, 112, 3) -> `embedding` float32 (B, 2): the first pixel and twice it; batches up to 4."""

    num_io_tensors = 2

    def __init__(self, cuda: FakeCuda, works: bool = True, capturable: bool = True) -> None:
        self.cuda, self.works, self.capturable = cuda, works, capturable

    def create_execution_context(self) -> FakeContext:
        return FakeContext(self)

    def get_tensor_name(self, index: int) -> str:
        return ("image", "embedding")[index]

    def get_tensor_mode(self, name: str) -> str:
        return {"image": "input", "embedding": "output"}[name]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return {"image": (-1, 112, 112, 3), "embedding": (-1, 2)}[name]

    def get_tensor_dtype(self, name: str) -> str:
        return {"image": "uint8", "embedding": "float32"}[name]

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        return [(size, 112, 112, 3) for size in (1, 1, 4)]


class FakeContext:
    """After its capture only its graph may use it."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.addresses: dict[str, int] = {}
        self.batch = 0
        self.ran = self.captured = False

    def set_tensor_address(self, name: str, address: int) -> None:
        assert not self.captured
        self.addresses[name] = address

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert not self.captured, "a graph's context got another shape"
        self.ran = self.ran and self.batch == shape[0]
        self.batch = shape[0]
        return shape[0] <= 4

    def execute_async_v3(self, stream: int) -> bool:
        cuda, batch = self.engine.cuda, self.batch
        source, target = (cuda.device[self.addresses[name]] for name in ("image", "embedding"))

        def work() -> None:
            first = source[: batch * 112 * 112 * 3].reshape(batch, -1)[:, 0].astype(np.float32)
            target[: batch * 8] = np.stack([first, 2 * first], 1).reshape(-1).view(np.uint8)

        assert not self.captured, "a graph's context was run beside it"
        assert self.ran or cuda.captured is None, "captured before the first run with a shape"
        self.ran, self.captured = True, cuda.captured is not None
        cuda.put("run", work)
        return self.engine.works and (self.engine.capturable or not self.captured)
