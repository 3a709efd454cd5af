"""Q2_K to Q6_K and IQ4_XS; twin of native/encode/kquants.inc.h. Layouts: edgeq/quants/kquants.py.

256 weights with an fp16 d (and dmin) and integers for each 16 or 32 of them. The integers are searched with the
fp16 numbers fixed, those fitted with the integers fixed, in turn; what is kept is the best state seen.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from edgeq.quants.encoders import affine, scale
from edgeq.quants.encoders.lanes import (
    F32,
    INF,
    TINY,
    U8,
    below,
    codes,
    halves,
    inverse,
    largest_of,
    nearest_int,
    to_half,
    total,
)  # fmt: skip  # isort: skip
from edgeq.quants.encoders.legacy import bits, iq4_code, nibbles

_ROUNDS, _MIXED_PLACES = 3, 3


def fit_constant(x: F32, w: F32, most: int, levels: Sequence[float]) -> tuple[F32, F32, F32]:
    """d, sc and the error of one product of d and two integers for all weights, which are nearly alike."""
    y, mean = affine.center(x, w)
    weight, spread = total(w), total(w * y * y)
    best_d, best_sc, best = np.zeros_like(weight), np.zeros_like(weight), np.full_like(weight, INF)
    for level in map(np.float32, levels):
        for sc in map(np.float32, range(most, most // 2, -1)):
            d = to_half(mean / (sc * level))
            r = mean - d * sc * level
            e = weight * r * r + spread
            best_d, best_sc = below(e, best, d, best_d), below(e, best, sc, best_sc)
            best = np.minimum(e, best)
    return best_d, best_sc, best


def unit_half(d: F32) -> F32:
    """The fp16 nearest to d; the smallest one in place of zero."""
    h = to_half(d)
    return np.where(h == 0, np.sign(d) * np.float32(2**-24), h)


def unit_at(top: F32, end: float) -> F32:
    """The fp16 [N] that puts the largest scale at `end`."""
    return unit_half(top / np.float32(end))


def best_unit(s: F32, steep: F32, top: F32, end: float, low: float, high: float) -> F32:
    """The fp16 [N] with which all scales [blocks, N] round best to integers times it, from low to high.

    Near its own best scale a block's error grows with the square of the distance, times `steep`. The largest
    lies at `end`, or at one of 63 places from there half the way to zero.
    """
    best, least = np.zeros_like(s[0]), np.full_like(s[0], INF)
    for k in range(64):
        d = unit_at(top, end * (1 - k / 128))
        r = s - d * nearest_int(s * inverse(d), low, high)
        cost = total(steep * r * r)
        best, least = below(cost, least, d, best), np.minimum(cost, least)
    return best


class Scaled:
    """Symmetric with integer scales: x ~ d sc q."""

    def __init__(self, nearest: scale.Nearest, x: F32, w: F32, blocks: int, low: int, high: int) -> None:
        self.nearest, self.low, self.high = nearest, low, high
        self.x, self.w = x.reshape(blocks, -1, x.shape[1]), w.reshape(blocks, -1, x.shape[1])
        self.d = np.zeros_like(x[0])
        self.sc = np.zeros((blocks, x.shape[1]), np.float32)
        self.error = np.full_like(self.d, INF)

    def round(self, d: F32, sc: F32, reach: int) -> tuple[F32, F32, F32]:
        """The scales near `sc` that are best with d; the error; the d that least squares would have with them."""
        error, whole_xq, whole_qq = (np.zeros_like(d) for _ in range(3))
        low, high = np.float32(self.low), np.float32(self.high)
        chosen = sc.copy()
        for b, (x, w) in enumerate(zip(self.x, self.w)):
            best, xq, qq = np.full_like(d, INF), np.zeros_like(d), np.zeros_like(d)
            for k in range(-reach, reach + 1):
                near = sc[b] + np.float32(k)
                # beyond one end is the other: blocks that fit as well turned over have one more place to go
                near = below(high, near, low, below(near, low, high, near))
                s = d * near
                q = self.nearest(x * inverse(s))
                wq, r = w * q, x - s * q
                e = total(w * r * r)
                chosen[b] = below(e, best, near, chosen[b])
                xq = below(e, best, near * total(wq * x), xq)
                qq = below(e, best, near * near * total(wq * q), qq)
                best = np.minimum(e, best)
            error, whole_xq, whole_qq = error + best, whole_xq + xq, whole_qq + qq
        return chosen, error, scale.fitted(whole_xq, whole_qq)

    def keep(self, d: F32, sc: F32, error: F32) -> None:
        self.sc = below(error, self.error, sc, self.sc)
        self.d = below(error, self.error, d, self.d)
        self.error = np.minimum(error, self.error)

    def search(self, end: float, first: float, step: float, steps: int, same: Sequence[float]) -> None:
        parts = zip(self.x, self.w)
        s = np.stack([scale.scan_scales(self.nearest, *p, end, first, step, steps, True, False).d for p in parts])
        steep = np.stack([scale.sums_at(self.nearest, x, w, inverse(sb))[1] for x, w, sb in zip(self.x, self.w, s)])
        for top, at_end in itertools.product(largest_of(s, self.w.max(axis=1)), (self.low, self.high + 1)):
            for d in (unit_at(top, at_end), best_unit(s, steep, top, at_end, self.low, self.high)):
                sc, error, _ = self.round(d, nearest_int(s * inverse(d), self.low, self.high), 1)
                self.keep(d, sc, error)
        sc = self.sc
        d = self.round(self.d, sc, 0)[2]
        for _ in range(_ROUNDS):
            d = to_half(d)
            sc, error, next_d = self.round(d, sc, 1)
            self.keep(d, sc, error)
            d = next_d
        weights, importance = (a.reshape(256, -1) for a in (self.x, self.w))
        d, one, error = fit_constant(weights, importance, -self.low, same)
        self.keep(np.float32(0) - d, np.broadcast_to(np.float32(0) - one, self.sc.shape), error)

    def levels(self) -> F32:
        return np.concatenate([self.nearest(x * inverse(self.d * sc)) for x, sc in zip(self.x, self.sc)])


class Mixed:
    """Asymmetric with integer scales and mins: x ~ d sc q - dmin m."""

    def __init__(self, x: F32, w: F32, blocks: int, top: int, most: int) -> None:
        self.top, self.most = top, most
        self.x, self.w = x.reshape(blocks, -1, x.shape[1]), w.reshape(blocks, -1, x.shape[1])
        self.d, self.dmin = np.zeros_like(x[0]), np.zeros_like(x[0])
        self.sc, self.m = (np.zeros((blocks, x.shape[1]), np.float32) for _ in range(2))
        self.error = np.full_like(self.d, INF)

    def round(self, d: F32, dmin: F32, sc: F32, m: F32) -> tuple[F32, F32, F32, F32, F32]:
        """The scales and mins near these that are best with d and dmin; the error; what least squares would have."""
        per_min, error = inverse(dmin), np.zeros_like(d)
        a, b, c, f, g = (np.zeros_like(d) for _ in range(5))  # normal equations
        chosen_sc, chosen_m = sc.copy(), m.copy()
        for i, (x, w) in enumerate(zip(self.x, self.w)):
            best, q1, q2, xq = np.full_like(d, INF), np.zeros_like(d), np.zeros_like(d), np.zeros_like(d)
            t = affine.Sums(x, w)
            for k in (-1, 0, 1):
                near = np.clip(sc[i] + np.float32(k), np.float32(0), np.float32(self.most))
                s, least = d * near, m[i]
                for _ in range(3):
                    e = t.misfit(self.top, s, np.float32(0) - dmin * least)
                    chosen_sc[i] = below(e, best, near, chosen_sc[i])
                    chosen_m[i] = below(e, best, least, chosen_m[i])
                    q1, q2, xq = below(e, best, t.q, q1), below(e, best, t.qq, q2), below(e, best, t.xq, xq)
                    best = np.minimum(e, best)
                    # the mean of what is left says where m belongs; if it is there already, a neighbour is tried
                    wanted = (s * t.q - t.x) * (per_min * inverse(t.w))
                    there = nearest_int(wanted, 0, self.most)
                    side = below(wanted, least, least - np.float32(1), least + np.float32(1))
                    side = np.clip(side, np.float32(0), np.float32(self.most))
                    least = below(np.abs(there - least), np.float32(0.5), side, there)
            a = a + chosen_sc[i] * chosen_sc[i] * q2
            b = b + chosen_sc[i] * chosen_m[i] * q1
            c = c + chosen_m[i] * chosen_m[i] * t.w
            f = f + chosen_sc[i] * xq
            g = g + chosen_m[i] * t.x
            error = error + best
        det, least = a * c - b * b, np.float32(1e-6) * (a * c)
        alone = below(np.full_like(a, TINY), a, (f + dmin * b) / a, d)
        new_d = below(least, det, (f * c - b * g) / det, alone)
        new_dmin = below(least, det, (b * f - a * g) / det, dmin)
        return chosen_sc, chosen_m, error, new_d, new_dmin

    def keep(self, d: F32, dmin: F32, sc: F32, m: F32, error: F32) -> None:
        self.sc, self.m = below(error, self.error, sc, self.sc), below(error, self.error, m, self.m)
        self.d, self.dmin = below(error, self.error, d, self.d), below(error, self.error, dmin, self.dmin)
        self.error = np.minimum(error, self.error)

    def search(self) -> None:
        fits = [affine.scan(x, w, self.top, True) for x, w in zip(self.x, self.w)]
        s, o = np.stack([f[0] for f in fits]), np.stack([f[1] for f in fits])
        sums = [affine.Sums(x, w) for x, w in zip(self.x, self.w)]
        for t, *pair in zip(sums, s, o):
            t.misfit(self.top, *pair)
        steep, weight = np.stack([t.qq for t in sums]), np.stack([t.w for t in sums])
        of, most, starts = self.w.max(axis=1), self.most, []
        s_tops, o_tops = largest_of(s, of), largest_of(o, of)
        for k in range(max(len(s_tops), len(o_tops))):
            s_top, o_top = s_tops[-1 if k else 0], o_tops[-1 if k else 0]
            near = range(0, _MIXED_PLACES * 3, 3) if most > 15 else range(_MIXED_PLACES)
            starts += [(unit_at(s_top, most - steps), unit_at(o_top, -most)) for steps in near]
            starts.append((best_unit(s, steep, s_top, most, 0, most), best_unit(o, weight, o_top, -most, -most, 0)))
        for d, dmin in starts:
            sc = nearest_int(s * inverse(d), 0, self.most)
            m = nearest_int((np.float32(0) - o) * inverse(dmin), 0, self.most)
            sc, m, error, _, _ = self.round(d, dmin, sc, m)
            self.keep(d, dmin, sc, m, error)
        d, dmin, sc, m = self.d, self.dmin, self.sc, self.m
        for _ in range(_ROUNDS + 1):
            sc, m, error, new_d, new_dmin = self.round(d, dmin, sc, m)
            self.keep(d, dmin, sc, m, error)
            d, dmin = to_half(new_d), to_half(new_dmin)


def best_mixed(x: F32, w: F32, blocks: int, top: int, most: int) -> tuple[Mixed, F32]:
    """The best of both orientations (offsets at the low end of the weights, or at the high one), and the levels."""
    best, turned = Mixed(x, w, blocks, top, most), Mixed(np.float32(0) - x, w, blocks, top, most)
    best.search()
    turned.search()
    best.keep(np.float32(0) - turned.d, np.float32(0) - turned.dmin, turned.sc, turned.m, turned.error)
    d, one, error = fit_constant(x, w, most, (top, top - 1))
    best.keep(d, np.zeros_like(d), np.broadcast_to(one, best.sc.shape), np.zeros_like(best.m), error)
    parts = zip(best.x, best.sc, best.m)
    q = [affine.levels(xb, top, best.d * sc, np.float32(0) - best.dmin * m) for xb, sc, m in parts]
    return best, np.concatenate(q)


def pairs(q: U8) -> U8:
    """[N, 256] fields of 2 bits as [N, 64] bytes: each 32 bytes hold 128 weights, bits 0-1 of all bytes first."""
    rows = (q & 3).reshape(len(q), 2, 4, 32) << np.array([0, 2, 4, 6], np.uint8)[:, None]
    return np.bitwise_or.reduce(rows, axis=2).reshape(len(q), 64)


def _nibble_rows(q: U8) -> U8:
    rows = (q & 15).reshape(len(q), 4, 2, 32)
    return (rows[:, :, 0] | rows[:, :, 1] << 4).reshape(len(q), 128)


def _bit_rows(q: U8, bit: int) -> U8:
    """Bit k of byte j is that of weight 32k + j."""
    return bits(np.ascontiguousarray(q.reshape(len(q), 8, 32).transpose(0, 2, 1)).reshape(len(q), 256), bit)


def q2_k(x: F32, w: F32) -> U8:
    """Asymmetric, 2 bits; scales and mins of 4 bits."""
    best, q = best_mixed(x, w, 16, 3, 15)
    sm = codes(best.sc) | codes(best.m) << 4
    return np.concatenate([sm, pairs(codes(q)), halves(best.d), halves(best.dmin)], axis=-1)


def _scales_mins(sc: U8, m: U8) -> U8:
    """Eight scales and mins of 6 bits in 12 bytes."""
    low, high = slice(0, 4), slice(4, 8)
    tops = [sc[:, low] | sc[:, high] >> 4 << 6, m[:, low] | m[:, high] >> 4 << 6]
    return np.concatenate([*tops, sc[:, high] & 15 | (m[:, high] & 15) << 4], axis=-1)


def q4_k(x: F32, w: F32) -> U8:
    """Asymmetric, 4 bits; scales and mins of 6 bits."""
    best, q = best_mixed(x, w, 8, 15, 63)
    sm = _scales_mins(codes(best.sc), codes(best.m))
    return np.concatenate([halves(best.d), halves(best.dmin), sm, _nibble_rows(codes(q))], axis=-1)


def q5_k(x: F32, w: F32) -> U8:
    """Asymmetric, 5 bits; scales and mins of 6 bits."""
    best, levels = best_mixed(x, w, 8, 31, 63)
    sm, q = _scales_mins(codes(best.sc), codes(best.m)), codes(levels)
    return np.concatenate([halves(best.d), halves(best.dmin), sm, _bit_rows(q, 4), _nibble_rows(q)], axis=-1)


def q3_k(x: F32, w: F32) -> U8:
    """Symmetric, 3 bits; scales of 6 bits."""
    best = Scaled(scale.whole(-4, 3), x, w, 16, -32, 31)
    best.search(4.0, 2.0, 0.25, 19, (-4, -3, -2, 3))
    q, sc = codes(best.levels(), 4), codes(best.sc, 32)
    high = np.bitwise_or.reduce((sc >> 4).reshape(-1, 4, 4) << np.array([0, 2, 4, 6], np.uint8)[:, None], axis=1)
    scales = [sc[:, :8] & 15 | (sc[:, 8:] & 15) << 4, high]
    return np.concatenate([_bit_rows(q, 2), pairs(q), *scales, halves(best.d)], axis=-1)


def q6_k(x: F32, w: F32) -> U8:
    """Symmetric, 6 bits; scales of 8 bits."""
    best = Scaled(scale.whole(-32, 31), x, w, 16, -128, 127)
    best.search(32.0, 26.0, 0.5, 20, (-32, -31, -30, 31))
    q, sc = codes(best.levels(), 32), codes(best.sc, 256)
    half = q.reshape(-1, 2, 2, 64)
    low = (half[:, :, 0] & 15 | (half[:, :, 1] & 15) << 4).reshape(-1, 128)
    high = pairs(q >> 4)
    return np.concatenate([low, high, sc, halves(best.d)], axis=-1)


def iq4_xs(x: F32, w: F32) -> U8:
    """16 uneven levels; scales of 6 bits."""
    best = Scaled(scale.iq4, x, w, 8, -32, 31)
    best.search(127.0, 80.0, 4.0, 21, (-127, 113, -104, 89))
    q, sc = codes(iq4_code(best.levels())), codes(best.sc, 32)
    top = (sc >> 4).astype(np.uint16) << np.arange(0, 16, 2, dtype=np.uint16)
    high = np.bitwise_or.reduce(top, axis=-1).astype("<u2")[:, None].view(np.uint8)
    low = sc[:, ::2] & 15 | (sc[:, 1::2] & 15) << 4
    rows = nibbles(q.reshape(-1, 32)).reshape(-1, 128)
    return np.concatenate([halves(best.d), high, low, rows], axis=-1)
