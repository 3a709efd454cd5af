"""Linears of many tokens: rows of weights become float32 once for all tokens, which lie in lanes.

Every output is one chain of multiply-adds over float32 activations, in the order of the weights: it depends on nothing
but its row and its token, whatever lane that lies in. Kernels are described in numba_kernels.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from numba import types

from edgeq.backends.numba_compile import host_features
from edgeq.backends.numba_vectors import (
    buffer,
    call6,
    f32,
    fma,
    if_less,
    imin,
    splat,
    transpose16,
    turned,
    vload,
    vload_some,
    vstore,
    vstore_some,
    whigh,
    wload,
    wlow,
    word,
)  # fmt: skip
from edgeq.backends.numba_verbs import P, repeat, traced

CHUNK = 256  # weights of a row that are float32 at a time: whole blocks of every format
TURN = 512  # tokens that meet them before they are unpacked again
# Rows and vectors of 16 tokens whose sums lie in registers: 32 of 16 lanes, 16 of 8, or 32 of 4.
ROWS, VECTORS = (12, 2) if "avx512f" in host_features() else (6, 1)
LANES = 16 * VECTORS
PANEL = 48  # most rows of an item


def unpacked(n: int) -> int:
    """Bytes that n weights, their scales and mins take."""
    return (n + 31 & -32) + 8 * ((n >> 4) + 15 & -16)


UNPACKED = unpacked(CHUNK)
SCRATCH = 4 * PANEL * (CHUNK + TURN) + UNPACKED + 2048  # bytes of a thread


def panel_rows(rows: int, threads: int) -> int:
    """Rows of an item: a multiple of ROWS; less where there would be too few items for the threads."""
    return next((n for n in range(PANEL, ROWS, -ROWS) if rows >= 4 * threads * n), ROWS)


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
    """c[vector][row] += Σ panel[row][i] · x[vector][i] over n weights, for ROWS rows and VECTORS vectors of tokens;
    c has `rows` rows."""

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
                vstore(c + 64 * i, splat(0))
            for at in range(0, k, CHUNK):
                unpack_panel(args, rows * item, here, at, imin(CHUNK, k - at), scratch)
                for v in range(0, vectors, VECTORS):
                    x = buffer(args, 13) + 64 * (k * (turn // 16 + v) + at)
                    for r in range(0, here, ROWS):
                        of_panel(scratch + 4 * CHUNK * r, x, k, imin(CHUNK, k - at), c + 64 * (rows * v + r), rows)
            for v in range((n + 15) // 16):
                put(args, c + 64 * rows * v, rows * item, here, turn + 16 * v, imin(16, n - 16 * v), square)
