"""exp, log, power and sum against exact arithmetic, and the stated order of the sums."""

from __future__ import annotations

import math
from decimal import Decimal, getcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeq.sampling import mathfn

getcontext().prec = 50


def ulps(value: float, exact: Decimal) -> float:
    return float(abs(Decimal(value) - exact) / Decimal(math.ulp(float(exact))))


def test_exp_is_within_1_1_ulp_of_the_exact_value_over_the_whole_range() -> None:
    rng = np.random.default_rng(1)
    x = np.concatenate(
        [-rng.uniform(0, 690, 3000), -rng.exponential(3, 3000), rng.uniform(0, 700, 500)]
    )
    x = np.concatenate([x, [0.0, -0.0, -1e-300, -690.0, math.log(2) / 256, -math.log(2) / 256]])
    worst = max(
        ulps(y, Decimal(v).exp()) for v, y in zip(x.tolist(), mathfn.exp(x).tolist(), strict=True)
    )
    assert worst < 1.1


def test_exp_agrees_with_math_exp_to_two_ulp_on_a_dense_grid() -> None:
    x = np.linspace(-689.9, 0.0, 200_001)
    libm = np.array([math.exp(v) for v in x.tolist()])
    assert np.max(np.abs(mathfn.exp(x) - libm) / np.spacing(libm)) <= 2


def test_exp_edges() -> None:
    x = np.array([0.0, -690.0, np.nextafter(-690.0, -1e9), -1e300, -np.inf])
    y = mathfn.exp(x)
    assert y[0] == 1.0
    assert y[1] > 0
    assert y[2:].tolist() == [0.0, 0.0, 0.0]


def test_exp_of_many_is_exp_of_each() -> None:
    x = -np.random.default_rng(2).exponential(10, 20_000)
    assert (
        mathfn.exp(x).tobytes()
        == np.concatenate([mathfn.exp(x[i : i + 1]) for i in range(x.size)]).tobytes()
    )


def test_exp_never_falls_where_its_argument_rises() -> None:
    x = np.sort(-np.random.default_rng(3).uniform(0, 30, 100_000))
    assert np.all(np.diff(mathfn.exp(x)) >= 0)


def test_the_table_of_powers_is_correctly_rounded() -> None:
    for j, value in enumerate(mathfn._TABLE.tolist()):
        exact = Decimal(2) ** (Decimal(j) / 128)
        assert ulps(value, exact) <= 0.5


@given(st.floats(min_value=1e-300, max_value=1e300))
def test_log_is_within_two_ulp(x: float) -> None:
    exact = Decimal(x).ln()
    assert mathfn.log(x) == 0.0 if x == 1.0 else ulps(mathfn.log(x), exact) <= 2.0


def test_log_edges() -> None:
    assert mathfn.log(1.0) == 0.0
    assert mathfn.log(2.0) == mathfn.LN2
    for x in (
        math.nextafter(1.0, 0.0),
        math.nextafter(1.0, 2.0),
        math.sqrt(0.5),
        math.sqrt(2.0),
        5e-324,
    ):
        assert ulps(mathfn.log(x), Decimal(x).ln()) <= 2.0


@given(st.floats(1.0, 100.0), st.integers(0, 10_000))
def test_power_is_base_to_the_n_until_it_leaves_float32(base: float, n: int) -> None:
    got = mathfn.power(base, n)
    exact = Fraction(base) ** min(n, 400)
    if exact >= Fraction(mathfn.FLOAT32_MAX):
        assert got == mathfn.FLOAT32_MAX
    elif n <= 400:
        assert got == pytest.approx(float(exact), rel=1e-12)


@pytest.mark.parametrize("base", [1.0, 1.1, 1.75, 3.0])
def test_small_powers(base: float) -> None:
    for n in range(70):
        assert mathfn.power(base, n) == pytest.approx(base**n, rel=1e-12)


@given(st.integers(1, 3000), st.integers(0, 2**32 - 1))
def test_total_is_the_sum(n: int, seed: int) -> None:
    w = np.random.default_rng(seed).exponential(1.0, n)
    assert mathfn.total(w) == pytest.approx(math.fsum(w.tolist()), rel=1e-13)


def test_total_adds_in_the_stated_order() -> None:
    w = np.random.default_rng(5).exponential(1.0, 5003)
    rest = w.tolist()
    while len(rest) > 256:
        half = len(rest) // 2
        halves = [rest[i] + rest[half + i] for i in range(half)]
        if len(rest) % 2:
            halves[0] += rest[-1]
        rest = halves
    running = 0.0
    for value in rest:
        running += value
    before = w.copy()
    assert mathfn.total(w) == running
    assert w.tobytes() == before.tobytes(), "the argument must not change"


def test_accumulate_adds_one_by_one() -> None:
    """NumPy documents r[i] = r[i-1] + a[i]; the draw relies on it."""
    w = np.random.default_rng(6).exponential(1.0, 20_000)
    running, expected = 0.0, []
    for value in w.tolist():
        running += value
        expected.append(running)
    assert np.add.accumulate(w).tolist() == expected
