"""Steps of few tokens: activations rounded by whoever writes them; the largest integers."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from edgeq import ops, quants
from edgeq.backends.base import Cancel, Executable, Options
from edgeq.errors import Cancelled
from edgeq.ops import In, Out
from edgeq.passes.place import place
from edgeq.program import Builder, Program
from tests.backends.single import known, native, near, program, run, seen, wanted
from tests.backends.test_linear_corners import check
from tests.backends.test_native_ops import batch, linear
from tests.blocks import MemoryWeights, filled

FORMATS = ("Q4_K", "Q6_K", "Q2_K", "Q4_0")
WIDE = 512  # of what gates write, 32 columns at a time
ROWS = 9
HEADS = ((4, 64), (8, 96), (2, 256))  # number and width: a head is part of a span, lies in two, is one


def gates(b: Builder) -> tuple[list[int], list[int]]:
    """Two gates, one after the other; a linear reads what each writes."""
    x, outs = b.buffer("x", 64), []
    for i in range(2):
        y = b.buffer(f"y{i}", WIDE)
        gate, up = (b.tensor(f"{n}{i}", WIDE, 64) for n in ("gate", "up"))
        b.add(ops.GateUp(In(x), gate, up, y, int(ops.Act.SILU)))
        outs += [y, b.linear(f"z{i}", y, b.tensor(f"w{i}", ROWS, WIDE), ROWS)]
    return [x], outs


def gate_weights(rng: np.random.Generator, fmt: str) -> MemoryWeights:
    refs = [(f"{n}{i}", (WIDE, 64)) for n in ("gate", "up") for i in range(2)]
    refs += [(f"w{i}", (ROWS, WIDE)) for i in range(2)]
    return filled(rng, refs, {f"w{i}": fmt for i in range(2)}, "Q8_0", 0.3)


def heads(b: Builder) -> tuple[list[int], list[int]]:
    inputs, outs = [], []
    for i, (n, e) in enumerate(HEADS):
        q, k, v = b.buffer(f"q{i}", n * e), b.buffer(f"k{i}", 2 * e), b.buffer(f"v{i}", 2 * e)
        cache = b.cache(2, e, 0)
        b.kv_write(k, v, cache)
        out = b.attend(f"out{i}", q, cache, n, e**-0.5)
        inputs += [q, k, v]
        outs += [out, b.linear(f"z{i}", out, b.tensor(f"w{i}", ROWS, n * e), ROWS)]
    return inputs, outs


def pairs_fit(outs: list[np.ndarray], weights: MemoryWeights, isa: str) -> None:
    """That every other output is w0, w1, ... times the rounded output before it."""
    for i, (x, found) in enumerate(zip(outs[::2], outs[1::2], strict=True)):
        w, y = weights[f"w{i}"].values().astype(np.float64), seen(x, isa, weights[f"w{i}"].format.name)
        w = known(w, len(x), isa)
        assert (np.abs(found - y @ w.T) <= 2e-6 * (np.abs(y) @ np.abs(w.T) + 1)).all(), i


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_linear_reads_what_gates_wrote(fmt: str, threads: int, isa: str) -> None:
    rng = np.random.default_rng(70)
    weights, made = gate_weights(rng, fmt), program(gates)
    for tokens in (1, 5, 7, 16, 40):
        x = rng.standard_normal((tokens, 64)).astype(np.float32)
        pairs_fit(run(made, weights, [x], batch(tokens), isa=isa, threads=threads), weights, isa)


@pytest.mark.parametrize("tokens", [1, 5, 16, 40])
def test_floats_of_gates_are_there_for_whoever_reads_them(tokens: int, isa: str) -> None:
    """Where nobody does, only what is rounded of them is kept: the linears find the same."""

    def unseen(b: Builder) -> tuple[list[int], list[int]]:
        inputs, outs = gates(b)
        return inputs, outs[1::2]

    def added(b: Builder) -> tuple[list[int], list[int]]:
        inputs, outs = gates(b)
        sums = b.buffer("sums", WIDE)
        b.add(ops.Add(In(outs[0]), In(outs[2]), Out(sums)))
        return inputs, [*outs[1::2], sums]

    def multiplied(b: Builder) -> tuple[list[int], list[int]]:
        inputs, outs = gates(b)
        return inputs, [*outs[1::2], b.linear("z", outs[0], b.tensor("half", ROWS, WIDE), ROWS)]

    rng = np.random.default_rng(77)
    weights, x = gate_weights(rng, "Q4_K"), rng.standard_normal((tokens, 64)).astype(np.float32)
    weights |= filled(rng, [("half", (ROWS, WIDE))], {}, "F16", 0.3)
    right = run(program(gates), weights, [x], batch(tokens), isa=isa)
    unread, summed, product = (
        run(program(made), weights, [x], batch(tokens), isa=isa) for made in (unseen, added, multiplied)
    )
    for found in (unread, summed, product):
        assert all(np.array_equal(a, b) for a, b in zip(found, right[1::2]))
    assert np.array_equal(summed[2], right[0] + right[2])
    near(product[2], right[0] @ known(weights["half"].values().astype(np.float64), tokens, isa).T, 1e-2)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_linear_reads_what_attention_wrote(fmt: str, threads: int, isa: str) -> None:
    rng = np.random.default_rng(71)
    weights = filled(rng, [(f"w{i}", (ROWS, n * e)) for i, (n, e) in enumerate(HEADS)], {}, fmt, 1.0)
    made = program(heads)
    for tokens in (1, 5, 7, 16, 40):
        widths = [w * e for n, e in HEADS for w in (n, 2, 2)]
        inputs = [rng.standard_normal((tokens, w)).astype(np.float32) for w in widths]
        pairs_fit(run(made, weights, inputs, batch(tokens), isa=isa, threads=threads), weights, isa)


@pytest.mark.parametrize("tokens", [1, 5, 16, 40])
def test_linears_of_larger_and_smaller_blocks_read_the_same_rows(tokens: int, isa: str) -> None:
    """A variant may round rows in another way for each."""
    formats = ("Q4_K", "Q8_0", "IQ4_XS", "Q6_K", "Q4_0")

    def build(b: Builder) -> tuple[list[int], list[int]]:
        x = b.buffer("x", WIDE)
        return [x], [b.linear(f"y{f}", x, b.tensor(f, ROWS, WIDE), ROWS) for f in formats]

    rng = np.random.default_rng(78)
    weights = filled(rng, [(f, (ROWS, WIDE)) for f in formats], {f: f for f in formats}, "", 1.0)
    x = rng.standard_normal((tokens, WIDE)).astype(np.float32)
    for f, found in zip(formats, run(program(build), weights, [x], batch(tokens), isa=isa), strict=True):
        w, y = known(weights[f].values().astype(np.float64), tokens, isa), seen(x, isa, f)
        assert (np.abs(found - y @ w.T) <= 2e-6 * (np.abs(y) @ np.abs(w.T) + 1)).all(), f


def test_reproducible_prompts_round_what_gates_wrote_as_one_token_does(isa: str) -> None:
    """A gate writes 96 columns at a time then: spans are completed by one that writes columns of two."""
    rng = np.random.default_rng(72)
    weights, made = gate_weights(rng, "Q4_K"), program(gates)
    x = rng.standard_normal((41, 64)).astype(np.float32)
    together = run(made, weights, [x], batch(41), isa=isa, reproducible=True)
    for t in (0, 1, 17, 40):
        for one, all_at_once in zip(run(made, weights, [x[t : t + 1]], batch(1), isa=isa), together, strict=True):
            assert np.array_equal(one[0], all_at_once[t])


def many_gates(b: Builder) -> tuple[list[int], list[int]]:
    """Enough to be cancelled in the middle."""
    x, outs = b.buffer("x", 64), []
    for i in range(60):
        y = b.buffer(f"y{i}", WIDE)
        b.add(ops.GateUp(In(x), b.tensor("gate", WIDE, 64), b.tensor("up", WIDE, 64), y, int(ops.Act.SILU)))
        outs.append(b.linear(f"z{i}", y, b.tensor("w", 64, WIDE), 64))
    return [x], outs


def cancelled(made: Executable, x: np.ndarray, delay: float) -> bool:
    """Whether a step that was cancelled after so many seconds had not ended before."""
    cancel, state = Cancel(), made.new_state(1, 128, "F32")
    timer = threading.Thread(target=lambda: (time.sleep(delay), cancel.set()))
    timer.start()
    try:
        made.step(state, batch(len(x)), [x], cancel=cancel)
    except Cancelled:
        return True
    finally:
        timer.join()
    return False


@pytest.mark.parametrize("threads", [1, 2])
def test_a_step_that_was_cancelled_leaves_nothing_to_the_next(threads: int, isa: str) -> None:
    rng = np.random.default_rng(73)
    weights = filled(rng, [("gate", (WIDE, 64)), ("up", (WIDE, 64)), ("w", (64, WIDE))], {"w": "Q4_K"}, "Q8_0", 0.3)
    made: Program = program(many_gates)
    x = rng.standard_normal((16, 64)).astype(np.float32)
    executable = native(threads).compile(made, weights, Options(threads=threads, isa=isa))

    def step(tokens: int) -> np.ndarray:
        return np.stack(executable.step(executable.new_state(1, 128, "F32"), batch(tokens), [x[:tokens]]))

    right = {tokens: step(tokens) for tokens in (1, 16)}
    seconds = time.monotonic()
    step(16)
    seconds = time.monotonic() - seconds
    stopped, end = 0, time.monotonic() + 60
    while not stopped and time.monotonic() < end:  # on a busy machine the timer may come too late
        for share in (0.0, 0.1, 0.2, 0.4, 0.6):
            stopped += cancelled(executable, x, share * seconds)
            for tokens, found in right.items():
                assert np.array_equal(step(tokens), found)
    executable.close()
    assert stopped


@pytest.mark.parametrize("fmt", ["Q8_0", "Q4_K", "Q6_K"])
def test_a_value_that_is_not_finite_anywhere_in_a_span(fmt: str, isa: str) -> None:
    """It reaches every output of its token, and none of the others'."""
    rng = np.random.default_rng(74)
    cols = 768
    weights = filled(rng, [("w", (ROWS, cols)), ("b", (ROWS,))], {}, fmt, 1.0)
    made = program(lambda b: linear(b, ROWS, cols))
    for at in (0, 40, 255, 256, 300, 500, 511, 767):
        for bad in (np.nan, np.inf, -np.inf):
            x = rng.standard_normal((5, cols)).astype(np.float32)
            x[2, at] = bad
            found = run(made, weights, [x], batch(5), isa=isa)[0]
            assert not np.isfinite(found[2]).any()
            kept = [0, 1, 3, 4]
            check(found[kept], x[kept], isa, weights)


@pytest.mark.parametrize("fmt", ["Q4_0", "Q4_K", "IQ4_XS", "Q6_K"])
def test_the_largest_activation_may_be_in_any_group_of_a_span(fmt: str, isa: str) -> None:
    rng = np.random.default_rng(75)
    cols = 512
    weights = filled(rng, [("w", (ROWS, cols)), ("b", (ROWS,))], {}, fmt, 1.0)
    made = program(lambda b: linear(b, ROWS, cols))
    x = rng.standard_normal((16, cols)).astype(np.float32)
    x[np.arange(16), 32 * np.arange(16) + 7] = np.where(np.arange(16) % 2, 1000, -1000)
    x[3, 256:] = x[5, :256] = 0
    for tokens in (1, 6, 16):
        check(run(made, weights, [x[:tokens]], batch(tokens), isa=isa)[0], x[:tokens], isa, weights)


def test_blocks_that_are_missing_in_a_four_forget_the_buffer_that_was_there(isa: str) -> None:
    """Rows of three blocks, in the place of a buffer whose rows had four."""
    rng = np.random.default_rng(78)
    refs = [("w0", (96, 128)), ("w1", (96, 96)), ("w2", (ROWS, 96))]

    def build(b: Builder) -> tuple[list[int], list[int]]:
        x = b.buffer("x", 128)
        scaled = b.scale("scaled", x, b.tensor("s", 1))  # an input keeps its place
        first = b.linear("first", scaled, b.tensor("w0", 96, 128), 96)
        again = b.linear("again", first, b.tensor("w1", 96, 96), 96)
        return [x], [b.linear("last", again, b.tensor("w2", ROWS, 96), ROWS)]

    weights = filled(rng, [*refs, ("s", (1,))], {"s": "F32"}, "Q4_1", 0.3)
    made = program(build)
    offsets, _ = place(made)
    assert offsets[made.ops[0].out] == offsets[made.ops[2].out]
    for tokens in (1, 6, 16):
        x = rng.standard_normal((tokens, 128)).astype(np.float32)
        right = wanted(made, weights, [x], batch(tokens), isa)[0]
        near(run(made, weights, [x], batch(tokens), isa=isa)[0], right, 1e-4)


# What makes weights times their block's integer scales as large as they can be: bytes from `at` on are `byte`.
LARGEST: dict[str, tuple[tuple[int, int], ...]] = {
    "Q2_K": ((0, 0xFF),),
    "Q3_K": ((0, 0x00),),  # -4 times -32
    "Q4_K": ((4, 0xFF),),
    "Q5_K": ((4, 0xFF),),
    "Q6_K": ((0, 0x00), (192, 0x80)),  # -32 times -128
    "IQ4_XS": ((2, 0x00),),  # -127 times -32
}


@pytest.mark.parametrize("fmt", sorted(LARGEST))
def test_the_largest_sums_of_a_block_fit_their_integers(fmt: str, isa: str) -> None:
    rng = np.random.default_rng(76)
    f = quants.FORMATS[fmt]
    rows, cols = 6, 2 * f.block
    weights = filled(rng, [("w", (rows, cols)), ("b", (rows,))], {}, fmt, 1.0)
    blocks = weights["w"].data.reshape(rows, 2, f.nbytes)
    before = blocks.copy()
    for at, byte in LARGEST[fmt]:
        blocks[..., at:] = byte
    for kind, at in quants.scale_fields(fmt):
        assert kind == "F16"
        blocks[..., at : at + 2] = before[..., at : at + 2]
    top = np.full(cols, 3.0)
    x = np.stack([top, -top, np.where(np.arange(cols) < f.block, top, -top)] * 6).astype(np.float32)
    made = program(lambda b: linear(b, rows, cols))
    for tokens in (1, 2, 3, 6, 16):
        for first in range(3):
            part = x[first : first + tokens]
            check(run(made, weights, [part], batch(len(part)), isa=isa)[0], part, isa, weights)
