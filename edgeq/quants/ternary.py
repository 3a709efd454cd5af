"""Ternary formats: 256 weights of -1, 0 or 1 times one scale.

Layouts after ggml-common.h of llama.cpp. Each function takes blocks uint8 [N, nbytes] and returns `Parts`.
"""

from __future__ import annotations

import numpy as np

from edgeq.quants.bits import U8, Parts, half, planes, split


def _digits(b: U8, count: int, run: int) -> U8:
    """The first `count` base-3 digits of every byte, digit by digit within each run of `run` bytes.

    A byte is a fraction of 256: multiply by 3 and the digit is what passes the point, 0-2 for any byte.
    """
    powers = np.array([1, 3, 9, 27, 81], dtype=np.uint8)[:count, None]
    fraction = b.reshape(len(b), -1, 1, run) * powers  # wraps: whole digits already read fall away
    return (fraction.astype(np.uint16) * 3 >> 8).astype(np.uint8).reshape(len(b), -1)


def tq1_0(b: U8) -> Parts:
    """32 bytes with 5 ternary digits each, 16 bytes with 5, 4 bytes with 4; F16 d. Value d * (digit - 1).

    The first digits of all 32 bytes come first, then the second ones, ...; then the 16 bytes, then the 4.
    """
    a, c, e, d = split(b, 32, 16, 4, 2)
    q = np.concatenate([_digits(a, 5, 32), _digits(c, 5, 16), _digits(e, 4, 4)], axis=-1)
    return q.astype(np.int16) - 1, half(d), None


def tq2_0(b: U8) -> Parts:
    """64 bytes; F16 d. Each 32 bytes hold 128 weights: bits 0-1 of all bytes, then 2-3, 4-5, 6-7.

    Value d * (q - 1); q = 3 is not written by encoders and means 2d.
    """
    qs, d = split(b, 64, 2)
    return planes(qs, 2, 32).astype(np.int16) - 1, half(d), None
