"""Windows: core topology, the affinity mask, memory status. Limits of job objects are not read."""

from __future__ import annotations

import struct
from typing import Any

from edgeq.machine import Cpu, CpuFacts, Memory

PROCESSOR_CORE = 0  # RelationProcessorCore
MEMORY_STATUS = "<II7Q"  # dwLength, dwMemoryLoad, ullTotalPhys, ullAvailPhys, page file, virtual


def cpu_facts() -> CpuFacts:
    """Logical CPUs in the affinity mask, with physical core and efficiency class."""
    import ctypes

    kernel: Any = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined,unused-ignore]
    size = ctypes.c_uint32(0)
    kernel.GetLogicalProcessorInformationEx(PROCESSOR_CORE, None, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    if not kernel.GetLogicalProcessorInformationEx(PROCESSOR_CORE, buffer, ctypes.byref(size)):
        raise OSError("GetLogicalProcessorInformationEx failed")
    own, system = ctypes.c_size_t(0), ctypes.c_size_t(0)
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    process = ctypes.c_void_p(kernel.GetCurrentProcess())
    kernel.GetProcessAffinityMask(process, ctypes.byref(own), ctypes.byref(system))
    return facts_of(buffer.raw[: size.value], own.value, ctypes.sizeof(ctypes.c_size_t))


def facts_of(data: bytes, mask: int, word: int) -> CpuFacts:
    """Reads the records of the core relation: header, flags, efficiency class, a mask per processor group.

    `mask` is the affinity in group 0 (0: the process runs in several groups, all CPUs count); `word` the
    size of a mask in bytes.
    """
    cpus: list[Cpu] = []
    online, at, core = 0, 0, 0
    while at + 32 <= len(data):
        _, size = struct.unpack_from("<II", data, at)
        if size < 32 or at + size > len(data):
            break
        strength, groups = 1.0 + data[at + 9], struct.unpack_from("<H", data, at + 30)[0]
        for group in range(groups):
            start = at + 32 + group * (word + 8)
            bits = int.from_bytes(data[start : start + word], "little")
            number = int.from_bytes(data[start + word : start + word + 2], "little")
            online += bits.bit_count()
            usable = bits & mask if mask and number == 0 else 0 if mask else bits
            cpus += [Cpu(str(core), strength)] * usable.bit_count()
        core += 1
        at += size
    return CpuFacts(tuple(cpus), online)


def memory() -> Memory:
    """Physical memory that is free or holds only cached files."""
    import ctypes

    kernel: Any = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined,unused-ignore]
    status = ctypes.create_string_buffer(struct.pack(MEMORY_STATUS, 64, *[0] * 8), 64)
    if not kernel.GlobalMemoryStatusEx(status):
        raise OSError("GlobalMemoryStatusEx failed")
    _, _, total, available = struct.unpack(MEMORY_STATUS, status.raw)[:4]
    return Memory(available, total, None, (f"GlobalMemoryStatusEx: {available} bytes",))
