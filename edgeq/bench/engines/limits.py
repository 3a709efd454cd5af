"""The machine's own limits: how fast it reads the model's bytes, and multiplies in registers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from edgeq.bench.cases import Case

WARM, SECONDS, READING = 0.1, 0.15, 0.3  # wide vectors change the clock for some milliseconds
ROUNDS = 1 << 19  # of products: about a millisecond


class Engine:
    """What the machine can do: products, the best of several repetitions. Reads, all repetitions together, as tokens
    are measured: memory has other users on most machines, and what slows it in one slot slows it in the next."""

    def load(self, options: dict[str, Any]) -> dict[str, Any]:
        """options: model, and the numbers of threads. Raises BackendError without the native library."""
        import edgeq
        from edgeq import _lib
        from edgeq.bench.facts import ranges, read

        self.lib, self.ffi = _lib.lib, _lib.ffi
        message = self.ffi.new("char[]", 256)
        self.pools = {}
        for threads in options["threads"]:
            pool = self.lib.eq_pool_new(threads, message, 256)
            if not pool or self.lib.eq_pool_threads(pool) != threads:
                raise RuntimeError(f"{threads} threads cannot be had")
            self.pools[threads] = self.ffi.gc(pool, self.lib.eq_pool_free)
        self.model = edgeq.load(options["model"], backend="native", threads=1, context=64)
        self.ranges = ranges(read(self.model))
        build = self.ffi.string(self.lib.eq_build_info()).decode("ascii", "replace")
        return {"engine": "limits", "build": build, "abi": int(self.lib.eq_abi_version()),
                "isa": self.ffi.string(self.lib.eq_isa_name(self.ffi.NULL)).decode(),
                "bytes": sum(n for _, n in self.ranges)}  # fmt: skip

    def measure(self, case: Case) -> float:
        pool = self.pools[case.n]
        if case.kind == "read":
            return together(lambda: self._read(pool))
        return best(lambda: self._peak(pool, case.isa, case.kind))

    def _read(self, pool: Any) -> int:
        total = self.ffi.new("uint64_t *")
        for address, nbytes in self.ranges:
            if self.lib.eq_measure_read(pool, self.ffi.cast("void *", address), nbytes, total):
                raise RuntimeError(f"{nbytes} bytes at {address:#x} cannot be read")
        return sum(nbytes for _, nbytes in self.ranges)

    def _peak(self, pool: Any, isa: str, kind: str) -> int:
        lib = self.lib
        total = self.ffi.new("double *")
        which = {"int8": lib.EQ_PEAK_INT8, "float": lib.EQ_PEAK_FLOAT, "tiles": lib.EQ_PEAK_TILES}[kind]
        each = 6 if kind == "int8" else 1
        done = int(lib.eq_measure_peak(pool, isa.encode() if isa else self.ffi.NULL, which, ROUNDS, total))
        if done < 0 or total[0] != each * done:
            raise RuntimeError(f"{isa or 'best'} kernels: {kind} products cannot be measured")
        return 2 * done


def warm(work: Callable[[], int]) -> None:
    began = time.perf_counter()
    while time.perf_counter() - began < WARM:
        work()


def together(work: Callable[[], int]) -> float:
    """What `work` counts per second of all calls, over READING seconds and three calls at least."""
    warm(work)
    done, times, began = 0, 0, time.perf_counter()
    while times < 3 or time.perf_counter() - began < READING:
        done, times = done + work(), times + 1
    return done / (time.perf_counter() - began)


def best(work: Callable[[], int]) -> float:
    """Most of what `work` counts per second, over SECONDS and three times at least."""
    warm(work)
    most, times, began = 0.0, 0, time.perf_counter()
    while times < 3 or time.perf_counter() - began < SECONDS:
        start = time.perf_counter()
        done = work()
        most, times = max(most, done / (time.perf_counter() - start)), times + 1
    return most
