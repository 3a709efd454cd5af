"""One scale for n weights: x ~ d q, q of a set of levels; twin of native/encode/scale.inc.h, which says why."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgeq.quants.encoders.lanes import (
    F32,
    INF,
    LOUD,
    TINY,
    below,
    better_range,
    inverse,
    largest,
    largest_of,
    nearest_int,
    to_half,
    total,
    unit,
)
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


def loudest(nearest: Nearest, x: F32, w: F32, d: F32) -> F32:
    """The largest of the weights that each have more than an eighth of the importance, where those have most of it and,
    with scale d, leave most of the error; else 0: [N]."""
    r, zero = x - d * nearest(x * inverse(d)), np.float32(0)
    every, e = total(w), w * r * r
    much = w > every * np.float32(0.125)
    one = below(total(e) * LOUD, total(np.where(much, e, zero)), largest(np.where(much, x, zero)), zero)
    return below(every * LOUD, total(np.where(much, w, zero)), one, zero)


def loud_places(nearest: Nearest, y: F32) -> list[F32]:
    """Where that weight, which now is at y, can lie: from the whole number below it on, a quarter apart, of either
    sign; on IQ4 at every level."""
    if nearest is iq4:
        return [np.full_like(y, level) for level in _IQ4]
    least = np.maximum(np.rint(np.abs(y) - np.float32(0.5)), np.float32(1))
    return [sign * (least + np.float32(0.25 * k)) for k in range(32) for sign in (np.float32(1), np.float32(-1))]


def keep_loud(nearest: Nearest, x: F32, w: F32, half: bool, best: Best) -> None:
    """A few weights may count a million times the others: then scales that are best for them."""
    one = loudest(nearest, x, w, best.d)
    for place in loud_places(nearest, one * inverse(best.d)) if one.any() else ():
        d = fitted(*sums_at(nearest, x, w, place * unit(one)))
        best.keep(np.where(one == 0, best.d, to_half(d) if half else d))


def scan_scales(
    nearest: Nearest, x: F32, w: F32, end: float, first: float, step: float, steps: int, both: bool, half: bool
) -> Best:
    """The best of the scales that put the largest weight at `end` or one of `steps` places, of either sign if both."""
    ranges = []
    for top in largest_of(x, w):
        best = Best(nearest, x, w)
        for k in range(steps + 1):
            place = np.float32(first) + np.float32(step) * np.float32(k - 1) if k else np.float32(end)
            for to in (-place, place) if both else (place,):
                d = fitted(*sums_at(nearest, x, w, unit(top) * to))
                best.keep(to_half(d) if half else d)
        keep_loud(nearest, x, w, half, best)
        ranges.append((best.d, best.error))
    best.d, best.error = better_range(ranges, lambda bare, d, _: misfit(nearest, x, bare, d), w)
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
