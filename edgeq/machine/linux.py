"""Linux: sysfs topology, the affinity mask, cgroup v1 and v2. `root` stands in for / in tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

from edgeq.machine import Cpu, CpuFacts, Memory

UNLIMITED = 1 << 60  # cgroup v1 writes "no limit" as a huge number
EFFICIENCY = 0.5  # an efficiency core of a hybrid x86 next to a performance core


def cpu_facts(root: str = "/") -> CpuFacts:
    """CPUs in the affinity mask with physical core and strength, and the tightest CPU quota above us."""
    base = os.path.join(root, "sys/devices/system/cpu")
    allowed = sorted(os.sched_getaffinity(0)) if root == "/" else cpu_list(read(base, "online"))
    weak = set(cpu_list(read(root, "sys/devices/cpu_atom/cpus")))  # hybrid x86
    online = len(cpu_list(read(base, "online"))) or os.cpu_count() or 1
    cpus = []
    for number in allowed:
        here = os.path.join(base, f"cpu{number}")
        siblings = read(here, "topology/thread_siblings_list") or str(number)
        capacity = read(here, "cpu_capacity")
        strength = float(capacity) if capacity.isdigit() else EFFICIENCY if number in weak else 1.0
        cpus.append(Cpu(siblings, strength))
    return CpuFacts(tuple(cpus), online, quota(root))


def memory(root: str = "/") -> Memory:
    """MemAvailable, or what the tightest control group leaves if that is less."""
    info = {line.split(":")[0]: line.split() for line in read(root, "proc/meminfo").splitlines() if ":" in line}
    total, available = (int(info[key][1]) << 10 if key in info else None for key in ("MemTotal", "MemAvailable"))
    reasons = [f"MemAvailable {available}"] if available is not None else []
    limit = None
    for folder, version in cgroups("memory", root):
        here, used, cache = memory_of(folder, version)
        if here is None:
            continue
        limit = here if limit is None else min(limit, here)
        left = max(0, here - used + cache)
        if available is None or left < available:
            available = left
            reasons.append(f"a control group allows {here} and uses {used}, {cache} of it page cache")
    return Memory(available, total, limit, tuple(reasons))


def memory_of(folder: str, version: int) -> tuple[int | None, int, int]:
    """Limit (None: none), bytes in use, and how much of that is page cache that would give way."""
    limit, used = (
        ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    )
    text = read(folder, limit)
    if not text.isdigit() or int(text) >= UNLIMITED:
        return None, 0, 0
    prefix = "" if version == 2 else "total_"
    pairs = (line.split() for line in read(folder, "memory.stat").splitlines())
    stat = {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}
    cache = stat.get(prefix + "inactive_file", 0) + stat.get(prefix + "active_file", 0)
    in_use = read(folder, used)
    return int(text), int(in_use) if in_use.isdigit() else 0, cache


def quota(root: str = "/") -> float | None:
    """CPUs' worth of time the tightest control group grants, or None."""
    found = []
    for folder, version in cgroups("cpu", root):
        if version == 2:
            parts = read(folder, "cpu.max").split()
        else:
            parts = [read(folder, "cpu.cfs_quota_us"), read(folder, "cpu.cfs_period_us")]
        if len(parts) == 2 and all(part.isdigit() for part in parts) and int(parts[1]) > 0:
            found.append(int(parts[0]) / int(parts[1]))
    return min((value for value in found if value > 0), default=None)


def cgroups(controller: str, root: str = "/") -> Iterator[tuple[str, int]]:
    """Folders of this process's control groups for a controller, innermost first, with the cgroup version."""
    own = {}
    for line in read(root, "proc/self/cgroup").splitlines():
        _, names, path = [*line.split(":", 2), "", ""][:3]
        own.update(dict.fromkeys(names.split(","), path))
    for line in read(root, "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, tail = before.split(), after.split()
        if len(fields) < 5 or len(tail) < 3:
            continue
        if tail[0] == "cgroup2":
            version, path = 2, own.get("", "/")
        elif tail[0] == "cgroup" and controller in tail[2].split(","):
            version, path = 1, own.get(controller, "/")
        else:
            continue
        inside = os.path.relpath(path, fields[3])
        top = os.path.normpath(os.path.join(root, fields[4].lstrip("/")))
        folder = top if inside.startswith("..") else os.path.normpath(os.path.join(top, inside))
        while True:
            if os.path.isdir(folder):
                yield folder, version
            if folder == top:
                break
            folder = os.path.dirname(folder)


def cpu_list(text: str) -> list[int]:
    """[0, 1, 2, 5] of "0-2,5"; nothing of what is not such a list."""
    numbers: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if first.isdigit() and (not last or last.isdigit()) and int(last or first) < 65536:
            numbers += range(int(first), int(last or first) + 1)
    return numbers


def read(folder: str, name: str) -> str:
    """A small file's text without surrounding space; empty where it cannot be read."""
    try:
        with open(os.path.join(folder, name), "rb") as file:
            return file.read().decode("utf-8", "replace").strip()
    except OSError:
        return ""
