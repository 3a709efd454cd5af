"""Linears of few tokens: activations rounded to 16 bits, weights unpacked to bytes, exact products in groups of 32.

An output depends on nothing but its row and its token: four rows are taken at a time, tokens one by one. Kernels are
described in numba_kernels, linears of many tokens are in numba_panel.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from edgeq.backends.numba_vectors import (
    below,
    buffer,
    call6,
    dot,
    f32,
    fma,
    imin,
    istore16,
    isum,
    number,
    set_f32,
    splat,
    split2,
    totals,
    vabs,
    vfloat,
    vint,
    vload,
    vmax,
    vround,
    vstore,
    vsum,
    vtop,
    wload,
    word,
)  # fmt: skip
from edgeq.backends.numba_verbs import P, Verb, repeat, traced

ZERO = np.float32(0)
TOP = 32512.0  # rounded activations are whole multiples of largest/32512 in every 32
FEW = 16  # tokens that are summed like one


def scratch(width: int) -> int:
    """Bytes of a thread's scratch that linears of so many weights a row need."""
    vectors = -(-width // 256)
    return 4 * (width + 32 + 128 * vectors) + 256 * vectors + 64


def round_rows(args: int, first: int, last: int, scratch: int, ctx: int) -> None:
    """Rounds activations to 16 bits. args: x, K, q, scales and sums of 32, scales and sums of 16.

    A value that is no number, or infinite, makes the scale of its 32 a NaN, so that it is not lost."""
    x, k, q = buffer(args, 0), word(args, 1), buffer(args, 2)
    scale32, sum32, scale16, sum16 = buffer(args, 3), buffer(args, 4), buffer(args, 5), buffer(args, 6)
    groups = k // 32
    p32, p16 = (groups + 15) // 16 * 16, (2 * groups + 15) // 16 * 16
    zero = splat(ZERO)
    for t in range(first, last):
        for at in range(groups // 16 * 16, p32, 16):  # what lies behind the last group counts as zero
            vstore(scale32 + 4 * (t * p32 + at), zero)
            vstore(sum32 + 4 * (t * p32 + at), zero)
        for at in range(2 * groups // 16 * 16, p16, 16):
            vstore(scale16 + 4 * (t * p16 + at), zero)
            vstore(sum16 + 4 * (t * p16 + at), zero)
        for g in range(groups):
            at, of_32, of_16 = t * k + 32 * g, 4 * (t * p32 + g), 4 * (t * p16 + 2 * g)
            round32(x + 4 * at, q + 2 * at, scale32 + of_32, sum32 + of_32, scale16 + of_16, sum16 + of_16)


@traced(types.void, P, P, P, P, P, P)
def round32(x, q, scale32, sum32, scale16, sum16):
    a, b = vload(x), vload(x + 64)
    top = vtop(vmax(vabs(a), vabs(b)))
    scale = top / TOP + vsum(a * splat(ZERO) + b * splat(ZERO))
    inverse = below(splat(ZERO), splat(scale), splat(TOP) / splat(top), splat(ZERO))
    low, high = vint(vround(a * inverse)), vint(vround(b * inverse))
    istore16(q, low)
    istore16(q + 32, high)
    s0, s1 = isum(low), isum(high)
    set_f32(scale32, scale)
    set_f32(sum32, scale * number(s0 + s1))
    for i, s in enumerate((s0, s1)):
        set_f32(scale16 + 4 * i, scale)
        set_f32(sum16 + 4 * i, scale * number(s))


def sums_of(halves: bool) -> Verb:
    """A verb: sums of four rows at w, `apart` bytes from each other, with one token, each in two chains of every other
    group. Their factors lie at p, `far` bytes apart, one for 32 weights or for 16. Groups are taken in pairs: one
    behind the last has factors of zero."""

    @traced(types.void, *[P] * 7)
    def sums(w, apart, q, p, far, pairs, out):
        def factor(r: int, g: Any) -> Any:
            at = p + far * r + g * (8 if halves else 4)
            return split2(f32(at), f32(at + 4)) if halves else splat(f32(at))

        def step(i, *chains):
            made = []
            for odd in (0, 1):
                g = i * 2 + odd
                for r in range(4):
                    products = vfloat(dot(wload(w + apart * r + g * 32), q + g * 64))
                    made.append(fma(products, factor(r, g), chains[4 * odd + r]))
            return made

        chains = repeat(pairs, step, *[splat(ZERO)] * 8)
        for r, total in enumerate(totals([chains[r] + chains[4 + r] for r in range(4)])):
            set_f32(out + 4 * r, total)

    return sums


sums_of_32, sums_of_16 = sums_of(False), sums_of(True)


@traced(types.void, *[P] * 8)
def factors(s, apart, scale, total, vectors, mins, p, out):
    """Of four rows, whose scales lie at s, `apart` bytes from each other, with one token: scales of weights times those
    of activations into p; sums of mins, where there are mins, times sums of activations into out."""
    rows = [(s + apart * r, p + vectors * (64 * r)) for r in range(4)]

    def scales(g):
        x = vload(scale + g * 64)
        for at, to in rows:
            vstore(to + g * 64, vload(at + g * 64) * x)

    def least(g, *sums):
        x = vload(total + g * 64)
        return [fma(vload(at + vectors * 64 + g * 64), x, acc) for (at, _), acc in zip(rows, sums)]

    repeat(vectors, scales)
    for r, sum_ in enumerate(totals(repeat(vectors * mins, least, *[splat(ZERO)] * 4))):
        set_f32(out + 4 * r, sum_)


def linear(args: int, first: int, last: int, scratch: int, ctx: int) -> None:
    """Rows of weights with rounded activations. args: data, bytes of a row, K, unpack, its tables, bias, residual, out,
    rows, blocks of a row, scales of 16 (or 32), mins, offset of the token count in ctx, q, scales, sums."""
    k, halves, scale, total = word(args, 2), word(args, 10), buffer(args, 14), buffer(args, 15)
    bias, residual = word(args, 5), buffer(args, 6)
    pairs, vectors = (k // 32 + 1) // 2, ((2 * k if halves else k) // 32 + 15) // 16
    area = k + 32 + 128 * vectors  # of one row: weights, scales, mins
    p, out = scratch + 4 * area, scratch + 4 * area + 256 * vectors
    for row in range(first, last, 4):
        rows = imin(4, last - row)
        for r in range(rows):
            w = scratch + area * r
            s = w + k + 32
            vstore(s + 64 * (vectors - 1), splat(ZERO))
            vstore(s + 64 * (2 * vectors - 1), splat(ZERO))
            call6(word(args, 3), word(args, 0) + (row + r) * word(args, 1), word(args, 9), w, s, s + 64 * vectors,
                  word(args, 4))  # fmt: skip
        for t in range(word(ctx + word(args, 12), 0)):
            at, q = 64 * vectors * t, buffer(args, 13) + 2 * k * t
            factors(scratch + k + 32, area, scale + at, total + at, vectors, word(args, 11), p, out + 16)
            if halves:
                sums_of_16(scratch, area, q, p, 64 * vectors, pairs, out)
            else:
                sums_of_32(scratch, area, q, p, 64 * vectors, pairs, out)
            for r in range(rows):
                to, value = 4 * (word(args, 8) * t + row + r), f32(out + 4 * r) + f32(out + 16 + 4 * r)
                if bias:
                    value = value + f32(bias + 4 * (row + r))
                if residual:
                    value = value + f32(residual + to)
                set_f32(buffer(args, 7) + to, value)


def float_linear(args: int, first: int, last: int, scratch: int, ctx: int) -> None:
    """Rows of float weights with float32 activations, one row at a time as float32. args as for `linear`; q is x."""
    k, width, tokens, x = word(args, 2), word(args, 8), word(ctx + word(args, 12), 0), buffer(args, 13)
    bias, residual, target = word(args, 5), buffer(args, 6), buffer(args, 7)
    for row in range(first, last):
        call6(word(args, 3), word(args, 0) + row * word(args, 1), k, scratch, 0, 0, 0)
        for t in range(tokens):
            even, odd, rest, at = splat(ZERO), splat(ZERO), ZERO, x + 4 * k * t
            for i in range(0, k - 31, 32):
                even = fma(vload(scratch + 4 * i), vload(at + 4 * i), even)
                odd = fma(vload(scratch + 4 * i + 64), vload(at + 4 * i + 64), odd)
            for i in range(k // 32 * 32, k):
                rest = rest + f32(scratch + 4 * i) * f32(at + 4 * i)
            value = vsum(even + odd) + rest
            if bias:
                value = value + f32(bias + 4 * row)
            if residual:
                value = value + f32(residual + 4 * (width * t + row))
            set_f32(target + 4 * (width * t + row), value)
