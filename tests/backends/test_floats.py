"""Linears on float weights: any number of columns, rows and tokens, the same bits, numbers that are not finite."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backends.single import program, run
from tests.backends.test_native_ops import FLOATS, batch, linear
from tests.blocks import MemoryWeights, fenced, filled

INFINITE = {"F32": (0x7F800000, "<u4"), "F16": (0x7C00, "<u2"), "BF16": (0x7F80, "<u2")}


def made_of(rng: np.random.Generator, fmt: str, rows: int, cols: int) -> MemoryWeights:
    weights = filled(rng, [("w", (rows, cols)), ("b", (rows,))], {}, fmt, 1.0)
    weights["w"] = fenced(weights["w"])
    return weights


def products(weights: MemoryWeights, x: np.ndarray, isa: str, **more: object) -> np.ndarray:
    rows, cols = weights["w"].shape
    made = program(lambda b: linear(b, rows, cols))
    return run(made, weights, [x], batch(len(x)), isa=isa, **more)[0]  # type: ignore[arg-type]


def check(found: np.ndarray, weights: MemoryWeights, x: np.ndarray) -> None:
    w, b = (weights[n].values().astype(np.float64) for n in "wb")
    assert (np.abs(found - x @ w.T - b) <= 2e-6 * (np.abs(x) @ np.abs(w.T) + 1)).all()


@pytest.mark.parametrize("fmt", FLOATS)
def test_any_number_of_columns_in_rows_that_end_where_memory_does(fmt: str, isa: str) -> None:
    """Nothing behind the last weight may be read."""
    rng = np.random.default_rng(80)
    for cols in (1, 3, 7, 8, 15, 17, 31, 33, 64, 255, 256, 257, 300, 517, 530):
        for rows, tokens in ((1, 1), (5, 3), (7, 6), (3, 25), (17, 31)):
            weights = made_of(rng, fmt, rows, cols)
            x = rng.standard_normal((tokens, cols)).astype(np.float32)
            check(products(weights, x, isa), weights, x)


@pytest.mark.parametrize("fmt", FLOATS)
def test_any_number_of_rows_and_tokens(fmt: str, isa: str) -> None:
    """Each number of rows and of tokens that a panel, a vector and a step of the kernel can have left over."""
    rng = np.random.default_rng(81)
    cols = 270
    x = rng.standard_normal((60, cols)).astype(np.float32)
    for rows in (1, 2, 4, 6, 9, 15, 16, 24, 33, 47, 48, 50, 97):
        weights = made_of(rng, fmt, rows, cols)
        for tokens in (2, 23, 24, 29, 43):
            check(products(weights, x[:tokens], isa), weights, x[:tokens])
    weights = made_of(rng, fmt, 19, cols)
    for tokens in range(17, 60):
        check(products(weights, x[:tokens], isa), weights, x[:tokens])


@pytest.mark.parametrize("fmt", FLOATS)
def test_hundreds_of_tokens_in_one_step(fmt: str, isa: str) -> None:
    """More than meet a panel before the next one is unpacked; each has the bits that it has among fewer."""
    rng = np.random.default_rng(82)
    weights = made_of(rng, fmt, 53, 389)
    x = rng.standard_normal((601, 389)).astype(np.float32)
    found = products(weights, x, isa, chunk=601, context=640)
    check(found, weights, x)
    for first, count in ((0, 24), (7, 40), (255, 33), (570, 31)):
        part = x[first : first + count]
        assert np.array_equal(products(weights, part, isa, threads=4), found[first : first + count])


@pytest.mark.parametrize("fmt", FLOATS)
def test_one_token_has_the_same_bits_among_others_where_columns_are_left_over(fmt: str, isa: str) -> None:
    rng = np.random.default_rng(83)
    for cols in (13, 267):
        weights = made_of(rng, fmt, 11, cols)
        x = rng.standard_normal((37, cols)).astype(np.float32)
        alone = np.concatenate([products(weights, x[t : t + 1], isa) for t in range(37)])
        for tokens in (2, 3, 5, 8, 11, 16):
            assert np.array_equal(products(weights, x[:tokens], isa), alone[:tokens])
        assert np.array_equal(products(weights, x, isa, reproducible=True), alone)


@pytest.mark.parametrize("fmt", FLOATS)
@pytest.mark.parametrize("tokens", [1, 5, 40])
def test_weights_that_are_not_finite_reach_the_outputs_of_their_rows_alone(fmt: str, tokens: int, isa: str) -> None:
    rng = np.random.default_rng(84)
    bits, kind = INFINITE[fmt]
    sign = 1 << 8 * np.dtype(kind).itemsize - 1
    for rows, cols in ((6, 40), (19, 275)):
        weights = filled(rng, [("w", (rows, cols)), ("b", (rows,))], {}, fmt, 1.0)
        w = weights["w"].data.view(kind).reshape(rows, cols)
        w[0, 2], w[2, cols - 1], w[rows - 1, 5] = bits, bits | sign, bits + 1  # infinities, a NaN
        w[3, 0], w[3, 8] = bits, bits | sign
        x = rng.standard_normal((tokens, cols)).astype(np.float32)
        x[-1, 2] = 0
        with np.errstate(invalid="ignore"):
            right = x.astype(np.float64) @ weights["w"].values().astype(np.float64).T + weights["b"].values()
        found = products(weights, x, isa)
        known = np.isfinite(right)
        assert np.array_equal(found[~known], right[~known], equal_nan=True)
        kept = [1, *range(4, rows - 1)]
        assert known[:, kept].all()
        assert np.allclose(found[:, kept], right[:, kept], rtol=1e-5, atol=1e-4)
