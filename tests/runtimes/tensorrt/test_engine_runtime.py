"""The TensorRT session on a strict fake of CUDA; TensorRT itself needs a GPU."""

from __future__ import annotations

import gc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgefr.errors import EdgefrError
from edgefr.io.files import sha256_of
from edgefr.manifest import Manifest, write_manifest
from edgefr.runtimes import cuda_probe, open_backend
from edgefr.runtimes.cuda_probe import Gpu
from edgefr.runtimes.engine_file import EngineKey, EngineRecord, Target
from edgefr.runtimes.tensorrt import engine_runtime as tensorrt
from edgefr.runtimes.tensorrt.cuda import CudaPython
from edgefr.runtimes.tensorrt.engine_runtime import Session, TensorRtBackend
from tests.runtimes.fake_cuda import TRT, FakeCuda, FakeEngine


def faces(*pixels: int) -> dict[str, np.ndarray]:
    images = np.zeros((len(pixels), 112, 112, 3), np.uint8)
    images[:, 0, 0, 0] = pixels
    return {"image": images}


def session(cuda: FakeCuda, works: bool = True, capturable: bool = True) -> Session:
    return Session(TRT, FakeEngine(cuda, works, capturable), cuda, "tensorrt", "fp16")


@pytest.mark.parametrize("graphs", [True, False], ids=["cuda-python", "pycuda"])
def test_every_face_gets_its_own_output_at_any_batch_size(graphs: bool) -> None:
    cuda = FakeCuda(has_graphs=graphs)
    running = session(cuda)
    for pixels in ((1,), (2,), (3, 4), (5,), (6, 7), (8, 9), tuple(range(10, 21)), (30,)):
        found = running.infer(faces(*pixels))["embedding"]
        assert found.tolist() == [[pixel, 2 * pixel] for pixel in pixels]
    assert (cuda.launched > 0) == graphs


def test_copies_surround_the_run_and_a_repeated_batch_size_becomes_a_graph() -> None:
    cuda = FakeCuda()
    running = session(cuda)
    for _ in range(4):
        running.infer(faces(1))
    # Twice enqueued, once more to set up the graph's own context, and once captured, then launched.
    assert cuda.calls == ["in", "run", "out"] * 4
    assert (cuda.launched, len(cuda.made)) == (2, 1)


def test_an_engine_that_cannot_be_captured_runs_without_graphs() -> None:
    cuda = FakeCuda()
    running = session(cuda, capturable=False)
    for pixel in range(1, 6):
        assert running.infer(faces(pixel))["embedding"].tolist() == [[pixel, 2 * pixel]]
    assert (cuda.launched, cuda.made) == (0, {})
    assert cuda.calls.count("run") == 5 + 2  # tried once
    running.close()
    assert cuda.left == (0, 0, 0, 0)


def test_the_number_of_graphs_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt, "MAX_GRAPHS", 2)
    cuda = FakeCuda()
    running = session(cuda)
    for pixels in 3 * ((1,), (2, 3), (4, 5, 6)):
        assert running.infer(faces(*pixels))["embedding"][:, 0].tolist() == list(pixels)
    assert len(cuda.made) == 2


def test_a_failed_capture_raises_its_cause_and_ends_on_the_stream() -> None:
    said: list[str] = []

    def runtime(name: str, *found: object) -> object:
        return lambda *arguments: (said.append(name), found)[1]

    bad, good = SimpleNamespace(name="cudaErrorStreamCaptureInvalidated"), SimpleNamespace(name="cudaSuccess")
    cuda = CudaPython.__new__(CudaPython)
    cuda._rt = SimpleNamespace(
        cudaError_t=SimpleNamespace(cudaSuccess=good),
        cudaStreamCaptureMode=SimpleNamespace(cudaStreamCaptureModeThreadLocal=1),
        cudaStreamBeginCapture=runtime("begin", good),
        cudaStreamEndCapture=runtime("end", bad, None),
    )

    def work() -> None:
        raise EdgefrError("", "the cause", "no fix")

    with pytest.raises(EdgefrError, match="the cause"):
        cuda.capture(1, work)
    assert said == ["begin", "end"]


def test_a_released_backend_frees_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda()
    library = SimpleNamespace(
        __version__="10.3.0",
        Runtime=lambda log: SimpleNamespace(deserialize_cuda_engine=lambda data: FakeEngine(cuda)),
        **vars(TRT),
    )
    gpu = Gpu("NVIDIA RTX 4090", 89, "CUDA 13.0", 1 << 34)
    target = Target("tensorrt", "10.3.0", "NVIDIA RTX 4090 SM89", "CUDA 13.0")
    engine = tmp_path / "engine.plan"
    engine.write_bytes(b"machine code")
    record = EngineRecord(EngineKey("0" * 64, "fp16", target), sha256_of(engine), engine.stat().st_size)
    write_manifest(engine, Manifest("engine", "test", engine=record.to_dict()))
    monkeypatch.setattr(tensorrt, "require_gpu", lambda what: gpu)
    monkeypatch.setattr(tensorrt, "tensorrt_library", lambda runtime: library)
    monkeypatch.setattr(tensorrt, "make_logger", lambda trt: None)
    monkeypatch.setattr(tensorrt, "open_cuda", lambda: cuda)
    backend = TensorRtBackend(engine)
    assert backend.infer(faces(3))["embedding"].tolist() == [[3, 6]]
    assert cuda.left == (2, 2, 1, 0)
    del backend
    gc.collect()
    assert cuda.left == (0, 0, 0, 0)


def test_an_output_is_not_changed_by_the_next_call() -> None:
    running = session(FakeCuda())
    first = running.infer(faces(1))["embedding"]
    running.infer(faces(9))
    assert first.tolist() == [[1, 2]]


def test_close_frees_everything() -> None:
    cuda = FakeCuda()
    running = session(cuda)
    for _ in range(3):
        running.infer(faces(1, 2))
    assert cuda.left == (2, 2, 1, 1)
    running.close()
    assert cuda.left == (0, 0, 0, 0)


def test_too_little_memory_is_an_error_that_leaves_nothing_allocated() -> None:
    cuda = FakeCuda(room=1000)
    with pytest.raises(
        EdgefrError, match=r"expected CUDA to allocate 150,528 bytes, found .*\. Close .* smaller batch"
    ):
        session(cuda)
    assert cuda.left == (0, 0, 0, 0)


def test_a_failed_run_is_an_error() -> None:
    with pytest.raises(EdgefrError, match="expected CUDA to run the engine"):
        session(FakeCuda(), works=False).infer(faces(1))


def test_other_inputs_are_refused() -> None:
    with pytest.raises(EdgefrError, match=r"expected input image uint8 \(B,112,112,3\)"):
        session(FakeCuda()).infer({"image": np.zeros((1, 96, 96, 3), np.uint8)})


def test_without_a_gpu_no_object_of_tensorrt_is_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPU is checked first, before the library and the engine."""
    monkeypatch.setattr(cuda_probe, "_driver", lambda: None)
    for name in ("engine.plan", "engine.rtx"):
        (tmp_path / name).write_bytes(b"anything")
        with pytest.raises(EdgefrError, match=r"expected an NVIDIA GPU with its driver for .*, found none"):
            open_backend(tmp_path / name)


@pytest.mark.parametrize("failing", ["cuInit", "cuDeviceGetCount", "none there"])
def test_a_driver_without_a_usable_gpu_counts_as_no_gpu(failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Driver:
        def cuInit(self, flags: int) -> int:  # noqa: N802 - CUDA's name
            return 100 if failing == "cuInit" else 0

        def cuDeviceGetCount(self, count: object) -> int:  # noqa: N802
            return 100 if failing == "cuDeviceGetCount" else 0

    monkeypatch.setattr(cuda_probe, "_driver", Driver)
    assert cuda_probe.find_gpu() is None


class Driver:
    """CUDA's driver with some free memory; it counts contexts."""

    def __init__(self, free: int, refuses: bool = False) -> None:
        self.free, self.refuses, self.held, self.current = free, refuses, 0, 0

    def cuDevicePrimaryCtxRetain(self, context: object, device: object) -> int:  # noqa: N802 - CUDA's names
        self.held += 1
        return 0

    def cuDevicePrimaryCtxRelease_v2(self, device: object) -> int:  # noqa: N802
        self.held -= 1
        return 0

    def cuCtxPushCurrent_v2(self, context: object) -> int:  # noqa: N802
        self.current += 1
        return 0

    def cuCtxPopCurrent_v2(self, context: object) -> int:  # noqa: N802
        self.current -= 1
        return 0

    def cuMemGetInfo_v2(self, free: object, total: object) -> int:  # noqa: N802
        assert self.held == self.current == 1
        free._obj.value = self.free
        return int(self.refuses)


@pytest.mark.parametrize(("refuses", "expected"), [(False, 3 << 30), (True, 8 << 30)])
def test_free_memory_is_what_the_driver_reports(monkeypatch: pytest.MonkeyPatch, refuses: bool, expected: int) -> None:
    driver = Driver(3 << 30, refuses)
    monkeypatch.setattr(cuda_probe, "_driver", lambda: driver)
    assert Gpu("a GPU", 89, "CUDA 13.0", 8 << 30).free == expected
    assert (driver.held, driver.current) == (0, 0)
