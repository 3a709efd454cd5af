"""One scale for n weights: x ~ d q, q of a set of levels; twin of native/encode/scale.inc.h, which says why."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgeq.quants.encoders.lanes import F32, INF, LOUD, TINY, below, inverse, largest_of, nearest_int, to_half, total
from edgeq.quants.iquants import IQ4_LEVELS

Nearest = Callable[[F32], F32]
_IQ4 = IQ4_LEVELS.astype(np.float32)


def whole(low: int, high: int) -> Nearest:
    """Symmetric quantization: the levels are the whole numbers from low to high."""
    return lambda y: nearest_int(y, low, high)


def iq4(y: F32) -> F32:
    """The level of IQ4 nearest to y."""
    middle = np.float32(0.5) * (_IQ4[:-1] + _IQ4[1:])
    return _IQ4[np.searchsorted(middle, y, side="right")]


def fp4(y: F32) -> F32:
    """The number of E2M1, doubled, nearest to y: 0 1 2 3 4 6 8 12 with a sign."""
    a = np.abs(y)
    small = np.minimum(np.rint(a), np.float32(4))
    size = np.select([a < 5, a < 7, a < 10], [small, np.float32(6), np.float32(8)], np.float32(12)).astype(np.float32)
    return below(y, np.float32(0), np.float32(0) - size, size)


def misfit(nearest: Nearest, x: F32, w: F32, d: F32) -> F32:
    """Sum of w (x - d q)^2 for each block: [N]."""
    r = x - d * nearest(x * inverse(d))
    return total(w * r * r)


def sums_at(nearest: Nearest, x: F32, w: F32, inv: F32) -> tuple[F32, F32]:
    """Sums of w q x and w q^2 with q of x * inv."""
    q = nearest(x * inv)
    wq = w * q
    return total(wq * x), total(wq * q)


def fitted(xq: F32, qq: F32) -> F32:
    """The scale of least squares."""
    return below(np.full_like(qq, TINY), qq, xq / qq, np.float32(0))


def noise_of(x: F32, w: F32) -> F32:
    """What counts as an exact fit: errors of float arithmetic."""
    return total(w * x * x) * np.float32(1e-12)


class Best:
    """The best scale so far and its error; errors below `least` are those of float arithmetic."""

    def __init__(self, nearest: Nearest, x: F32, w: F32) -> None:
        self._nearest, self._x, self._w = nearest, x, w
        self.d = np.zeros_like(x[0])
        self.error = np.full_like(x[0], INF)
        self.least = noise_of(x, w)

    def keep(self, d: F32) -> None:
        e = np.maximum(misfit(self._nearest, self._x, self._w, d), self.least)
        self.d = below(e, self.error, d, self.d)
        self.error = np.minimum(e, self.error)

    def refit(self) -> F32:
        return fitted(*sums_at(self._nearest, self._x, self._w, inverse(self.d)))


class Loud:
    """The weight that alone leaves more than LOUD of an error, given its terms one after another, and has as much of
    the importance."""

    def __init__(self, like: F32) -> None:
        self._one, self._its, self._most, self._total, self._importance = (np.zeros_like(like) for _ in range(5))

    def add(self, nearest: Nearest, x: F32, w: F32, d: F32) -> None:
        r = x - d * nearest(x * inverse(d))
        for row, importance, e in zip(x, w, w * r * r):
            self._total = self._total + e
            self._importance = self._importance + importance
            self._one = below(self._most, e, row, self._one)
            self._its = below(self._most, e, importance, self._its)
            self._most = np.maximum(self._most, e)

    def weight(self) -> F32:
        """[N], 0 where there is none."""
        one = below(self._total * LOUD, self._most, self._one, np.float32(0))
        return below(self._importance * LOUD, self._its, one, np.float32(0))


def exact_places(nearest: Nearest, y: F32) -> list[F32]:
    """Where that weight can lie, which now is at y: at the whole number below or one of the three above it, of either
    sign; on IQ4 at every level."""
    if nearest is iq4:
        return [np.full_like(y, level) for level in _IQ4]
    least = np.maximum(np.rint(np.abs(y) - np.float32(0.5)), np.float32(1))
    return [sign * (least + np.float32(k)) for k in range(4) for sign in (np.float32(1), np.float32(-1))]


def keep_exact(nearest: Nearest, x: F32, w: F32, half: bool, best: Best) -> None:
    """Where one weight leaves most of the error: scales with which it is exact."""
    loud = Loud(best.d)
    loud.add(nearest, x, w, best.d)
    one = loud.weight()
    for place in exact_places(nearest, one * inverse(best.d)) if one.any() else ():
        with np.errstate(all="ignore"):
            d = fitted(*sums_at(nearest, x, w, place / one))
            best.keep(np.where(one == 0, best.d, to_half(d) if half else d))


def scan_scales(
    nearest: Nearest, x: F32, w: F32, end: float, first: float, step: float, steps: int, both: bool, half: bool
) -> Best:
    """The best of the scales that put the largest weight at `end` or one of `steps` places, of either sign if both."""
    unit = inverse(largest_of(x, w))
    best = Best(nearest, x, w)
    for k in range(steps + 1):
        place = np.float32(first) + np.float32(step) * np.float32(k - 1) if k else np.float32(end)
        for to in (-place, place) if both else (place,):
            d = fitted(*sums_at(nearest, x, w, unit * to))
            best.keep(to_half(d) if half else d)
    keep_exact(nearest, x, w, half, best)
    return best


def best_half(nearest: Nearest, x: F32, w: F32, end: float, first: float, step: float, steps: int, both: bool) -> F32:
    """An fp16 scale with a small error: of the scan, fitted to the levels that it gives, or next to it."""
    best = scan_scales(nearest, x, w, end, first, step, steps, both, True)
    inv = inverse(best.d)
    for k in range(-4, 5):  # between the places of the scan
        near = inv * (np.float32(1) + np.float32(0.004) * np.float32(k))
        best.keep(to_half(fitted(*sums_at(nearest, x, w, near))))
    best.keep(to_half(best.refit()))
    for k in (-2, -1, 1, 2):
        best.keep(to_half(best.d * (np.float32(1) + np.float32(k) * np.float32(0.00075))))
    return best.d
