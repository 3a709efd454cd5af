"""Sizes that only larger models have: whole panels of weights, every number of rows and tokens that is left over."""

from __future__ import annotations

import numpy as np
import pytest

from edgeq import quants
from tests.backends.single import program, run
from tests.backends.test_native_ops import batch, linear, rounded
from tests.blocks import filled


def check(fmt: str, isa: str, rows: int, cols: int, tokens: int, threads: int) -> None:
    rng = np.random.default_rng(rows + tokens)
    weights = filled(rng, [("w", (rows, cols)), ("b", (rows,))], {}, fmt, 1.0)
    x = rng.standard_normal((tokens, cols)).astype(np.float32)
    made = program(lambda b: linear(b, rows, cols))
    found = run(made, weights, [x], batch(tokens), isa=isa, threads=threads)[0]
    seen, w = x if fmt == "F16" else rounded(x), weights["w"].values().astype(np.float64)
    wanted = seen @ w.T + weights["b"].values()
    assert (np.abs(found - wanted) <= 2e-6 * (np.abs(seen) @ np.abs(w.T) + 1)).all()


@pytest.mark.parametrize("fmt", ["Q4_0", "Q2_K", "F16"])
def test_rows_enough_for_whole_panels(fmt: str, isa: str) -> None:
    """With one thread, from 768 rows on, 96 at a time."""
    check(fmt, isa, 805, max(32, quants.FORMATS[fmt].block), 21, 1)


@pytest.mark.parametrize("fmt", ["Q5_1", "Q6_K"])
def test_any_number_of_rows_that_is_left_over(fmt: str, isa: str) -> None:
    for rows in range(1, 14):
        for tokens in (1, 2, 3, 6, 19):
            check(fmt, isa, rows, max(32, quants.FORMATS[fmt].block), tokens, 2)
