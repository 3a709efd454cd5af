"""A scale and an offset for n weights: x ~ s q + o, q of 0 .. top; twin of native/encode/affine.inc.h.

This is asymmetric quantization: -o / s is what the field calls the zero point.
"""

from __future__ import annotations

import numpy as np

from edgeq.quants.encoders.lanes import (
    F32,
    INF,
    TINY,
    below,
    better_range,
    ends_of,
    inverse,
    nearest_int,
    to_half,
    total,
    unit,
)
from edgeq.quants.encoders.scale import noise_of
from edgeq.record import Record

_UP, _STEP = np.float32(1), np.float32(0.00075)


class Sums:
    """Sums over q for each block: w, w x, w q, w q^2, w x q."""

    def __init__(self, x: F32, w: F32) -> None:
        self._x, self._w = x, w
        self.w, self.x = total(w), total(w * x)

    def take(self, q: F32) -> None:
        wq = self._w * q
        self.q, self.qq, self.xq = total(wq), total(wq * q), total(wq * self._x)

    def misfit(self, top: float, s: F32, o: F32) -> F32:
        """The error with scale s and offset o; the sums are those of its q."""
        q = levels(self._x, top, s, o)
        r = self._x - o - s * q
        self.take(q)
        return total(self._w * r * r)

    def fit(self) -> tuple[F32, F32, F32]:
        """Least squares for s and o, and how much of sum w x^2 they explain beyond the mean."""
        det, cross = self.w * self.qq - self.q * self.q, self.w * self.xq - self.x * self.q
        s = below(np.float32(1e-6) * (self.w * self.qq), det, cross / det, np.float32(0))
        return s, (self.x - s * self.q) / self.w, s * cross / self.w


def levels(x: F32, top: float, s: F32, o: F32) -> F32:
    return nearest_int((x - o) * inverse(s), 0, top)


def center(x: F32, w: F32) -> tuple[F32, F32]:
    """The weights less their mean, and it: sums of these lose no digits where one counts a million times the others."""
    t = Sums(x - x[0], w)
    mean = x[0] + t.x / t.w
    return x - mean, mean


class Grid(Record):
    """What a scan tries: rows of numbers of steps, from `least` more than the levels have, and columns of places where
    they start, from up * shift down."""

    rows: int
    columns: int
    up: int
    least: float
    step: float
    shift: float


_FEW, _COARSE, _FINE = Grid(9, 5, 1, -0.75, 0.2, 0.15), Grid(9, 5, 1, -1.0, 0.5, 0.3), Grid(15, 9, 3, -1.0, 0.3, 0.2)


def scan_range(x: F32, w: F32, top: float, anchored: bool, low: F32, high: F32) -> tuple[F32, F32]:
    """The pair that explains most among those fitted to grids a little larger, smaller and shifted than a range.

    Sums have errors of float arithmetic: pairs that explain the same but for those are told apart by what they leave,
    and the first is taken of those that leave nothing but such errors. Without an anchor pairs are for halves, and
    compared as those.
    """
    low = np.minimum(low, np.float32(0)) if anchored else low
    y, mean = center(x, w)
    margin, least = np.float32(3e-6) * total(w * (x - low) * (x - low)), noise_of(x, w)
    per_step, t, whole = unit(high - low), Sums(y, w), Sums(x, w)
    rounded = np.asarray if anchored else to_half
    scale, offset, best = np.zeros_like(low), low, np.full_like(low, -INF)
    grid = _FINE if not anchored else _FEW if top < 4 else _COARSE
    for k in range(grid.rows * grid.columns + 1):
        row, column = divmod(k - 1, grid.columns)
        steps, start = np.float32(top), np.float32(0)
        if k:
            steps += np.float32(grid.least) + np.float32(grid.step) * np.float32(row)
            start = np.float32(grid.shift) * np.float32(grid.up - column)
        place = (mean - low) * (per_step * steps) + start
        middle = nearest_int(place, 0, top)  # q and x are counted from the mean and its level
        q = np.rint(y * (per_step * steps) + (place - middle))
        t.take(np.minimum(np.maximum(q, -middle), np.float32(top) - middle))
        s, o, explained = t.fit()
        o = o + mean - s * middle
        if anchored:  # above zero: a line through it
            q = t.q + middle * t.w
            qq, xq = t.qq + middle * (t.q + q), t.xq + middle * t.x + mean * q
            s = below(np.zeros_like(o), o, below(np.full_like(low, TINY), qq, xq / qq, np.float32(0)), s)
            o = np.minimum(o, np.float32(0))
        more = explained - best
        pairs = ((s, o), (scale, offset))
        left, before = (np.maximum(whole.misfit(top, *map(rounded, pair)), least) for pair in pairs)
        taken = np.where(np.abs(more) <= margin, left < before, margin < more)
        scale, offset = np.where(taken, s, scale), np.where(taken, o, offset)
        best = np.where(taken, np.maximum(best, explained), best)
    return scale, offset


def scan(x: F32, w: F32, top: float, anchored: bool) -> tuple[F32, F32]:
    """The pair of the range of the weights that have importance, or of all where that leaves less.

    anchored: ranges take in zero, and the offset is not above it.
    """
    rounded = np.asarray if anchored else to_half
    s, o = better_range(
        [scan_range(x, w, top, anchored, *ends) for ends in ends_of(x, w)],
        lambda bare, *pair: Sums(x, bare).misfit(top, *map(rounded, pair)),
        w,
    )
    return s, o


def polish(x: F32, w: F32, top: float, s: F32, o: F32) -> tuple[F32, F32]:
    """Two fp16 numbers near s and o with a small error."""
    t = Sums(x, w)
    best_s, best_o = to_half(s), to_half(o)
    error = t.misfit(top, best_s, best_o)

    def keep(s: F32, o: F32) -> None:
        nonlocal best_s, best_o, error
        s, o = to_half(s), to_half(o)
        e = t.misfit(top, s, o)
        best_s, best_o = below(e, error, s, best_s), below(e, error, o, best_o)
        error = np.minimum(e, error)

    low, high = ends_of(x, w)[0]
    part = np.float32(1) / np.float32(top)
    keep((high - low) * part, low)
    keep(high * part, np.zeros_like(low))
    keep(low * part, np.zeros_like(low))
    keep((low - to_half(low)) * part, low)  # all alike: what a half leaves
    y, mean = center(x, w)
    near_mean = Sums(y, w)
    for _ in range(3):
        middle = levels(mean, top, best_s, best_o)
        near_mean.take(levels(x, top, best_s, best_o) - middle)
        s, o, _explained = near_mean.fit()
        keep(s, o + mean - s * middle)
    for k in range(-4, 5):  # a neighbour of the scale, and the offset that fits it
        near = to_half(best_s * (_UP + np.float32(k) * _STEP))
        t.misfit(top, near, best_o)
        keep(near, (t.x - near * t.q) / t.w)
    s, o = best_s, best_o
    for k in range(15):  # neighbours of both
        keep(s * (_UP + np.float32(k % 5 - 2) * _STEP), o * (_UP + np.float32(k // 5 - 1) * _STEP))
    return best_s, best_o
