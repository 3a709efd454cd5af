"""What this machine lets us use: how many threads, how much memory, and why. Knows no model and no backend.

The facts come from linux.py, macos.py or windows.py; the choice made from them is here, the same everywhere.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib import import_module
from types import ModuleType
from typing import NamedTuple

SYSTEMS = {"linux": "linux", "android": "linux", "darwin": "macos", "win32": "windows"}
PERFORMANCE = 0.6  # a core at least this strong, next to the strongest, is a performance core
ENOUGH = 4  # with fewer performance cores than this, efficiency cores help


class Cpu(NamedTuple):
    """A logical CPU that this process may use."""

    core: str  # names the physical core; SMT siblings share it
    strength: float = 1.0  # relative to other cores; only ratios count


class CpuFacts(NamedTuple):
    """CPUs in the affinity mask, how many are online, CPUs' worth of time a quota allows (None: all)."""

    cpus: tuple[Cpu, ...]
    online: int
    quota: float | None = None


class Threads(NamedTuple):
    """How many threads to use and the reasons, one per line, first to last as they narrowed the choice."""

    number: int
    reasons: tuple[str, ...]


class Memory(NamedTuple):
    """Bytes that can still be used, that the machine has, that a control group allows; None where unknown."""

    available: int | None
    total: int | None
    limit: int | None
    reasons: tuple[str, ...]


def threads_to_use() -> int:
    """Useful cores: in the affinity mask and the cgroup quota, one thread each, performance cores first."""
    return threads().number


def memory_available() -> int | None:
    """Bytes this process can still use without swapping, or None where the system does not tell."""
    return memory().available


def _system() -> ModuleType:
    """The module that knows this operating system; OSError where there is none."""
    if sys.platform not in SYSTEMS:
        raise OSError(f"no facts about {sys.platform}")
    return import_module(f"edgeq.machine.{SYSTEMS[sys.platform]}")


def threads() -> Threads:
    """`threads_to_use` with its reasons."""
    return choose_threads(cpu_facts())


def cpu_facts() -> CpuFacts:
    """The CPUs of this machine as far as the system describes them."""
    try:
        facts: CpuFacts = _system().cpu_facts()
        return facts
    except (OSError, ValueError, AttributeError):
        pass  # a system that hides a fact still has CPUs
    online = os.cpu_count() or 1
    return CpuFacts(tuple(Cpu(str(i)) for i in range(online)), online)


def choose_threads(facts: CpuFacts) -> Threads:
    """The choice from facts alone: one thread per physical core, strong ones first, within the quota."""
    reasons = [f"{facts.online} CPUs online"]
    allowed = len(facts.cpus) or 1
    if allowed < facts.online:
        reasons.append(f"the affinity mask allows {allowed}")
    cores = physical(facts.cpus)
    count = len(cores) or 1
    if count < allowed:
        reasons.append(f"{count} physical cores; a second thread on a core adds little")
        if count == 1:
            count = 2
            reasons[-1] = "one physical core; its second thread hides some of the waiting for memory"
    strongest = max(cores, default=1.0)
    strong = sum(strength >= PERFORMANCE * strongest for strength in cores)
    if 0 < strong < len(cores):
        count = max(strong, min(ENOUGH, len(cores)))
        extra = f", with {count - strong} efficiency cores" if count > strong else ""
        reasons.append(f"{strong} performance cores of {len(cores)}{extra}")
    if facts.quota is not None and facts.quota < count:
        count = max(1, int(facts.quota))
        reasons.append(f"a control group grants the time of {facts.quota:g} CPUs")
    return Threads(count, tuple(reasons))


def physical(cpus: Iterable[Cpu]) -> list[float]:
    """Strengths of the distinct physical cores."""
    strengths: dict[str, float] = {}
    for cpu in cpus:
        strengths[cpu.core] = max(cpu.strength, strengths.get(cpu.core, 0.0))
    return list(strengths.values())


def memory() -> Memory:
    """`memory_available` with what it came from."""
    try:
        found: Memory = _system().memory()
        return found
    except (OSError, ValueError, AttributeError):
        pass
    return Memory(None, None, None, ("this system does not tell",))
