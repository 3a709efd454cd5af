"""Kernels of the numba backend but attention and formats, and the loop that runs a step's phases on every thread.

A kernel works on items first to last-1 of its phase, the same way whoever runs it: `args` are 64-bit words, described
where the phase is made (numba_plan), `scratch` belongs to the thread, `ctx` to the step:
tokens, positions, sequences, outputs (addresses of int64), T, N, KV type, address of the caches' words.
"""

from __future__ import annotations

import math

import numpy as np

from edgeq.backends.numba_vectors import (
    below,
    call0,
    call5,
    call6,
    dot,
    f32,
    f64,
    fetch,
    fetch_add,
    fma,
    i8,
    i64,
    istore16,
    isum,
    njit,
    pow2,
    publish,
    relax,
    set_f32,
    splat,
    split2,
    u8,
    vabs,
    vfloat,
    vint,
    vload,
    vmax,
    vmin,
    vround,
    vstore,
    vsum,
    vtop,
    wload,
)  # fmt: skip

ZERO, ONE, HALF, TWO = np.float32(0), np.float32(1), np.float32(0.5), np.float32(2)
TOP = np.float32(32512)  # rounded activations are whole multiples of largest/32512 in every 32
SPINS = 2000
PHASE = 6  # words of a phase: kernel, args, items, claim, wait after it, items that were claimed


@njit
def word(args, i):  # type: ignore[no-untyped-def]
    return i64(args + 8 * i)


@njit
def buffer(args, i):  # type: ignore[no-untyped-def]
    """Address of a buffer: word i holds the place of the address, which changes from step to step."""
    return i64(i64(args + 8 * i))


# --- the step --------------------------------------------------------------------------------------------------------


def run(
    phases: int, count: int, sync: int, threads: int, cancel: int, scratch: int, ctx: int, give_way: int, leader: int
) -> None:  # fmt: skip
    """Runs phases in order; every thread calls this. sync: arrivals at waits so far, and the wait to stop after."""
    waits = 0
    for i in range(count):
        phase = phases + 8 * PHASE * i
        kernel, args, items, claim = word(phase, 0), word(phase, 1), word(phase, 2), word(phase, 3)
        while True:
            first = fetch_add(phase + 40, claim)
            if first >= items:
                break
            call5(kernel, args, first, min(first + claim, items), scratch, ctx)
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


# --- linear ---------------------------------------------------------------------------------------------------------


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
            a, b = vload(x + 4 * (t * k + 32 * g)), vload(x + 4 * (t * k + 32 * g + 16))
            top = vtop(vmax(vabs(a), vabs(b)))
            scale = top / TOP + vsum(a * zero + b * zero)
            inverse = splat(TOP / top if scale > ZERO else ZERO)
            low, high = vint(vround(a * inverse)), vint(vround(b * inverse))
            istore16(q + 2 * (t * k + 32 * g), low)
            istore16(q + 2 * (t * k + 32 * g + 16), high)
            s0, s1 = isum(low), isum(high)
            set_f32(scale32 + 4 * (t * p32 + g), scale)
            set_f32(sum32 + 4 * (t * p32 + g), scale * np.float32(s0 + s1))
            set_f32(scale16 + 4 * (t * p16 + 2 * g), scale)
            set_f32(scale16 + 4 * (t * p16 + 2 * g + 1), scale)
            set_f32(sum16 + 4 * (t * p16 + 2 * g), scale * np.float32(s0))
            set_f32(sum16 + 4 * (t * p16 + 2 * g + 1), scale * np.float32(s1))


@njit
def products(s, m, scale, total, padded, out, mins):  # type: ignore[no-untyped-def]
    """Scales of weights times those of activations into `out`; the sum of mins times sums of activations."""
    acc = splat(ZERO)
    for g in range(0, 4 * padded, 64):
        vstore(out + g, vload(s + g) * vload(scale + g))
    if mins:
        for g in range(0, 4 * padded, 64):
            acc = fma(vload(m + g), vload(total + g), acc)
    return vsum(acc)


@njit
def factor(p, g, halves):  # type: ignore[no-untyped-def]
    if halves:
        return split2(f32(p + 8 * g), f32(p + 8 * g + 4))
    return splat(f32(p + 4 * g))


@njit
def one_token(w, q, p, groups, halves):  # type: ignore[no-untyped-def]
    """Sum over groups in two chains, even and odd, for one row and one token."""
    even, odd = splat(ZERO), splat(ZERO)
    for g in range(0, groups - 1, 2):
        even = fma(vfloat(dot(wload(w + 32 * g), q + 64 * g)), factor(p, g, halves), even)
        odd = fma(vfloat(dot(wload(w + 32 * g + 32), q + 64 * g + 64)), factor(p, g + 1, halves), odd)
    if groups % 2:
        g = groups - 1
        even = fma(vfloat(dot(wload(w + 32 * g), q + 64 * g)), factor(p, g, halves), even)
    return vsum(even + odd)


@njit
def four_tokens(w, q, k, p, step, groups, halves, out):  # type: ignore[no-untyped-def]
    """The same sums for four tokens: q of the next lies 2k bytes on, p `step` bytes."""
    zero = splat(ZERO)
    e0, e1, e2, e3, o0, o1, o2, o3 = zero, zero, zero, zero, zero, zero, zero, zero
    q1, q2, q3, p1, p2, p3 = q + 2 * k, q + 4 * k, q + 6 * k, p + step, p + 2 * step, p + 3 * step
    for g in range(0, groups - 1, 2):
        x, at = wload(w + 32 * g), 64 * g
        e0 = fma(vfloat(dot(x, q + at)), factor(p, g, halves), e0)
        e1 = fma(vfloat(dot(x, q1 + at)), factor(p1, g, halves), e1)
        e2 = fma(vfloat(dot(x, q2 + at)), factor(p2, g, halves), e2)
        e3 = fma(vfloat(dot(x, q3 + at)), factor(p3, g, halves), e3)
        y, at = wload(w + 32 * g + 32), 64 * g + 64
        o0 = fma(vfloat(dot(y, q + at)), factor(p, g + 1, halves), o0)
        o1 = fma(vfloat(dot(y, q1 + at)), factor(p1, g + 1, halves), o1)
        o2 = fma(vfloat(dot(y, q2 + at)), factor(p2, g + 1, halves), o2)
        o3 = fma(vfloat(dot(y, q3 + at)), factor(p3, g + 1, halves), o3)
    if groups % 2:
        g = groups - 1
        x, at = wload(w + 32 * g), 64 * g
        e0 = fma(vfloat(dot(x, q + at)), factor(p, g, halves), e0)
        e1 = fma(vfloat(dot(x, q1 + at)), factor(p1, g, halves), e1)
        e2 = fma(vfloat(dot(x, q2 + at)), factor(p2, g, halves), e2)
        e3 = fma(vfloat(dot(x, q3 + at)), factor(p3, g, halves), e3)
    set_f32(out, vsum(e0 + o0))
    set_f32(out + 4, vsum(e1 + o1))
    set_f32(out + 8, vsum(e2 + o2))
    set_f32(out + 12, vsum(e3 + o3))


@njit
def finish(args, t, row, value):  # type: ignore[no-untyped-def]
    """Writes one output with its bias and residual."""
    bias, residual, width = word(args, 5), buffer(args, 6), word(args, 8)
    if bias:
        value = value + f32(bias + 4 * row)
    if residual:
        value = value + f32(residual + 4 * (t * width + row))
    set_f32(buffer(args, 7) + 4 * (t * width + row), value)


def linear(args: int, first: int, last: int, scratch: int, ctx: int) -> None:
    """Rows of weights with rounded activations. args: data, bytes of a row, K, unpack, its tables, bias, residual, out,
    rows, blocks of a row, scales of 16 (or 32), mins, offset of the token count in ctx, q, scales, sums."""
    k, unpack, tables, blocks = word(args, 2), word(args, 3), word(args, 4), word(args, 9)
    halves, mins, tokens = word(args, 10), word(args, 11), i64(ctx + word(args, 12))
    q, scale, total = buffer(args, 13), buffer(args, 14), buffer(args, 15)
    groups = k // 32
    count = 2 * groups if halves else groups
    padded = (count + 15) // 16 * 16
    w, s = scratch, scratch + k
    m, p, out = s + 4 * padded, s + 8 * padded, s + 24 * padded
    vstore(s + 4 * (padded - 16), splat(ZERO))
    vstore(m + 4 * (padded - 16), splat(ZERO))
    for row in range(first, last):
        call6(unpack, word(args, 0) + row * word(args, 1), blocks, w, s, m, tables)
        t = 0
        while t < tokens:
            n = 4 if tokens - t >= 4 else 1
            for i in range(n):
                at = 4 * padded * (t + i)
                set_f32(out + 16 + 4 * i, products(s, m, scale + at, total + at, padded, p + 4 * padded * i, mins))
            if n == 4 and halves:
                four_tokens(w, q + 2 * k * t, k, p, 4 * padded, groups, True, out)
            elif n == 4:
                four_tokens(w, q + 2 * k * t, k, p, 4 * padded, groups, False, out)
            elif halves:
                set_f32(out, one_token(w, q + 2 * k * t, p, groups, True))
            else:
                set_f32(out, one_token(w, q + 2 * k * t, p, groups, False))
            for i in range(n):
                finish(args, t + i, row, f32(out + 4 * i) + f32(out + 16 + 4 * i))
            t += n


def float_linear(args: int, first: int, last: int, scratch: int, ctx: int) -> None:
    """Rows of float weights with float32 activations, one row at a time as float32. args as for `linear`; q is x."""
    k, unpack, tokens, x = word(args, 2), word(args, 3), i64(ctx + word(args, 12)), buffer(args, 13)
    for row in range(first, last):
        call6(unpack, word(args, 0) + row * word(args, 1), k, scratch, 0, 0, 0)
        for t in range(tokens):
            even, odd, rest, at = splat(ZERO), splat(ZERO), ZERO, x + 4 * k * t
            for i in range(0, k - 31, 32):
                even = fma(vload(scratch + 4 * i), vload(at + 4 * i), even)
                odd = fma(vload(scratch + 4 * i + 64), vload(at + 4 * i + 64), odd)
            for i in range(k // 32 * 32, k):
                rest = rest + f32(scratch + 4 * i) * f32(at + 4 * i)
            finish(args, t, row, vsum(even + odd) + rest)


def embed(args: int, first: int, last: int, scratch: int, ctx: int) -> None:
    """Items are tokens. args: data, bytes of a row, D, unpack, its tables, out, blocks of a row (0: floats),
    scales of 16, mins, scale (float64)."""
    n, blocks, run, scale = word(args, 2), word(args, 6), 16 if word(args, 7) else 32, np.float32(f64(args + 72))
    w, s = scratch, scratch + 4 * n
    m = s + n
    for t in range(first, last):
        row, out = word(args, 0) + word(args, 1) * word(word(ctx, 0), t), buffer(args, 5) + 4 * n * t
        call6(word(args, 3), row, blocks if blocks else n, w, s, m, word(args, 4))
        for i in range(n):
            if blocks:
                value = f32(s + 4 * (i // run)) * np.float32(i8(w + i))
                if word(args, 8):
                    value = value + f32(m + 4 * (i // run))
            else:
                value = f32(w + 4 * i)
            set_f32(out + 4 * i, scale * value)


# --- norms, rotary positions, elementwise ----------------------------------------------------------------------------


def norm(args: int, first: int, last: int, scratch: int, ctx: int) -> None:
    """RmsNorm of runs, plus a residual. args: x, weight, residual, out, width of a run, eps (float64)."""
    x, weight, residual, out, n = buffer(args, 0), word(args, 1), buffer(args, 2), buffer(args, 3), word(args, 4)
    for r in range(first, last):
        base = 4 * n * r
        a, b = splat(ZERO), splat(ZERO)
        for i in range(0, n - 31, 32):
            u, v = vload(x + base + 4 * i), vload(x + base + 4 * i + 64)
            a, b = fma(u, u, a), fma(v, v, b)
        total = np.float64(vsum(a + b))
        for i in range(n // 32 * 32, n):
            total += np.float64(f32(x + base + 4 * i)) * np.float64(f32(x + base + 4 * i))
        scale = np.float32(1.0 / math.sqrt(total / n + f64(args + 40)))
        for i in range(0, n - 15, 16):
            v = vload(x + base + 4 * i) * splat(scale) * vload(weight + 4 * i)
            if residual:
                v = vload(residual + base + 4 * i) + v
            vstore(out + base + 4 * i, v)
        for i in range(n // 16 * 16, n):
            one = f32(x + base + 4 * i) * scale * f32(weight + 4 * i)
            if residual:
                one = f32(residual + base + 4 * i) + one
            set_f32(out + base + 4 * i, one)


def rope_table(args: int, first: int, last: int, scratch: int, ctx: int) -> None:
    """args: freqs, out, R/2, mscale (float64)."""
    freqs, out, n, scale = word(args, 0), buffer(args, 1), word(args, 2), f64(args + 24)
    for t in range(first, last):
        position = np.float64(i64(i64(ctx + 8) + 8 * t))
        for i in range(n):
            angle = position * np.float64(f32(freqs + 4 * i))
            set_f32(out + 4 * (2 * n * t + i), np.float32(scale * math.cos(angle)))
            set_f32(out + 4 * (2 * n * t + n + i), np.float32(scale * math.sin(angle)))


def rope(args: int, first: int, last: int, scratch: int, ctx: int) -> None:
    """Items are heads of tokens. args: x, table, out, heads of a token, E, R/2, style."""
    x, table, out = buffer(args, 0), buffer(args, 1), buffer(args, 2)
    heads, e, n, halves = word(args, 3), word(args, 4), word(args, 5), word(args, 6)
    near, apart = (4, 4 * n) if halves else (8, 4)
    for item in range(first, last):
        source, target, turn = x + 4 * e * item, out + 4 * e * item, table + 8 * n * (item // heads)
        done = 0
        if halves:
            for i in range(0, n - 15, 16):
                a, b = vload(source + 4 * i), vload(source + 4 * (n + i))
                c, s = vload(turn + 4 * i), vload(turn + 4 * (n + i))
                vstore(target + 4 * i, a * c - b * s)
                vstore(target + 4 * (n + i), a * s + b * c)
            done = n // 16 * 16
        for i in range(done, n):
            u, v = f32(source + near * i), f32(source + near * i + apart)
            cosine, sine = f32(turn + 4 * i), f32(turn + 4 * (n + i))
            set_f32(target + near * i, u * cosine - v * sine)
            set_f32(target + near * i + apart, u * sine + v * cosine)
        for i in range(2 * n, e):
            set_f32(target + 4 * i, f32(source + 4 * i))


@njit
def vexp(x):  # type: ignore[no-untyped-def]
    """exp, relative error under 2e-7, 0 where it is under 2^-126: x = n ln 2 + r, a polynomial in r."""
    clipped = vmax(splat(np.float32(-87.3)), vmin(splat(np.float32(88.3)), x))
    n = vround(clipped * splat(np.float32(1.44269504)))
    r = fma(n, splat(np.float32(-1.42860677e-6)), fma(n, splat(np.float32(-0.693145752)), clipped))
    p = fma(splat(np.float32(1 / 5040)), r, splat(np.float32(1 / 720)))
    p = fma(p, r, splat(np.float32(1 / 120)))
    p = fma(p, r, splat(np.float32(1 / 24)))
    p = fma(p, r, splat(np.float32(1 / 6)))
    p = fma(fma(fma(p, r, splat(HALF)), r, splat(ONE)), r, splat(ONE))
    return below(x, splat(np.float32(-87.3)), splat(ZERO), p * pow2(n))


@njit
def vtanh(x):  # type: ignore[no-untyped-def]
    clipped = vmax(splat(np.float32(-10)), vmin(splat(np.float32(10)), x))
    return splat(ONE) - splat(TWO) / (vexp(clipped + clipped) + splat(ONE))


@njit
def mapped(kind, x, y, cap):  # type: ignore[no-untyped-def]
    """0: x + y, 1: SiLU(x)·y, 2: GELU(x)·y, 3: softcap of x, 4: cap·x."""
    if kind == 0:
        return x + y
    if kind == 1:
        return x / (splat(ONE) + vexp(splat(ZERO) - x)) * y
    if kind == 2:
        inner = splat(np.float32(0.797884561)) * fma(x * x * x, splat(np.float32(0.044715)), x)
        return splat(HALF) * x * (splat(ONE) + vtanh(inner)) * y
    if kind == 3:
        return splat(cap) * vtanh(x / splat(cap))
    return splat(cap) * x


def elementwise(args: int, first: int, last: int, scratch: int, ctx: int) -> None:
    """Items are rows. args: x, y, out, width, kind (see `mapped`), cap (float64)."""
    n, kind, cap = word(args, 3), word(args, 4), np.float32(f64(args + 40))
    for row in range(first, last):
        x, y, out = buffer(args, 0) + 4 * n * row, buffer(args, 1) + 4 * n * row, buffer(args, 2) + 4 * n * row
        for i in range(0, n - 15, 16):
            vstore(out + 4 * i, mapped(kind, vload(x + 4 * i), vload(y + 4 * i), cap))
        done = n // 16 * 16
        if done < n:
            vstore(scratch, splat(ZERO))
            vstore(scratch + 64, splat(ZERO))
            for i in range(done, n):
                set_f32(scratch + 4 * (i - done), f32(x + 4 * i))
                set_f32(scratch + 64 + 4 * (i - done), f32(y + 4 * i))
            vstore(scratch, mapped(kind, vload(scratch), vload(scratch + 64), cap))
            for i in range(done, n):
                set_f32(out + 4 * i, f32(scratch + 4 * (i - done)))


def take_rows(args: int, first: int, last: int, scratch: int, ctx: int) -> None:
    """args: x, out, width."""
    n = word(args, 2)
    for row in range(first, last):
        source = buffer(args, 0) + 4 * n * i64(i64(ctx + 24) + 8 * row)
        target = buffer(args, 1) + 4 * n * row
        for i in range(n):
            set_f32(target + 4 * i, f32(source + 4 * i))
