"""TQ1_0 and TQ2_0: 256 weights of -1, 0 or 1 times one fp16. Layouts: edgeq/quants/ternary.py."""

from __future__ import annotations

import numpy as np

from edgeq.quants.encoders import scale
from edgeq.quants.encoders.kquants import pairs
from edgeq.quants.encoders.lanes import F32, U8, codes, halves, inverse


def _digits(x: F32, w: F32) -> tuple[F32, U8]:
    nearest = scale.whole(-1, 1)
    d = scale.best_half(nearest, x, w, 1, 0.75, 0.25, 26, False)
    return d, codes(nearest(x * inverse(d)), 1)


def _packed(q: U8, digits: int) -> U8:
    """[N, digits * k] base-3 digits, k of each place, as [N, k] fractions of 256."""
    n = np.zeros((len(q), q.shape[1] // digits), np.int32)
    for place in q.reshape(len(q), digits, -1).transpose(1, 0, 2):
        n = 3 * n + place
    return ((n * 3 ** (5 - digits) * 256 + 242) // 243).astype(np.uint8)


def tq1_0(x: F32, w: F32) -> U8:
    """Five digits a byte."""
    d, q = _digits(x, w)
    parts = [_packed(q[:, :160], 5), _packed(q[:, 160:240], 5), _packed(q[:, 240:], 4)]
    return np.concatenate([*parts, halves(d)], axis=-1)


def tq2_0(x: F32, w: F32) -> U8:
    """Four digits a byte."""
    d, q = _digits(x, w)
    return np.concatenate([pairs(q), halves(d)], axis=-1)
