"""Corrections beside linears: where they are put, and that fusion takes what it can and changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

from edgeq import ops
from edgeq.backends.base import Batch, Options
from edgeq.backends.reference import ReferenceBackend
from edgeq.errors import ModelError
from edgeq.passes.adapt import adapt
from edgeq.passes.fuse import fuse
from edgeq.passes.narrow import narrow
from edgeq.program import Program
from tests.families import FAMILIES, LAYERS, lower, weights

TOKENS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]


def linears(program: Program) -> list[str]:
    return [program.tensors[op.weight].name for op in program.ops if isinstance(op, ops.Linear)]


def run(program: Program, wanted: object = range(12)) -> np.ndarray:
    source = weights(program, "F32")
    executable = ReferenceBackend(np.float64).compile(program, source, Options(chunk=64))
    return np.asarray(executable.step(executable.new_state(1, 64, "F32"), Batch.single(TOKENS, 0, outputs=wanted))[0])


def layers(program: Program) -> dict[str, int]:
    return {name: 3 for name in linears(program) if name.startswith("blk.")}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_corrected_linear_is_four_ops_and_fused_two(family: str) -> None:
    plain = lower(family)
    one = adapt(plain, {"blk.2.attn_output.weight": 5})
    assert len(one.ops) == len(plain.ops) + 3
    assert (len(one.buffers), len(one.tensors)) == (len(plain.buffers) + 3, len(plain.tensors) + 2)
    at = next(i for i, op in enumerate(one.ops) if one.ops[i] != plain.ops[i])
    made = one.ops[at : at + 4]
    assert [op.word for op in made] == ["linear", "linear", "linear", "add"]
    assert one.layer_of[at : at + 4] == (2, 2, 2, 2)
    assert [one.tensors[op.weight].shape[0] for op in made[1:3] if isinstance(op, ops.Linear)] == [5, 64]
    fused = [op.word for op in fuse(adapt(plain, layers(plain)), lambda op: True).ops]
    assert fused.count("linear_add") >= 7 * LAYERS
    assert not {"qkv", "gate_up"} & set(fused)


@pytest.mark.parametrize("family", FAMILIES)
def test_narrow_and_fuse_change_nothing(family: str) -> None:
    adapted = adapt(lower(family), layers(lower(family)))
    wanted = run(adapted)
    assert np.allclose(run(narrow(adapted)), wanted, atol=1e-9)
    assert np.allclose(run(fuse(narrow(adapted), lambda op: True)), wanted, atol=1e-9)
    assert np.allclose(run(fuse(narrow(adapted), lambda op: True), [11]), wanted[11:], atol=1e-9)


def test_fusions_elsewhere_stay() -> None:
    plain = lower("llama")
    fused = fuse(adapt(plain, {"blk.0.attn_q.weight": 2}), lambda op: True)
    words = [op.word for op in fused.ops]
    assert words.count("qkv") == LAYERS - 1
    assert words.count("gate_up") == LAYERS


def test_a_weight_that_no_linear_reads() -> None:
    for name in ("blk.0.attn_norm.weight", "blk.99.attn_q.weight"):
        with pytest.raises(ModelError, match="no linear of the model reads it"):
            adapt(lower("qwen3"), {name: 2})
