"""A tapped program sums up the very inputs of the linears that were asked for, and computes no more than that."""

from __future__ import annotations

import numpy as np
import pytest

from edgeq import ops
from edgeq.backends.base import Batch, Options
from edgeq.backends.reference import ReferenceBackend
from edgeq.passes.fuse import fuse
from edgeq.passes.narrow import narrow
from edgeq.passes.tap import tap
from edgeq.program import Program
from tests.families import FAMILIES, LAYERS, lower, weights

TOKENS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4, 6, 2, 6, 4]
ALL = Batch.single(TOKENS, 0, outputs=range(len(TOKENS)))


def run(program: Program, source: Program) -> list[np.ndarray]:
    executable = ReferenceBackend(np.float64).compile(program, weights(source), Options(chunk=64))
    return list(executable.step(executable.new_state(1, 64, "F32"), ALL))


def inputs(program: Program) -> dict[str, np.ndarray]:
    """What each weight is multiplied by, from all buffers of the plain program."""
    executable = ReferenceBackend(np.float64).compile(program, weights(program), Options(chunk=64))
    buffers = executable.buffers(executable.new_state(1, 64, "F32"), ALL)
    linears = [op for op in program.ops if isinstance(op, ops.Linear)]
    return {program.tensors[op.weight].name: buffers[program.buffers[op.x].name] for op in linears}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("narrowed", [False, True])
def test_sums_are_those_of_what_linears_read(family: str, narrowed: bool) -> None:
    plain = lower(family)
    wanted = inputs(plain)
    tapped, outputs = tap(narrow(plain) if narrowed else plain, lambda name: True)
    assert set(outputs) == set(wanted)
    for program in (tapped, fuse(tapped, lambda op: True)):
        found = run(program, plain)
        for name, x in wanted.items():
            sums, squares = found[outputs[name]].reshape(2, -1)
            assert np.allclose(squares, (x * x).sum(0), rtol=1e-5), name
            assert np.allclose(sums, x.sum(0), rtol=1e-5, atol=1e-5 * np.abs(x).sum()), name


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_that_read_one_buffer_share_an_output_and_fusions_stay(family: str) -> None:
    tapped, outputs = tap(narrow(lower(family)), lambda name: name.startswith("blk."))
    assert len(outputs) == 7 * LAYERS
    assert len(tapped.outputs) == len(set(outputs.values())) == 4 * LAYERS
    assert sum(isinstance(op, ops.Moments) for op in tapped.ops) == 4 * LAYERS
    for names in (("attn_q", "attn_k", "attn_v"), ("ffn_gate", "ffn_up")):
        assert len({outputs[f"blk.2.{n}.weight"] for n in names}) == 1
    before, after = (fuse(p, lambda op: True) for p in (narrow(lower(family)), tapped))
    for kind in (ops.Qkv, ops.GateUp):
        assert sum(isinstance(op, kind) for op in after.ops) == sum(isinstance(op, kind) for op in before.ops)


def test_what_leads_to_no_sum_is_not_computed() -> None:
    tapped, outputs = tap(lower("qwen3"), lambda name: name == "blk.2.attn_output.weight")
    read = {t.name for t in tapped.tensors}
    assert list(outputs.values()) == [0]
    assert {"blk.2.attn_v.weight", "blk.1.ffn_down.weight"} <= read
    assert not {"blk.2.attn_output.weight", "blk.3.attn_q.weight", "output.weight"} & read
    assert len(tapped.caches) == 3

    nothing, none = tap(lower("qwen3"), lambda name: False)
    assert (nothing.ops, nothing.outputs, none) == ((), (), {})
