"""Each filter against its naive definition, and the properties that hold for all logits."""

from __future__ import annotations

from collections.abc import Callable

import naive_sampling as naive
import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgeq.sampling import filters

EPSILON = (
    1e-9  # a sum this near to its bound may fall to either side: the naive sums round otherwise
)


@st.composite
def logits(draw: st.DrawFn, largest: int = 600) -> np.ndarray:
    """float64 [n] without -inf; on a coarse grid half the time, so that there are ties."""
    n = draw(st.integers(1, largest))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.normal(0.0, draw(st.sampled_from([0.01, 1.0, 4.0, 40.0])), n)
    return np.round(x * 2) / 2 if draw(st.booleans()) else x


probabilities = st.floats(0.0, 0.999) | st.sampled_from([0.0, 0.25, 0.5, 0.9])
min_keeps = st.sampled_from([0, 0, 1, 2, 7, 10_000])


def as_dict(x: np.ndarray) -> dict[int, float]:
    return dict(enumerate(x.tolist()))


def near(kept: np.ndarray, definition: Callable[[float], set[int]], bound: float) -> bool:
    return any(set(kept.tolist()) == definition(bound + e) for e in (0.0, EPSILON, -EPSILON))


def ascending(kept: np.ndarray) -> bool:
    return kept.size > 0 and bool(np.all(np.diff(kept) > 0))


@given(logits(5000), st.integers(1, 6000))
def test_top_k(x: np.ndarray, k: int) -> None:
    kept = filters.top_k(x, k)
    assert ascending(kept)
    assert set(kept.tolist()) == naive.top_k(as_dict(x), k)


@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.integers(2048, 9000), st.integers(1, 40))
def test_top_k_of_float32_with_many_ties(seed: int, k: int, n: int, levels: int) -> None:
    """Long enough for the look at group maxima, few levels: the border is nearly always a tie."""
    x = np.random.default_rng(seed).integers(0, levels, n).astype(np.float32)
    x[seed % n] = -np.inf
    assert set(filters.top_k(x, k).tolist()) == naive.top_k(as_dict(x), k)


def test_top_k_when_all_large_values_share_a_group() -> None:
    x = np.zeros(8192, dtype=np.float32)
    x[5 + 1024 * np.arange(8)] = np.arange(1, 9)
    assert set(filters.top_k(x, 8).tolist()) == {5 + 1024 * i for i in range(8)}
    assert filters.top_k(x, 10).tolist()[:2] == [0, 1]


@given(logits(), st.integers(1, 700))
def test_descending_is_ranked_by_logit_then_id(x: np.ndarray, k: int) -> None:
    assert filters.descending(x, k).tolist() == naive.ranked(as_dict(x))[:k]


@given(logits(), probabilities, min_keeps)
def test_top_p(x: np.ndarray, p: float, min_keep: int) -> None:
    kept = filters.top_p(x, p, min_keep)
    assert ascending(kept)
    assert near(kept, lambda q: naive.top_p(as_dict(x), q, min_keep), p)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.floats(0.5, 0.999))
def test_top_p_that_needs_thousands_of_tokens(seed: int, p: float) -> None:
    x = np.random.default_rng(seed).normal(0.0, 0.5, 6000)
    kept = filters.top_p(x, p, 0)
    assert kept.size > 256
    assert near(kept, lambda q: naive.top_p(as_dict(x), q, 0), p)


@given(logits(), st.floats(1e-6, 1.0), min_keeps)
def test_min_p(x: np.ndarray, p: float, min_keep: int) -> None:
    kept = filters.min_p(x, p, min_keep)
    assert ascending(kept)
    assert near(kept, lambda q: naive.min_p(as_dict(x), min(q, 1.0), min_keep), p)


@given(logits(), probabilities, min_keeps)
def test_typical(x: np.ndarray, p: float, min_keep: int) -> None:
    assume(np.ptp(x) < 600)  # beyond, the naive logarithm has no argument
    kept = filters.typical(x, p, min_keep)
    assert ascending(kept)
    assert near(kept, lambda q: naive.typical(as_dict(x), q, min_keep), p)


def test_where_a_sum_meets_its_bound_exactly_top_p_stops_and_typical_goes_on() -> None:
    """llama.cpp: top-p takes until the sum is >= p, typical until it is > p."""
    x = np.zeros(4)
    assert filters.top_p(x, 0.5, 0).tolist() == [0, 1]
    assert filters.typical(x, 0.5, 0).tolist() == [0, 1, 2]


def test_typical_may_drop_the_most_probable_token() -> None:
    p = np.array([0.4] + [0.06] * 10)
    assert 0 not in filters.typical(np.log(p), 0.2, 0).tolist()


@given(logits(), st.floats(0.0, 0.5), min_keeps)
def test_xtc(x: np.ndarray, threshold: float, min_keep: int) -> None:
    kept = filters.xtc(x, threshold, min_keep)
    assert ascending(kept)
    assert near(kept, lambda t: naive.xtc(as_dict(x), max(t, 0.0), min_keep), threshold)


@given(logits(), st.floats(-5.0, 30.0))
def test_mirostat(x: np.ndarray, mu: float) -> None:
    assume(np.ptp(x) < 600)
    kept = filters.mirostat(x, mu)
    assert ascending(kept)
    assert near(kept, lambda m: naive.mirostat(as_dict(x), m), mu)


@given(logits(), st.floats(0.0, 0.99), st.floats(0.0, 0.99))
def test_a_looser_setting_keeps_no_less(x: np.ndarray, a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert set(filters.top_p(x, low, 0)) <= set(filters.top_p(x, high, 0))
    assert set(filters.typical(x, low, 0)) <= set(filters.typical(x, high, 0))
    assert set(filters.min_p(x, high + 0.01, 0)) <= set(filters.min_p(x, low + 0.01, 0))
    assert set(filters.top_k(x, 1 + int(100 * low))) <= set(filters.top_k(x, 1 + int(100 * high)))
    assert set(filters.mirostat(x, 10 * low)) <= set(filters.mirostat(x, 10 * high))
    assert set(filters.xtc(x, low / 2, 0)) <= set(filters.xtc(x, high / 2, 0))


@given(logits(), st.integers(-40, 40))
def test_a_shift_of_all_logits_changes_no_filter(x: np.ndarray, shift: int) -> None:
    x = np.round(x * 64) / 64  # so that the shift is exact
    y = x + shift
    for f, setting in [
        (filters.top_p, 0.8),
        (filters.min_p, 0.1),
        (filters.typical, 0.7),
        (filters.xtc, 0.05),
    ]:
        assert f(x, setting, 0).tolist() == f(y, setting, 0).tolist()
    assert filters.mirostat(x, 3.0).tolist() == filters.mirostat(y, 3.0).tolist()
