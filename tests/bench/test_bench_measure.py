"""The measuring functions of the library: what they count was done, and what they must refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeq import _lib
from edgeq.bench.engines import limits
from tests.backends.conftest import WORKING

pytestmark = pytest.mark.skipif(not _lib.available(), reason="no native library")
INVALID = 3
LANES = {"scalar": (4, 1), "avx2": (32, 8), "avxvnni": (32, 8), "avx512vnni": (64, 16), "amx": (64, 16),
         "neon": (16, 4), "neondot": (16, 4)}


@pytest.fixture(scope="module", params=[1, 2, 5])
def pool(request: pytest.FixtureRequest) -> Any:
    return _lib.ffi.gc(_lib.lib.eq_pool_new(request.param, _lib.ffi.new("char[]", 80), 80), _lib.lib.eq_pool_free)


def peak(pool: Any, isa: Any, kind: int, rounds: int) -> tuple[int, float]:
    total = _lib.ffi.new("double *")
    return int(_lib.lib.eq_measure_peak(pool, isa, kind, rounds, total)), total[0]


@pytest.mark.parametrize("isa", WORKING)
def test_products_are_as_many_as_are_said(pool: Any, isa: str) -> None:
    """The total tells: 6 for each of bytes, 1 of float. One step is a grid of 12 sums."""
    for kind, each, lanes in zip((_lib.lib.EQ_PEAK_INT8, _lib.lib.EQ_PEAK_FLOAT), (6, 1), LANES[isa], strict=True):
        for rounds in (0, 1, 7, 20_001):
            done, total = peak(pool, isa.encode(), kind, rounds)
            assert done == _lib.lib.eq_pool_threads(pool) * rounds * 12 * lanes
            assert total == each * done


def test_tiles_are_measured_where_they_are(pool: Any) -> None:
    threads = _lib.lib.eq_pool_threads(pool)
    for isa in WORKING:
        found = peak(pool, isa.encode(), _lib.lib.EQ_PEAK_TILES, 9)
        assert found == ((threads * 9 * 32_768, threads * 9 * 32_768.0) if isa == "amx" else (-1, 0.0))


def test_no_name_is_the_best_variant(pool: Any) -> None:
    best_isa = _lib.lib.eq_isa_name(_lib.ffi.NULL)
    assert peak(pool, _lib.ffi.NULL, 0, 100) == peak(pool, best_isa, 0, 100)


def test_totals_are_exact_up_to_the_limit() -> None:
    single = _lib.ffi.gc(_lib.lib.eq_pool_new(1, _lib.ffi.new("char[]", 80), 80), _lib.lib.eq_pool_free)
    for kind, each in ((0, 6), (1, 1)):
        done, total = peak(single, _lib.ffi.NULL, kind, _lib.lib.EQ_PEAK_ROUNDS)
        assert total == each * done


def test_bad_peaks_are_refused(pool: Any) -> None:
    null = _lib.ffi.NULL
    for arguments in ((null, 0, 5), (pool, 0, -1), (pool, 0, _lib.lib.EQ_PEAK_ROUNDS + 1), (pool, 3, 5), (pool, -1, 5)):
        assert peak(arguments[0], null, *arguments[1:])[0] == -1
    for name in (b"mmx", b"", b"avx2 "):
        assert peak(pool, name, 0, 5)[0] == -1
    assert _lib.lib.eq_measure_peak(pool, null, 0, 5, null) == -1


@pytest.mark.parametrize("lines", [0, 1, 2, 3, 7, 1000, 16_384])
def test_all_bytes_are_read(pool: Any, lines: int) -> None:
    data = np.random.default_rng(lines).integers(0, 256, lines * 64 + 64, np.uint8)
    found = _lib.ffi.new("uint64_t *", 7)
    assert _lib.lib.eq_measure_read(pool, _lib.ffi.from_buffer(data), lines * 64, found) == 0
    assert found[0] == int(data[: lines * 64].view(np.uint64).sum(dtype=np.uint64))


def test_bad_reads_are_refused(pool: Any) -> None:
    ffi, read = _lib.ffi, _lib.lib.eq_measure_read
    words, found = ffi.new("uint64_t[]", 32), ffi.new("uint64_t *")
    data = ffi.cast("char *", words)
    for nbytes in (-64, 63, 65, 72, -(2**63), 2**63 - 64):
        assert read(pool, data, nbytes, found) == INVALID
    assert [read(pool, data + at, 64, found) for at in (0, 8, 1, 4)] == [0, 0, INVALID, INVALID]
    for given in ((ffi.NULL, data, found), (pool, ffi.NULL, found), (pool, data, ffi.NULL)):
        assert read(given[0], given[1], 64, given[2]) == INVALID


def test_the_chain_takes_every_step() -> None:
    x = 1
    for steps in range(300):
        assert _lib.lib.eq_measure_chain(steps) == x
        x = (x + (x >> 3 | 1)) % 2**64
    assert _lib.lib.eq_measure_chain(-5) == 1


class Watch:
    """Time that passes only in the work that is measured: a second, but three in every fourth call."""

    def __init__(self) -> None:
        self.now, self.calls = 0.0, 0

    def perf_counter(self) -> float:
        return self.now

    def work(self) -> int:
        self.calls += 1
        self.now += 3 if self.calls % 4 == 0 else 1
        return 1000


def test_products_count_the_best_call_and_reads_count_all(monkeypatch: pytest.MonkeyPatch) -> None:
    for measure, wanted in ((limits.best, 1000.0), (limits.together, 3000 / 5)):
        watch = Watch()
        monkeypatch.setattr(limits, "time", watch)
        assert measure(watch.work) == wanted
        assert watch.calls == 4  # the first only warms
