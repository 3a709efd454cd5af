"""The first GGML formats: 32 weights, one scale, sometimes a min. Also 1- and 2-bit formats of that shape.

Layouts after ggml-common.h of llama.cpp; "F16 d" is a little-endian fp16. Each function takes blocks
uint8 [N, nbytes] and returns `Parts`.
"""

from __future__ import annotations

import numpy as np

from edgeq.quants.bits import U8, Parts, half, planes, single, split


def q4_0(b: U8) -> Parts:
    """F16 d; 16 bytes: weights 0-15 in the low nibbles, 16-31 in the high ones. Value d * (q - 8)."""
    d, qs = split(b, 2, 16)
    return planes(qs, 4, 16).astype(np.int16) - 8, half(d), None


def q4_1(b: U8) -> Parts:
    """F16 d; F16 m; 16 bytes of nibbles as in Q4_0. Value d * q + m."""
    d, m, qs = split(b, 2, 2, 16)
    return planes(qs, 4, 16), half(d), half(m)


def q5_0(b: U8) -> Parts:
    """F16 d; 32 bits: bit i is the fifth bit of weight i; 16 bytes of nibbles. Value d * (q - 16)."""
    d, qh, qs = split(b, 2, 4, 16)
    q = planes(qs, 4, 16) | planes(qh, 1, 1) << 4
    return q.astype(np.int16) - 16, half(d), None


def q5_1(b: U8) -> Parts:
    """F16 d; F16 m; 32 fifth bits; 16 bytes of nibbles. Value d * q + m."""
    d, m, qh, qs = split(b, 2, 2, 4, 16)
    return planes(qs, 4, 16) | planes(qh, 1, 1) << 4, half(d), half(m)


def q8_0(b: U8) -> Parts:
    """F16 d; 32 int8. Value d * q."""
    d, qs = split(b, 2, 32)
    return qs.view(np.int8), half(d), None


def q8_1(b: U8) -> Parts:
    """F16 d; F16 s = d * (sum of q), not needed here; 32 int8. Value d * q."""
    d, _, qs = split(b, 2, 2, 32)
    return qs.view(np.int8), half(d), None


def q8_k(b: U8) -> Parts:
    """F32 d; 256 int8; 16 int16 sums of 16 weights, not needed here. Value d * q."""
    d, qs, _ = split(b, 4, 256, 32)
    return qs.view(np.int8), single(d), None


def q1_0(b: U8) -> Parts:
    """F16 d; 128 bits, lowest first. Value d where the bit is set, else -d."""
    d, qs = split(b, 2, 16)
    return planes(qs, 1, 1).astype(np.int16) * 2 - 1, half(d), None


def q2_0(b: U8) -> Parts:
    """F16 d; 64 fields of 2 bits, lowest first. Value d * (q - 1), so -d, 0, d or 2d."""
    d, qs = split(b, 2, 16)
    return planes(qs, 2, 1).astype(np.int16) - 1, half(d), None
