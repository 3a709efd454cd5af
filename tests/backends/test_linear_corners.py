"""Corners of linears: blocks, tokens and rows left over, long and full steps, and what a step leaves behind."""

from __future__ import annotations

import numpy as np
import pytest

from edgeq import ops, quants
from edgeq.backends.base import Options
from edgeq.ops import NONE, In, Out, Weight
from edgeq.program import Builder
from tests.backends.conftest import WORKING, By
from tests.backends.single import known, native, near, program, run, seen, wanted
from tests.backends.test_native_ops import batch, linear
from tests.blocks import MemoryWeights, fenced, filled

BLOCKS_OF_32 = sorted(name for name, f in quants.FORMATS.items() if f.linear and f.block == 32)
LARGER = sorted(name for name, f in quants.FORMATS.items() if f.linear and f.block > 32)


def check(found: np.ndarray, x: np.ndarray, by: By, weights: MemoryWeights, more: np.ndarray | float = 0.0) -> None:
    """That `found` is x times the weights w, + bias b, + more; x and w as the products see them."""
    w, b = (weights[n].values().astype(np.float64) for n in "wb")
    w, x = known(w, len(x), by), seen(x, by, weights["w"].format.name)
    assert (np.abs(found - more - x @ w.T - b) <= 2e-6 * (np.abs(x) @ np.abs(w.T) + np.abs(more) + 1)).all()


@pytest.mark.parametrize("fmt", BLOCKS_OF_32)
def test_any_number_of_blocks_in_rows_that_end_where_memory_does(fmt: str, by: By) -> None:
    """Nothing behind the last block may be read."""
    rng = np.random.default_rng(60)
    for blocks in range(1, 10):
        for rows, tokens in ((1, 1), (7, 1), (6, 3), (7, 7), (5, 20)):
            x = rng.standard_normal((tokens, 32 * blocks)).astype(np.float32)
            weights = filled(rng, [("w", (rows, 32 * blocks)), ("b", (rows,))], {}, fmt, 1.0)
            weights["w"] = fenced(weights["w"])
            made = program(lambda b, r=rows, n=blocks: linear(b, r, 32 * n))
            check(run(made, weights, [x], batch(tokens), isa=by)[0], x, by, weights)


@pytest.mark.parametrize("fmt", LARGER)
def test_rows_of_larger_blocks_that_end_where_memory_does(fmt: str, by: By) -> None:
    rng = np.random.default_rng(61)
    cols = 3 * quants.FORMATS[fmt].block
    for rows, tokens in ((1, 1), (6, 2), (5, 7), (3, 20)):
        x = rng.standard_normal((tokens, cols)).astype(np.float32)
        weights = filled(rng, [("w", (rows, cols)), ("b", (rows,))], {}, fmt, 1.0)
        weights["w"] = fenced(weights["w"])
        made = program(lambda b, r=rows: linear(b, r, cols))
        check(run(made, weights, [x], batch(tokens), isa=by)[0], x, by, weights)


@pytest.mark.parametrize("fmt", ["Q4_1", "Q5_0", "Q8_0"])
def test_any_number_of_tokens_that_is_left_over(fmt: str, by: By) -> None:
    """Rows of more than one panel; a last block of tokens with each number that it can have."""
    rng = np.random.default_rng(62)
    rows, cols = 7, 544
    weights = filled(rng, [("w", (rows, cols)), ("b", (rows,))], {}, fmt, 1.0)
    made = program(lambda b: linear(b, rows, cols))
    x = rng.standard_normal((48, cols)).astype(np.float32)
    for tokens in range(17, 49):
        check(run(made, weights, [x[:tokens]], batch(tokens), isa=by)[0], x[:tokens], by, weights)


@pytest.mark.parametrize(("fmt", "cols"), [("Q5_0", 544), ("Q4_K", 768)])
@pytest.mark.parametrize(("tokens", "reproducible"), [(2, False), (3, False), (7, False), (16, False), (21, True)])
def test_more_rows_and_tokens_than_pass_in_one_go(fmt: str, cols: int, tokens: int, reproducible: bool, by: By) -> None:
    """A thread alone takes a hundred rows at a time; the last of four groups are left over."""
    rng = np.random.default_rng(68)
    weights = filled(rng, [("w", (403, cols)), ("b", (403,))], {}, fmt, 1.0)
    x = rng.standard_normal((tokens, cols)).astype(np.float32)
    made = program(lambda b: linear(b, 403, cols))
    found = run(made, weights, [x], batch(tokens), isa=by, threads=1, reproducible=reproducible)[0]
    w, b = (weights[n].values().astype(np.float64) for n in "wb")
    w, x = known(w, 1, by), seen(x, by, fmt, reproducible)  # as few tokens see them
    assert (np.abs(found - x @ w.T - b) <= 2e-6 * (np.abs(x) @ np.abs(w.T) + 1)).all()


@pytest.mark.parametrize("fmt", ["Q4_1", "Q6_K"])
def test_a_thousand_tokens_and_more_in_one_step(fmt: str, by: By) -> None:
    """More than meet a panel before the next one is unpacked; each is of a length of its own."""
    rng = np.random.default_rng(63)
    rows, cols, tokens = 4, 768, 1100
    weights = filled(rng, [("w", (rows, cols)), ("b", (rows,))], {}, fmt, 1.0)
    x = rng.standard_normal((tokens, cols)) * 10 ** rng.uniform(-2, 0, (tokens, 1))
    x = x.astype(np.float32)
    made = program(lambda b: linear(b, rows, cols))
    found = run(made, weights, [x], batch(tokens), isa=by, chunk=tokens, context=1152)[0]
    check(found, x, by, weights)


@pytest.mark.parametrize("left", ["outliers", "numbers that are not finite"])
def test_a_block_that_is_not_full_forgets_the_tokens_of_an_earlier_step(left: str, by: By) -> None:
    """They would have a say in which activations are multiplied by both bytes."""
    rng = np.random.default_rng(64)
    weights = filled(rng, [("w", (9, 96)), ("b", (9,))], {}, "Q8_0", 1.0)
    x = rng.standard_normal((32, 96)).astype(np.float32)
    made = program(lambda b: linear(b, 9, 96))
    stale = x.copy()
    if left == "outliers":
        stale[:, 3] *= 1000
    else:
        stale[:] = np.nan
    found = run(made, weights, [x[:17]], batch(17, 32), isa=by, before=[(batch(32), [stale])])[0]
    check(found, x[:17], by, weights)


def test_a_token_of_zeros_among_others(by: By) -> None:
    rng = np.random.default_rng(65)
    weights = filled(rng, [("w", (9, 96)), ("b", (9,))], {}, "Q8_0", 1.0)
    made = program(lambda b: linear(b, 9, 96))
    for tokens in (1, 5, 17, 32):
        x = rng.standard_normal((tokens, 96)).astype(np.float32)
        x[0] = x[tokens // 2, 32:] = 0
        found = run(made, weights, [x], batch(tokens), isa=by)[0]
        check(found, x, by, weights)
        assert np.array_equal(found[0], weights["b"].values())


def test_residuals_and_biases_of_any_number_of_rows(by: By) -> None:
    rng = np.random.default_rng(66)

    def build(b: Builder, rows: int) -> tuple[list[int], list[int]]:
        x, residual, out = b.buffer("x", 32), b.buffer("r", rows), b.buffer("y", rows)
        w, bias = b.tensor("w", rows, 32), b.tensor("b", rows)
        b.add(ops.LinearAdd(In(x), w, bias, In(residual), out))
        plain = b.buffer("z", rows)
        b.add(ops.LinearAdd(In(x), w, Weight(NONE), In(residual), plain))
        return [x, residual], [out, plain]

    for rows in (1, 3, 7, 8, 15, 16, 17, 31, 100, 207):
        weights = filled(rng, [("w", (rows, 32)), ("b", (rows,))], {}, "Q8_0", 1.0)
        made = program(lambda b, r=rows: build(b, r))
        for tokens in (1, 6, 16, 23):
            x, residual = (rng.standard_normal((tokens, n)).astype(np.float32) for n in (32, rows))
            found = run(made, weights, [x, residual], batch(tokens), isa=by)
            check(found[0], x, by, weights, residual)
            check(found[1], x, by, weights, residual - weights["b"].values())


FULL = ("Q4_1", "Q2_K", "Q5_1", "Q6_K")


def places(b: Builder) -> tuple[list[int], list[int]]:
    inputs = [b.buffer(f"x{i}", 512) for i in range(4)]
    outs = [b.linear(f"y{i}", x, b.tensor(f"w{i}", 8, 512), 8) for i, x in enumerate(inputs)]
    return inputs, [*outs, b.sum("s", inputs[0], inputs[2]), b.sum("t", inputs[1], inputs[3])]


@pytest.mark.parametrize(("tokens", "reproducible"), [(16, False), (128, False), (128, True)])
def test_every_rounded_buffer_of_a_full_step_has_a_place_of_its_own(tokens: int, reproducible: bool, by: By) -> None:
    """As many tokens as a step takes, in four buffers that all live until its end."""
    rng = np.random.default_rng(67)
    refs = [(f"w{i}", (8, 512)) for i in range(4)]
    weights = filled(rng, refs, {name: fmt for (name, _), fmt in zip(refs, FULL)}, "F32", 1.0)
    inputs = [rng.standard_normal((tokens, 512)).astype(np.float32) for _ in range(4)]
    made = program(places)
    found = run(made, weights, inputs, batch(tokens), isa=by, reproducible=reproducible)
    for out, right in zip(found, wanted(made, weights, inputs, batch(tokens), by, reproducible)):
        near(out, right, 3e-6)


@pytest.mark.parametrize("isa", WORKING)
@pytest.mark.parametrize("reproducible", [False, True])
def test_memory_of_a_step_grows_by_what_is_kept_of_a_wider_buffer(isa: str, reproducible: bool) -> None:
    """A row of 128: floats, int16, 24 bytes for each 32, and 384 for kernels of few tokens."""

    def size(cols: int) -> int:
        made = program(lambda b: linear(b, 8, cols))
        weights = filled(np.random.default_rng(0), [("w", (8, cols)), ("b", (8,))], {}, "Q8_0", 1.0)
        executable = native(2).compile(made, weights, Options(threads=2, chunk=192, isa=isa, reproducible=reproducible))
        return executable.nbytes

    few = 192 if reproducible else 16
    assert size(1152) - size(128) == 8 * (192 * (128 * 4 + 128 * 2 + 4 * 24) + few * 704)


def test_gates_of_a_full_step(by: By) -> None:
    """All rows of a step of rows for a gate, and for what it gates: tiles can be no larger."""
    rng = np.random.default_rng(68)
    weights = filled(rng, [("gate", (200, 64)), ("up", (200, 64))], {"up": "Q4_1"}, "Q8_0", 0.3)

    def build(b: Builder) -> tuple[list[int], list[int]]:
        x, y = b.buffer("x", 64), b.buffer("y", 200)
        gate, up = (b.tensor(n, 200, 64) for n in ("gate", "up"))
        b.add(ops.GateUp(In(x), gate, up, y, int(ops.Act.SILU)))
        return [x], [y]

    made = program(build)
    for tokens in (16, 128):
        x = rng.standard_normal((tokens, 64)).astype(np.float32)
        near(run(made, weights, [x], batch(tokens), isa=by)[0],
             wanted(made, weights, [x], batch(tokens), by)[0], 3e-6)  # fmt: skip


def test_the_widest_heads_of_a_full_step(by: By) -> None:
    rng = np.random.default_rng(69)
    heads, e, width = 2, 512, 64
    refs = [("q", (heads * e, width)), ("k", (e, width)), ("v", (e, width)), ("bq", (heads * e,)), ("bk", (e,)),
            ("bv", (e,))]  # fmt: skip
    weights = filled(rng, refs, {}, "Q8_0", 0.3)

    def build(b: Builder) -> tuple[list[int], list[int]]:
        x, q = b.buffer("x", width), b.buffer("q", heads * e)
        table = b.rope_table("table", [100 ** (-i / 8) for i in range(e // 2)])
        cache = b.cache(1, e)
        wq, wk, wv, bq, bk, bv = (b.tensor(n, *s) for n, s in refs)
        none = Weight(NONE)
        b.add(ops.Qkv(In(x), In(table), wq, bq, wk, bk, wv, bv, none, none, Out(q), cache, heads, e, 1, 0.0))
        return [x], [q, b.attend("out", q, cache, heads, e**-0.5)]

    made = program(build)
    for tokens in (16, 128):
        x = rng.standard_normal((tokens, width)).astype(np.float32)
        for found, right in zip(run(made, weights, [x], batch(tokens), isa=by),
                                wanted(made, weights, [x], batch(tokens), by)):  # fmt: skip
            near(found, right, 1e-5)
