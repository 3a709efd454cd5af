"""Blocks side by side: every array's last axis runs over blocks, float32, and each block is computed on its own.

The NumPy twin of native/encode: the same steps in the same order, so the same bytes. Sums run along the first
axis, one row after another; nothing is fused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[Any]  # float32, uint8: type checkers lose the width in arithmetic
U8 = NDArray[Any]
TINY = np.float32(1e-30)  # below this a range or a sum of squares counts as nothing
NOTHING = np.float32(1e-9)  # of a weight without importance: enough to choose among what is alike otherwise
COUNTS = np.float32(1.5e-6)  # weights with more than this have importance
LOUD = np.float32(0.75)  # of the importance, and of an error: what makes a few weights loud
WIDE = np.float32(4)  # the others make a range wide that is more than so many times that of those with importance
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


def unit(x: F32) -> F32:
    """1 / x, or 0 for ranges so small that a product with it and a weight may not be finite."""
    return below(np.full_like(x, TINY), np.abs(x), np.float32(1) / x, np.float32(0))


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


def largest_of(x: F32, w: F32) -> list[F32]:
    """Ranges to try: the largest of those that have importance, where the others make the range wide, and the largest.
    One where they are the same in all lanes."""
    every, some = largest(x), largest(np.where(w > COUNTS, x, np.float32(0)))
    wide = (some != 0) & (np.abs(some) * WIDE < np.abs(every))
    return [np.where(wide, some, every), every] if wide.any() else [every]


def ends_of(x: F32, w: F32) -> list[tuple[F32, F32]]:
    """The same ranges by their ends, the least and the largest weight."""
    low, high, counts = x.min(axis=0), x.max(axis=0), w > COUNTS
    some_low, some_high = np.where(counts, x, INF).min(axis=0), np.where(counts, x, -INF).max(axis=0)
    wide = counts.any(axis=0) & ((some_high - some_low) * WIDE < high - low)
    return [(np.where(wide, some_low, low), np.where(wide, some_high, high)), (low, high)][not wide.any() :]


def better_range(found: Sequence[tuple[F32, ...]], left: Callable[..., F32], w: F32) -> tuple[F32, ...]:
    """Of what each range gives, [N] arrays: that of the weights with importance, or of all where that leaves less.

    left(w, *arrays): the error; weights without any importance do not count.
    """
    bare = np.where(w > np.float32(2) * NOTHING, w, np.float32(0))
    its, of_all = left(bare, *found[0]), left(bare, *found[-1])
    return tuple(below(of_all, its, b, a) for a, b in zip(found[0], found[-1]))


def normalized(w: F32) -> F32:
    """Importances [n, N] with mean 1 in every block, and not quite without any; 1 where a block has none."""
    with np.errstate(all="ignore"):
        sums = total(w)
        return below(sums, TINY, np.float32(1), np.maximum(w * (np.float32(len(w)) / sums), NOTHING))


def codes(q: F32, offset: int = 0) -> U8:
    """Whole numbers [n, N], plus an offset, as bytes [N, n]."""
    return np.ascontiguousarray((q + np.float32(offset)).astype(np.int32).astype(np.uint8).T)
