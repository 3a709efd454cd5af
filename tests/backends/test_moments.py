"""Sums of columns and of their squares over the rows of a step: the same bits from every backend and any threads."""

from __future__ import annotations

import numpy as np
import pytest

from edgeq import ops
from edgeq.backends.base import Batch, Options
from edgeq.backends.native import NativeBackend
from edgeq.errors import BackendError, ModelError
from edgeq.ops import In, Out
from edgeq.program import Buffer, Builder, Program, validate
from tests.backends.conftest import WORKING, By
from tests.backends.single import program, run
from tests.blocks import MemoryWeights, filled


def summed(b: Builder, width: int, taken: bool = False) -> tuple[list[int], list[int]]:
    x = b.buffer("x", width)
    read = b.take_rows("rows", x) if taken else x
    out = b.buffer("sums", 2 * width)
    b._buffers[out] = b._buffers[out].replace(single=True)
    b.add(ops.Moments(In(read), out))
    return [x], [out]


def exact(x: np.ndarray) -> np.ndarray:
    """Row after row in float64, rounded once."""
    total = np.zeros((2, x.shape[1]))
    for row in x.astype(np.float64):
        total += [row, row * row]
    return total.astype(np.float32).reshape(1, -1)


def activations(rows: int, width: int, seed: int = 1) -> np.ndarray:
    """Of very different sizes, so that an order of the sum other than by rows shows."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, width)) * 10 ** rng.uniform(-6, 6, (rows, width))
    return x.astype(np.float32)


@pytest.mark.parametrize("width", [1, 16, 63, 64, 65, 200])
@pytest.mark.parametrize("rows", [1, 2, 16, 17, 100])
def test_sums_are_those_of_float64_over_rows_in_order(rows: int, width: int, by: By) -> None:
    x = activations(rows, width)
    made = program(lambda b: summed(b, width))
    for threads in (1, 2, 4):
        found = run(made, MemoryWeights(), [x], Batch.single([0] * rows, 0), isa=by, threads=threads)
        assert found[0].shape == (1, 2 * width)
        assert np.array_equal(found[0], exact(x))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_reference_sums_alike_also_where_it_runs_tokens_one_by_one(dtype: type) -> None:
    for rows in (1, 3, 8, 60):
        x = activations(rows, 37)
        found = run(program(lambda b: summed(b, 37)), MemoryWeights(), [x], Batch.single([0] * rows, 0), dtype=dtype)
        assert np.array_equal(found[0], exact(x)), rows


@pytest.mark.parametrize("wanted", [[], [4], [0, 3, 3, 9]])
def test_only_wanted_rows_count_where_only_these_are_read(wanted: list[int], by: By) -> None:
    x = activations(12, 70)
    made = program(lambda b: summed(b, 70, taken=True))
    batch = Batch.single([0] * 12, 0, outputs=wanted)
    assert np.array_equal(run(made, MemoryWeights(), [x], batch, isa=by)[0], exact(x[wanted]))
    assert np.array_equal(run(made, MemoryWeights(), [x], batch)[0], exact(x[wanted]))


def test_values_that_are_not_finite_stay_in_their_column(by: By) -> None:
    x = activations(20, 65)
    x[3, 5], x[4, 64] = np.nan, np.inf
    found = run(program(lambda b: summed(b, 65)), MemoryWeights(), [x], Batch.single([0] * 20, 0), isa=by)[0]
    assert sorted(np.flatnonzero(~np.isfinite(found[0]))) == [5, 64, 70, 129]


@pytest.mark.parametrize("fmt", ["Q4_0", "Q4_K", "F16"])
@pytest.mark.parametrize("tokens", [1, 5, 40])
def test_what_is_summed_is_what_was_written_before_it_was_rounded_for_a_linear(fmt: str, tokens: int, by: By) -> None:
    """And the linear gets what it gets without."""

    def gated(b: Builder, look: bool) -> tuple[list[int], list[int]]:
        x = b.buffer("x", 256)
        y = b.buffer("y", 256)
        b.add(ops.GateUp(In(x), b.tensor("g", 256, 256), b.tensor("u", 256, 256), y, 0))
        out = b.linear("z", y, b.tensor("d", 32, 256), 32)
        if not look:
            return [x], [out]
        sums = b.buffer("sums", 512)
        b._buffers[sums] = b._buffers[sums].replace(single=True)
        b.add(ops.Moments(In(y), sums))
        return [x], [out, sums, y]

    weights = filled(np.random.default_rng(2), [(n, (256, 256)) for n in "gu"] + [("d", (32, 256))], {}, fmt, 0.1)
    x, batch = activations(tokens, 256) % 3, Batch.single([0] * tokens, 0)
    plain = run(program(lambda b: gated(b, False)), weights, [x], batch, isa=by)[0]
    found, sums, y = run(program(lambda b: gated(b, True)), weights, [x], batch, isa=by)
    assert np.array_equal(found, plain)
    assert np.abs(sums - exact(y)).max() <= 1e-37  # kernels take numbers below that for zeros


@pytest.mark.parametrize(("width", "single"), [(65, True), (63, True), (64, False)])
def test_programs_that_would_write_elsewhere_are_refused(width: int, single: bool) -> None:
    buffers = (Buffer("x", 32), Buffer("sums", width, single=single))
    made = Program((ops.Moments(In(0), Out(1)),), (0,), buffers, (), (), (0,), (1,), 1)
    with pytest.raises(ModelError, match=r"op 0 .moments.: width and rows"):
        validate(made)
    if WORKING:
        with pytest.raises(BackendError, match=r"program op 0: (width|kind of rows)"):
            NativeBackend().compile(made, MemoryWeights(), Options(threads=1))
