"""Rows of every weight format as int8 weights, scales and mins, or as float32: one kernel per format.

Quantized: (row, blocks, weights, scales, mins, tables); a scale for each 32 weights, or each 16 in `HALVES`.
A weight is scale · weight + min. Floats: (row, count, out, ...). What the bytes mean is told in edgeq/quants.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import types

from edgeq.backends.numba_vectors import (
    bits,
    by_eights,
    f32,
    flags,
    float_of,
    half,
    half_of,
    ibytes,
    isigned,
    nibbles,
    picked,
    set_f32,
    set_u8,
    shifted8,
    signed4,
    signed8,
    splat,
    split2,
    u8,
    u16,
    u32,
    vfloat,
    vload,
    vload_bf16,
    vload_half,
    vstore,
    vstore_halves,
    wload,
    wset,
    wshl,
    wstore,
    wtable,
)  # fmt: skip
from edgeq.backends.numba_verbs import P, traced

HALVES = frozenset(("Q2_K", "Q3_K", "Q6_K", "IQ2_XS", "IQ2_S", "IQ1_M", "NVFP4"))
MINS = frozenset(("Q4_1", "Q5_1", "Q2_K", "Q4_K", "Q5_K"))
FLOATS = frozenset(("F32", "F16", "BF16"))
F = np.float32
QUARTER, EIGHTH, HALF = F(0.25), F(0.125), F(0.5)


def f32_row(row: int, n: int, out: int, s: int, m: int, tables: int) -> None:
    for i in range(0, n - 15, 16):
        vstore(out + 4 * i, vload(row + 4 * i))
    for i in range(n // 16 * 16, n):
        set_f32(out + 4 * i, f32(row + 4 * i))


def f16_row(row: int, n: int, out: int, s: int, m: int, tables: int) -> None:
    for i in range(0, n - 15, 16):
        vstore(out + 4 * i, vload_half(row + 2 * i))
    for i in range(n // 16 * 16, n):
        set_f32(out + 4 * i, half(row + 2 * i))


def bf16_row(row: int, n: int, out: int, s: int, m: int, tables: int) -> None:
    for i in range(0, n - 15, 16):
        vstore(out + 4 * i, vload_bf16(row + 2 * i))
    for i in range(n // 16 * 16, n):
        set_f32(out + 4 * i, float_of(u16(row + 2 * i) << 16))


def q4_0(row: int, blocks: int, w: int, s: int, m: int, tables: int) -> None:
    for i in range(blocks):
        b = row + 18 * i
        set_f32(s + 4 * i, half(b))
        wstore(w + 32 * i, nibbles(b + 2) - wset(8))


def q4_1(row: int, blocks: int, w: int, s: int, m: int, tables: int) -> None:
    for i in range(blocks):
        b = row + 20 * i
        set_f32(s + 4 * i, half(b))
        set_f32(m + 4 * i, half(b + 2))
        wstore(w + 32 * i, nibbles(b + 4))


def q5_0(row: int, blocks: int, w: int, s: int, m: int, tables: int) -> None:
    for i in range(blocks):
        b = row + 22 * i
        set_f32(s + 4 * i, half(b))
        wstore(w + 32 * i, (nibbles(b + 6) | flags(u32(b + 2), 16)) - wset(16))


def q5_1(row: int, blocks: int, w: int, s: int, m: int, tables: int) -> None:
    for i in range(blocks):
        b = row + 24 * i
        set_f32(s + 4 * i, half(b))
        set_f32(m + 4 * i, half(b + 2))
        wstore(w + 32 * i, nibbles(b + 8) | flags(u32(b + 4), 16))


def q8_0(row: int, blocks: int, w: int, s: int, m: int, tables: int) -> None:
    for i in range(blocks):
        b = row + 34 * i
        set_f32(s + 4 * i, half(b))
        wstore(w + 32 * i, wload(b + 2))


def q1_0(row: int, blocks: int, w: int, s: int, m: int, tables: int) -> None:
    for i in range(blocks):
        for j in range(4):
            set_f32(s + 16 * i + 4 * j, half(row + 18 * i))
            wstore(w + 128 * i + 32 * j, flags(u32(row + 18 * i + 2 + 4 * j), 2) - wset(1))


def q2_0(row: int, blocks: int, w: int, s: int, m: int, tables: int) -> None:
    for i in range(blocks):
        for j in range(2):
            set_f32(s + 8 * i + 4 * j, half(row + 18 * i))
        for j in range(64):
            set_u8(w + 64 * i + j, (u8(row + 18 * i + 2 + j // 4) >> 2 * (j % 4) & 3) - 1)


@traced(types.void, P, P, P)
def q2_k_scales(b, s, m):
    codes = ibytes(b)
    vstore(s, vfloat(codes & 15) * splat(half(b + 80)))
    vstore(m, vfloat(codes >> 4) * splat(half(b + 82)) * -1)


def q2_k(row: int, blocks: int, w: int, s: int, m: int, tables: int) -> None:
    for i in range(blocks):
        b = row + 84 * i
        q2_k_scales(b, s + 64 * i, m + 64 * i)
        for j in range(8):
            wstore(w + 256 * i + 32 * j, bits(b + 16 + 32 * (j // 4), 2 * (j % 4), 3))


@traced(types.void, P, P)
def q3_k_scales(b, s):
    """16 times 4 low bits, in 8 bytes, and 2 high ones, in 4 more."""
    x = ibytes(b + 94)  # from the end of the weights, so as not to read behind the block
    low = picked(x, [2 + i % 8 for i in range(16)]) >> [4 * (i // 8) for i in range(16)]
    high = picked(x, [10 + i % 4 for i in range(16)]) >> [2 * (i // 4) for i in range(16)]
    vstore(s, vfloat((low & 15 | (high & 3) << 4) - 32) * splat(half(b + 108)))


def q3_k(row: int, blocks: int, w: int, s: int, m: int, tables: int) -> None:
    for i in range(blocks):
        b = row + 110 * i
        q3_k_scales(b, s + 64 * i)
        for j in range(8):
            high = wshl(bits(b, j, 1), 2)
            wstore(w + 256 * i + 32 * j, (bits(b + 32 + 32 * (j // 4), 2 * (j % 4), 3) | high) - wset(4))


@traced(types.void, P, P, P)
def scales_mins(b, s, m):
    """Eight 6-bit scales and mins from the 12 bytes after d and dmin of Q4_K and Q5_K: four of each in 6 bits of a
    byte, whose other two belong to the other four; their 4 low bits make up the last bytes."""
    x = ibytes(b)
    low = picked(x, [*range(4, 8), *range(12, 16), *range(8, 12), *range(12, 16)]) >> [0] * 12 + [4] * 4
    high = picked(x, [*range(4, 8), *range(4, 8), *range(8, 12), *range(8, 12)]) >> 6 << 4
    codes = low & [63, 63, 63, 63, 15, 15, 15, 15] * 2 | high & [0, 0, 0, 0, 48, 48, 48, 48] * 2
    vstore_halves(s, m, vfloat(codes) * split2(half(b), half(b + 2)) * [*[1] * 8, *[-1] * 8])


def q4_k(row: int, blocks: int, w: int, s: int, m: int, tables: int) -> None:
    for i in range(blocks):
        b = row + 144 * i
        scales_mins(b, s + 32 * i, m + 32 * i)
        for j in range(8):
            wstore(w + 256 * i + 32 * j, bits(b + 16 + 32 * (j // 2), 4 * (j % 2), 15))


def q5_k(row: int, blocks: int, w: int, s: int, m: int, tables: int) -> None:
    for i in range(blocks):
        b = row + 176 * i
        scales_mins(b, s + 32 * i, m + 32 * i)
        for j in range(8):
            high = wshl(bits(b + 16, j, 1), 4)
            wstore(w + 256 * i + 32 * j, bits(b + 48 + 32 * (j // 2), 4 * (j % 2), 15) | high)


def q6_k(row: int, blocks: int, w: int, s: int, m: int, tables: int) -> None:
    for i in range(blocks):
        b = row + 210 * i
        vstore(s + 64 * i, vfloat(isigned(b + 192)) * splat(half(b + 208)))
        for j in range(8):
            part, k = j // 4, j % 4
            low = bits(b + 64 * part + 32 * (k % 2), 4 * (k // 2), 15)
            high = wshl(bits(b + 128 + 32 * part, 2 * k, 3), 4)
            wstore(w + 256 * i + 32 * j, (low | high) - wset(32))


def tq1_0(row: int, blocks: int, w: int, s: int, m: int, tables: int) -> None:
    for i in range(blocks):
        b, at = row + 54 * i, w + 256 * i
        for j in range(8):
            set_f32(s + 32 * i + 4 * j, half(b + 52))
        for start, run, digits in ((0, 32, 5), (32, 16, 5), (48, 4, 4)):
            power = 1
            for _ in range(digits):
                for j in range(run):
                    set_u8(at + j, ((u8(b + start + j) * power & 255) * 3 >> 8) - 1)
                at += run
                power *= 3


def tq2_0(row: int, blocks: int, w: int, s: int, m: int, tables: int) -> None:
    for i in range(blocks):
        b = row + 66 * i
        for j in range(8):
            set_f32(s + 32 * i + 4 * j, half(b + 64))
            wstore(w + 256 * i + 32 * j, bits(b + 32 * (j // 4), 2 * (j % 4), 3) - wset(1))


def mxfp4(row: int, blocks: int, w: int, s: int, m: int, tables: int) -> None:
    for i in range(blocks):
        b = row + 17 * i
        e = u8(b)
        set_f32(s + 4 * i, float_of(0x00200000 << e if e < 2 else e - 1 << 23))
        wstore(w + 32 * i, wtable(nibbles(b + 1), tables))


def nvfp4(row: int, blocks: int, w: int, s: int, m: int, tables: int) -> None:
    for i in range(blocks):
        b = row + 36 * i
        for j in range(4):
            x = u8(b + j)
            e = x >> 3 & 15
            value = F(x & 7) * F(2**-10) if e == 0 else F((x & 7) + 8) * float_of(e + 116 << 23)
            set_f32(s + 16 * i + 4 * j, F(0) if x == 0x7F else value)
        for j in range(2):
            wstore(w + 64 * i + 32 * j, wtable(by_eights(nibbles(b + 4 + 16 * j)), tables))


def iq4_nl(row: int, blocks: int, w: int, s: int, m: int, tables: int) -> None:
    for i in range(blocks):
        b = row + 18 * i
        set_f32(s + 4 * i, half(b))
        wstore(w + 32 * i, wtable(nibbles(b + 2), tables))


def iq4_xs(row: int, blocks: int, w: int, s: int, m: int, tables: int) -> None:
    for i in range(blocks):
        b = row + 136 * i
        d, high = half(b), u16(b + 2)
        for j in range(8):
            scale = (u8(b + 4 + j // 2) >> 4 * (j % 2) & 15) | (high >> 2 * j & 3) << 4
            set_f32(s + 32 * i + 4 * j, d * F(scale - 32))
            wstore(w + 256 * i + 32 * j, wtable(nibbles(b + 8 + 16 * j), tables))


@traced(P, P)
def even_signs(code):
    """7 signs and an eighth that makes the number of set bits even."""
    parity = code ^ code >> 4
    parity = parity ^ parity >> 2
    return code | ((parity ^ parity >> 1) & 1) << 7


def iq2_xxs(row: int, blocks: int, w: int, s: int, m: int, tables: int) -> None:
    for i in range(blocks):
        for j in range(8):
            b, at = row + 66 * i + 2 + 8 * j, w + 256 * i + 32 * j
            word = u32(b + 4)
            set_f32(s + 32 * i + 4 * j, half(row + 66 * i) * (F(word >> 28) + HALF) * QUARTER)
            for k in range(4):
                signed8(at + 8 * k, tables + 8 * u8(b + k), even_signs(word >> 7 * k & 127))


def iq2_xs(row: int, blocks: int, w: int, s: int, m: int, tables: int) -> None:
    for i in range(blocks):
        b = row + 74 * i
        for j in range(16):
            set_f32(s + 64 * i + 4 * j, half(b) * (F(u8(b + 66 + j // 2) >> 4 * (j % 2) & 15) + HALF) * QUARTER)
        for j in range(32):
            code = u16(b + 2 + 2 * j)
            signed8(w + 256 * i + 8 * j, tables + 8 * (code & 511), even_signs(code >> 9))


def iq2_s(row: int, blocks: int, w: int, s: int, m: int, tables: int) -> None:
    for i in range(blocks):
        b = row + 82 * i
        for j in range(16):
            set_f32(s + 64 * i + 4 * j, half(b) * (F(u8(b + 74 + j // 2) >> 4 * (j % 2) & 15) + HALF) * QUARTER)
        for j in range(32):
            index = u8(b + 2 + j) | (u8(b + 66 + j // 4) >> 2 * (j % 4) & 3) << 8
            signed8(w + 256 * i + 8 * j, tables + 8 * index, u8(b + 34 + j))


def iq3_xxs(row: int, blocks: int, w: int, s: int, m: int, tables: int) -> None:
    for i in range(blocks):
        b = row + 98 * i
        for j in range(8):
            word = u32(b + 66 + 4 * j)
            set_f32(s + 32 * i + 4 * j, half(b) * (F(word >> 28) + HALF) * HALF)
            for k in range(4):
                at, q, signs = w + 256 * i + 32 * j + 8 * k, b + 2 + 8 * j + 2 * k, even_signs(word >> 7 * k & 127)
                signed4(at, tables + 4 * u8(q), signs)
                signed4(at + 4, tables + 4 * u8(q + 1), signs >> 4)


def iq3_s(row: int, blocks: int, w: int, s: int, m: int, tables: int) -> None:
    for i in range(blocks):
        b = row + 110 * i
        for j in range(8):
            set_f32(s + 32 * i + 4 * j, half(b) * F(2 * (u8(b + 106 + j // 2) >> 4 * (j % 2) & 15) + 1))
        for j in range(64):
            index = u8(b + 2 + j) | (u8(b + 66 + j // 8) >> j % 8 & 1) << 8
            signed4(w + 256 * i + 4 * j, tables + 4 * index, u8(b + 74 + j // 2) >> 4 * (j % 2))


def iq1_s(row: int, blocks: int, w: int, s: int, m: int, tables: int) -> None:
    for i in range(blocks):
        b = row + 50 * i
        for j in range(8):
            word = u16(b + 34 + 2 * j)
            set_f32(s + 32 * i + 4 * j, half(b) * F(2 * (word >> 12 & 7) + 1) * EIGHTH)
            for k in range(4):
                index = u8(b + 2 + 4 * j + k) | (word >> 3 * k & 7) << 8
                shifted8(w + 256 * i + 32 * j + 8 * k, tables + 8 * index, 1 - 2 * (word >> 15))


def iq1_m(row: int, blocks: int, w: int, s: int, m: int, tables: int) -> None:
    for i in range(blocks):
        b = row + 56 * i
        code = 0
        for j in range(4):
            code |= u16(b + 48 + 2 * j) >> 12 << 4 * j
        for j in range(16):
            scale = u16(b + 48 + 2 * (j // 4)) >> 3 * (j % 4) & 7
            set_f32(s + 64 * i + 4 * j, half_of(code) * F(2 * scale + 1) * EIGHTH)
        for j in range(32):
            high = u8(b + 32 + j // 2) >> 4 * (j % 2) & 15
            shifted8(w + 256 * i + 8 * j, tables + 8 * (u8(b + j) | (high & 7) << 8), 1 - 2 * (high >> 3))


KERNELS: dict[str, Callable[..., None]] = {
    "F32": f32_row, "F16": f16_row, "BF16": bf16_row, "Q4_0": q4_0, "Q4_1": q4_1, "Q5_0": q5_0, "Q5_1": q5_1,
    "Q8_0": q8_0, "Q1_0": q1_0, "Q2_0": q2_0, "Q2_K": q2_k, "Q3_K": q3_k, "Q4_K": q4_k, "Q5_K": q5_k, "Q6_K": q6_k,
    "TQ1_0": tq1_0, "TQ2_0": tq2_0, "MXFP4": mxfp4, "NVFP4": nvfp4, "IQ2_XXS": iq2_xxs, "IQ2_XS": iq2_xs,
    "IQ2_S": iq2_s, "IQ3_XXS": iq3_xxs, "IQ3_S": iq3_s, "IQ1_S": iq1_s, "IQ1_M": iq1_m, "IQ4_NL": iq4_nl,
    "IQ4_XS": iq4_xs,
}  # fmt: skip


@cache
def table(name: str) -> np.ndarray[Any, Any]:
    """What a format's kernel looks up, int8: codebook vectors or levels; kept for good, kernels hold its address."""
    from edgeq.quants import fp4, iquants

    if name in ("MXFP4", "NVFP4"):
        return np.array(fp4.E2M1, np.int8)
    if name in ("IQ4_NL", "IQ4_XS"):
        return np.array(iquants.IQ4_LEVELS, np.int8)
    if name in ("IQ1_S", "IQ1_M"):  # in eighths
        return np.ascontiguousarray(8 * iquants.grid("IQ1_S"), np.int8)
    if name.startswith("IQ"):
        return np.ascontiguousarray(iquants.grid(name), np.int8)
    return np.zeros(1, np.int8)

