"""Finds the NVIDIA GPU by asking the driver, before a library is imported that crashes without one.

TensorRT's `Builder` and `Runtime` fail in unclear ways without a GPU, some versions with a segmentation fault.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from edgefr.errors import UnavailableError

_MAJOR, _MINOR = 75, 76
"""`CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR` and `_MINOR` (cuda.h)."""


@dataclass(frozen=True)
class Gpu:
    """A GPU as the driver describes it.

    Attributes:
        name: Name of the product.
        capability: Compute capability, 87 for 8.7.
        driver: The CUDA version of the driver, for example "CUDA 13.0".
        memory: Bytes of memory.
    """

    name: str
    capability: int
    driver: str
    memory: int

    @property
    def free(self) -> int:
        """Bytes of free memory; all of the memory if the driver does not report it. Creates a context for the call."""
        driver, free, total = _driver(), ctypes.c_size_t(), ctypes.c_size_t()
        device, context = ctypes.c_int(0), ctypes.c_void_p()
        if driver is None or driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device) != 0:
            return self.memory
        status = -1
        if driver.cuCtxPushCurrent_v2(context) == 0:
            status = driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
            driver.cuCtxPopCurrent_v2(ctypes.byref(context))
        driver.cuDevicePrimaryCtxRelease_v2(device)
        return free.value if status == 0 else self.memory


def find_gpu() -> Gpu | None:
    """The first NVIDIA GPU, or None if there is no driver or no GPU."""
    driver = _driver()
    if driver is None or driver.cuInit(0) != 0:
        return None
    device, count, version = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    if driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return None
    if driver.cuDeviceGet(ctypes.byref(device), 0) != 0:
        return None
    name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
    driver.cuDeviceGetName(name, len(name), device)
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    driver.cuDriverGetVersion(ctypes.byref(version))
    capability = 10 * _attribute(driver, _MAJOR, device) + _attribute(driver, _MINOR, device)
    cuda = f"CUDA {version.value // 1000}.{version.value % 1000 // 10}"
    return Gpu(name.value.decode(errors="replace"), capability, cuda, memory.value)


def require_gpu(purpose: str) -> Gpu:
    """The first NVIDIA GPU.

    Args:
        purpose: What needs it, for messages.

    Raises:
        UnavailableError: There is none.
    """
    gpu = find_gpu()
    if gpu is None:
        raise UnavailableError(
            f"an NVIDIA GPU with its driver for {purpose}", "none", "see `nvidia-smi`, or use another --runtime"
        )
    return gpu


def _attribute(driver: ctypes.CDLL, attribute: int, device: ctypes.c_int) -> int:
    value = ctypes.c_int()
    driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
    return value.value


def _driver() -> ctypes.CDLL | None:
    for name in ("libcuda.so.1", "nvcuda.dll"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None
