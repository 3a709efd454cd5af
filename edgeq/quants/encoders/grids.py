"""IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S; twin of native/encode/grids.inc.h, which says more.

Vectors of 8 or 4 weights are one of a codebook's points times signs, times u m: u from the block's fp16, m an odd
number of a few bits for each 16 or 32 weights. Layouts: edgeq/quants/iquants.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.quants.encoders.lanes import (
    F32,
    INF,
    U8,
    below,
    better_range,
    codes,
    halves,
    inverse,
    largest_of,
    to_half,
    total,
)
from edgeq.quants.encoders.legacy import bits
from edgeq.quants.encoders.scale import fitted
from edgeq.quants.iquants import grid
from edgeq.record import Record

_IQ2 = (36, 40, 43, 46, 50, 54, 59, 65, 72, 80, 90, 105, 130, 170)
_IQ3_XXS = (50, 54, 58, 62, 66, 70, 75, 81, 88, 97, 108, 125, 150, 200)
_IQ3_S = (12, 13, 14, 15, 16, 17, 18.2, 19.5, 21, 23, 26, 30, 36, 48)
_IQ1 = (0.8, 1.125, 1.4, 1.8, 2.25, 2.9, 4.2)


class GridFormat(Record):
    """What a format makes of its codebook: `size` weights share m, at most `most`; an `even` number of minus signs in 8
    weights; IQ1: weights are levels plus or minus 1/8, `shared` where m is, or for each vector; u = fp16 * per_half."""

    book: str
    size: int
    most: int
    even: bool
    shifts: tuple[float, ...]
    shared: bool
    per_half: float
    places: tuple[float, ...]


class Book:
    """A codebook: points [P, width], and where each half of them is among the forms that a half can have."""

    def __init__(self, name: str) -> None:
        self.points = grid(name).astype(np.float32)
        self.width = self.points.shape[1]
        self.level = np.unique(self.points)
        n = len(self.level)
        number = np.searchsorted(self.level, self.points)
        powers = n ** np.arange(self.width // 2)[::-1]
        first, second = number[:, : self.width // 2] @ powers, number[:, self.width // 2 :] @ powers
        self.order = np.argsort(first, kind="stable")  # of points that are equally near, the last of these is taken
        self.first, self.second = first[self.order], second[self.order]

    def half_errors(self, x: F32, w: F32, s: F32, shift: float) -> F32:
        """The error of each form of half a vector: [forms, N]."""
        r = x - s * (self.level + np.float32(shift))[:, None, None]
        e = w * r * r  # [levels, half, N]

        def pair(a: F32, b: F32) -> F32:
            return (a[:, None] + b[None]).reshape(-1, a.shape[-1])

        if len(x) == 2:
            return pair(e[:, 0], e[:, 1])
        return pair(pair(e[:, 0], e[:, 1]), pair(e[:, 2], e[:, 3]))

    def nearest(self, x: F32, w: F32, s: F32, shift: float) -> tuple[F32, NDArray[np.intp]]:
        """The error and the index of the nearest point: [N] each."""
        half = self.width // 2
        a, b = self.half_errors(x[:half], w[:half], s, shift), self.half_errors(x[half:], w[half:], s, shift)
        e = a[self.first] + b[self.second]
        return np.minimum.reduce(e, axis=0), self.order[len(e) - 1 - np.argmin(e[::-1], axis=0)]


class Search:
    """The codes of blocks x [256, N], with signs taken off where the format has any."""

    def __init__(self, f: GridFormat, x: F32, w: F32) -> None:
        self.f, self.book = f, Book(f.book)
        self.minus = np.zeros_like(x)
        self.x, self.w = x, w
        if f.shifts == (0.0,):
            self._take_signs()
        self.groups = 256 // f.size
        self.xs, self.ws = self.x.reshape(self.groups, f.size, -1), self.w.reshape(self.groups, f.size, -1)

    def _take_signs(self) -> None:
        """Magnitudes; with an even number of minus signs the weight that loses least by it may count as negative."""
        x, size = self.x, np.abs(self.x)
        self.minus = below(x, np.float32(0), np.float32(1), np.float32(0))
        if self.f.even:
            vectors = (32, 8, x.shape[1])
            odd = self.minus.reshape(vectors).sum(axis=1) % 2 > 0
            place = np.argmin((self.w * size).reshape(vectors), axis=1)
            wrong = ((np.arange(8)[:, None] == place[:, None]) & odd[:, None]).reshape(x.shape)
            size = np.where(wrong, np.float32(0) - size, size)
            self.minus = np.where(wrong, np.float32(1) - self.minus, self.minus)
        self.x = size

    def choose(self, x: F32, w: F32, s: F32) -> tuple[F32, NDArray[np.intp], NDArray[np.bool_], F32]:
        """For weights that share m: error [N], points and shifts down [vectors, N], values q [size, N]."""
        f, width = self.f, self.book.width
        rows = range(0, f.size, width)
        found = [[self.book.nearest(x[i : i + width], w[i : i + width], s, shift) for i in rows] for shift in f.shifts]
        errors = [np.stack([e for e, _ in row]) for row in found]
        points = [np.stack([p for _, p in row]) for row in found]
        sums = [total(e) for e in errors]
        if len(f.shifts) == 1:
            point, down, error = points[0], np.zeros(points[0].shape, bool), sums[0]
        else:
            up, low = (np.broadcast_to(a, errors[0].shape) for a in (sums if f.shared else errors))
            down = low < up
            point = np.where(down, points[1], points[0])
            error = np.minimum(*sums) if f.shared else total(np.minimum(*errors))
        shift = np.array(f.shifts, np.float32)[down.astype(int)]
        q = self.book.points[point].transpose(0, 2, 1) + shift[:, None]
        return error, point, down, q.reshape(f.size, -1)

    def _sums(self, q: F32, x: F32, w: F32) -> tuple[F32, F32]:
        wq = w * q
        return total(wq * x), total(wq * q)

    def _unit(self, u: F32) -> F32:
        return to_half(u / np.float32(self.f.per_half)) * np.float32(self.f.per_half)

    def _odd(self, y: F32) -> F32:
        half = np.rint((y - np.float32(1)) * np.float32(0.5))
        return np.clip(half, np.float32(0), np.float32(0.5 * (self.f.most - 1))) * np.float32(2) + np.float32(1)

    def _alone(self) -> tuple[F32, F32]:
        """The best scale of each group alone, and how steeply its error grows beside it: [groups, N]."""
        s, steep = np.zeros_like(self.xs[:, 0]), np.zeros_like(self.xs[:, 0])
        for g, (x, w) in enumerate(zip(self.xs, self.ws)):
            ranges = []
            for top in largest_of(x, w):
                found, least = np.zeros_like(top), np.full_like(top, INF)
                for place in self.f.places:
                    scale = np.abs(top) / np.float32(place)
                    e = self.choose(x, w, scale)[0]
                    found, least = below(e, least, scale, found), np.minimum(e, least)
                ranges.append((found,))
            (s[g],) = better_range(ranges, lambda bare, s, x=x: self.choose(x, bare, s)[0], w)
            xq, steep[g] = self._sums(self.choose(x, w, s[g])[3], x, w)
            s[g] = np.maximum(fitted(xq, steep[g]), np.float32(0))
        return s, steep

    def _best_unit(self, s: F32, steep: F32, top: F32) -> F32:
        """The u [N] that rounds the scales s of all groups best; the largest gets the largest m, or a u up to twice as
        large."""
        u, least = np.zeros_like(top), np.full_like(top, INF)
        for k in range(64):
            unit = self._unit(top / np.float32(self.f.most * (1 - k / 128)))
            r = s - unit * self._odd(s * inverse(unit))
            cost = total(steep * r * r)
            u, least = below(cost, least, unit, u), np.minimum(cost, least)
        return u

    def run(self) -> tuple[F32, F32]:
        """u [N] and m [groups, N]."""
        s, steep = self._alone()
        best_u, best_m, best = np.zeros_like(s[0]), np.ones_like(s), np.full_like(s[0], INF)
        for top in largest_of(s, self.ws.max(axis=1)):
            u = self._best_unit(s, steep, top)
            m = self._odd(s * inverse(u))
            for _ in range(2):
                m, error, next_u = self._round(u, m)
                best_m, best_u = below(error, best, m, best_m), below(error, best, u, best_u)
                best = np.minimum(error, best)
                u = self._unit(next_u)
        return best_u, best_m

    def _round(self, u: F32, m: F32) -> tuple[F32, F32, F32]:
        """The m of each group that are best with u, near these; the error; the u of least squares."""
        whole_xq, whole_qq, error = (np.zeros_like(u) for _ in range(3))
        chosen = m.copy()
        for g, (x, w) in enumerate(zip(self.xs, self.ws)):
            best = np.full_like(u, INF)
            for k in (-2, 0, 2):
                near = np.clip(m[g] + np.float32(k), np.float32(1), np.float32(self.f.most))
                e = self.choose(x, w, u * near)[0]
                chosen[g] = below(e, best, near, chosen[g])
                best = np.minimum(e, best)
            xq, qq = self._sums(self.choose(x, w, u * chosen[g])[3], x, w)
            whole_xq = whole_xq + chosen[g] * xq
            whole_qq = whole_qq + chosen[g] * chosen[g] * qq
            error = error + best
        return chosen, error, fitted(whole_xq, whole_qq)


class Codes(Record):
    """What goes into a block: halves uint8 [N, 2], scales (m - 1) / 2 [N, groups], points uint16 [N, vectors],
    minus [N, 256] and down [N, vectors] as 0 or 1."""

    half: U8
    scale: U8
    point: NDArray[Any]
    minus: U8
    down: U8


def _encode(f: GridFormat, x: F32, w: F32) -> Codes:
    search = Search(f, x, w)
    u, m = search.run()
    found = [search.choose(xg, wg, u * mg)[1:3] for xg, wg, mg in zip(search.xs, search.ws, m)]
    point, down = (np.concatenate([part[i] for part in found]).T for i in (0, 1))
    scales = codes((m - np.float32(1)) * np.float32(0.5))
    half = halves(u / np.float32(f.per_half))
    return Codes(half, scales, point.astype(np.uint16), codes(search.minus), down.astype(np.uint8))


def _bytes(words: NDArray[Any]) -> U8:
    """[N, k] words as [N, bytes], little endian."""
    return np.ascontiguousarray(words.astype(words.dtype.newbyteorder("<"))).view(np.uint8)


def _joined(fields: NDArray[Any], width: int, per: int, dtype: type = np.uint8) -> NDArray[Any]:
    """[N, per * k] fields of `width` bits as [N, k] numbers, lowest first."""
    shifts: NDArray[Any] = (np.arange(per) * width).astype(dtype)
    rows = fields.astype(dtype).reshape(len(fields), -1, per) << shifts
    return np.bitwise_or.reduce(rows, axis=-1)


def _sign_words(c: Codes) -> NDArray[Any]:
    """uint32 [N, 8]: 4 sign codes of 7 bits and a scale."""
    seven = (bits(c.minus, 0) & 127).astype(np.uint32)
    return _joined(seven, 7, 4, np.uint32) | c.scale.astype(np.uint32) << np.uint32(28)


def iq2_xxs(x: F32, w: F32) -> U8:
    """256 points of 8; 32 weights share m."""
    c = _encode(GridFormat("IQ2_XXS", 32, 31, True, (0.0,), False, 0.125, _IQ2), x, w)
    points, words = (b.reshape(-1, 8, 4) for b in (c.point.astype(np.uint8), _bytes(_sign_words(c))))
    return np.concatenate([c.half, np.concatenate([points, words], axis=-1).reshape(-1, 64)], axis=-1)


def iq2_xs(x: F32, w: F32) -> U8:
    """512 points of 8; 16 weights share m."""
    c = _encode(GridFormat("IQ2_XS", 16, 31, True, (0.0,), False, 0.125, _IQ2), x, w)
    words = c.point | (bits(c.minus, 0) & 127).astype(np.uint16) << np.uint16(9)
    return np.concatenate([c.half, _bytes(words), _joined(c.scale, 4, 2)], axis=-1)


def iq2_s(x: F32, w: F32) -> U8:
    """1024 points of 8, all signs; 16 weights share m."""
    c = _encode(GridFormat("IQ2_S", 16, 31, False, (0.0,), False, 0.125, _IQ2), x, w)
    parts = [c.half, c.point.astype(np.uint8), bits(c.minus, 0), _joined(c.point >> 8, 2, 4), _joined(c.scale, 4, 2)]
    return np.concatenate(parts, axis=-1)


def iq3_xxs(x: F32, w: F32) -> U8:
    """256 points of 4; 32 weights share m."""
    c = _encode(GridFormat("IQ3_XXS", 32, 31, True, (0.0,), False, 0.25, _IQ3_XXS), x, w)
    return np.concatenate([c.half, c.point.astype(np.uint8), _bytes(_sign_words(c))], axis=-1)


def iq3_s(x: F32, w: F32) -> U8:
    """512 points of 4, all signs; 32 weights share m."""
    c = _encode(GridFormat("IQ3_S", 32, 31, False, (0.0,), False, 1.0, _IQ3_S), x, w)
    high = _joined(c.point >> 8, 1, 8)
    return np.concatenate([c.half, c.point.astype(np.uint8), high, bits(c.minus, 0), _joined(c.scale, 4, 2)], axis=-1)


def iq1_s(x: F32, w: F32) -> U8:
    """2048 ternary points of 8; 32 weights share m and the shift."""
    c = _encode(GridFormat("IQ1_S", 32, 15, False, (0.125, -0.125), True, 1.0, _IQ1), x, w)
    scale, down = c.scale.astype(np.uint16), c.down[:, ::4].astype(np.uint16)
    words = _joined(c.point >> 8, 3, 4, np.uint16) | scale << 12 | down << 15
    return np.concatenate([c.half, c.point.astype(np.uint8), _bytes(words)], axis=-1)


def iq1_m(x: F32, w: F32) -> U8:
    """2048 ternary points of 8, each with its shift; 16 weights share m."""
    c = _encode(GridFormat("IQ1_S", 16, 15, False, (0.125, -0.125), False, 1.0, _IQ1), x, w)
    nibbles = (c.point >> 8).astype(np.uint8) | c.down << 3
    half = c.half.view("<u2").astype(np.uint16) >> np.array([0, 4, 8, 12], np.uint16) & np.uint16(15)
    words = _joined(c.scale, 3, 4, np.uint16) | half << np.uint16(12)
    return np.concatenate([c.point.astype(np.uint8), _joined(nibbles, 4, 2), _bytes(words)], axis=-1)
