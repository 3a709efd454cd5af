"""Blocks that keep the size of their numbers: sums as they are said to be, the same bytes everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from edgeq import quants
from edgeq.quants import FORMATS, gain, native
from edgeq.quants.encode import can_encode

KEEPING = [name for name, fmt in FORMATS.items() if gain.can_keep(fmt) and can_encode(fmt)]


def made(seed: int = 0, rows: int = 6, n: int = 512) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, n)).astype(np.float32) * np.float32(0.02)
    return x, rng.exponential(1, n).astype(np.float32)


def test_the_formats_that_can_keep_it() -> None:
    assert KEEPING == [
        "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ2_XXS", "IQ2_XS", "IQ3_XXS",
        "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS", "TQ2_0", "Q2_0",
    ]  # fmt: skip


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", KEEPING)
def test_blocks_are_as_large_as_their_numbers(name: str, weighted: bool) -> None:
    fmt = FORMATS[name]
    x, w = made()
    importance = w if weighted else None
    data = quants.quantize(x, name, importance)
    before = quants.dequantize(data, name)
    gain.keep_size(x, data, fmt, importance)
    after = quants.dequantize(data, name)

    def sizes(y: np.ndarray) -> np.ndarray:
        wide = (w if weighted else np.ones_like(w)) * x.astype(np.float64)
        return (wide * y).reshape(-1, fmt.block).sum(1) / (wide * x).reshape(-1, fmt.block).sum(1)

    free = (sizes(before) < 1 - 2**-10) & (sizes(before) > 0.8)  # others are within a step of fp16, or too far away
    assert (np.abs(sizes(after) - 1)[free] < 2**-9).all()
    assert free.any() or name in ("Q8_0", "Q6_K")
    power = ((w if weighted else 1.0) * x.astype(np.float64) ** 2).sum()
    errors = [((w if weighted else 1.0) * (x.astype(np.float64) - y) ** 2).sum() for y in (before, after)]
    assert errors[1] <= errors[0] * (1 + 1.5 * errors[0] / power) + 1e-6 * power


@pytest.mark.parametrize("name", KEEPING)
def test_what_lies_on_the_grid_stays_as_it_is(name: str) -> None:
    x, w = made(1)
    data = quants.quantize(x, name, w)
    grid, again = quants.dequantize(data, name), data.copy()
    gain.keep_size(grid, again, FORMATS[name], w)
    assert np.array_equal(again, data)
    nothing = quants.quantize(np.zeros_like(x), name)
    kept = nothing.copy()
    gain.keep_size(np.zeros_like(x), kept, FORMATS[name], None)
    assert np.array_equal(kept, nothing)


@pytest.mark.parametrize("name", ["F16", "MXFP4", "NVFP4", "IQ1_M", "Q1_0"])
def test_other_formats_are_left_alone(name: str) -> None:
    x, w = made(3)
    data = quants.quantize(x, name, w)
    before = data.copy()
    gain.keep_size(x, data, FORMATS[name], w)
    assert np.array_equal(data, before)


def test_numbers_at_the_ends_stay_finite() -> None:
    x = np.tile(np.array([65504.0 * 7, -65504.0 * 8, 1e-40, 0], np.float32), 64)[None]
    data = quants.quantize(x, "Q4_0")
    gain.keep_size(x, data, FORMATS["Q4_0"], np.zeros(256, np.float32))
    gain.keep_size(x, data, FORMATS["Q4_0"], None)
    assert np.isfinite(quants.dequantize(data, "Q4_0")).all()


@pytest.mark.parametrize("name", ["Q4_K", "IQ3_S", "Q5_0"])
def test_the_same_bytes_without_the_library(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, w = made(2)
    data = quants.quantize(x, name, w)
    other = data.copy()
    gain.keep_size(x, data, FORMATS[name], w)
    monkeypatch.setattr(native, "available", lambda: False)
    gain.keep_size(x, other, FORMATS[name], w)
    assert np.array_equal(data, other)
