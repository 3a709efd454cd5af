"""Linears of the numba backend: one arithmetic for few tokens, another for many.

Few tokens: activations are rounded to 16 bits, a row of weights is unpacked to bytes, and their products are summed
exactly in groups of 32. Many: rows become float32 once for all tokens, which lie in lanes, and every output is one
chain of multiply-adds over float32 activations. In both, an output depends on nothing but its row and its token.
Kernels are described in numba_kernels.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from edgeq.backends.numba_compile import host_features
from edgeq.backends.numba_vectors import (
    below,
    buffer,
    call6,
    dot,
    f32,
    fma,
    if_less,
    imin,
    isum,
    istore16,
    number,
    set_f32,
    splat,
    split2,
    totals,
    transpose16,
    turned,
    vabs,
    vfloat,
    vint,
    vload,
    vload_some,
    vmax,
    vround,
    vstore,
    vstore_some,
    vsum,
    vtop,
    whigh,
    wload,
    wlow,
    word,
)  # fmt: skip
from edgeq.backends.numba_verbs import P, Verb, repeat, traced

ZERO = np.float32(0)
TOP = np.float32(32512)  # rounded activations are whole multiples of largest/32512 in every 32
FEW = 16  # tokens that are summed like one
CHUNK = 256  # weights of a row that are float32 at a time: whole blocks of every format
TURN = 512  # tokens that meet them before they are unpacked again
# Rows and vectors of 16 tokens whose sums lie in registers: of 32 with 16 lanes, 16 with 8, or 32 with 4.
ROWS, VECTORS = (12, 2) if "avx512f" in host_features() else (6, 1)
LANES = 16 * VECTORS
PANEL = 48  # most rows of an item


def unpacked(n: int) -> int:
    """Bytes that n weights, their scales and mins take."""
    return (n + 31 & -32) + 8 * ((n >> 4) + 15 & -16)


UNPACKED = unpacked(CHUNK)


def scratch(width: int) -> int:
    """Bytes of a thread's scratch that linears of so many weights a row need."""
    few = 4 * (unpacked(width) + 32) + 16 * (width // 16 + 16) + 64
    many = PANEL * 4 * (CHUNK + TURN) + UNPACKED + 2048
    return max(few, many)


def panel_rows(rows: int, threads: int) -> int:
    """Rows of an item: a multiple of ROWS; less where there would be too few items for the threads."""
    return next((n for n in range(PANEL, ROWS, -ROWS) if rows >= 4 * threads * n), ROWS)


# --- few tokens ------------------------------------------------------------------------------------------------------


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
            round32(x + 4 * (t * k + 32 * g), q + 2 * (t * k + 32 * g), scale32 + 4 * (t * p32 + g),
                    sum32 + 4 * (t * p32 + g), scale16 + 4 * (t * p16 + 2 * g), sum16 + 4 * (t * p16 + 2 * g))  # fmt: skip


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
    group. Their factors lie at p, `far` bytes apart, one for 32 weights or for 16. Groups are taken in pairs: one behind
    the last has factors of zero."""

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
def factors(s, m, scale, total, vectors, mins, p, out):
    """Scales of weights times those of activations into p; the sum of mins times sums of activations, where there are
    mins, into out."""
    repeat(vectors, lambda g: vstore(p + g * 64, vload(s + g * 64) * vload(scale + g * 64)))
    acc = repeat(vectors * mins, lambda g, acc: [fma(vload(m + g * 64), vload(total + g * 64), acc)], splat(ZERO))
    set_f32(out, vsum(acc[0]))


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
            for r in range(rows):
                s = scratch + area * r + k + 32
                factors(s, s + 64 * vectors, scale + at, total + at, vectors, word(args, 11), p + 64 * vectors * r,
                        out + 16 + 4 * r)  # fmt: skip
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


# --- many tokens -----------------------------------------------------------------------------------------------------


@traced(types.void, P, P, P, P, P)
def lay(x, k, t, tokens, out):
    """16 tokens from the t-th on in lanes, [K][16]; the last token stands in for those that are not there."""
    rows = [x + k * imin(t + i, tokens - 1) * 4 for i in range(16)]

    def sixteen(b):
        left = k - b * 16
        for i, column in enumerate(turned([vload_some(row + b * 64, left) for row in rows])):
            vstore_some(out + b * 1024 + 64 * i, column, if_less(i, left, 16, 0))

    repeat((k + 15) >> 4, sixteen)


def lay_lanes(args: int, first: int, last: int, scratch: int, ctx: int) -> None:
    """Activations with tokens in lanes: [T / 16][K][16]. Items are 16 tokens. args: x, K, out, offset of the token
    count in ctx."""
    k = word(args, 1)
    for item in range(first, last):
        lay(buffer(args, 0), k, 16 * item, word(ctx + word(args, 3), 0), buffer(args, 2) + 64 * k * item)


@traced(types.void, *[P] * 8)
def floats_of(unpack, tables, source, blocks, n, kind, w, out):
    """n weights as float32: scale · weight + min. kind: 0 for a scale of 32 weights, 1 for scales of 16, 2 for floats.
    w: room for the bytes, and for scales and mins, which are zeros where the format has none."""
    s = w + ((n + 31) & -32)
    vectors = ((n >> 4) + 15) >> 4
    m = s + vectors * 64
    repeat(vectors, lambda i: vstore(m + i * 64, splat(0)))
    call6(unpack, source, blocks, if_less(kind, 2, w, out), s, m, tables)
    second = kind * 4

    def group(g):
        at, x = (kind + 1) * g * 4, wload(w + g * 32)
        vstore(out + g * 128, fma(wlow(x), splat(f32(s + at)), splat(f32(m + at))))
        vstore(out + g * 128 + 64, fma(whigh(x), splat(f32(s + at + second)), splat(f32(m + at + second))))

    repeat(if_less(kind, 2, n >> 5, 0), group)


@traced(types.void, P, P, P, P, P, P)
def of_panel(panel, x, k, n, c, rows):
    """c[vector][row] += Σ panel[row][i] · x[vector][i] over n weights, for ROWS rows and VECTORS vectors of tokens. Both
    tables have `rows` rows."""

    def step(i, *sums):
        lanes = [vload(x + (k * v + i) * 64) for v in range(VECTORS)]
        made = []
        for r in range(ROWS):
            weight = splat(f32(panel + i * 4 + 4 * CHUNK * r))
            made += [fma(weight, lanes[v], sums[r * VECTORS + v]) for v in range(VECTORS)]
        return made

    places = [c + (rows * v + r) * 64 for r in range(ROWS) for v in range(VECTORS)]
    for place, total in zip(places, repeat(n, step, *(vload(place) for place in places)), strict=True):
        vstore(place, total)


@traced(types.void, *[P] * 6)
def unpack_panel(args, row, rows, at, n, panel):
    """n weights from `at` on of each row, as float32. The bytes go behind the panel."""
    source = word(args, 0) + at // word(args, 15) * word(args, 16)
    w = panel + word(args, 14) * (4 * CHUNK)
    repeat(rows, lambda i: floats_of(
        word(args, 3), word(args, 4), source + word(args, 1) * (row + i), n // word(args, 15), n, word(args, 17), w,
        panel + i * (4 * CHUNK)))  # fmt: skip


@traced(types.void, *[P] * 7)
def put(args, c, row, rows, t, tokens, square):
    """Outputs [row][16 tokens] at c go where rows are tokens, with bias and residual: `rows` from `row` on."""
    bias, residual, target, width = word(args, 5), buffer(args, 6), buffer(args, 7), word(args, 8)

    def sixteen(b):
        transpose16(c + b * 1024, 64, square, 64)
        here, left = row + b * 16, rows - b * 16

        def one(i):
            at = (width * (t + i) + here) * 4
            x = vload(square + i * 64)
            x = repeat(if_less(0, bias, 1, 0), lambda _, x: [x + vload_some(bias + here * 4, left)], x)[0]
            x = repeat(if_less(0, residual, 1, 0), lambda _, x: [x + vload_some(residual + at, left)], x)[0]
            vstore_some(target + at, x, left)

        repeat(tokens, one)

    repeat((rows + 15) >> 4, sixteen)


def panel_linear(args: int, first: int, last: int, scratch: int, ctx: int) -> None:
    """Items are panels of rows. args as for `linear`, with x in lanes for q; rows of a panel, weights and bytes of a
    block, kind of `floats_of`."""
    k, width, tokens, rows = word(args, 2), word(args, 8), word(ctx + word(args, 12), 0), word(args, 14)
    square = scratch + 4 * CHUNK * rows + UNPACKED
    c = square + 1024
    for item in range(first, last):
        here = imin(rows, width - rows * item)
        for turn in range(0, tokens, TURN):
            n = imin(TURN, tokens - turn)
            vectors = (n + LANES - 1) // LANES * VECTORS
            for i in range(rows * vectors):
                vstore(c + 64 * i, splat(ZERO))
            for at in range(0, k, CHUNK):
                unpack_panel(args, rows * item, here, at, imin(CHUNK, k - at), scratch)
                for v in range(0, vectors, VECTORS):
                    x = buffer(args, 13) + 64 * (k * (turn // 16 + v) + at)
                    for r in range(0, here, ROWS):
                        of_panel(scratch + 4 * CHUNK * r, x, k, imin(CHUNK, k - at), c + 64 * (rows * v + r), rows)
            for v in range((n + 15) // 16):
                put(args, c + 64 * rows * v, rows * item, here, turn + 16 * v, imin(16, n - 16 * v), square)
