"""Rows of keys and values in every type that a cache can have: kernels that round a row into the cache, and read one.

Each is called by address: (float32 row, row in the cache, E) to store, (row in the cache, float32 row, E) to load.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgeq.backends.numba_linear import ZERO
from edgeq.backends.numba_vectors import (
    f32,
    half,
    nibbles,
    set_f32,
    set_half,
    set_u8,
    splat,
    vload,
    vload_half,
    vstore,
    vstore_half,
    whigh,
    wload,
    wlow,
    wset,
)  # fmt: skip
from edgeq.backends.numba_verbs import njit


def store_f32(x: int, row: int, e: int) -> None:
    for i in range(e):
        set_f32(row + 4 * i, f32(x + 4 * i))


def load_f32(row: int, x: int, e: int) -> None:
    for i in range(e):
        set_f32(x + 4 * i, f32(row + 4 * i))


def store_f16(x: int, row: int, e: int) -> None:
    for i in range(0, e - 15, 16):
        vstore_half(row + 2 * i, vload(x + 4 * i))
    for i in range(e // 16 * 16, e):
        set_half(row + 2 * i, f32(x + 4 * i))


def load_f16(row: int, x: int, e: int) -> None:
    for i in range(0, e - 15, 16):
        vstore(x + 4 * i, vload_half(row + 2 * i))
    for i in range(e // 16 * 16, e):
        set_f32(x + 4 * i, half(row + 2 * i))


@njit
def rounded(x, places):
    """Nearest whole number within -places to places; a NaN becomes 0."""
    y = np.float32(np.rint(x))
    if y > places:
        y = places
    elif not y >= -places:
        y = -places if y < ZERO else ZERO
    return int(y)


@njit
def largest(x):
    """The number of largest magnitude of 32."""
    top = ZERO
    for i in range(32):
        if abs(f32(x + 4 * i)) > abs(top):
            top = f32(x + 4 * i)
    return top


def store_q8_0(x: int, row: int, e: int) -> None:
    """The largest magnitude becomes ±127."""
    for g in range(e // 32):
        at, out = x + 128 * g, row + 34 * g
        set_half(out, abs(largest(at)) / np.float32(127))
        inverse = np.float32(1) / half(out) if half(out) != ZERO else ZERO
        for i in range(32):
            set_u8(out + 2 + i, rounded(f32(at + 4 * i) * inverse, np.float32(127)))


def load_q8_0(row: int, x: int, e: int) -> None:
    for g in range(e // 32):
        w, scale = wload(row + 34 * g + 2), splat(half(row + 34 * g))
        vstore(x + 128 * g, scale * wlow(w))
        vstore(x + 128 * g + 64, scale * whigh(w))


def store_q4_0(x: int, row: int, e: int) -> None:
    """The number of largest magnitude becomes -8."""
    for g in range(e // 32):
        at, out = x + 128 * g, row + 18 * g
        set_half(out, largest(at) / np.float32(-8))
        inverse = np.float32(1) / half(out) if half(out) != ZERO else ZERO
        for i in range(16):
            low = rounded(f32(at + 4 * i) * inverse, np.float32(8)) + 8
            high = rounded(f32(at + 4 * i + 64) * inverse, np.float32(8)) + 8
            set_u8(out + 2 + i, min(low, 15) | min(high, 15) << 4)


def load_q4_0(row: int, x: int, e: int) -> None:
    for g in range(e // 32):
        w, scale = nibbles(row + 18 * g + 2) - wset(8), splat(half(row + 18 * g))
        vstore(x + 128 * g, scale * wlow(w))
        vstore(x + 128 * g + 64, scale * whigh(w))


STORE: dict[str, Callable[..., None]] = {
    "F32": store_f32, "F16": store_f16, "Q8_0": store_q8_0, "Q4_0": store_q4_0,
}  # fmt: skip
LOAD: dict[str, Callable[..., None]] = {"F32": load_f32, "F16": load_f16, "Q8_0": load_q8_0, "Q4_0": load_q4_0}
