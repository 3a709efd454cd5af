"""Kernels of the numba backend but attention and formats, and the loop that runs a step's phases on every thread.

A kernel works on items first to last-1 of its phase, the same way whoever runs it: `args` are 64-bit words, described
where the phase is made (numba_plan), `scratch` belongs to the thread, `ctx` to the step:
tokens, positions, sequences, outputs (addresses of int64), T, N, KV type, address of the caches' words.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types

from edgeq.backends.numba_linear import ZERO
from edgeq.backends.numba_panel import floats_of
from edgeq.backends.numba_vectors import (
    below,
    buffer,
    call0,
    call5,
    f32,
    f64,
    fetch,
    fetch_add,
    fma,
    if_less,
    imin,
    inverse_root,
    pow2,
    publish,
    relax,
    set_f32,
    splat,
    u8,
    vload_some,
    vmax,
    vmin,
    vround,
    vstore_some,
    vsum,
    word,
)  # fmt: skip
from edgeq.backends.numba_verbs import VF, D, F, P, Verb, repeat, traced

SPINS = 2000
PHASE = 6  # words of a phase: kernel, args, items, claim, wait after it, items that were claimed


# --- the step --------------------------------------------------------------------------------------------------------


def run(
    phases: int, count: int, sync: int, threads: int, cancel: int, scratch: int, ctx: int, give_way: int, leader: int
) -> None:  # fmt: skip
    """Runs phases in order; every thread calls this. sync: arrivals at waits so far, and the wait to stop after."""
    waits = 0
    for i in range(count):
        phase = phases + 8 * PHASE * i
        kernel, args, items, claim = word(phase, 0), word(phase, 1), word(phase, 2), word(phase, 3)
        if items == 0:
            continue
        while True:
            first = fetch_add(phase + 40, claim)
            if first >= items:
                break
            call5(kernel, args, first, imin(first + claim, items), scratch, ctx)
        if word(phase, 4):
            waits += 1
            if leader and u8(cancel):
                publish(sync + 8, waits)
            fetch_add(sync, 1)
            spins = 0
            while fetch(sync) < waits * threads:
                spins += 1
                if spins < SPINS:
                    relax()
                else:
                    call0(give_way)
            if fetch(sync + 8) <= waits:
                return


# --- rows: embedding, norms, rotary positions, gates -----------------------------------------------------------------


def embed(args: int, first: int, last: int, scratch: int, ctx: int) -> None:
    """Items are tokens. args: data, bytes of a row, D, unpack, its tables, out, blocks of a row, kind of `floats_of`,
    scale (float64)."""
    n, scale = word(args, 2), np.float32(f64(args + 64))
    for t in range(first, last):
        row, out = word(args, 0) + word(args, 1) * word(word(ctx, 0), t), buffer(args, 5) + 4 * n * t
        floats_of(word(args, 3), word(args, 4), row, word(args, 6), n, word(args, 7), scratch, out)
        scale_row(out, out, out, n, scale)


@traced(types.void, P, P, P, P, P, D)
def norm_run(x, weight, residual, out, n, eps):
    def square(i, total):
        v = vload_some(x + i * 64, n - i * 16)
        return [fma(v, v, total)]

    vectors = (n + 15) >> 4
    scale = splat(inverse_root(vsum(repeat(vectors, square, splat(0))[0]), n, eps))

    def finish(i):
        at, left = i * 64, n - i * 16
        v = vload_some(x + at, left) * scale * vload_some(weight + at, left)
        v = repeat(if_less(0, residual, 1, 0), lambda _, v: [vload_some(residual + at, left) + v], v)[0]
        vstore_some(out + at, v, left)

    repeat(vectors, finish)


def norm(args: int, first: int, last: int, scratch: int, ctx: int) -> None:
    """RmsNorm of runs, plus a residual. args: x, weight, residual, out, width of a run, eps (float64)."""
    x, residual, out, n = buffer(args, 0), buffer(args, 2), buffer(args, 3), word(args, 4)
    for r in range(first, last):
        at = 4 * n * r
        norm_run(x + at, word(args, 1), residual + at if residual else 0, out + at, n, f64(args + 40))


def rope_table(args: int, first: int, last: int, scratch: int, ctx: int) -> None:
    """args: freqs, out, R/2, mscale (float64)."""
    freqs, out, n, scale = word(args, 0), buffer(args, 1), word(args, 2), f64(args + 24)
    for t in range(first, last):
        position = np.float64(word(word(ctx, 1), t))
        for i in range(n):
            angle = position * np.float64(f32(freqs + 4 * i))
            set_f32(out + 4 * (2 * n * t + i), np.float32(scale * math.cos(angle)))
            set_f32(out + 4 * (2 * n * t + n + i), np.float32(scale * math.sin(angle)))


@traced(types.void, *[P] * 6)
def turn(x, table, out, e, n, halves):
    """One head: n pairs of components turn, the rest passes through."""

    def sixteen(i):
        at, left = i * 64, n - i * 16
        a, b = vload_some(x + at, left), vload_some(x + n * 4 + at, left)
        c, s = vload_some(table + at, left), vload_some(table + n * 4 + at, left)
        vstore_some(out + at, a * c - b * s, left)
        vstore_some(out + n * 4 + at, a * s + b * c, left)

    def pair(i):
        at = i * 8
        a, b, c, s = f32(x + at), f32(x + at + 4), f32(table + i * 4), f32(table + n * 4 + i * 4)
        set_f32(out + at, a * c - b * s)
        set_f32(out + at + 4, a * s + b * c)

    repeat(halves * ((n + 15) >> 4), sixteen)
    repeat(if_less(0, halves, 0, n), pair)
    repeat(e - n * 2, lambda i: set_f32(out + (n * 2 + i) * 4, f32(x + (n * 2 + i) * 4)))


def rope(args: int, first: int, last: int, scratch: int, ctx: int) -> None:
    """Items are heads of tokens. args: x, table, out, heads of a token, E, R/2, style."""
    e, n = word(args, 4), word(args, 5)
    for item in range(first, last):
        at = 4 * e * item
        turn(buffer(args, 0) + at, buffer(args, 1) + 8 * n * (item // word(args, 3)), buffer(args, 2) + at, e, n,
             word(args, 6))  # fmt: skip


@traced(VF, VF)
def vexp(x):
    """exp, relative error under 2e-7, 0 where it is under 2^-126: x = n ln 2 + r, a polynomial in r."""
    clipped = vmax(splat(-87.3), vmin(splat(88.3), x))
    n = vround(clipped * splat(1.44269504))
    r = fma(n, splat(-1.42860677e-6), fma(n, splat(-0.693145752), clipped))
    p = splat(1 / 5040)
    for factor in (1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1, 1):
        p = fma(p, r, splat(factor))
    return below(x, splat(-87.3), splat(0), p * pow2(n))


@traced(VF, VF)
def vtanh(x):
    clipped = vmax(splat(-10), vmin(splat(10), x))
    return splat(1) - splat(2) / (vexp(clipped + clipped) + splat(1))


@traced(VF, VF)
def silu(x):
    return x / (splat(1) + vexp(splat(0) - x))


@traced(VF, VF)
def gelu(x):
    inner = splat(0.797884561) * fma(x * x * x, splat(0.044715), x)
    return splat(0.5) * x * (splat(1) + vtanh(inner))


@traced(VF, VF, F)
def softened(x, cap):
    return splat(cap) * vtanh(x / splat(cap))


def of_row(value: Callable[..., Any]) -> Verb:
    """A verb: out = value(x, y, number), n numbers each."""

    @traced(types.void, P, P, P, P, F)
    def row(x, y, out, n, number):
        def sixteen(i):
            at, left = i * 64, n - i * 16
            vstore_some(out + at, value(vload_some(x + at, left), vload_some(y + at, left), number), left)

        repeat((n + 15) >> 4, sixteen)

    return row


add_row = of_row(lambda x, y, _: x + y)
silu_row = of_row(lambda x, y, _: silu(x) * y)
gelu_row = of_row(lambda x, y, _: gelu(x) * y)
softcap_row = of_row(lambda x, _, cap: softened(x, cap))
scale_row = of_row(lambda x, _, factor: splat(factor) * x)


# Items are rows. args: x, y, out, width, number (float64)


def add(args: int, first: int, last: int, scratch: int, ctx: int) -> None:
    n = word(args, 3)
    at = 4 * n * first
    add_row(buffer(args, 0) + at, buffer(args, 1) + at, buffer(args, 2) + at, n * (last - first), ZERO)


def silu_gate(args: int, first: int, last: int, scratch: int, ctx: int) -> None:
    n = word(args, 3)
    at = 4 * n * first
    silu_row(buffer(args, 0) + at, buffer(args, 1) + at, buffer(args, 2) + at, n * (last - first), ZERO)


def gelu_gate(args: int, first: int, last: int, scratch: int, ctx: int) -> None:
    n = word(args, 3)
    at = 4 * n * first
    gelu_row(buffer(args, 0) + at, buffer(args, 1) + at, buffer(args, 2) + at, n * (last - first), ZERO)


def softcap(args: int, first: int, last: int, scratch: int, ctx: int) -> None:
    n = word(args, 3)
    at, cap = 4 * n * first, np.float32(f64(args + 32))
    softcap_row(buffer(args, 0) + at, buffer(args, 1) + at, buffer(args, 2) + at, n * (last - first), cap)


def scale(args: int, first: int, last: int, scratch: int, ctx: int) -> None:
    n = word(args, 3)
    at, factor = 4 * n * first, np.float32(f64(args + 32))
    scale_row(buffer(args, 0) + at, buffer(args, 1) + at, buffer(args, 2) + at, n * (last - first), factor)


def take_rows(args: int, first: int, last: int, scratch: int, ctx: int) -> None:
    """args: x, out, width."""
    n = word(args, 2)
    for row in range(first, last):
        source = buffer(args, 0) + 4 * n * word(word(ctx, 3), row)
        target = buffer(args, 1) + 4 * n * row
        for i in range(n):
            set_f32(target + 4 * i, f32(source + 4 * i))


def moments(args: int, first: int, last: int, scratch: int, ctx: int) -> None:
    """Items are columns. args: x, out, width, byte of ctx that has the number of rows."""
    x, out, n, rows = buffer(args, 0), buffer(args, 1), word(args, 2), word(ctx + word(args, 3), 0)
    for k in range(first, last):
        total = squares = 0.0
        for t in range(rows):
            v = np.float64(f32(x + 4 * (n * t + k)))
            total += v
            squares += v * v
        set_f32(out + 4 * k, np.float32(total))
        set_f32(out + 4 * (n + k), np.float32(squares))
