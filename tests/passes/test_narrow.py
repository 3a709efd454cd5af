"""Taking the wanted rows early changes which rows ops run on, never what comes out."""

from __future__ import annotations

import numpy as np
import pytest

from edgeq import ops
from edgeq.backends.base import Batch, Options
from edgeq.backends.native import NativeBackend
from edgeq.backends.reference import ReferenceBackend
from edgeq.ops import In
from edgeq.passes.fuse import fuse
from edgeq.passes.narrow import narrow
from edgeq.passes.split import split
from edgeq.program import Program
from tests.families import FAMILIES, LAYERS, lower, weights

TOKENS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4, 6, 2, 6, 4]
WANTED = ([], [19], [0, 7, 7, 19], range(20))


def logits(program: Program, wanted: object, native: bool = False) -> list[np.ndarray]:
    """Of the wanted rows of a prompt, then of tokens one by one."""
    backend = NativeBackend() if native else ReferenceBackend(np.float64)
    executable = backend.compile(program, weights(program), Options(chunk=64, threads=2, reproducible=native))
    state = executable.new_state(1, 128, "F32")
    steps = [Batch.single(TOKENS[:20], 0, outputs=wanted)]
    steps += [Batch.single([t], 20 + i) for i, t in enumerate(TOKENS[20:])]
    out = [executable.step(state, batch)[0] for batch in steps]
    executable.close()
    return out


def behind_the_last_attention(program: Program) -> list[ops.Op]:
    last = max(i for i, op in enumerate(program.ops) if isinstance(op, ops.Attend))
    return [op for op in program.ops[last + 1 :] if not isinstance(op, ops.TakeRows)]


@pytest.mark.parametrize("family", FAMILIES)
def test_wanted_rows_are_the_same(family: str) -> None:
    plain = lower(family)
    for wanted in WANTED:
        for a, b in zip(logits(narrow(plain), wanted), logits(plain, wanted), strict=True):
            assert a.shape == b.shape and np.allclose(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_wanted_rows_are_the_same_when_fused_and_native(family: str) -> None:
    plain = lower(family)
    for wanted in WANTED:
        found = logits(fuse(narrow(plain), lambda op: True), wanted, native=True)
        for a, b in zip(found, logits(plain, wanted), strict=True):
            assert a.shape == b.shape and np.allclose(a, b, rtol=2e-3, atol=2e-3 * np.abs(b).max(initial=0))


@pytest.mark.parametrize("family", FAMILIES)
def test_only_wanted_rows_go_on_behind_the_last_attention(family: str) -> None:
    made = narrow(lower(family))
    rest = behind_the_last_attention(made)
    assert {type(op) for op in rest} >= {ops.RmsNorm, ops.Linear, ops.Glu, ops.Add}
    assert all(made.buffers[h].outputs for op in rest for h in (*op.handles("In"), *op.handles("Out")))
    before = made.ops[: made.ops.index(rest[0])]
    written = [h for op in before if not isinstance(op, ops.TakeRows) for h in op.handles("Out")]
    assert not any(made.buffers[h].outputs for h in written)


@pytest.mark.parametrize("family", FAMILIES)
def test_fusions_are_as_many(family: str) -> None:
    plain = lower(family)
    before, after = ([type(op) for op in fuse(p, lambda op: True).ops] for p in (plain, narrow(plain)))
    assert [before.count(kind) for kind in ops.FUSED] == [after.count(kind) for kind in ops.FUSED]


@pytest.mark.parametrize("family", FAMILIES)
def test_once_is_enough(family: str) -> None:
    once = narrow(lower(family))
    assert narrow(once) == once


def test_parts_of_a_narrowed_program_are_whole_layers() -> None:
    parts = split(narrow(lower("llama")), [LAYERS - 1])
    assert not any(isinstance(op, ops.TakeRows) for op in parts[0].ops)
    assert not any(parts[0].buffers[h].outputs for h in parts[0].outputs)


def test_what_something_else_reads_keeps_all_rows() -> None:
    plain = lower("llama")
    glu = next(op for op in reversed(plain.ops) if isinstance(op, ops.Glu))
    made = narrow(plain.replace(outputs=(*plain.outputs, glu.out)))
    assert not made.buffers[made.outputs[1]].outputs
    for a, b in zip(logits(made, [3]), logits(plain, [3]), strict=True):
        assert np.allclose(a, b, rtol=1e-10, atol=1e-10)


def test_a_program_that_takes_no_rows_stays() -> None:
    plain = lower("llama")
    take = next(i for i, op in enumerate(plain.ops) if isinstance(op, ops.TakeRows))
    body = plain.replace(ops=plain.ops[:take], layer_of=plain.layer_of[:take], outputs=(plain.ops[take].x,))
    assert narrow(body).ops == fuse(body, lambda op: False).ops


def test_rows_taken_twice_are_taken_once() -> None:
    plain = lower("llama")
    at = next(i for i, op in enumerate(plain.ops) if isinstance(op, ops.TakeRows))
    take = plain.ops[at]
    assert isinstance(take, ops.TakeRows)
    again, out = len(plain.buffers), plain.outputs[0]
    buffers = (*plain.buffers, plain.buffers[take.out].replace(name="again"))
    extra = ops.TakeRows(In(take.x), ops.Out(again))
    made = narrow(
        plain.replace(
            ops=(*plain.ops[: at + 1], extra, *plain.ops[at + 1 :]), buffers=buffers, outputs=(out, again),
            layer_of=(*plain.layer_of[: at + 1], LAYERS, *plain.layer_of[at + 1 :]),
        )
    )  # fmt: skip
    assert sum(isinstance(op, ops.TakeRows) for op in made.ops) == 2
    assert np.allclose(logits(made, [5])[0], logits(plain, [5])[0], rtol=1e-10, atol=1e-10)
