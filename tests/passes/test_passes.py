"""Fusing, splitting and placing change how a program runs, never what it computes."""

from __future__ import annotations

import numpy as np
import pytest

from edgeq import ops
from edgeq.backends.base import Batch, Options
from edgeq.backends.reference import ReferenceBackend
from edgeq.errors import ModelError, UsageError
from edgeq.passes.fuse import fuse
from edgeq.passes.place import ALIGN, place
from edgeq.passes.split import split
from edgeq.program import Program, validate
from tests.families import FAMILIES, LAYERS, lower, weights

TOKENS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4, 6, 2, 6, 4]


def logits(program: Program, source: Program | None = None) -> np.ndarray:
    executable = ReferenceBackend(np.float64).compile(program, weights(source or program), Options(chunk=64))
    state = executable.new_state(1, 128, "F32")
    first = executable.step(state, Batch.single(TOKENS[:20], 0, outputs=range(20)))[0]
    return np.concatenate(
        [first, *(executable.step(state, Batch.single([t], i))[0] for i, t in enumerate(TOKENS[20:], 20))]
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_fused_equals_plain(family: str) -> None:
    plain = lower(family)
    fused = fuse(plain, lambda op: True)
    kinds = {type(op) for op in fused.ops}
    assert {ops.Qkv, ops.GateUp} <= kinds
    assert not kinds & {ops.KvWrite, ops.Rope, ops.Glu, ops.Add}
    assert len(fused.ops) < len(plain.ops)
    assert np.allclose(logits(fused), logits(plain), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("declined", ops.FUSED)
def test_a_declined_fusion_leaves_the_plain_ops(family: str, declined: type[ops.Op]) -> None:
    plain = lower(family)
    fused = fuse(plain, lambda op: op is not declined)
    assert declined not in {type(op) for op in fused.ops}
    assert np.allclose(logits(fused), logits(plain), rtol=1e-10, atol=1e-10)


def test_nothing_is_fused_where_something_else_reads_the_part() -> None:
    plain = lower("llama")
    gate = next(op for op in plain.ops if isinstance(op, ops.Glu)).gate

    watched = plain.replace(outputs=(*plain.outputs, gate))
    assert sum(isinstance(op, ops.GateUp) for op in fuse(watched, lambda op: True).ops) == LAYERS - 1


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("starts", [[1], [LAYERS - 1], [2, 3, 5]])
def test_parts_in_a_row_equal_the_whole(family: str, starts: list[int]) -> None:
    plain = lower(family)
    parts = [fuse(p, lambda op: True) for p in split(plain, starts)]
    assert sum(len(p.caches) for p in parts) == LAYERS
    assert not parts[0].inputs and all(len(p.inputs) == 1 for p in parts[1:])
    source = weights(plain)
    compiled = [ReferenceBackend(np.float64).compile(p, source, Options(chunk=64)) for p in parts]
    states = [c.new_state(1, 128, "F32") for c in compiled]
    batch, values = Batch.single(TOKENS, 0, outputs=range(len(TOKENS))), []
    for executable, state in zip(compiled, states):
        values = executable.step(state, batch, values)
    assert np.allclose(values[0], logits(plain), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("starts", [[0], [LAYERS], [3, 3], [4, 2], [-1]])
def test_split_at_a_layer_that_is_none(starts: list[int]) -> None:
    with pytest.raises(UsageError, match="split at layer"):
        split(lower("llama"), starts)


@pytest.mark.parametrize("family", FAMILIES)
def test_placed_buffers_that_live_together_lie_apart(family: str) -> None:
    for program in (lower(family), fuse(lower(family), lambda op: True)):
        offsets, size = place(program)
        assert size < sum(b.width for b in program.buffers) / 4  # the layers share memory
        owner: dict[int, int] = {}
        for op in program.ops:
            for h in op.handles("In"):
                span = range(offsets[h], offsets[h] + program.buffers[h].width)
                assert all(owner[i] == h for i in span), program.buffers[h].name
            for h in op.handles("Out"):
                assert offsets[h] % ALIGN == 0
                assert offsets[h] + program.buffers[h].width <= size
                owner.update((i, h) for i in range(offsets[h], offsets[h] + program.buffers[h].width))


def test_a_program_that_reads_what_nothing_wrote_is_refused() -> None:

    plain = lower("llama")
    with pytest.raises(ModelError, match="before anything writes it"):
        validate(plain.replace(ops=plain.ops[1:], layer_of=plain.layer_of[1:]))
    with pytest.raises(ModelError, match="handle"):
        validate(plain.replace(buffers=plain.buffers[:5]))


def test_programs_print_one_op_a_line() -> None:
    program = lower("gemma3")
    text = str(program).splitlines()
    assert len(text) == len(program.ops) + 1
    assert any("window 16" in line for line in text)
