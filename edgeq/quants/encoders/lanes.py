"""Blocks side by side: every array's last axis runs over blocks, float32, and each block is computed on its own.

The NumPy twin of native/encode: the same steps in the same order, so the same bytes. Sums run along the first
axis, one row after another; nothing is fused.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[Any]  # float32, uint8: type checkers lose the width in arithmetic
U8 = NDArray[Any]
TINY = np.float32(1e-30)  # below this a sum of squares counts as nothing
NOTHING = np.float32(1e-9)  # of a weight without importance: enough to choose among what is alike otherwise
COUNTS = np.float32(1.5e-6)  # weights with more than this have importance
INF = np.float32(np.inf)


def total(rows: F32) -> F32:
    """Sum of [n, N] along the first axis, in order."""
    out = rows[0].copy()
    for row in rows[1:]:
        out += row
    return out


def below(x: F32, limit: F32 | np.float32, yes: F32 | np.float32, no: F32 | np.float32) -> F32:
    """Where x < limit, yes, else no."""
    return np.where(x < limit, yes, no).astype(np.float32, copy=False)


def inverse(x: F32) -> F32:
    """1 / x, or 0 where that is not finite."""
    return below(np.full_like(x, 3e-39), np.abs(x), np.float32(1) / x, np.float32(0))


def to_half(x: F32) -> F32:
    """The nearest fp16; too large ones stay finite."""
    return np.clip(x, np.float32(-65504), np.float32(65504)).astype(np.float16).astype(np.float32)


def halves(x: F32) -> U8:
    """uint8 [N, 2]: fp16, little endian, without a sign at zero."""
    return np.ascontiguousarray((x + np.float32(0)).astype("<f2")[:, None]).view(np.uint8)


def nearest_int(x: F32, low: float, high: float) -> F32:
    return np.clip(np.rint(x), np.float32(low), np.float32(high))


def largest(x: F32) -> F32:
    """The weight of the largest magnitude in [n, N], with its sign; the first of equals."""
    top = np.zeros_like(x[0])
    for row in x:
        top = below(np.abs(top), np.abs(row), row, top)
    return top


def largest_of(x: F32, w: F32) -> F32:
    """The same among those that have importance, of which ranges are made; of all where those are zero."""
    top = largest(np.where(w > COUNTS, x, np.float32(0)))
    return np.where(top == 0, largest(x), top)


def ends_of(x: F32, w: F32) -> tuple[F32, F32]:
    """The least and the largest of weights that have importance; of all where none has importance."""
    counts = (w > COUNTS) | ~(w > COUNTS).any(axis=0)
    return np.where(counts, x, INF).min(axis=0), np.where(counts, x, -INF).max(axis=0)


def normalized(w: F32) -> F32:
    """Importances [n, N] with mean 1 in every block, and not quite without any; 1 where a block has none."""
    with np.errstate(all="ignore"):
        sums = total(w)
        return below(sums, TINY, np.float32(1), np.maximum(w * (np.float32(len(w)) / sums), NOTHING))


def codes(q: F32, offset: int = 0) -> U8:
    """Whole numbers [n, N], plus an offset, as bytes [N, n]."""
    return np.ascontiguousarray((q + np.float32(offset)).astype(np.int32).astype(np.uint8).T)
