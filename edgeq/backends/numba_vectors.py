"""Verbs for kernels in Numba: addresses, 16 lanes of float32 or int32, 32 weights of int8.

Vectors have one width on every processor; LLVM splits them where registers are narrower. Loads need no alignment.
Nothing here may be reordered: no fast-math flag is set, so sums have the order in which kernels write them.
"""

# mypy: disable-error-code="import-untyped,no-untyped-call,misc,unused-ignore"
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from edgeq.backends.numba_compile import host_features
from edgeq.backends.numba_verbs import (
    FLOAT,
    HALF,
    I8,
    I16,
    I32,
    I64,
    IR,
    VF,
    VI,
    D,
    F,
    P,
    Value,
    W,
    builder,
    traced,
    verb,
)


def vector(element: Any, lanes: int) -> Any:
    return ir.VectorType(element, lanes)


def constant(values: list[Any], element: Any) -> Any:
    return ir.Constant(vector(element, len(values)), [ir.Constant(element, v) for v in values])


def load(b: Any, address: Any, kind: Any) -> Any:
    return b.load(b.inttoptr(address, kind.as_pointer()), align=1)


def store(b: Any, address: Any, value: Any) -> None:
    b.store(value, b.inttoptr(address, value.type.as_pointer()), align=1)


def shuffle(b: Any, x: Any, y: Any, lanes: list[int]) -> Any:
    return b.shuffle_vector(x, y, constant(lanes, I32))


def broadcast(b: Any, x: Any, lanes: int) -> Any:
    one = b.insert_element(ir.Constant(vector(x.type, lanes), ir.Undefined), x, ir.Constant(I32, 0))
    return shuffle(b, one, one, [0] * lanes)


def fold(b: Any, x: Any, combine: Callable[[Any, Any], Any]) -> Any:
    """All lanes into one, halves onto halves."""
    n = x.type.count
    while n > 1:
        n //= 2
        x = combine(shuffle(b, x, x, list(range(n))), shuffle(b, x, x, list(range(n, 2 * n))))
    return b.extract_element(x, ir.Constant(I32, 0))


def elementary(b: Any, name: str, *given: Any) -> Any:
    """An LLVM intrinsic on 16 floats."""
    kind = ir.FunctionType(IR[VF], [IR[VF]] * len(given))
    return b.call(cgutils.get_or_insert_function(b.module, kind, f"llvm.{name}.v16f32"), given)


def some(b: Any, p: Any, n: Any, *stored: Any) -> Any:
    """The first n of 16 floats in memory at p are loaded, zeros behind them, or stored. The others are not touched."""
    if "avx" not in host_features():
        return _one_by_one(b, p, n, *stored)
    short = b.select(b.icmp_signed("<", n, ir.Constant(I64, 16)), n, ir.Constant(I64, 16))
    mask = b.icmp_signed("<", constant(list(range(16)), I32), broadcast(b, b.trunc(short, I32), 16))
    place = b.inttoptr(p, IR[VF].as_pointer())
    values = (*stored, place, ir.Constant(I32, 1), mask, *([] if stored else [ir.Constant(IR[VF], None)]))
    kind = ir.FunctionType(ir.VoidType() if stored else IR[VF], [x.type for x in values])
    name = f"llvm.masked.{'store' if stored else 'load'}.v16f32.p0"
    return b.call(cgutils.get_or_insert_function(b.module, kind, name), values)


def _one_by_one(b: Any, p: Any, n: Any, *stored: Any) -> Any:
    """The same for processors without masks: by way of the stack, unless all are wanted."""
    room = cgutils.alloca_once(b, IR[VF])
    copy = b.ptrtoint(room, I64)
    source, target = (copy, p) if stored else (p, copy)
    with b.if_else(b.icmp_signed(">=", n, ir.Constant(I64, 16))) as (whole, part):
        with whole:
            store(b, target, stored[0] if stored else load(b, source, IR[VF]))
        with part:
            b.store(stored[0] if stored else ir.Constant(IR[VF], None), room)
            with cgutils.for_range(b, n, intp=I64) as loop:
                at = b.mul(loop.index, ir.Constant(I64, 4))
                store(b, b.add(target, at), load(b, b.add(source, at), FLOAT))
    return None if stored else b.load(room)


def larger(b: Any, x: Any, y: Any) -> Any:
    return b.select(b.fcmp_ordered(">", x, y), x, y)


# --- memory --------------------------------------------------------------------------------------------------------

u8 = verb(P, P)(lambda b, p: b.zext(load(b, p, I8), I64))
i8 = verb(P, P)(lambda b, p: b.sext(load(b, p, I8), I64))
u16 = verb(P, P)(lambda b, p: b.zext(load(b, p, I16), I64))
u32 = verb(P, P)(lambda b, p: b.zext(load(b, p, I32), I64))
i32 = verb(P, P)(lambda b, p: b.sext(load(b, p, I32), I64))
i64 = verb(P, P)(lambda b, p: load(b, p, I64))
f32 = verb(F, P)(lambda b, p: load(b, p, FLOAT))
f64 = verb(D, P)(lambda b, p: load(b, p, IR[D]))
half = verb(F, P)(lambda b, p: b.fpext(load(b, p, HALF), FLOAT))
half_of = verb(F, P)(lambda b, bits: b.fpext(b.bitcast(b.trunc(bits, I16), HALF), FLOAT))
float_of = verb(F, P)(lambda b, bits: b.bitcast(b.trunc(bits, I32), FLOAT))
word = verb(P, P, P)(lambda b, p, i: load(b, b.add(p, b.mul(i, ir.Constant(I64, 8))), I64))  # word i from p on
set_u8 = verb(types.void, P, P)(lambda b, p, x: store(b, p, b.trunc(x, I8)))
set_word = verb(types.void, P, P, P)(lambda b, p, i, x: store(b, b.add(p, b.mul(i, ir.Constant(I64, 8))), x))
set_f32 = verb(types.void, P, F)(lambda b, p, x: store(b, p, x))
set_half = verb(types.void, P, F)(lambda b, p, x: store(b, p, b.fptrunc(x, HALF)))

# --- 16 lanes --------------------------------------------------------------------------------------------------------

vload = verb(VF, P)(lambda b, p: load(b, p, IR[VF]))
vstore = verb(types.void, P, VF)(lambda b, p, x: store(b, p, x))
vload_half = verb(VF, P)(lambda b, p: b.fpext(load(b, p, vector(HALF, 16)), IR[VF]))
vstore_half = verb(types.void, P, VF)(lambda b, p, x: store(b, p, b.fptrunc(x, vector(HALF, 16))))
vload_some = verb(VF, P, P)(lambda b, p, n: some(b, p, n))
vstore_some = verb(types.void, P, VF, P)(lambda b, p, x, n: some(b, p, n, x))
splat = verb(VF, F)(lambda b, x: broadcast(b, x, 16))
vabs = verb(VF, VF)(lambda b, x: elementary(b, "fabs", x))
vround = verb(VF, VF)(lambda b, x: elementary(b, "rint", x))  # ties to even
vmax = verb(VF, VF, VF)(larger)  # the second where either is no number
vmin = verb(VF, VF, VF)(lambda b, x, y: b.select(b.fcmp_ordered("<", x, y), x, y))
vsum = verb(F, VF)(lambda b, x: fold(b, x, lambda u, v: b.fadd(u, v)))
vtop = verb(F, VF)(lambda b, x: fold(b, x, lambda u, v: larger(b, u, v)))
vint = verb(VI, VF)(lambda b, x: b.fptosi(x, IR[VI]))
vfloat = verb(VF, VI)(lambda b, x: b.sitofp(x, IR[VF]))
ibytes = verb(VI, P)(lambda b, p: b.zext(load(b, p, vector(I8, 16)), IR[VI]))
isigned = verb(VI, P)(lambda b, p: b.sext(load(b, p, vector(I8, 16)), IR[VI]))
isum = verb(P, VI)(lambda b, x: b.sext(fold(b, x, lambda u, v: b.add(u, v)), I64))
istore16 = verb(types.void, P, VI)(lambda b, p, x: store(b, p, b.trunc(x, vector(I16, 16))))
number = verb(F, P)(lambda b, n: b.sitofp(n, FLOAT))
fmax = verb(F, F, F)(larger)
nonzero = verb(P, F)(lambda b, x: b.zext(b.fcmp_unordered("!=", x, ir.Constant(FLOAT, 0.0)), I64))
imin = verb(P, P, P)(lambda b, x, y: b.select(b.icmp_signed("<", x, y), x, y))
imax = verb(P, P, P)(lambda b, x, y: b.select(b.icmp_signed(">", x, y), x, y))
first_of = verb(F, VF)(lambda b, x: b.extract_element(x, ir.Constant(I32, 0)))
if_less = verb(P, P, P, P, P)(lambda b, x, y, yes, no: b.select(b.icmp_signed("<", x, y), yes, no))
iota = verb(VF)(lambda b: constant([float(i) for i in range(16)], FLOAT))


@verb(types.void, P, P, VF)
def vstore_halves(b: Any, p: Any, q: Any, x: Any) -> None:
    """Lanes 0-7 to p, 8-15 to q."""
    for to, at in ((p, 0), (q, 8)):
        store(b, to, shuffle(b, x, x, list(range(at, at + 8))))


@verb(VF, P)
def vload_bf16(b: Any, p: Any) -> Any:
    wide = b.zext(load(b, p, vector(I16, 16)), IR[VI])
    return b.bitcast(b.shl(wide, constant([16] * 16, I32)), IR[VF])


@verb(VF, VF, VF, VF)
def fma(b: Any, x: Any, y: Any, z: Any) -> Any:
    """x·y + z, rounded once where the processor can."""
    return elementary(b, "fmuladd", x, y, z)


@traced(P, P, P)
def buffer(args: Any, i: Any) -> Any:
    """Address of a buffer: word i holds the place of the address, which changes from step to step."""
    return i64(word(args, i))


def picked(x: Any, lanes: list[int]) -> Any:
    """In traced verbs: lanes of a vector in another order."""
    return Value(x.kind, shuffle(builder(), x.code, x.code, lanes))


def turned(rows: list[Any]) -> list[Any]:
    """In traced verbs: the columns of 16 vectors."""
    rows, b = [row.code for row in rows], builder()
    for d in (1, 2, 4, 8):  # blocks of d rows and d columns change places
        low = [i if not i & d else 16 + i - d for i in range(16)]
        high = [i + d if not i & d else 16 + i for i in range(16)]
        for i in range(16):
            if not i & d:
                pair = rows[i], rows[i + d]
                rows[i], rows[i + d] = shuffle(b, *pair, low), shuffle(b, *pair, high)
    return [Value(VF, row) for row in rows]


def totals(rows: list[Any]) -> list[Any]:
    """In traced verbs: `vsum` of four vectors, added in the same order."""
    b, all = builder(), list(range(32))

    def halved(x: Any, y: Any, d: int) -> Any:
        """Lanes of x and y whose number has no d, and those that are d further on, added."""
        low = [i for i in all if not i & d]
        return b.fadd(shuffle(b, x, y, low), shuffle(b, x, y, [i + d for i in low]))

    x, y = (halved(rows[i].code, rows[i + 1].code, 8) for i in (0, 2))
    x = halved(x, y, 4)
    for d in (2, 1):
        x = b.fadd(x, shuffle(b, x, x, [i ^ d for i in range(16)]))
    return [Value(F, b.extract_element(x, ir.Constant(I32, 4 * i))) for i in range(4)]


@traced(types.void, P, P, P, P)
def transpose16(source: Any, step: Any, target: Any, apart: Any) -> None:
    """16 rows of 16 floats, `step` bytes apart, become the columns of rows `apart` bytes apart."""
    for i, row in enumerate(turned([vload(source + step * i) for i in range(16)])):
        vstore(target + apart * i, row)


@verb(F, F, P, D)
def inverse_root(b: Any, total: Any, n: Any, eps: Any) -> Any:
    """1 / √(total / n + eps), rounded once."""
    mean = b.fadd(b.fdiv(b.fpext(total, IR[D]), b.sitofp(n, IR[D])), eps)
    kind = ir.FunctionType(IR[D], [IR[D]])
    root = b.call(cgutils.get_or_insert_function(b.module, kind, "llvm.sqrt.f64"), [mean])
    return b.fptrunc(b.fdiv(ir.Constant(IR[D], 1.0), root), FLOAT)


@verb(VF, F, F)
def split2(b: Any, low: Any, high: Any) -> Any:
    """Lanes 0-7 hold the first number, 8-15 the second."""
    return shuffle(b, broadcast(b, low, 16), broadcast(b, high, 16), list(range(8)) + list(range(24, 32)))


@verb(VF, VF, VF, VF, VF)
def below(b: Any, x: Any, limit: Any, yes: Any, no: Any) -> Any:
    """Lane by lane, `yes` where x < limit, else `no`."""
    return b.select(b.fcmp_ordered("<", x, limit), yes, no)


@verb(VF, VF)
def pow2(b: Any, n: Any) -> Any:
    """2^n for whole n in -126 to 127."""
    code = b.add(b.fptosi(n, IR[VI]), constant([127] * 16, I32))
    return b.bitcast(b.shl(code, constant([23] * 16, I32)), IR[VF])


# --- 32 weights ------------------------------------------------------------------------------------------------------

wload = verb(W, P)(lambda b, p: load(b, p, IR[W]))
wstore = verb(types.void, P, W)(lambda b, p, x: store(b, p, x))
wset = verb(W, P)(lambda b, n: broadcast(b, b.trunc(n, I8), 32))
wlow = verb(VF, W)(lambda b, x: b.sitofp(shuffle(b, x, x, list(range(16))), IR[VF]))
whigh = verb(VF, W)(lambda b, x: b.sitofp(shuffle(b, x, x, list(range(16, 32))), IR[VF]))


wshl = verb(W, W, P)(lambda b, x, n: b.shl(x, broadcast(b, b.trunc(n, I8), 32)))
# 32 fields of nibbles(p) in the order of 2 times 8 bytes: low nibbles, high ones
by_eights = verb(W, W)(lambda b, x: shuffle(b, x, x, [*range(8), *range(16, 24), *range(8, 16), *range(24, 32)]))


@verb(W, P)
def nibbles(b: Any, p: Any) -> Any:
    """16 bytes: their low nibbles, then their high ones."""
    x = load(b, p, vector(I8, 16))
    low = b.and_(x, constant([15] * 16, I8))
    return shuffle(b, low, b.lshr(x, constant([4] * 16, I8)), list(range(32)))


@verb(W, P, P, P)
def bits(b: Any, p: Any, shift: Any, mask: Any) -> Any:
    """32 bytes >> shift & mask."""
    shifted = b.lshr(load(b, p, IR[W]), broadcast(b, b.trunc(shift, I8), 32))
    return b.and_(shifted, broadcast(b, b.trunc(mask, I8), 32))


def _chosen(b: Any, word: Any, lanes: int) -> Any:
    """i1 per lane: bit i of an integer."""
    return b.bitcast(b.trunc(word, ir.IntType(lanes)), vector(ir.IntType(1), lanes))


@verb(W, P, P)
def flags(b: Any, word: Any, n: Any) -> Any:
    """n in lane i where bit i of the word is set, else 0."""
    zero = ir.Constant(IR[W], None)
    return b.select(_chosen(b, word, 32), broadcast(b, b.trunc(n, I8), 32), zero)


def _signed(lanes: int) -> Callable[..., None]:
    def emit(b: Any, target: Any, source: Any, signs: Any) -> None:
        x = load(b, source, vector(I8, lanes))
        store(b, target, b.select(_chosen(b, signs, lanes), b.neg(x), x))

    return emit


signed8 = verb(types.void, P, P, P)(_signed(8))  # 8 bytes to target, negated where the bit is set
signed4 = verb(types.void, P, P, P)(_signed(4))


@verb(types.void, P, P, P)
def shifted8(b: Any, target: Any, source: Any, n: Any) -> None:
    """8 bytes to target, n added to each."""
    store(b, target, b.add(load(b, source, vector(I8, 8)), broadcast(b, b.trunc(n, I8), 8)))


@verb(W, W, P)
def wtable(b: Any, index: Any, table: Any) -> Any:
    """The bytes at 16-byte `table` that 32 indices of 0 to 15 name."""
    entries = load(b, table, vector(I8, 16))
    halves = [shuffle(b, index, index, list(range(h, h + 16))) for h in (0, 16)]
    name = {"ssse3": "llvm.x86.ssse3.pshuf.b.128", "neon": "llvm.aarch64.neon.tbl1.v16i8"}
    found = next((name[f] for f in name if f in host_features()), None)
    if found:
        kind = ir.FunctionType(entries.type, [entries.type] * 2)
        take = cgutils.get_or_insert_function(b.module, kind, found)
        parts = [b.call(take, [entries, h]) for h in halves]
    else:
        parts = [ir.Constant(entries.type, ir.Undefined)] * 2
        for i in range(32):
            at = ir.Constant(I32, i % 16)
            value = b.extract_element(entries, b.extract_element(halves[i // 16], at))
            parts[i // 16] = b.insert_element(parts[i // 16], value, at)
    return shuffle(b, parts[0], parts[1], list(range(32)))


@verb(VI, W, P)
def dot(b: Any, w: Any, x: Any) -> Any:
    """Products of 32 weights with the int16 at x, neighbours summed: lane i has weights 2i and 2i+1. Exact."""
    wide, q = b.sext(w, vector(I16, 32)), load(b, x, vector(I16, 32))
    for feature, name, lanes in (("avx512bw", "avx512.pmaddw.d.512", 32), ("avx2", "avx2.pmadd.wd", 16)):
        if feature in host_features():
            kind = ir.FunctionType(vector(I32, lanes // 2), [vector(I16, lanes)] * 2)
            pairs = cgutils.get_or_insert_function(b.module, kind, "llvm.x86." + name)
            parts = [b.call(pairs, [shuffle(b, v, v, list(range(at, at + lanes))) for v in (wide, q)])
                     for at in range(0, 32, lanes)]  # fmt: skip
            return parts[0] if lanes == 32 else shuffle(b, parts[0], parts[1], list(range(16)))
    product = b.mul(b.sext(wide, vector(I32, 32)), b.sext(q, vector(I32, 32)))
    return b.add(*(shuffle(b, product, product, list(range(odd, 32, 2))) for odd in (0, 1)))


# --- between threads, and calls by address ---------------------------------------------------------------------------


@verb(P, P, P)
def fetch_add(b: Any, p: Any, n: Any) -> Any:
    """Adds to the word at p, all threads in one order; gives what it was."""
    return b.atomic_rmw("add", b.inttoptr(p, I64.as_pointer()), n, "seq_cst")


@verb(P, P)
def fetch(b: Any, p: Any) -> Any:
    return b.load_atomic(b.inttoptr(p, I64.as_pointer()), "seq_cst", 8)


@verb(types.void, P, P)
def publish(b: Any, p: Any, x: Any) -> None:
    b.store_atomic(x, b.inttoptr(p, I64.as_pointer()), "seq_cst", 8)


@verb(types.void)
def relax(b: Any) -> None:
    """Tells the processor that this thread spins."""
    if "sse2" in host_features():
        b.call(cgutils.get_or_insert_function(b.module, ir.FunctionType(ir.VoidType(), []), "llvm.x86.sse2.pause"), [])


def _call(b: Any, function: Any, *args: Any) -> None:
    kind = ir.FunctionType(ir.VoidType(), [I64] * len(args))
    b.call(b.inttoptr(function, kind.as_pointer()), args)


call0 = verb(types.void, P)(_call)  # void f(void), by its address
call3 = verb(types.void, *[P] * 4)(_call)
call5 = verb(types.void, *[P] * 6)(_call)
call6 = verb(types.void, *[P] * 7)(_call)
