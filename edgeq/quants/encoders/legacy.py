"""Q4_0 Q4_1 Q5_0 Q5_1 Q8_0, Q1_0, Q2_0, IQ4_NL: one block, one or two fp16. Layouts: edgeq/quants/legacy.py.

Every encoder takes weights x and importances w, [block, N], and returns blocks uint8 [N, nbytes].
"""

from __future__ import annotations

import numpy as np

from edgeq.quants.encoders import affine, scale
from edgeq.quants.encoders.lanes import F32, U8, below, codes, halves, inverse, to_half, total


def nibbles(q: U8) -> U8:
    """[N, 32] levels of 4 bits as [N, 16] bytes."""
    return q[:, :16] & 15 | (q[:, 16:] & 15) << 4


def bits(q: U8, bit: int) -> U8:
    """One bit of each level, [N, 8k], as [N, k] bytes, lowest first."""
    return np.packbits(q >> bit & 1, axis=-1, bitorder="little")


def _one_scale(x: F32, w: F32, size: int, first: float, steps: int) -> tuple[F32, U8]:
    nearest = scale.whole(-size, size - 1)
    d = scale.best_half(nearest, x, w, size, first, 0.5, steps, True)
    return d, codes(nearest(x * inverse(d)), size)


def q4_0(x: F32, w: F32) -> U8:
    """Symmetric, 4 bits."""
    d, q = _one_scale(x, w, 8, 5.0, 17)
    return np.concatenate([halves(d), nibbles(q)], axis=-1)


def q5_0(x: F32, w: F32) -> U8:
    """Symmetric, 5 bits."""
    d, q = _one_scale(x, w, 16, 12.0, 19)
    return np.concatenate([halves(d), bits(q, 4), nibbles(q)], axis=-1)


def q8_0(x: F32, w: F32) -> U8:
    """Symmetric, 8 bits."""
    nearest = scale.whole(-127, 127)
    d = scale.best_half(nearest, x, w, 127, 121.0, 0.5, 14, False)
    return np.concatenate([halves(d), codes(nearest(x * inverse(d)), 256)], axis=-1)


def _two_halves(x: F32, w: F32, top: int) -> tuple[U8, U8]:
    s, o = affine.polish(x, w, top, *affine.scan(x, w, top, False))
    return np.concatenate([halves(s), halves(o)], axis=-1), codes(affine.levels(x, top, s, o))


def q4_1(x: F32, w: F32) -> U8:
    """Asymmetric, 4 bits."""
    head, q = _two_halves(x, w, 15)
    return np.concatenate([head, nibbles(q)], axis=-1)


def q5_1(x: F32, w: F32) -> U8:
    """Asymmetric, 5 bits."""
    head, q = _two_halves(x, w, 31)
    return np.concatenate([head, bits(q, 4), nibbles(q)], axis=-1)


def q1_0(x: F32, w: F32) -> U8:
    """Signs. The best scale is the mean magnitude, to which the mean of what it leaves adds the last bits."""
    mean = total(w * np.abs(x)) / total(w)
    d = to_half(mean + total(w * (np.abs(x) - mean)) / total(w))
    q = codes(below(x, np.float32(0), np.float32(0), np.float32(1)))
    return np.concatenate([halves(d), bits(q, 0)], axis=-1)


def q2_0(x: F32, w: F32) -> U8:
    """Levels -1, 0, 1, 2."""
    nearest = scale.whole(-1, 2)
    d = scale.best_half(nearest, x, w, 2, 0.75, 0.125, 35, True)
    q = codes(nearest(x * inverse(d)), 1).reshape(x.shape[1], 16, 4)
    return np.concatenate([halves(d), np.bitwise_or.reduce(q << np.array([0, 2, 4, 6], np.uint8), axis=-1)], axis=-1)


def iq4_code(level: F32) -> F32:
    """The number of a level of IQ4."""
    return np.searchsorted(scale._IQ4, level).astype(np.float32)


def iq4_nl(x: F32, w: F32) -> U8:
    """16 uneven levels."""
    d = scale.best_half(scale.iq4, x, w, 127, 80.0, 3.0, 28, True)
    return np.concatenate([halves(d), nibbles(codes(iq4_code(scale.iq4(x * inverse(d)))))], axis=-1)
