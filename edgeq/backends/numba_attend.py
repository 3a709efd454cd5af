"""Keys and values: rounding them into the cache, and causal attention over it, 64 positions at a time.

A cache is [sequences][K][ring] rows of E numbers. A tile of 64 positions becomes float32 once, keys transposed to
[E][64], and serves the query heads of a few tokens, with a running maximum and sum (Milakov and Gimelshein 2018).
Tiles begin at fixed positions and every sum has one order: what else is in the batch changes no bit.
"""

from __future__ import annotations

import numpy as np

from edgeq.backends.numba_kernels import ZERO, buffer, vexp, vtanh, word
from edgeq.backends.numba_vectors import (
    below,
    f32,
    f64,
    fma,
    half,
    i64,
    iota,
    nibbles,
    njit,
    set_f32,
    set_half,
    set_u8,
    splat,
    vload,
    vload_half,
    vmax,
    vstore,
    vstore_half,
    vsum,
    vtop,
    whigh,
    wload,
    wlow,
    wset,
)  # fmt: skip

TILE = 64
BLOCK = 8  # tokens of an item
F16, F32, Q8_0, Q4_0 = 1, 0, 8, 2  # KV types by their GGML ids
CTX_KV, CTX_CACHES = 48, 56
CACHE_WORDS = 4  # keys, values, ring, bytes of a row
MINUS_INF = np.float32(-np.inf)


@njit
def rounded(x, places):  # type: ignore[no-untyped-def]
    """Nearest whole number within -places to places; a NaN becomes 0."""
    y = np.float32(np.rint(x))
    if y > places:
        return places
    if y >= -places:
        return y
    return -places if y < ZERO else ZERO


@njit
def store_block(x, out, kind):  # type: ignore[no-untyped-def]
    """32 numbers as Q8_0 (the largest becomes ±127) or Q4_0 (the largest becomes -8)."""
    top = ZERO
    for i in range(32):
        if abs(f32(x + 4 * i)) > abs(top):
            top = f32(x + 4 * i)
    set_half(out, abs(top) / np.float32(127) if kind == Q8_0 else top / np.float32(-8))
    kept = half(out)
    inverse = np.float32(1) / kept if kept != ZERO else ZERO
    for i in range(32):
        if kind == Q8_0:
            set_u8(out + 2 + i, int(rounded(f32(x + 4 * i) * inverse, np.float32(127))))
        elif i < 16:
            low = int(rounded(f32(x + 4 * i) * inverse, np.float32(8))) + 8
            high = int(rounded(f32(x + 4 * i + 64) * inverse, np.float32(8))) + 8
            set_u8(out + 2 + i, min(low, 15) | min(high, 15) << 4)


@njit
def store_row(x, out, e, kind):  # type: ignore[no-untyped-def]
    if kind == F16:
        for i in range(0, e - 15, 16):
            vstore_half(out + 2 * i, vload(x + 4 * i))
        for i in range(e // 16 * 16, e):
            set_half(out + 2 * i, f32(x + 4 * i))
    elif kind == F32:
        for i in range(e):
            set_f32(out + 4 * i, f32(x + 4 * i))
    else:
        for i in range(0, e, 32):
            store_block(x + 4 * i, out + i // 32 * (34 if kind == Q8_0 else 18), kind)


@njit
def load_row(row, out, e, kind):  # type: ignore[no-untyped-def]
    """A row of the cache as float32."""
    if kind == F16:
        for i in range(0, e - 15, 16):
            vstore(out + 4 * i, vload_half(row + 2 * i))
        for i in range(e // 16 * 16, e):
            set_f32(out + 4 * i, half(row + 2 * i))
    elif kind == F32:
        for i in range(e):
            set_f32(out + 4 * i, f32(row + 4 * i))
    else:
        for i in range(e // 32):
            at = row + i * (34 if kind == Q8_0 else 18)
            w = wload(at + 2) if kind == Q8_0 else nibbles(at + 2) - wset(8)
            vstore(out + 128 * i, splat(half(at)) * wlow(w))
            vstore(out + 128 * i + 64, splat(half(at)) * whigh(w))


def kv_write(args: int, first: int, last: int, scratch: int, ctx: int) -> None:
    """Items are key/value heads of tokens. args: k, v, cache, K, E."""
    k, v, heads, e = buffer(args, 0), buffer(args, 1), word(args, 3), word(args, 4)
    cache, kind = word(ctx, 7) + 8 * CACHE_WORDS * word(args, 2), i64(ctx + CTX_KV)
    ring, row = word(cache, 2), word(cache, 3)
    for item in range(first, last):
        t, head = item // heads, item % heads
        sequence, position = word(word(ctx, 2), t), word(word(ctx, 1), t)
        at = row * ((sequence * heads + head) * ring + position % ring)
        store_row(k + 4 * e * item, word(cache, 0) + at, e, kind)
        store_row(v + 4 * e * item, word(cache, 1) + at, e, kind)


@njit
def load_tile(keys, values, row, e, kind, first, last, tile_k, tile_v):  # type: ignore[no-untyped-def]
    """Positions first to last of a tile: keys transposed to [E][64], values [64][E rounded up to 16]."""
    wide = (e + 15) // 16 * 16
    for j in range(first, last + 1):
        place = tile_v + 4 * wide * j
        for source in (keys, values):  # a key passes through the place of its value; one call compiles once
            load_row(source + row * j, place, e, kind)
            if source == keys:
                for i in range(e):
                    set_f32(tile_k + 4 * (TILE * i + j), f32(place + 4 * i))


@njit
def scores(q, tile_k, e, out):  # type: ignore[no-untyped-def]
    """Products of one query with 64 keys."""
    a, b, c, d = splat(ZERO), splat(ZERO), splat(ZERO), splat(ZERO)
    for i in range(e):
        x, k = splat(f32(q + 4 * i)), tile_k + 4 * TILE * i
        a, b = fma(x, vload(k), a), fma(x, vload(k + 64), b)
        c, d = fma(x, vload(k + 128), c), fma(x, vload(k + 192), d)
    vstore(out, a)
    vstore(out + 64, b)
    vstore(out + 128, c)
    vstore(out + 192, d)


@njit
def soften(s, low, high, scale, cap, most):  # type: ignore[no-untyped-def]
    """64 scores become exp(score - maximum), 0 outside of low to high. Gives the new maximum and the sum."""
    top = splat(MINUS_INF)
    for v in range(0, TILE, 16):
        x = vload(s + 4 * v) * splat(scale)
        if cap != ZERO:
            x = splat(cap) * vtanh(x / splat(cap))
        at = iota() + splat(np.float32(v))
        x = below(at, splat(np.float32(low)), splat(MINUS_INF), x)
        x = below(splat(np.float32(high)), at, splat(MINUS_INF), x)
        vstore(s + 4 * v, x)
        top = vmax(x, top)
    most = max(vtop(top), most)
    total = splat(ZERO)
    for v in range(0, TILE, 16):
        x = vexp(vload(s + 4 * v) - splat(most))
        vstore(s + 4 * v, x)
        total = total + x
    return most, vsum(total)


@njit
def weigh(p, low, high, tile_v, wide, shrink, o):  # type: ignore[no-untyped-def]
    """o = o·shrink + Σ_j p_j·value_j over low ≤ j ≤ high, in the order of j."""
    f, i = splat(shrink), 0
    while i + 64 <= wide:
        a, b = vload(o + 4 * i) * f, vload(o + 4 * i + 64) * f
        c, d = vload(o + 4 * i + 128) * f, vload(o + 4 * i + 192) * f
        for j in range(low, high + 1):
            x, v = splat(f32(p + 4 * j)), tile_v + 4 * (wide * j + i)
            a, b = fma(x, vload(v), a), fma(x, vload(v + 64), b)
            c, d = fma(x, vload(v + 128), c), fma(x, vload(v + 192), d)
        vstore(o + 4 * i, a)
        vstore(o + 4 * i + 64, b)
        vstore(o + 4 * i + 128, c)
        vstore(o + 4 * i + 192, d)
        i += 64
    while i < wide:
        a = vload(o + 4 * i) * f
        for j in range(low, high + 1):
            a = fma(splat(f32(p + 4 * j)), vload(tile_v + 4 * (wide * j + i)), a)
        vstore(o + 4 * i, a)
        i += 16


def attend(args: int, first: int, last: int, scratch: int, ctx: int) -> None:
    """Items are key/value heads of `BLOCK` tokens. args: q, out, cache, K, E, heads, window, scale, cap (float64)."""
    heads, positions, sequences, tokens = word(args, 3), word(ctx, 1), word(ctx, 2), i64(ctx + 32)
    for item in range(first, last):
        t, end = item // heads * BLOCK, min(item // heads * BLOCK + BLOCK, tokens)
        while t < end:  # consecutive positions of one sequence
            n = 1
            while (t + n < end and word(sequences, t + n) == word(sequences, t)
                   and word(positions, t + n) == word(positions, t) + n):  # fmt: skip
                n += 1
            attend_run(args, t, n, item % heads, scratch, ctx)
            t += n


@njit
def attend_run(args, t, n, head, scratch, ctx):  # type: ignore[no-untyped-def]
    """One key/value head for n tokens from t."""
    q, out, kv_heads, e = buffer(args, 0), buffer(args, 1), word(args, 3), word(args, 4)
    heads, window, kind = word(args, 5), word(args, 6), i64(ctx + CTX_KV)
    scale, cap = np.float32(f64(args + 56)), np.float32(f64(args + 64))
    cache = word(ctx, 7) + 8 * CACHE_WORDS * word(args, 2)
    ring, row, group, wide = word(cache, 2), word(cache, 3), heads // kv_heads, (e + 15) // 16 * 16
    start, position = (word(word(ctx, 2), t) * kv_heads + head) * ring, word(word(ctx, 1), t)
    tile_k = scratch
    tile_v = tile_k + 4 * TILE * e
    s = tile_v + 4 * TILE * wide
    o = s + 4 * TILE
    state = o + 4 * wide * n * group  # maximum and sum per query
    for i in range(n * group):
        set_f32(state + 8 * i, MINUS_INF)
        set_f32(state + 8 * i + 4, ZERO)
        for j in range(0, wide, 16):
            vstore(o + 4 * (wide * i + j), splat(ZERO))
    lowest = max(0, position - window + 1) if window else 0
    highest = position + n - 1
    for base in range(lowest // TILE * TILE, highest + 1, TILE):
        at = row * (start + base % ring)
        load_tile(word(cache, 0) + at, word(cache, 1) + at, row, e, kind, max(lowest - base, 0),
                  min(highest - base, TILE - 1), tile_k, tile_v)  # fmt: skip
        for i in range(n * group):
            p = position + i // group
            low = max(p - window + 1 - base, 0) if window else 0
            high = min(p - base, TILE - 1)
            if low > high:
                continue
            scores(q + 4 * e * ((t + i // group) * heads + head * group + i % group), tile_k, e, s)
            before = f32(state + 8 * i)
            most, total = soften(s, low, high, scale, cap, before)
            shrink = vtop(vexp(splat(before) - splat(most)))
            set_f32(state + 8 * i, most)
            set_f32(state + 8 * i + 4, f32(state + 8 * i + 4) * shrink + total)
            weigh(s, low, high, tile_v, wide, shrink, o + 4 * wide * i)
    for i in range(n * group):
        target = out + 4 * e * ((t + i // group) * heads + head * group + i % group)
        total = f32(state + 8 * i + 4)
        for j in range(e):
            set_f32(target + 4 * j, f32(o + 4 * (wide * i + j)) / total)
