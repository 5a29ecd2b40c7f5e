"""What the operating system tells about the processor and the memory."""

from __future__ import annotations

import contextlib
import os
import platform
from dataclasses import dataclass
from pathlib import Path

CPUINFO, MEMINFO, STATUS = Path("/proc/cpuinfo"), Path("/proc/meminfo"), Path("/proc/self/status")
CLEAR_PEAK = Path("/proc/self/clear_refs")

BF16_FLAGS = frozenset({"avx512_bf16", "avx_ne_convert"})
"""Linux's names of what OpenVINO asks for before it calls bf16 native on x86."""


@dataclass(frozen=True)
class Processor:
    """Model name, cores this process may use, and the instruction sets that Linux lists (elsewhere none)."""

    model: str
    cores: int
    flags: frozenset[str]

    @property
    def bf16(self) -> bool:
        return not BF16_FLAGS.isdisjoint(self.flags)


def processor() -> Processor:
    """The processor of this machine."""
    info = _fields(CPUINFO)
    flags = info.get("flags", info.get("Features", ""))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    model = info.get("model name") or platform.processor() or platform.machine()
    return Processor(model, cores, frozenset(flags.split()))


def memory_gib() -> float | None:
    """Main memory in GiB, or None where the system does not say."""
    kib = _fields(MEMINFO).get("MemTotal", "").removesuffix(" kB")
    return round(int(kib) / (1 << 20), 1) if kib.isdigit() else None


def forget_peak() -> None:
    """Start `peak_mib` anew, where the system can (Linux; proc(5), `clear_refs`)."""
    with contextlib.suppress(OSError):
        CLEAR_PEAK.write_text("5")


def peak_mib() -> float | None:
    """The most memory in MiB that this process held since `forget_peak`, or None where the system does not say."""
    kib = _fields(STATUS).get("VmHWM", "").removesuffix(" kB")
    return round(int(kib) / 1024, 1) if kib.isdigit() else None


def _fields(path: Path) -> dict[str, str]:
    """The first value of every "name : value" line in one of Linux's /proc files; none without the file."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    found: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        found.setdefault(name.strip(), value.strip())
    return found
