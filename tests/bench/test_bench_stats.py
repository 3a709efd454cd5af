"""Medians and bootstrap intervals, against NumPy by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edgeq.bench import stats


def test_a_ratio_is_of_pairs() -> None:
    found = stats.ratio([10.0, 20.0, 40.0], [5.0, 10.0, 10.0])
    assert found.middle == 2.0  # of 2, 2, 4; the ratio of the medians would be that too, so the next has another
    assert stats.ratio([1.0, 9.0, 10.0], [1.0, 3.0, 20.0]).middle == 1.0  # of 1, 3, 0.5; medians: 9 / 3


def test_the_interval_is_the_bootstrap_of_the_median() -> None:
    rng = np.random.default_rng(3)
    ours, theirs = rng.normal(10, 1, 9), rng.normal(5, 1, 9)
    found = stats.ratio(ours.tolist(), theirs.tolist())
    pairs = np.sort(ours / theirs)
    draws = np.array([np.median(rng.choice(pairs, 9)) for _ in range(4000)])
    assert found.middle == np.median(pairs)
    assert found.low in pairs  # the median of nine draws is one of them
    assert abs(np.searchsorted(pairs, found.low) - np.searchsorted(pairs, np.quantile(draws, 0.025))) <= 1
    assert abs(np.searchsorted(pairs, found.high) - np.searchsorted(pairs, np.quantile(draws, 0.975))) <= 1
    assert found.low < found.middle < found.high
    assert found == stats.ratio(ours.tolist(), theirs.tolist())


def test_one_pair_has_no_width() -> None:
    assert stats.ratio([3.0], [2.0]) == (1.5, 1.5, 1.5)
    assert str(stats.ratio([3.0], [2.0])) == "1.50 (1.50 – 1.50)"


def test_a_change_is_of_medians_that_are_drawn_apart() -> None:
    found = stats.change([8.0, 10.0, 12.0], [5.0, 5.0, 5.0])
    assert found.middle == 2.0
    assert (found.low, found.high) == (1.6, 2.4)
    both = stats.change([8.0, 10.0, 12.0], [4.0, 5.0, 6.0])
    assert both.low == pytest.approx(8 / 6)  # far ends meet, as in a pair they could not
    assert both.high == pytest.approx(3.0)
