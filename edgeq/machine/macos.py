"""macOS: sysctl for cores and memory size, vm_stat for what is free."""

from __future__ import annotations

import re
import subprocess

from edgeq.machine import Cpu, CpuFacts, Memory

EFFICIENCY = 0.5  # next to a performance core


def cpu_facts() -> CpuFacts:
    """Performance and efficiency cores; Apple silicon has one thread per core, Intel Macs two."""
    strong = sysctl("hw.perflevel0.physicalcpu") or sysctl("hw.physicalcpu") or 1
    weak = sysctl("hw.perflevel1.physicalcpu") or 0
    per_core = max(1, (sysctl("hw.logicalcpu") or strong + weak) // (strong + weak))
    cores = [Cpu(f"P{i}") for i in range(strong)] + [Cpu(f"E{i}", EFFICIENCY) for i in range(weak)]
    cpus = tuple(cpu for cpu in cores for _ in range(per_core))
    return CpuFacts(cpus, len(cpus))


def memory() -> Memory:
    """Free, inactive, speculative and purgeable pages."""
    text = subprocess.run(["/usr/bin/vm_stat"], capture_output=True, text=True, timeout=5, check=False).stdout
    available = reclaimable(text)
    return Memory(available, sysctl("hw.memsize"), None, (f"vm_stat: {available} bytes free or reclaimable",))


def reclaimable(text: str) -> int | None:
    """Bytes that vm_stat's report calls free, inactive, speculative or purgeable."""
    size = re.search(r"page size of (\d+) bytes", text)
    pages = re.findall(r"^Pages (?:free|inactive|speculative|purgeable):\s+(\d+)\.", text, re.MULTILINE)
    return int(size[1]) * sum(map(int, pages)) if size and pages else None


def sysctl(name: str) -> int | None:
    """An integer of the kernel's state by name."""
    import ctypes

    value, size = ctypes.c_uint64(0), ctypes.c_size_t(8)
    libc = ctypes.CDLL(None)
    if libc.sysctlbyname(name.encode(), ctypes.byref(value), ctypes.byref(size), None, 0) != 0:
        return None
    return value.value  # 4-byte values fill the low half: every Mac is little-endian
