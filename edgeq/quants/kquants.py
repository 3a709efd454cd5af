"""The K formats: super-blocks of 256 weights whose sub-blocks have integer scales (and mins) of their own.

Layouts after ggml-common.h of llama.cpp; "F16 d" is a little-endian fp16. Each function takes blocks
uint8 [N, nbytes] and returns `Parts`. Scales are rounded to float32 before they meet the weight.
"""

from __future__ import annotations

import numpy as np

from edgeq.quants.bits import U8, Parts, half, planes, split


def q2_k(b: U8) -> Parts:
    """16 bytes: 4-bit scale (low) and min (high) of each 16 weights; 64 bytes; F16 d; F16 dmin.

    Each 32 bytes hold 128 weights: bits 0-1 of all bytes, then bits 2-3, 4-5, 6-7.
    Value (d * scale) * q - dmin * min.
    """
    sm, qs, d, dmin = split(b, 16, 64, 2, 2)
    return planes(qs, 2, 32), half(d) * (sm & 15), -(half(dmin) * (sm >> 4))


def q3_k(b: U8) -> Parts:
    """32 bytes of high bits; 64 bytes of low bit pairs as in Q2_K; 12 bytes of scales; F16 d.

    Bit k of high byte j belongs to weight 32k + j; the weight is the low pair, less 4 where the bit is clear.
    Scale i of 16 weights has 6 bits, offset 32: its low nibble is in nibbles 0-15 of the first 8 bytes (low
    nibbles first), its high bits in the last 4 bytes (bits 0-1 of all, then 2-3, ...).
    Value (d * (scale - 32)) * q.
    """
    high, low, scales, d = split(b, 32, 64, 12, 2)
    scale = planes(scales[:, :8], 4, 8) | planes(scales[:, 8:], 2, 4) << 4
    q = planes(low, 2, 32) | planes(high, 1, 32) << 2
    return q.astype(np.int16) - 4, half(d) * (scale.astype(np.float32) - 32), None


def _scales_mins(b: U8) -> tuple[U8, U8]:
    """Eight 6-bit scales and eight 6-bit mins from 12 bytes.

    Bytes 0-3: scales 0-3 in 6 bits, the top bits of scales 4-7 above them. Bytes 4-7: the mins alike.
    Bytes 8-11: low nibbles of scales 4-7, and above them those of mins 4-7.
    """
    s, m, low = split(b, 4, 4, 4)
    scale = np.concatenate([s & 63, low & 15 | s >> 6 << 4], axis=-1)
    return scale, np.concatenate([m & 63, low >> 4 | m >> 6 << 4], axis=-1)


def q4_k(b: U8) -> Parts:
    """F16 d; F16 dmin; 12 bytes of scales and mins of each 32 weights; 128 bytes.

    Each 32 bytes hold 64 weights: the low nibbles, then the high ones. Value (d * scale) * q - dmin * min.
    """
    d, dmin, sm, qs = split(b, 2, 2, 12, 128)
    scale, least = _scales_mins(sm)
    return planes(qs, 4, 32), half(d) * scale, -(half(dmin) * least)


def q5_k(b: U8) -> Parts:
    """F16 d; F16 dmin; scales and mins as in Q4_K; 32 bytes of fifth bits; 128 bytes of nibbles as in Q4_K.

    Bit k of high byte j belongs to weight 32k + j. Value (d * scale) * q - dmin * min.
    """
    d, dmin, sm, qh, qs = split(b, 2, 2, 12, 32, 128)
    scale, least = _scales_mins(sm)
    return planes(qs, 4, 32) | planes(qh, 1, 32) << 4, half(d) * scale, -(half(dmin) * least)


def q6_k(b: U8) -> Parts:
    """128 bytes of low nibbles; 64 bytes of high bit pairs; 16 int8 scales; F16 d.

    Each half of 128 weights has 64 low bytes (low nibbles, then high ones) and 32 high bytes (bits 0-1 of
    all, then 2-3, ...). Value (d * scale) * (q - 32).
    """
    ql, qh, scales, d = split(b, 128, 64, 16, 2)
    q = planes(ql, 4, 64) | planes(qh, 2, 32) << 4
    return q.astype(np.int16) - 32, half(d) * scales.view(np.int8), None
