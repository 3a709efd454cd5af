"""Statistics of measurements taken in turn, A B A B …, on a machine that is shared with others."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

DRAWS = 10_000


class Interval(NamedTuple):
    """A median and its 95 % bootstrap interval."""

    middle: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.middle:.2f} ({self.low:.2f} – {self.high:.2f})"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """Median of the paired ratios ours / theirs: one pair per round. The seed is fixed."""
    import numpy as np

    pairs = np.asarray(ours, float) / np.asarray(theirs, float)
    low, high = _quantiles(_medians(pairs, 0))
    return Interval(float(np.median(pairs)), low, high)


def change(new: Sequence[float], old: Sequence[float]) -> Interval:
    """Ratio of the medians new / old of two runs that have no rounds in common."""
    low, high = _quantiles(_medians(new, 0) / _medians(old, 1))
    return Interval(median(new) / median(old), low, high)


def _medians(values: Sequence[float], seed: int) -> np.ndarray:
    """Medians of draws with replacement, [DRAWS]."""
    import numpy as np

    x = np.asarray(values, float)
    draws = np.random.default_rng(seed).integers(0, len(x), (DRAWS, len(x)))
    return np.asarray(np.median(x[draws], axis=1))


def _quantiles(draws: np.ndarray) -> tuple[float, float]:
    import numpy as np

    low, high = np.quantile(draws, (0.025, 0.975))
    return float(low), float(high)
