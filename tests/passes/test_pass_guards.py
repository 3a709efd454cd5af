"""Programs that no family makes, and that passes must still leave as they mean: backends rely on it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgeq import ops
from edgeq.backends.base import Batch, Options
from edgeq.backends.reference import ReferenceBackend
from edgeq.passes.fuse import fuse
from edgeq.passes.place import place
from edgeq.passes.split import split
from edgeq.program import Builder, Program
from tests.blocks import filled
from tests.families import FAMILIES, lower

WIDTH, TOKENS = 64, [3, 1, 4, 1, 5, 9, 2, 6]


def made(build: Callable[[Builder, int], int], layers: int = 1) -> Program:
    b = Builder()
    x = b.embed(b.tensor("t", 10, WIDTH), WIDTH)
    b.layer = 0
    return b.finish(build(b, x), layers)


def output(programs: list[Program], whole: Program) -> np.ndarray:
    """Of the parts in a row."""
    refs = [(t.name, t.shape) for t in whole.tensors if t.values is None]
    weights = filled(np.random.default_rng(1), refs, {}, "F32", 0.3)
    batch, values = Batch.single(TOKENS, 0, outputs=range(len(TOKENS))), []
    for program in programs:
        executable = ReferenceBackend(np.float64).compile(program, weights, Options())
        values = executable.step(executable.new_state(1, 64, "F32"), batch, values)
    return values[0]


def all_fused(program: Program) -> Program:
    fused = fuse(program, lambda op: True)
    assert np.allclose(output([fused], program), output([program], program), rtol=1e-9, atol=1e-9)
    return fused


def kinds(program: Program) -> list[type[ops.Op]]:
    return [type(op) for op in program.ops]


def heads(b: Builder, x: int, n: str) -> tuple[int, int, int]:
    table = b.rope_table(f"rope{n}", [1.0, 0.1])
    q, k, v = (b.linear(f"{p}{n}", x, b.tensor(f"w{p}{n}", WIDTH, WIDTH), WIDTH) for p in "qkv")
    q, k = (b.rope(f"r{h}", h, table, 32, ops.RopeStyle.HALVES) for h in (q, k))
    return q, k, v


def test_caches_that_are_written_before_any_is_read() -> None:
    def build(b: Builder, x: int) -> int:
        (q0, k0, v0), (q1, k1, v1) = heads(b, x, "0"), heads(b, x, "1")
        first, second = b.cache(2, 32), b.cache(2, 32)
        b.kv_write(k0, v0, first)
        b.kv_write(k1, v1, second)
        one, two = (b.attend(f"a{q}", q, c, 2, 0.2) for q, c in ((q0, first), (q1, second)))
        return b.sum("sum", one, two)

    assert kinds(all_fused(made(build))).count(ops.Qkv) == 2


def test_a_norm_of_heads_is_no_norm_of_rows() -> None:
    def build(b: Builder, x: int) -> int:
        return b.sum("sum", b.norm("heads", x, b.tensor("n", 16), 1e-5, 16), x)

    assert ops.NormAdd not in kinds(all_fused(made(build)))


def test_a_linear_with_a_bias_and_a_residual() -> None:
    def build(b: Builder, x: int) -> int:
        return b.sum("sum", x, b.linear("y", x, b.tensor("w", WIDTH, WIDTH), WIDTH, b.tensor("bias", WIDTH)))

    assert ops.LinearAdd in kinds(all_fused(made(build)))


@pytest.mark.parametrize("start", [1, 2])
def test_an_embedding_that_later_layers_read_crosses_and_is_not_made_again(start: int) -> None:
    def build(b: Builder, x: int) -> int:
        y = x
        for layer in range(3):
            b.layer = layer
            y = b.sum(f"sum{layer}", b.norm(f"norm{layer}", y, b.tensor(f"n{layer}", WIDTH), 1e-5), x)
        return y

    whole = made(build, 3)
    parts = split(whole, [start])
    assert [kinds(p).count(ops.Embed) for p in parts] == [1, 0]
    assert len(parts[1].inputs) == 2
    assert np.allclose(output(parts, whole), output([whole], whole), rtol=1e-4, atol=1e-5)  # float32 crosses


@pytest.mark.parametrize("family", FAMILIES)
def test_no_op_writes_over_what_it_reads(family: str) -> None:
    for program in (lower(family), fuse(lower(family), lambda op: True)):
        offsets, _ = place(program)
        spans = [range(at, at + b.width) for at, b in zip(offsets, program.buffers)]
        for op in program.ops:
            for out in op.handles("Out"):
                for read in set(op.handles("In")) - {out}:
                    assert not set(spans[out]) & set(spans[read]), (op, program.buffers[read].name)


def test_outputs_live_to_the_end() -> None:
    """An output that is ready early, and buffers that come later."""
    program = lower("llama")
    early = next(op for op in program.ops if isinstance(op, ops.RmsNorm)).out
    watched = program.replace(outputs=(early, *program.outputs))
    offsets, _size = place(watched)
    kept = set(range(offsets[early], offsets[early] + watched.buffers[early].width))
    after = next(i for i, op in enumerate(watched.ops) if early in op.handles("Out")) + 1
    for op in watched.ops[after:]:
        for out in op.handles("Out"):
            assert not kept & set(range(offsets[out], offsets[out] + watched.buffers[out].width))
