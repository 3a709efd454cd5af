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
    few = 4 * width + 24 * (width // 16 + 16) + 128
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


def of_rows(tokens: int, halves: bool) -> Verb:
    """A verb: sums of one row w with 1 or 4 tokens, each in two chains of every other group. q of the next token lies
    `far` bytes on, its factors p (one for every 32 weights, or for every 16) `apart`. Groups are taken in pairs: one
    behind the last has factors of zero."""

    @traced(types.void, P, P, P, P, P, P, P)
    def of_row(w, q, far, p, apart, pairs, out):
        def factor(t: int, g: Any) -> Any:
            at = p + apart * t + g * (8 if halves else 4)
            return split2(f32(at), f32(at + 4)) if halves else splat(f32(at))

        def step(i, *chains):
            made = []
            for odd in (0, 1):
                g = i * 2 + odd
                x = wload(w + g * 32)
                for t in range(tokens):
                    products = vfloat(dot(x, q + far * t + g * 64))
                    made.append(fma(products, factor(t, g), chains[odd * tokens + t]))
            return made

        chains = repeat(pairs, step, *[splat(ZERO)] * (2 * tokens))
        for t in range(tokens):
            set_f32(out + 4 * t, vsum(chains[t] + chains[tokens + t]))

    return of_row


one_of_32, four_of_32 = of_rows(1, False), of_rows(4, False)
one_of_16, four_of_16 = of_rows(1, True), of_rows(4, True)


@traced(types.void, P, P, P, P, P, P, P, P)
def factors(s, m, scale, total, padded, mins, p, out):
    """Scales of weights times those of activations into p; the sum of mins times sums of activations, where there are
    mins, into out."""
    repeat(padded, lambda g: vstore(p + g * 64, vload(s + g * 64) * vload(scale + g * 64)))
    acc = repeat(padded * mins, lambda g, acc: [fma(vload(m + g * 64), vload(total + g * 64), acc)], splat(ZERO))
    set_f32(out, vsum(acc[0]))


def linear(args: int, first: int, last: int, scratch: int, ctx: int) -> None:
    """Rows of weights with rounded activations. args: data, bytes of a row, K, unpack, its tables, bias, residual, out,
    rows, blocks of a row, scales of 16 (or 32), mins, offset of the token count in ctx, q, scales, sums."""
    k, blocks, width = word(args, 2), word(args, 9), word(args, 8)
    halves, tokens = word(args, 10), word(ctx + word(args, 12), 0)
    q, scale, total = buffer(args, 13), buffer(args, 14), buffer(args, 15)
    bias, residual, target = word(args, 5), buffer(args, 6), buffer(args, 7)
    pairs, padded = (k // 32 + 1) // 2, ((2 * k if halves else k) // 32 + 15) // 16
    w, s = scratch, scratch + k + 32
    m, p, out = s + 64 * padded, s + 128 * padded, s + 384 * padded
    vstore(s + 64 * (padded - 1), splat(ZERO))
    vstore(m + 64 * (padded - 1), splat(ZERO))
    for row in range(first, last):
        call6(word(args, 3), word(args, 0) + row * word(args, 1), blocks, w, s, m, word(args, 4))
        t = 0
        while t < tokens:
            n = 4 if tokens - t >= 4 else 1
            for i in range(n):
                at = 64 * padded * (t + i)
                factors(s, m, scale + at, total + at, padded, word(args, 11), p + 64 * padded * i, out + 16 + 4 * i)
            x = q + 2 * k * t
            if n == 4 and halves:
                four_of_16(w, x, 2 * k, p, 64 * padded, pairs, out)
            elif n == 4:
                four_of_32(w, x, 2 * k, p, 64 * padded, pairs, out)
            elif halves:
                one_of_16(w, x, 2 * k, p, 64 * padded, pairs, out)
            else:
                one_of_32(w, x, 2 * k, p, 64 * padded, pairs, out)
            for i in range(n):
                value = f32(out + 4 * i) + f32(out + 16 + 4 * i)
                if bias:
                    value = value + f32(bias + 4 * row)
                if residual:
                    value = value + f32(residual + 4 * (width * (t + i) + row))
                set_f32(target + 4 * (width * (t + i) + row), value)
            t += n


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
