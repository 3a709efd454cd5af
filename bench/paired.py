"""Statistics of paired measurements: two programs measured in turn, A B A B …, in one run on a shared machine."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """Median of the paired ratios ours / theirs, and its 95 % bootstrap interval (10,000 draws, fixed seed)."""
    pairs = np.asarray(ours, float) / np.asarray(theirs, float)
    draws = np.random.default_rng(0).integers(0, len(pairs), (10_000, len(pairs)))
    low, high = np.quantile(np.median(pairs[draws], axis=1), (0.025, 0.975))
    return float(np.median(pairs)), float(low), float(high)


def row(name: str, unit: str, ours: Sequence[float], theirs: Sequence[float], digits: int = 0) -> str:
    """One Markdown row: medians of both, ratio with interval."""
    middle, low, high = ratio(ours, theirs)
    return (
        f"| {name} | {unit} | {median(ours):.{digits}f} | {median(theirs):.{digits}f} "
        f"| {middle:.2f} ({low:.2f} – {high:.2f}) |"
    )
