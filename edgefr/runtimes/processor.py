"""Processor and memory of this machine, as the operating system describes them."""

from __future__ import annotations

import contextlib
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path

CPUINFO, MEMINFO, STATUS = Path("/proc/cpuinfo"), Path("/proc/meminfo"), Path("/proc/self/status")
CLEAR_PEAK = Path("/proc/self/clear_refs")

VNNI_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
"""Linux's names of the instruction sets on x86 that add products of 8-bit numbers in 32 bits."""

BF16_FLAGS = frozenset({"avx512_bf16", "avx_ne_convert"})
"""Linux's names of the instruction sets on x86 that OpenVINO needs for native bf16."""

X86 = ("x86_64", "amd64", "i386", "i686")


@dataclass(frozen=True)
class Processor:
    """A processor.

    Attributes:
        model: Name of the product.
        cores: Number of cores that this process may use.
        flags: Instruction sets that Linux lists. Empty on other systems.
        machine: Architecture, for example "x86_64".
    """

    model: str
    cores: int
    flags: frozenset[str]
    machine: str = field(default_factory=platform.machine)

    @property
    def bf16(self) -> bool:
        """Whether it computes in bf16 natively."""
        return not BF16_FLAGS.isdisjoint(self.flags)

    @property
    def fp16(self) -> bool:
        """Whether it computes in FP16 natively (64-bit ARM from version 8.2 on)."""
        return "asimdhp" in self.flags

    @property
    def saturates_int8(self) -> bool:
        """Whether sums of two products of 8-bit numbers are cut off at 16 bits, as `pmaddubsw` on x86 does.

        INT8 weights must then have 7 bits. ARM adds in 32 bits.
        """
        return self.machine.lower() in X86 and VNNI_FLAGS.isdisjoint(self.flags)


def processor() -> Processor:
    """The processor of this machine."""
    info = _fields(CPUINFO)
    flags = info.get("flags", info.get("Features", ""))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    model = info.get("model name") or platform.processor() or platform.machine()
    return Processor(model, cores, frozenset(flags.split()))


def memory_gib() -> float | None:
    """Main memory in GiB, or None if the system does not report it."""
    kib = _fields(MEMINFO).get("MemTotal", "").removesuffix(" kB")
    return round(int(kib) / (1 << 20), 1) if kib.isdigit() else None


def reset_peak_memory() -> None:
    """Reset the value of `peak_memory_mib` (Linux only; `clear_refs` in proc(5))."""
    with contextlib.suppress(OSError):
        CLEAR_PEAK.write_text("5")


def peak_memory_mib() -> float | None:
    """Peak memory of this process in MiB since `reset_peak_memory`, or None if the system does not report it."""
    kib = _fields(STATUS).get("VmHWM", "").removesuffix(" kB")
    return round(int(kib) / 1024, 1) if kib.isdigit() else None


def _fields(path: Path) -> dict[str, str]:
    """The first value of every "name : value" line of a file in /proc; empty without the file."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    values: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        values.setdefault(name.strip(), value.strip())
    return values
