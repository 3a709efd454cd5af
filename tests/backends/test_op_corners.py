"""Corners of ops that models reach only if large, long, or of mixed formats: every variant, and numba."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from edgeq import backends, ops, quants
from edgeq.backends.base import Batch, Options
from edgeq.errors import BackendError
from edgeq.ops import NONE, In, Out, Weight
from edgeq.program import Builder
from tests.backends.conftest import WORKING, By
from tests.backends.single import Steps, known, native, near, program, run, seen, wanted
from tests.backends.test_native_ops import attention, batch, linear, random_qkv
from tests.blocks import MemoryWeights, filled

# --- linears ------------------------------------------------------------------------------------------------


def check_linear(fmt: str, by: By, rows: int, tokens: int, threads: int) -> None:
    rng = np.random.default_rng(rows + tokens)
    cols = max(32, quants.FORMATS[fmt].block)
    weights = filled(rng, [("w", (rows, cols)), ("b", (rows,))], {}, fmt, 1.0)
    x = rng.standard_normal((tokens, cols)).astype(np.float32)
    made = program(lambda b: linear(b, rows, cols))
    found = run(made, weights, [x], batch(tokens), isa=by, threads=threads)[0]
    w = weights["w"].values().astype(np.float64)
    x, w = (x, w) if fmt == "F16" else (seen(x, by, fmt), known(w, tokens, by))
    assert (np.abs(found - x @ w.T - weights["b"].values()) <= 2e-6 * (np.abs(x) @ np.abs(w.T) + 1)).all()


@pytest.mark.parametrize("fmt", ["Q4_0", "Q2_K", "F16"])
def test_rows_enough_for_whole_panels(fmt: str, by: By) -> None:
    """With one thread, from 768 rows on, 96 at a time."""
    check_linear(fmt, by, 805, 21, 1)


@pytest.mark.parametrize("fmt", ["Q5_1", "Q6_K"])
def test_any_number_of_rows_that_is_left_over(fmt: str, by: By) -> None:
    for rows in range(1, 14):
        for tokens in (1, 2, 3, 6, 19):
            check_linear(fmt, by, rows, tokens, 2)


def test_two_inputs_that_are_both_rounded(by: By) -> None:
    """At one time, each in a place of its own."""
    rng = np.random.default_rng(40)

    def build(b: Builder) -> tuple[list[int], list[int]]:
        x, y = b.buffer("x", 64), b.buffer("y", 96)
        return [x, y], [b.linear(n, h, b.tensor(f"w{n}", 20, w), 20) for n, h, w in (("u", x, 64), ("v", y, 96))]

    weights = filled(rng, [("wu", (20, 64)), ("wv", (20, 96))], {}, "Q8_0", 1.0)
    for tokens in (1, 20):
        inputs = [rng.standard_normal((tokens, w)).astype(np.float32) for w in (64, 96)]
        for found, right in zip(run(program(build), weights, inputs, batch(tokens), isa=by),
                                wanted(program(build), weights, inputs, batch(tokens), by)):  # fmt: skip
            near(found, right, 1e-5)


def test_a_buffer_that_is_written_again_is_rounded_again(by: By) -> None:
    rng = np.random.default_rng(50)

    def build(b: Builder) -> tuple[list[int], list[int]]:
        x, r = b.buffer("x", 64), b.buffer("r", 64)
        y = b.linear("y", x, b.tensor("w", 64, 64), 64)
        b.add(ops.Add(In(x), In(r), x))
        return [x, r], [y, b.linear("z", x, b.tensor("w", 64, 64), 64)]

    weights = filled(rng, [("w", (64, 64))], {}, "Q8_0", 1.0)
    for tokens in (1, 20):
        inputs = [rng.standard_normal((tokens, 64)).astype(np.float32) for _ in "xr"]
        for found, right in zip(run(program(build), weights, inputs, batch(tokens), isa=by),
                                wanted(program(build), weights, inputs, batch(tokens), by)):  # fmt: skip
            near(found, right, 1e-5)


def test_heads_that_are_normalized_one_by_one(by: By) -> None:
    """Plain norms of heads, and a linear behind them that reads all of it."""
    rng = np.random.default_rng(41)

    def build(b: Builder) -> tuple[list[int], list[int]]:
        x = b.buffer("x", 120)
        normed = b.norm("normed", x, b.tensor("n", 40), 1e-3, 40)
        wide = b.buffer("wide", 128)
        y = b.linear("y", b.norm("whole", wide, b.tensor("m", 128), 1e-5), b.tensor("w", 24, 128), 24)
        return [x, wide], [normed, y]

    weights = filled(rng, [("n", (40,)), ("m", (128,)), ("w", (24, 128))], {}, "Q8_0", 1.0)
    for tokens in (1, 19):
        inputs = [rng.standard_normal((tokens, w)).astype(np.float32) * 0.1 for w in (120, 128)]
        found = run(program(build), weights, inputs, batch(tokens), isa=by)
        right = wanted(program(build), weights, inputs, batch(tokens), by)
        near(found[0], right[0], 1e-6)
        near(found[1], right[1], 2e-3 if tokens > 16 else 2e-5)  # another last bit of a norm can be another byte


@pytest.mark.parametrize("formats", [("F16", "Q8_0", "Q4_0"), ("F32", "F16", "Q5_1"), ("Q6_K", "F16", "F32")])
def test_queries_keys_and_values_of_mixed_formats(formats: tuple[str, str, str], by: By) -> None:
    rng = np.random.default_rng(42)
    heads, kv_heads, e, width = 4, 2, 32, 256
    refs = [("q", (heads * e, width)), ("k", (kv_heads * e, width)), ("v", (kv_heads * e, width))]
    weights = filled(rng, refs, dict(zip("qkv", formats)), "F32", 0.3)

    def build(b: Builder) -> tuple[list[int], list[int]]:
        x, q = b.buffer("x", width), b.buffer("q", heads * e)
        table = b.rope_table("table", [100 ** (-i / 8) for i in range(e // 2)])
        cache = b.cache(kv_heads, e)
        none = Weight(NONE)
        wq, wk, wv = (b.tensor(n, *s) for n, s in refs)
        b.add(ops.Qkv(In(x), In(table), wq, none, wk, none, wv, none, none, none, Out(q), cache, heads, e, 1, 0.0))
        return [x], [q, b.attend("out", q, cache, heads, e**-0.5)]

    for tokens in (1, 20):
        x = rng.standard_normal((tokens, width)).astype(np.float32)
        for found, right in zip(run(program(build), weights, [x], batch(tokens), isa=by),
                                wanted(program(build), weights, [x], batch(tokens), by)):  # fmt: skip
            near(found, right, 1e-5)


# --- attention ----------------------------------------------------------------------------------------------


def held(made_for: Callable[[np.random.Generator, int], list[np.ndarray]], until: int, sequence: int = 0) -> Steps:
    """Steps of 128 tokens that fill a sequence up to a position."""
    rng = np.random.default_rng(43)
    sizes = [min(128, until - at) for at in range(0, until, 128)]
    return [(batch(n, 128 * i, sequence), made_for(rng, n)) for i, n in enumerate(sizes)]


@pytest.mark.parametrize("window", [0, 1100])
def test_prompts_that_see_several_segments(window: int, by: By) -> None:
    """A window that ends in one segment for the first of neighbouring tokens and in the next for the last."""
    made = program(lambda b: attention(b, 2, 1, 32, window, 0.0))
    before = held(lambda rng, n: random_qkv(rng, n, 2, 1, 32), 2100)
    values = random_qkv(np.random.default_rng(44), 40, 2, 1, 32)
    last = batch(40, 2100)
    found, wanted = (
        run(made, MemoryWeights(), values, last, isa=who, before=before, context=2304)[0] for who in (by, None)
    )
    near(found, wanted, 3e-6)


def test_rings_that_have_turned(by: By) -> None:
    made = program(lambda b: attention(b, 4, 2, 32, 50, 0.0))
    before = held(lambda rng, n: random_qkv(rng, n, 4, 2, 32), 500)
    values = random_qkv(np.random.default_rng(45), 20, 4, 2, 32)
    found, wanted = (
        run(made, MemoryWeights(), values, batch(20, 500), isa=who, before=before, context=640)[0] for who in (by, None)
    )
    near(found, wanted, 2e-6)


def test_neighbouring_positions_of_two_sequences_in_a_large_batch(by: By) -> None:
    """The second sequence goes on where the first one ends, as if they were one."""
    made = program(lambda b: attention(b, 4, 2, 32, 0, 0.0))
    before = [step for s, n in ((0, 10), (1, 22)) for step in held(lambda rng, n: random_qkv(rng, n, 4, 2, 32), n, s)]
    both = Batch([0] * 24, [*range(10, 22), *range(22, 34)], [0] * 12 + [1] * 12, range(24))
    values = random_qkv(np.random.default_rng(46), 24, 4, 2, 32)
    found, wanted = (run(made, MemoryWeights(), values, both, isa=who, before=before)[0] for who in (by, None))
    near(found, wanted, 2e-6)


def test_a_lone_token_before_a_prompt_of_two_sequences_with_many_query_heads(by: By) -> None:
    """The jobs of the prompt are cut to what one may have, however short the first job is."""
    made = program(lambda b: attention(b, 16, 1, 32, 0, 0.0))
    both = Batch([0] * 70, [0, *range(69)], [0] + [1] * 69, range(70))
    values = random_qkv(np.random.default_rng(51), 70, 16, 1, 32)
    found, wanted = (run(made, MemoryWeights(), values, both, isa=who)[0] for who in (by, None))
    near(found, wanted, 2e-6)


def test_more_query_heads_than_a_job_takes(by: By) -> None:
    rng = np.random.default_rng(49)
    made = program(lambda b: attention(b, 130, 1, 32, 0, 0.0))
    for tokens in (1, 20):
        values = random_qkv(rng, tokens, 130, 1, 32)
        found, wanted = (run(made, MemoryWeights(), values, batch(tokens), isa=who)[0] for who in (by, None))
        near(found, wanted, 2e-6)


def test_narrow_heads_and_a_linear_that_rounds_them(by: By) -> None:
    """8 heads of 20: the groups of 32 that are rounded do not end with heads."""
    rng = np.random.default_rng(47)

    def build(b: Builder) -> tuple[list[int], list[int]]:
        inputs, (out,) = attention(b, 8, 8, 20, 0, 0.0)
        return inputs, [b.linear("y", out, b.tensor("w", 24, 160), 24)]

    weights = filled(rng, [("w", (24, 160))], {}, "Q8_0", 1.0)
    for tokens in (1, 20):
        values = random_qkv(rng, tokens, 8, 8, 20)
        near(run(program(build), weights, values, batch(tokens), isa=by)[0],
             wanted(program(build), weights, values, batch(tokens), by)[0], 2e-3 if tokens > 16 else 2e-5)  # fmt: skip


# --- keys and values as their formats keep them -------------------------------------------------------------


def halves(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float16).astype(np.float32)


def q8_0(x: np.ndarray) -> np.ndarray:
    """Per 32: the largest magnitude becomes 127."""
    groups = x.reshape(-1, 32)
    scale = halves(np.abs(groups).max(axis=1, keepdims=True) / np.float32(127))
    return (scale * np.clip(np.rint(groups * (1 / scale)), -127, 127)).reshape(x.shape)


def q4_0(x: np.ndarray) -> np.ndarray:
    """Per 32: the number of largest magnitude becomes -8."""
    groups = x.reshape(-1, 32)
    top = np.take_along_axis(groups, np.abs(groups).argmax(axis=1)[:, None], axis=1)
    scale = halves(top / np.float32(-8))
    return (scale * np.clip(np.rint(groups * (1 / scale)), -8, 7)).reshape(x.shape)


KEPT: Sequence[tuple[str, Callable[[np.ndarray], np.ndarray], int]] = (
    ("F16", halves, 64), ("F16", halves, 20), ("Q8_0", q8_0, 64), ("Q4_0", q4_0, 96),
)  # fmt: skip


@pytest.mark.parametrize("tokens", [1, 3])
@pytest.mark.parametrize(("kv_type", "kept", "e"), KEPT)
def test_attention_sees_what_the_cache_keeps(
    kv_type: str, kept: Callable[[np.ndarray], np.ndarray], e: int, tokens: int, by: By
) -> None:
    """With every position of the context taken: the last ones of a head lie next to the first ones of another."""
    rng = np.random.default_rng(31)
    made = program(lambda b: attention(b, 4, 2, e, 0, 0.0))
    n = 128 - tokens
    first, last = random_qkv(rng, n, 4, 2, e), random_qkv(rng, tokens, 4, 2, e)
    found = run(made, MemoryWeights(), last, batch(tokens, n), isa=by, kv_type=kv_type, context=128,
                before=[(batch(n), first)])[0]  # fmt: skip
    first, last = ([q, kept(k), kept(v)] for q, k, v in (first, last))
    near(found, run(made, MemoryWeights(), last, batch(tokens, n), before=[(batch(n), first)])[0], 5e-6)


@pytest.mark.parametrize("window", [0, 50])
@pytest.mark.parametrize(("heads", "kv_heads", "e"), [(7, 1, 64), (3, 3, 96), (10, 2, 32)])
@pytest.mark.parametrize(("kv_type", "kept"), [(name, kept) for name, kept, e in KEPT if e != 20])
def test_rounded_keys_and_values_in_any_number_of_heads(
    kv_type: str, kept: Callable[[np.ndarray], np.ndarray], heads: int, kv_heads: int, e: int, window: int, by: By
) -> None:
    """Rings that have turned, queries few and many, in steps that end anywhere in a tile."""
    rng = np.random.default_rng(53)
    made = program(lambda b: attention(b, heads, kv_heads, e, window, 0.0))
    sizes = (100, 1, 80, 3, 128, 9, 20)
    steps = [(batch(n, sum(sizes[:i])), random_qkv(rng, n, heads, kv_heads, e)) for i, n in enumerate(sizes)]
    exact = [(which, [q, kept(k), kept(v)]) for which, (q, k, v) in steps]
    for end in (4, 6, 7):
        (at, values), (_, right) = steps[end - 1], exact[end - 1]
        found = run(made, MemoryWeights(), values, at, isa=by, kv_type=kv_type, before=steps[: end - 1], context=384)[0]
        wanted = run(made, MemoryWeights(), right, at, before=exact[: end - 1], context=384)[0]
        near(found, wanted, 5e-6)


@pytest.mark.parametrize("kv_type", ["F32", "F16", "Q8_0", "Q4_0"])
def test_a_query_sees_the_same_bits_whatever_else_is_in_its_step(kv_type: str, by: By) -> None:
    """One token, a few, and so many that the tile is turned to float32."""
    rng = np.random.default_rng(54)
    made = program(lambda b: attention(b, 6, 2, 96, 0, 0.0))
    first, values = random_qkv(rng, 100, 6, 2, 96), random_qkv(rng, 16, 6, 2, 96)
    whole = run(made, MemoryWeights(), values, batch(16, 100), isa=by, kv_type=kv_type, before=[(batch(100), first)])[0]
    for sizes in ((1,) * 16, (2, 3, 1, 4, 6)):
        steps = [(batch(100), first)]
        for at, n in zip(np.cumsum((0, *sizes)).tolist(), sizes):
            part = [v[at : at + n] for v in values]
            found = run(made, MemoryWeights(), part, batch(n, 100 + at), isa=by, kv_type=kv_type, before=steps)[0]
            assert np.array_equal(found, whole[at : at + n])
            steps = [*steps, (batch(n, 100 + at), part)]


@pytest.mark.parametrize("kv_type", ["F32", "F16", "Q8_0", "Q4_0"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_keys_and_values_that_are_not_finite_stay_where_they_are_seen(kv_type: str, bad: float, by: By) -> None:
    """In their own head and sequence, from their position on; a window that has left them behind is clean again."""
    rng = np.random.default_rng(55)
    made = program(lambda b: attention(b, 4, 2, 32, 40, 0.0))
    steps = [(batch(64, at), random_qkv(rng, 64, 4, 2, 32)) for at in (0, 64, 128, 192)]
    harmed = [(which, [x.copy() for x in values]) for which, values in steps]
    harmed[0][1][1][50, 5] = bad  # a key of the first head
    harmed[0][1][2][60, 9] = bad  # a value
    for end in (1, 2, 4):
        (at, values), (_, worse) = steps[end - 1], harmed[end - 1]
        clean, found = (
            run(made, MemoryWeights(), last, at, isa=by, kv_type=kv_type, before=before)[0]
            for last, before in ((values, steps[: end - 1]), (worse, harmed[: end - 1]))
        )
        assert np.array_equal(found[:, 64:], clean[:, 64:])  # heads of other keys
        touched = {1: slice(50, 64), 2: slice(0, 36), 4: slice(0, 0)}[end]
        untouched = np.ones(64, bool)
        untouched[touched] = False
        assert np.array_equal(found[untouched], clean[untouched])
        assert np.array_equal(found, clean) == (end == 4)


@pytest.mark.parametrize("kv_type", ["Q8_0", "Q4_0"])
def test_a_nan_is_kept_as_zero_where_there_are_scales(kv_type: str, by: By) -> None:
    rng = np.random.default_rng(56)
    made = program(lambda b: attention(b, 4, 2, 32, 0, 0.0))
    q, *kv = random_qkv(rng, 70, 4, 2, 32)
    seen = []
    for bad in (np.nan, 0.0):
        for x in kv:
            x[[20, 60], [3, 31]] = bad
        seen.append(run(made, MemoryWeights(), [q, *kv], batch(70), isa=by, kv_type=kv_type)[0])
    assert np.array_equal(*seen)


# --- states, and what C checks for itself -------------------------------------------------------------------


@pytest.mark.parametrize("backend", [*(["native"] if WORKING else []), "numba"])
@pytest.mark.parametrize("kv_type", ["F32", "F16", "Q8_0", "Q4_0"])
@pytest.mark.parametrize("window", [0, 50])
def test_copies_and_snapshots_hold_every_head(kv_type: str, window: int, backend: str) -> None:
    """Of 200 positions, in whole tiles or a ring that has turned; keys and values of 3 heads."""
    if backend == "numba":
        pytest.importorskip("numba", reason="numba has no wheel for this platform")
    rng = np.random.default_rng(48)
    made = program(lambda b: attention(b, 3, 3, 32, window, 0.0))
    executable = backends.find(backend).compile(made, MemoryWeights(), Options(threads=2, chunk=64))
    state, other = executable.new_state(3, 256, kv_type), executable.new_state(3, 256, kv_type)
    for at in (0, 50, 100, 150):
        executable.step(state, batch(50, at, 1), random_qkv(rng, 50, 3, 3, 32))
    state.copy(1, 2, 200)
    other.restore(0, state.snapshot(1, 200), 200)
    values = random_qkv(rng, 2, 3, 3, 32)
    wanted, copied = (executable.step(state, batch(2, 200, s), values)[0] for s in (1, 2))
    assert np.array_equal(copied, wanted)
    assert np.array_equal(executable.step(other, batch(2, 200, 0), values)[0], wanted)
    assert not np.array_equal(executable.step(other, batch(2, 200, 1), values)[0], wanted)


@pytest.mark.skipif(not WORKING, reason="left out: needs the native library")
@pytest.mark.parametrize(
    "bad",
    [
        Batch([1], [-1], [0], [0]), Batch([1], [128], [0], [0]), Batch([1], [0], [2], [0]), Batch([1], [0], [-1], [0]),
        Batch([1], [0], [0], [1]), Batch([1], [0], [0], [-1]), Batch([9], [0], [0], [0]), Batch([-1], [0], [0], [0]),
        Batch([1, 1], [0, 1], [0, 0], [0, 1, 0]), Batch([1] * 65, range(65), [0] * 65, [0]), Batch([], [], [], []),
    ],
)  # fmt: skip
def test_the_library_checks_batches_itself(bad: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever calls it: here without the check that Python makes before."""
    from edgeq.backends import native as module

    monkeypatch.setattr(module, "check_batch", lambda *given: None)
    weights = filled(np.random.default_rng(0), [("t", (9, 32))], {}, "F32", 1.0)
    made = program(lambda b: ([], [b.take_rows("y", b.embed(b.tensor("t", 9, 32), 32))]))
    executable = native(2).compile(made, weights, Options(threads=2, chunk=64))
    state = executable.new_state(2, 128, "F32")
    with pytest.raises(BackendError, match="batch"):
        executable.step(state, bad)
    assert executable.step(state, Batch([8], [127], [1], [0]))[0].shape == (1, 32)
