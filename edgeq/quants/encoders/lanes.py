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
LOUD = np.float32(0.75)  # of the importance, and of an error: what makes one weight loud
WIDE = np.float32(4)  # a range that takes in the others is no wider than this many times theirs
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
    """The same, but where it is more than WIDE times the largest of those that have importance: then that one."""
    whole, some = largest(x), largest(np.where(w > COUNTS, x, np.float32(0)))
    some = np.where(some == 0, whole, some)
    return np.where(np.abs(some) * WIDE < np.abs(whole), some, whole)


def ends_of(x: F32, w: F32) -> tuple[F32, F32]:
    """The least and the largest; where they are more than WIDE times as far apart as those with importance, theirs."""
    low, high, counts = x.min(axis=0), x.max(axis=0), w > COUNTS
    some_low, some_high = np.where(counts, x, INF).min(axis=0), np.where(counts, x, -INF).max(axis=0)
    wide = counts.any(axis=0) & ((some_high - some_low) * WIDE < high - low)
    return np.where(wide, some_low, low), np.where(wide, some_high, high)


def normalized(w: F32) -> F32:
    """Importances [n, N] with mean 1 in every block, and not quite without any; 1 where a block has none."""
    with np.errstate(all="ignore"):
        sums = total(w)
        return below(sums, TINY, np.float32(1), np.maximum(w * (np.float32(len(w)) / sums), NOTHING))


def codes(q: F32, offset: int = 0) -> U8:
    """Whole numbers [n, N], plus an offset, as bytes [N, n]."""
    return np.ascontiguousarray((q + np.float32(offset)).astype(np.int32).astype(np.uint8).T)
