"""Which slots count. One rule for every engine: a slot is rejected if the host took time away, if somebody else
computed, or if the cores ran at another clock than in the rest of the run."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from statistics import median
from typing import Any, NamedTuple

STEAL, FOREIGN, CLOCK = 0.01, 0.02, 0.03
TICK = 0.01  # seconds: how finely Linux counts CPU time
LEAST = 3  # slots that must be left for a number to be given, or all of fewer rounds
CHAIN, SAMPLES = 200_000, 40  # dependent additions, and how often: half a millisecond and some tens


class Times(NamedTuple):
    """Seconds since some moment: the clock's, and of all CPUs in sum what was busy and what the host took."""

    now: float
    busy: float | None
    steal: float | None
    cpus: int


class Slot(NamedTuple):
    """What was seen around one measurement; None where the system does not tell. Shares are of all CPUs' time."""

    seconds: float
    steal: float | None
    foreign: float | None
    clock: tuple[float, float] | None

    def as_json(self) -> dict[str, Any]:
        return {"wall": self.seconds, "steal": self.steal, "foreign": self.foreign,
                "clock": None if self.clock is None else list(self.clock)}  # fmt: skip


def times(path: str = "/proc/stat") -> Times:
    """As of now. Linux counts guests in user time, and idle and iowait are not busy."""
    try:
        with open(path, encoding="ascii") as file:
            rows = [line.split() for line in file if line.startswith("cpu")]
        ticks = [int(word) for word in rows[0][1:]]
        user, nice, system, _, _, irq, soft, steal = ticks[:8]
        second = os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return Times(time.perf_counter(), None, None, os.cpu_count() or 1)
    busy = user + nice + system + irq + soft
    return Times(time.perf_counter(), busy / second, steal / second, max(1, len(rows) - 1))


def clock() -> float | None:
    """Dependent additions a second, best of some tens of milliseconds; None without the native library."""
    from edgeq import _lib

    if not _lib.available():
        return None
    best = float("inf")
    for _ in range(SAMPLES):
        began = time.perf_counter()
        _lib.lib.eq_measure_chain(CHAIN)
        best = min(best, time.perf_counter() - began)
    return CHAIN / best


class Watch:
    """Looks at the machine before and after a slot."""

    def __init__(self) -> None:
        self.clock = clock()
        self.own = time.process_time()
        self.before = times()

    def end(self, cpu: float | None) -> Slot:
        """cpu: seconds of CPU time that the measured processes used; None where nobody knows."""
        after = times()
        own = time.process_time() - self.own
        return seen(self.before, after, None if cpu is None else cpu + own, (self.clock, clock()))


def seen(before: Times, after: Times, cpu: float | None, clocks: tuple[float | None, float | None]) -> Slot:
    """The shares of a slot. The busy time of a CPU may be a tick too long: that much is not held against a slot."""
    seconds = after.now - before.now
    capacity = max(seconds, 1e-9) * after.cpus
    steal = foreign = None
    if before.steal is not None and after.steal is not None:
        steal = max(0.0, after.steal - before.steal) / capacity
    if before.busy is not None and after.busy is not None and cpu is not None:
        foreign = max(0.0, after.busy - before.busy - cpu - TICK * after.cpus) / capacity
    first, last = clocks
    return Slot(seconds, steal, foreign, None if first is None or last is None else (first, last))


def verdicts(slots: Sequence[Slot]) -> list[str | None]:
    """For each slot of a run why it is rejected, or None."""
    clocks = [c for slot in slots for c in slot.clock or ()]
    usual = median(clocks) if clocks else 0.0
    return [_verdict(slot, usual) for slot in slots]


def _verdict(slot: Slot, usual: float) -> str | None:
    if slot.steal is not None and slot.steal > STEAL:
        return f"steal {slot.steal:.1%}"
    if slot.foreign is not None and slot.foreign > FOREIGN:
        return f"foreign {slot.foreign:.1%}"
    for found in slot.clock or ():
        if abs(found / usual - 1) > CLOCK:
            return f"clock {found / usual - 1:+.1%}"
    return None


def enough(kept: int, rounds: int) -> bool:
    return kept >= min(LEAST, rounds)


def blind() -> list[str]:
    """Parts of the rule that cannot be applied on this system, as sentences."""
    out = []
    if times().steal is None:
        out.append("this system does not tell steal time and the use of other programs: not checked")
    if clock() is None:
        out.append("the clock of the cores is not checked: that needs the native library")
    return out
