"""Every op and every weight format × every variant of the kernels × odd sizes, against the reference in float64."""

from __future__ import annotations

import numpy as np
import pytest

from edgeq import ops, quants
from edgeq.backends.base import Batch
from edgeq.ops import NONE, In, Out, Weight
from edgeq.program import Builder
from tests.backends.single import ROWS, known, near, program, run, seen, variant, wanted
from tests.blocks import MemoryWeights, filled, tensor

LINEAR = sorted(name for name, f in quants.FORMATS.items() if f.linear)
FLOATS = ("F32", "F16", "BF16")


def batch(tokens: int, start: int = 0, sequence: int = 0) -> Batch:
    return Batch([i % 7 for i in range(tokens)], range(start, start + tokens), [sequence] * tokens, range(tokens))


@pytest.mark.parametrize("fmt", LINEAR)
def test_linear(fmt: str, isa: str) -> None:
    rng = np.random.default_rng(1)
    block = max(32, quants.FORMATS[fmt].block)
    for rows, blocks, tokens in (
        (1, 1, 1),
        (5, 3, 2),
        (4, 2, 3),
        (7, 1, 5),
        (67, 2, 16),
        (13, 5, 17),
        (100, 3, 45),
        (6, 20, 33),
    ):
        cols = block * blocks + (5 if fmt in FLOATS else 0)
        x = rng.standard_normal((tokens, cols)).astype(np.float32)
        x[:, 3] *= 50  # an outlier, as activations have them
        weights = filled(rng, [("w", (rows, cols)), ("b", (rows,))], {}, fmt, 1.0)
        made = program(lambda b, r=rows, c=cols: linear(b, r, c))
        found = run(made, weights, [x], batch(tokens), isa=isa)[0]
        w = weights["w"].values()
        w, x = (w, x) if fmt in FLOATS else (known(w, tokens, isa), seen(x, isa, fmt))
        w = w.astype(np.float64)
        assert (np.abs(found - x @ w.T - weights["b"].values()) <= 2e-6 * (np.abs(x) @ np.abs(w.T) + 1)).all()


def linear(b: Builder, rows: int, cols: int) -> tuple[list[int], list[int]]:
    x = b.buffer("x", cols)
    return [x], [b.linear("y", x, b.tensor("w", rows, cols), rows, b.tensor("b", rows))]


@pytest.mark.parametrize("fmt", LINEAR)
def test_one_token_and_sixteen_give_the_same_bits_for_any_number_of_threads(fmt: str, isa: str) -> None:
    """And every number between them that kernels take in a way of its own."""
    rng = np.random.default_rng(2)
    for cols, rows in ((512, 77), (576, 7), (544, 7)):
        if cols % quants.FORMATS[fmt].block:
            continue  # no rows of such a width
        weights = filled(rng, [("w", (rows, cols)), ("b", (rows,))], {}, fmt, 1.0)
        x = rng.standard_normal((16, cols)).astype(np.float32)
        made = program(lambda b, r=rows, c=cols: linear(b, r, c))
        all_at_once = run(made, weights, [x], batch(16), isa=isa)[0]
        for n in (1, 2, 3, 4, 5, 6, 7, 9, 13):
            for t in range(0, 16, n):
                part = x[t : t + n]
                alone = run(made, weights, [part], batch(len(part)), isa=isa, threads=4)[0]
                assert np.array_equal(alone, all_at_once[t : t + n]), (cols, n, t)


def test_reproducible_prompts_use_the_arithmetic_of_one_token(isa: str) -> None:
    rng = np.random.default_rng(3)
    weights = filled(rng, [("w", (50, 96)), ("b", (50,))], {}, "Q5_0", 1.0)
    x = rng.standard_normal((41, 96)).astype(np.float32)
    made = program(lambda b: linear(b, 50, 96))
    together = run(made, weights, [x], batch(41), isa=isa, reproducible=True)[0]
    alone = np.concatenate([run(made, weights, [x[t : t + 1]], batch(1), isa=isa)[0] for t in range(41)])
    assert np.array_equal(together, alone)


@pytest.mark.parametrize(("fmt", "cols"), [("Q8_0", 64), ("Q4_K", 512)])
@pytest.mark.parametrize("tokens", [1, 4, 37])
def test_values_that_are_not_finite_reach_the_output(fmt: str, cols: int, tokens: int, isa: str) -> None:
    rng = np.random.default_rng(4)
    weights = filled(rng, [("w", (9, cols)), ("b", (9,))], {}, fmt, 1.0)
    made = program(lambda b: linear(b, 9, cols))
    for bad in (np.nan, np.inf, -np.inf):
        x = rng.standard_normal((tokens, cols)).astype(np.float32)
        x[0, 37] = bad
        out = run(made, weights, [x], batch(tokens), isa=isa)[0]
        assert not np.isfinite(out[0]).any()
        with np.errstate(invalid="ignore"):
            x = seen(x, isa, fmt)[1:]  # a block of tokens with such a value has both bytes of all
        w = known(weights["w"].values(), tokens, isa).astype(np.float64)
        assert (np.abs(out[1:] - x @ w.T - weights["b"].values()) <= 2e-6 * (np.abs(x) @ np.abs(w.T) + 1)).all()


@pytest.mark.parametrize("fmt", ["Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q3_K", "Q6_K"])
def test_largest_weights_and_activations(fmt: str, isa: str) -> None:
    """All of one sign, so that sums are as large as they can be; low bytes of -128, whose sign no byte can change."""
    f = quants.FORMATS[fmt]
    rng = np.random.default_rng(13)
    rows, cols = 9, max(32, f.block)
    weights = filled(rng, [("w", (rows, cols)), ("b", (rows,))], {}, fmt, 1.0)
    data, before = weights["w"].data, weights["w"].data.copy()
    for row, byte in enumerate((0x00, 0xFF, 0x80, 0x7F, 0x0F, 0xF0)):
        data[row] = byte
    for kind, at in quants.scale_fields(fmt):
        assert kind == "F16"
        data[:, at : at + 2] = before[:, at : at + 2]
    top, low = np.full(cols, 32512.0), np.full(cols, 128.0)  # steps of 2^-10
    low[::32] = 32512
    mixed = np.where(rng.integers(0, 2, cols) > 0, 1, -1)
    x = np.stack([top, -top, top * mixed, low, -low, low * mixed] * 6).astype(np.float32) / 1024
    made = program(lambda b: linear(b, rows, cols))
    for tokens in (6, 36):
        w = known(weights["w"].values(), tokens, isa).astype(np.float64)
        found, y = run(made, weights, [x[:tokens]], batch(tokens), isa=isa)[0], seen(x[:tokens], isa, fmt)
        share = 1e-5 if variant(isa) == "numba" and tokens > ROWS else 2e-6  # sums of 256 floats in one chain
        assert (np.abs(found - y @ w.T - weights["b"].values()) <= share * (np.abs(y) @ np.abs(w.T) + 1)).all()


@pytest.mark.parametrize("fmt", ["Q4_0", "Q5_1", "Q2_K"])
def test_tokens_of_very_different_lengths_choose_their_bytes_together(fmt: str, isa: str) -> None:
    rng = np.random.default_rng(14)
    rows, cols, tokens = 5, 768, 45
    weights = filled(rng, [("w", (rows, cols)), ("b", (rows,))], {}, fmt, 1.0)
    x = rng.standard_normal((tokens, cols)) * 10 ** rng.uniform(-2, 1, (tokens, 1))
    x[rng.integers(0, tokens, 60), rng.integers(0, cols, 60)] *= rng.uniform(5, 80, 60)
    x = x.astype(np.float32)
    made = program(lambda b: linear(b, rows, cols))
    found, y = run(made, weights, [x], batch(tokens), isa=isa)[0], seen(x, isa, fmt)
    w = known(weights["w"].values(), tokens, isa).astype(np.float64)
    assert (np.abs(found - y @ w.T - weights["b"].values()) <= 2e-6 * (np.abs(y) @ np.abs(w.T) + 1)).all()


@pytest.mark.parametrize("fmt", ["Q4_1", "Q4_K", "Q6_K", "F32"])
def test_fused_linears_equal_their_parts(fmt: str, isa: str) -> None:
    rng = np.random.default_rng(5)
    for tokens in (1, 6, 40):
        x = rng.standard_normal((tokens, 256)).astype(np.float32)
        residual = rng.standard_normal((tokens, 96)).astype(np.float32)
        weights = filled(rng, [("w", (96, 256)), ("g", (96, 256)), ("b", (96,))], {}, fmt, 0.2)
        for kind in (ops.Act.SILU, ops.Act.GELU):
            made = program(lambda b, k=kind: gate_up(b, k))
            near(run(made, weights, [x], batch(tokens), isa=isa)[0],
                 wanted(made, weights, [x], batch(tokens), isa)[0], 3e-6)  # fmt: skip
        made = program(linear_add)
        near(run(made, weights, [x, residual], batch(tokens), isa=isa)[0],
             wanted(made, weights, [x, residual], batch(tokens), isa)[0], 2e-6)  # fmt: skip


def gate_up(b: Builder, act: ops.Act) -> tuple[list[int], list[int]]:
    x, out = b.buffer("x", 256), b.buffer("y", 96)
    b.add(ops.GateUp(In(x), b.tensor("g", 96, 256), b.tensor("w", 96, 256), out, int(act)))
    return [x], [out]


def linear_add(b: Builder) -> tuple[list[int], list[int]]:
    x, residual, out = b.buffer("x", 256), b.buffer("r", 96), b.buffer("y", 96)
    b.add(ops.LinearAdd(In(x), b.tensor("w", 96, 256), b.tensor("b", 96), In(residual), out))
    return [x, residual], [out]


WIDTHS = (1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 63, 100, 257)


def elementwise(b: Builder, n: int) -> tuple[list[int], list[int]]:
    x, y = b.buffer("x", n), b.buffer("y", n)
    w = b.tensor("w", n)
    outs = [
        b.norm("norm", x, w, 1e-5), b.sum("sum", x, y), b.glu("silu", x, y, ops.Act.SILU),
        b.glu("gelu", x, y, ops.Act.GELU), b.softcap("cap", x, 3.0), b.scale("scaled", x, b.tensor("s", 1)),
    ]  # fmt: skip
    normed = b.buffer("norm_add", n)
    b.add(ops.NormAdd(In(x), w, In(y), normed, 1e-6))
    return [x, y], [*outs, normed]


def test_elementwise_ops(isa: str) -> None:
    rng = np.random.default_rng(6)
    for n in WIDTHS:
        weights = filled(rng, [("w", (n,)), ("s", (1,))], {}, "F32", 1.0)
        x, y = (rng.standard_normal((3, n)).astype(np.float32) * 4 for _ in range(2))
        made = program(lambda b, n=n: elementwise(b, n))
        for found, right in zip(run(made, weights, [x, y], batch(3), isa=isa), run(made, weights, [x, y], batch(3))):
            near(found, right, 1e-6)


def test_gates_of_large_values_stay_finite(isa: str) -> None:
    x = np.array([[-1e4, -100, -88, -87.4, -20, 0, 20, 87, 89, 1e4]], np.float32)
    made = program(lambda b: elementwise(b, 10))
    weights = filled(np.random.default_rng(0), [("w", (10,)), ("s", (1,))], {}, "F32", 1.0)
    found = run(made, weights, [x, np.ones_like(x)], batch(1), isa=isa)
    wanted = run(made, weights, [x, np.ones_like(x)], batch(1))
    for a, b in zip(found, wanted):
        assert np.allclose(a, b, rtol=1e-5, atol=1e-6)


def gates(b: Builder, n: int) -> tuple[list[int], list[int]]:
    x, y = b.buffer("x", n), b.buffer("y", n)
    silu, gelu = (b.glu(act.name, x, y, act) for act in (ops.Act.SILU, ops.Act.GELU))
    return [x, y], [silu, gelu, b.softcap("cap", x, 3.0), b.sum("sum", x, y)]


def test_nan_comes_out_of_elementwise_ops(isa: str) -> None:
    made = program(lambda b: gates(b, 19))
    x = np.ones((1, 19), np.float32)
    x[0, [0, 7, 18]] = np.nan
    for out in run(made, MemoryWeights(), [x, np.ones_like(x)], batch(1), isa=isa):
        assert np.array_equal(np.isnan(out), np.isnan(x))


def test_exp_is_as_accurate_as_said(isa: str) -> None:
    """Seen through silu, g / (1 + exp(-g)), where exp is large."""
    g = np.linspace(-80, -1, 4001, dtype=np.float32)[None]
    made = program(lambda b: gates(b, g.shape[1]))
    silu = run(made, MemoryWeights(), [g, np.ones_like(g)], batch(1), isa=isa)[0]
    exact = g.astype(np.float64) / (1 + np.exp(-g.astype(np.float64)))
    assert np.abs(silu / exact - 1).max() < 5e-7


@pytest.mark.parametrize("style", list(ops.RopeStyle))
def test_rope_at_far_positions(style: ops.RopeStyle, isa: str) -> None:
    rng = np.random.default_rng(7)
    for head_dim, rot in ((2, 2), (6, 4), (64, 64), (80, 32), (96, 34)):
        freqs = [10000 ** (-2 * i / rot) for i in range(rot // 2)]

        def build(b: Builder, e: int = head_dim, f: list[float] = freqs) -> tuple[list[int], list[int]]:
            x = b.buffer("x", 3 * e)
            table = b.rope_table("table", f, 1.25)
            return [x], [b.rope("y", x, table, e, style), table]

        x = rng.standard_normal((5, 3 * head_dim)).astype(np.float32)
        made = program(build)
        args = (made, MemoryWeights(), [x], batch(5, start=200_000))
        for found, right in zip(run(*args, isa=isa, context=200_128), run(*args, context=200_128)):
            near(found, right, 1e-6)


def test_embed_and_take_rows(isa: str) -> None:
    rng = np.random.default_rng(8)
    for fmt in LINEAR:
        cols = max(32, quants.FORMATS[fmt].block)
        weights = MemoryWeights(t=tensor(rng, "t", fmt, 9, cols))

        def build(b: Builder, c: int = cols) -> tuple[list[int], list[int]]:
            x = b.embed(b.tensor("t", 9, c), c, 1.5)
            return [], [b.take_rows("y", x)]

        wanted_rows = Batch([8, 0, 3, 3], range(4), [0] * 4, [3, 0])
        made = program(build)
        near(run(made, weights, [], wanted_rows, isa=isa)[0], run(made, weights, [], wanted_rows)[0], 1e-6)


def attention(
    b: Builder, heads: int, kv_heads: int, e: int, window: int, softcap: float
) -> tuple[list[int], list[int]]:
    q, k, v = b.buffer("q", heads * e), b.buffer("k", kv_heads * e), b.buffer("v", kv_heads * e)
    cache = b.cache(kv_heads, e, window)
    b.kv_write(k, v, cache)
    return [q, k, v], [b.attend("out", q, cache, heads, e**-0.5, softcap)]


def random_qkv(rng: np.random.Generator, tokens: int, heads: int, kv_heads: int, e: int) -> list[np.ndarray]:
    widths = (heads * e, kv_heads * e, kv_heads * e)
    return [rng.standard_normal((tokens, w)).astype(np.float32) for w in widths]


@pytest.mark.parametrize("shape", [(4, 4, 8), (6, 2, 32), (7, 1, 64), (14, 2, 20), (3, 3, 96), (5, 1, 256)])
@pytest.mark.parametrize("window", [0, 1, 50])
def test_attention(shape: tuple[int, int, int], window: int, isa: str) -> None:
    rng = np.random.default_rng(9)
    heads, kv_heads, e = shape
    made = program(lambda b: attention(b, heads, kv_heads, e, window, 20.0 if heads == 6 else 0.0))
    sizes = (1, 2, 63, 1, 40, 65)
    steps, at = [], 0
    for n in sizes:
        steps.append((batch(n, at, sequence=1), random_qkv(rng, n, heads, kv_heads, e)))
        at += n
    last, values = steps.pop()
    found = run(made, MemoryWeights(), values, last, isa=isa, before=steps)[0]
    near(found, run(made, MemoryWeights(), values, last, before=steps)[0], 2e-6)


@pytest.mark.parametrize(("kv_type", "share"), [("F16", 1e-3), ("Q8_0", 1e-2), ("Q4_0", 0.2)])
def test_attention_with_rounded_keys_and_values(kv_type: str, share: float, isa: str) -> None:
    rng = np.random.default_rng(10)
    made = program(lambda b: attention(b, 6, 2, 64, 0, 0.0))
    steps = [(batch(100), random_qkv(rng, 100, 6, 2, 64))]
    values = random_qkv(rng, 3, 6, 2, 64)
    found = run(made, MemoryWeights(), values, batch(3, 100), isa=isa, kv_type=kv_type, before=steps)[0]
    near(found, run(made, MemoryWeights(), values, batch(3, 100), before=steps)[0], share)


@pytest.mark.parametrize(("kv_type", "e"), [("F16", 64), ("F16", 20), ("Q8_0", 64), ("Q4_0", 64), ("F32", 72)])
def test_attention_of_any_number_of_heads_is_that_of_each_alone(kv_type: str, e: int, isa: str) -> None:
    """One token and three, over a tile and a part of one: as many heads share keys as there may be, and one more."""
    rng = np.random.default_rng(12)

    def out(values: list[np.ndarray], heads: int) -> np.ndarray:
        made = program(lambda b: attention(b, heads, 1, e, 0, 0.0))
        empty = np.zeros((90, heads * e), np.float32)
        steps = [(batch(90), [empty, *before])]
        now = batch(len(values[0]), 90)
        return run(made, MemoryWeights(), values, now, isa=isa, threads=1, kv_type=kv_type, before=steps)[0]

    before = random_qkv(rng, 90, 1, 1, e)[1:]
    for tokens in (1, 3):
        q, *new = random_qkv(rng, tokens, 9, 1, e)
        alone = [out([q[:, h * e : h * e + e], *new], 1) for h in range(9)]
        for heads in range(2, 10):
            found = out([q[:, : heads * e], *new], heads)
            assert np.array_equal(found, np.concatenate(alone[:heads], axis=1)), heads


def test_attention_over_several_segments_and_two_sequences(isa: str) -> None:
    rng = np.random.default_rng(11)
    made = program(lambda b: attention(b, 4, 2, 32, 0, 0.0))
    steps, at = [], 0
    while at < 2200:
        for sequence in (0, 1):
            steps.append((batch(100, at, sequence), random_qkv(rng, 100, 4, 2, 32)))
        at += 100
    both = Batch([0] * 6, [2200, 2201, 2202, 2200, 2201, 2202], [0, 0, 0, 1, 1, 1], range(6))
    values = random_qkv(rng, 6, 4, 2, 32)
    wanted = run(made, MemoryWeights(), values, both, before=steps, context=2304)[0]
    found = run(made, MemoryWeights(), values, both, isa=isa, before=steps, context=2304)[0]
    near(found, wanted, 3e-6)
    alone = Batch([0] * 3, [2200, 2201, 2202], [1, 1, 1], range(3))
    again = run(made, MemoryWeights(), [v[3:] for v in values], alone, isa=isa, before=steps, context=2304, threads=4)[
        0
    ]
    assert np.array_equal(again, found[3:])


@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize("style", list(ops.RopeStyle))
def test_qkv(normed: bool, style: ops.RopeStyle, isa: str) -> None:
    rng = np.random.default_rng(12)
    heads, kv_heads, e, width = 6, 2, 32, 64
    refs = [("q", (heads * e, width)), ("k", (kv_heads * e, width)), ("v", (kv_heads * e, width)), ("bq", (heads * e,)),
            ("bv", (kv_heads * e,)), ("qn", (e,)), ("kn", (e,))]  # fmt: skip
    weights = filled(rng, refs, {"k": "Q8_0", "v": "F16"}, "Q4_0", 0.3)

    def build(b: Builder) -> tuple[list[int], list[int]]:
        x, q = b.buffer("x", width), b.buffer("q", heads * e)
        table = b.rope_table("table", [100 ** (-i / 8) for i in range(e // 2)])
        cache = b.cache(kv_heads, e)
        named = {n: b.tensor(n, *s) for n, s in refs}
        norms = (named["qn"], named["kn"]) if normed else (Weight(NONE),) * 2
        b.add(ops.Qkv(In(x), In(table), named["q"], named["bq"], named["k"], Weight(NONE), named["v"], named["bv"],
                      *norms, Out(q), cache, heads, e, int(style), 1e-5))  # fmt: skip
        return [x], [q, b.attend("out", q, cache, heads, e**-0.5)]

    made = program(build)
    for tokens in (1, 5, 30):
        x = rng.standard_normal((tokens, width)).astype(np.float32)
        for found, right in zip(
            run(made, weights, [x], batch(tokens), isa=isa), wanted(made, weights, [x], batch(tokens), isa)
        ):
            near(found, right, 1e-5)
