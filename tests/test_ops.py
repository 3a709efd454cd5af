"""The op vocabulary: its C declaration, and that every op has what an op needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeq import _lib, ops
from edgeq.backends.reference import RUN

ROOT = Path(__file__).resolve().parent.parent


def test_c_header_is_the_one_that_ops_emit() -> None:
    header = (ROOT / "native" / "ops.gen.h").read_text(encoding="utf-8")
    assert header == ops.c_header(), "run `python -m edgeq.ops > native/ops.gen.h`"


def test_every_op_has_a_definition_and_a_formula() -> None:
    for op in ops.OPS:
        assert op in RUN
        assert op.__doc__ and "[" in op.__doc__  # a formula with shapes
        assert bool(op.parts) == (op in ops.FUSED)


@pytest.mark.skipif(not _lib.available(), reason="no native library")
def test_library_and_python_number_ops_alike() -> None:
    constants = {f"EQ_OP_{op.word.upper()}": i for i, op in enumerate(ops.OPS)}
    for name, value in constants.items():
        assert _lib.ffi.typeof("enum eq_op_kind").relements[name] == value


def test_handles_leave_out_absent_operands() -> None:
    op = ops.Linear(ops.In(3), ops.Weight(1), ops.Weight(ops.NONE), ops.Out(4))
    assert op.handles("Weight") == [1]
    assert (op.handles("In"), op.handles("Out"), op.handles("Cache")) == ([3], [4], [])
