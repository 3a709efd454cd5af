"""Keys and values into the cache, and causal attention over it, 64 positions at a time.

A cache is [sequences][K][ring] rows of E numbers. A tile of 64 positions becomes float32 once, keys transposed to
[E][64], and serves the query heads of a few tokens, four at a time, with a running maximum and sum (Milakov and
Gimelshein 2018). Tiles begin at fixed positions and every sum has one order: what else is in the batch changes no bit.
In the scratch a row of a head is `across` floats, E rounded up to whole vectors; what lies behind E is never used.
"""

# mypy: disable-error-code="no-untyped-call,no-untyped-def"
from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from edgeq.backends.numba_compile import host_features
from edgeq.backends.numba_kernels import softened, vexp
from edgeq.backends.numba_vectors import (
    below,
    buffer,
    call3,
    f32,
    f64,
    first_of,
    fma,
    fmax,
    if_less,
    imax,
    imin,
    iota,
    nonzero,
    number,
    set_f32,
    splat,
    transpose16,
    vload,
    vload_some,
    vmax,
    vstore,
    vstore_some,
    vsum,
    vtop,
    word,
)  # fmt: skip
from edgeq.backends.numba_verbs import F, P, repeat, traced

TILE = 64
BLOCK = 16  # most tokens of an item
GROUP = 4  # queries that meet a tile together
COLUMNS = 4 if "avx512f" in host_features() else 1  # vectors of a query that lie in registers
STORE, LOAD, CACHES, RUNS = 6, 7, 8, 9  # words of ctx: kernels of the KV type, words of the caches, runs of tokens
CACHE_WORDS = 4  # keys, values, ring, bytes of a row
MINUS_INF = np.float32(-np.inf)


def runs(positions: np.ndarray, sequences: np.ndarray) -> np.ndarray:
    """First token and length of runs of at most `BLOCK` consecutive positions of one sequence, int64 [runs, 2]."""
    parts = np.flatnonzero((np.diff(positions) != 1) | (np.diff(sequences) != 0)) + 1
    first = [at for a, b in zip([0, *parts], [*parts, len(positions)]) for at in range(a, b, BLOCK)]
    return np.stack([first, np.diff([*first, len(positions)])], axis=1).astype(np.int64)


def scratch(e: int, group: int) -> int:
    """Bytes of a thread's scratch that `attend` needs for heads of e, `group` of them for one of keys and values."""
    across, queries = -(-e // 16) * 16, BLOCK * group
    return 4 * (TILE * (2 * across + GROUP) + across * (2 * queries + 1) + 2 * queries + GROUP)


def kv_write(args: int, first: int, last: int, scratch: int, ctx: int) -> None:
    """Items are key/value heads of tokens. args: k, v, cache, K, E."""
    heads, e = word(args, 3), word(args, 4)
    cache = word(ctx, CACHES) + 8 * CACHE_WORDS * word(args, 2)
    ring, row = word(cache, 2), word(cache, 3)
    for item in range(first, last):
        t, head = item // heads, item % heads
        sequence, position = word(word(ctx, 2), t), word(word(ctx, 1), t)
        at = row * ((sequence * heads + head) * ring + position % ring)
        for i in range(2):
            call3(word(ctx, STORE), buffer(args, i) + 4 * e * item, word(cache, i) + at, e)


@traced(P, P, P, P)
def lowest(position, window, base):
    """The first place in the tile at `base` that is seen from a position; `highest`: the last."""
    return imax(position - window + 1 - base, 0)


@traced(P, P, P)
def highest(position, base):
    return imin(position - base, TILE - 1)


@traced(types.void, *[P] * 7)
def fetch_queries(q, step, e, group, count, out, state):
    """Queries of one key/value head, `step` bytes from token to token; sums start at 0, maxima at -∞."""
    across = (e + 15) & -16

    def one(i):
        source, to = q + step * (i // group) + e * (i % group) * 4, out + across * i * 4
        repeat(across >> 4, lambda v: vstore(to + v * 64, vload_some(source + v * 64, e - v * 16)))
        repeat(across >> 4, lambda v: vstore(to + across * count * 4 + v * 64, splat(0)))
        set_f32(state + i * 8, MINUS_INF)
        set_f32(state + i * 8 + 4, 0)

    repeat(count, one)


@traced(types.void, *[P] * 8)
def fetch_tile(load, keys, values, row, e, first, count, tile):
    """`count` places of a tile, from `first` on: keys transposed to [E][64], behind them values [64][E]."""
    across, block = (e + 15) & -16, first >> 4
    tile_v = tile + across * (4 * TILE)
    here = tile_v + across * first * 4
    repeat(count, lambda j: call3(load, keys + row * (first + j), here + across * j * 4, e))
    repeat(((first + count + 15) >> 4) - block, lambda b: repeat(across >> 4, lambda v: transpose16(
        tile_v + across * (block + b) * 64 + v * 64, across * 4, tile + (v * TILE + block + b) * 64, 4 * TILE)))
    repeat(count, lambda j: call3(load, values + row * (first + j), here + across * j * 4, e))


@traced(types.void, *[P] * 5)
def scores(q, count, tile, e, out):
    """Products of up to four queries with 64 keys; the last query stands in for those that are not there."""
    queries = [q + ((e + 15) & -16) * imin(count - 1, j) * 4 for j in range(GROUP)]
    for column in range(0, 4 * TILE, 64 * COLUMNS):

        def step(i, *sums, at=tile + column):
            keys = [vload(at + i * (4 * TILE) + 64 * c) for c in range(COLUMNS)]
            made: list[Any] = []
            for query in queries:
                x = splat(f32(query + i * 4))
                made += [fma(x, key, total) for key, total in zip(keys, sums[len(made) :])]
            return made

        for i, total in enumerate(repeat(e, step, *[splat(0)] * (GROUP * COLUMNS))):
            vstore(out + 4 * TILE * (i // COLUMNS) + column + 64 * (i % COLUMNS), total)


def soften(s, low, high, scale, cap, state, shrink):
    """64 scores become exp(score - maximum), 0 outside of low to high; maximum and sum of the query at `state` change,
    and what earlier sums shrink by goes to `shrink`."""

    def mask(v, top):
        x = vload(s + v * 64) * splat(scale)
        x = repeat(nonzero(cap), lambda _, x: [softened(x, cap)], x)[0]  # or not
        at = iota() + splat(number(v * 16))
        x = below(at, splat(number(low)), splat(MINUS_INF), x)
        x = below(splat(number(high)), at, splat(MINUS_INF), x)
        vstore(s + v * 64, x)
        return [vmax(x, top)]

    before = f32(state)
    now = fmax(vtop(repeat(TILE // 16, mask, splat(MINUS_INF))[0]), before)

    def weight(v, total):
        x = vexp(vload(s + v * 64) - splat(now))
        vstore(s + v * 64, x)
        return [total + x]

    total = repeat(TILE // 16, weight, splat(0))[0]
    less = first_of(vexp(splat(before) - splat(now)))
    set_f32(state, now)
    set_f32(state + 4, f32(state + 4) * less + vsum(total))
    set_f32(shrink, less)


def weigh(columns, p, count, values, step, outs, shrinks, offset):
    """out = out·shrink + Σ_j p_j·value_j over `count` places in order, for `columns` vectors of four outputs."""
    places = [out + offset + 64 * c for out in outs for c in range(columns)]
    shrink = [splat(f32(shrinks + 4 * i)) for i in range(GROUP)]

    def one(j, *sums):
        here = [vload(values + offset + j * step + 64 * c) for c in range(columns)]
        made: list[Any] = []
        for i in range(GROUP):
            x = splat(f32(p + j * 4 + 4 * TILE * i))
            made += [fma(x, value, total) for value, total in zip(here, sums[len(made) :])]
        return made

    sums = [vload(place) * shrink[i // columns] for i, place in enumerate(places)]
    for place, total in zip(places, repeat(count, one, *sums), strict=True):
        vstore(place, total)


@traced(types.void, *[P] * 6, F, F, P, P)
def meet(q, apart, count, low, high, e, scale, cap, tile, state):
    """`count` queries at q meet places low to high of a tile; outputs of q lie `apart` bytes behind it."""
    across = (e + 15) & -16
    s = tile + across * (8 * TILE)
    shrinks = s + 4 * TILE * GROUP
    scores(q, count, tile, e, s)
    repeat(count, lambda j: soften(s + j * (4 * TILE), low, high, scale, cap, state + j * 8, shrinks + j * 4))
    outs = [if_less(j, count, q + apart + across * (4 * j), shrinks + 4 * GROUP) for j in range(GROUP)]
    given = s + low * 4, high - low + 1, tile + across * (4 * TILE) + across * low * 4, across * 4, outs, shrinks
    wide = (across >> 4) // COLUMNS
    repeat(wide, lambda i: weigh(COLUMNS, *given, i * (64 * COLUMNS)))
    repeat((across >> 4) - wide * COLUMNS, lambda i: weigh(1, *given, (wide * COLUMNS + i) * 64))


@traced(types.void, *[P] * 7)
def put_outputs(sums, state, out, step, e, group, count):
    """Sums of values over sums of weights."""

    def one(i):
        source, to = sums + ((e + 15) & -16) * i * 4, out + step * (i // group) + e * (i % group) * 4
        total = splat(f32(state + i * 8 + 4))
        repeat((e + 15) >> 4, lambda v: vstore_some(to + v * 64, vload(source + v * 64) / total, e - v * 16))

    repeat(count, one)


def attend(args: int, first: int, last: int, scratch: int, ctx: int) -> None:
    """Items are key/value heads of runs of tokens. args: q, out, cache, K, E, heads, window, scale, cap (float64)."""
    heads, e, step, window = word(args, 3), word(args, 4), 4 * word(args, 4) * word(args, 5), word(args, 6)
    scale, cap = np.float32(f64(args + 56)), np.float32(f64(args + 64))
    group, across = word(args, 5) // heads, (e + 15) & -16
    cache = word(ctx, CACHES) + 8 * CACHE_WORDS * word(args, 2)
    queries = scratch + 4 * (TILE * (2 * across + GROUP) + GROUP + across)
    for item in range(first, last):
        head, run = item % heads, word(ctx, RUNS) + 16 * (item // heads)
        t, n = word(run, 0), word(run, 1)
        position, count, at = word(word(ctx, 1), t), n * group, step * t + 4 * e * group * head
        state = queries + 8 * across * count  # maximum and sum per query
        fetch_queries(buffer(args, 0) + at, step, e, group, count, queries, state)
        start = (word(word(ctx, 2), t) * heads + head) * word(cache, 2)
        for base in range(lowest(position, window, 0) // TILE * TILE, position + n, TILE):
            row, low = word(cache, 3) * (start + base % word(cache, 2)), lowest(position, window, base)
            fetch_tile(word(ctx, LOAD), word(cache, 0) + row, word(cache, 1) + row, word(cache, 3), e, low,
                       highest(position + n - 1, base) - low + 1, scratch)  # fmt: skip
            i = 0
            while i < count:
                p = position + i // group
                low, high, m = lowest(p, window, base), highest(p, base), 1
                while (m < GROUP and i + m < count and lowest(position + (i + m) // group, window, base) == low
                       and highest(position + (i + m) // group, base) == high):  # neighbours that see the same
                    m += 1
                if low <= high:
                    meet(queries + 4 * across * i, 4 * across * count, m, low, high, e, scale, cap, scratch,
                         state + 8 * i)  # fmt: skip
                i += m
        put_outputs(queries + 4 * across * count, state, buffer(args, 1) + at, step, e, group, count)
