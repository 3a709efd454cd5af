"""Formats whose weights are E2M1 floats of 4 bits (0, 0.5, 1, 1.5, 2, 3, 4, 6 and a sign) under a scale.

E2M1 numbers are kept doubled, as integers, and scales halved, which changes no product.
Layouts after ggml-common.h of llama.cpp. Each function takes blocks uint8 [N, nbytes] and returns `Parts`.
"""

from __future__ import annotations

import numpy as np

from edgeq.quants.bits import U8, Parts, e8m0_half, planes, split, ue4m3_half

# E2M1 doubled; code 8, minus zero, reads as plain zero.
E2M1 = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], dtype=np.int8)


def mxfp4(b: U8) -> Parts:
    """E8M0 e; 16 bytes: weights 0-15 in the low nibbles, 16-31 in the high ones. Value 2^(e-127) * E2M1."""
    e, qs = split(b, 1, 16)
    return E2M1[planes(qs, 4, 16)], e8m0_half(e), None


def nvfp4(b: U8) -> Parts:
    """4 UE4M3 scales, each for 16 weights; 4 times 8 bytes: weights 0-7 low nibbles, 8-15 high ones."""
    d, qs = split(b, 4, 32)
    return E2M1[planes(qs, 4, 8)], ue4m3_half(d), None
