"""The truncation filters, as pure functions: logits in, positions of the kept ones out, ascending.

Candidates are float64 logits without -inf, in order of token id. "More probable" means: larger
logit, at equal logits the lower id. Each filter renormalizes over the candidates it is given, as
llama.cpp's do. Not here: their order (chain.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.sampling.mathfn import LN2, Vector, exp, log, total

Positions = NDArray[np.intp]

_GROUPS = 1024  # top_k's first look takes the maximum of so many groups of logits
_FIRST_TAKE = 256  # candidates sorted before it is known how many are needed


def top_k(x: NDArray[Any], k: int) -> Positions:
    """The k >= 1 largest of x, ties to the lowest position. Fan et al. 2018, arXiv:1805.04833.

    Only comparisons decide, so the result is exact. The k-th largest of the group maxima is a lower
    bound of the k-th largest value: one pass finds it, a second leaves few candidates.
    """
    if k >= x.size:
        return np.arange(x.size)
    width = x.size // _GROUPS
    if width > 1 and k <= _GROUPS // 4:
        maxima = x[: width * _GROUPS].reshape(width, _GROUPS).max(axis=0)
        picked = np.flatnonzero(x >= np.partition(maxima, _GROUPS - k)[_GROUPS - k])
    else:
        picked = np.arange(x.size)
    if picked.size > k:
        values = x[picked]
        border = np.partition(values, values.size - k)[values.size - k]
        keep = values > border
        ties = np.flatnonzero(values == border)
        keep[ties[: k - int(np.count_nonzero(keep))]] = True
        picked = picked[keep]
    return picked


def descending(x: NDArray[Any], k: int) -> Positions:
    """The k largest of x, largest first, ties by position."""
    picked = top_k(x, k)
    return picked[np.argsort(-x[picked], kind="stable")]


def _take(rank: Vector, w: Vector, target: float, min_keep: int, beyond: bool) -> Positions:
    """Candidates by falling rank until their weights sum to `target`, or `beyond` it."""
    size = _FIRST_TAKE
    while True:
        order = descending(rank, size)
        running = np.add.accumulate(w[order])
        count = int(np.searchsorted(running, target, side="right" if beyond else "left")) + 1
        count = max(count, min_keep)
        if count <= order.size or order.size == rank.size:
            return np.sort(order[:count])
        size *= 8


def top_p(x: Vector, p: float, min_keep: int) -> Positions:
    """The fewest most probable candidates with total probability >= p.

    Holtzman et al. 2019, arXiv:1904.09751.
    """
    w = exp(x - x.max())
    return _take(x, w, p * total(w), min_keep, beyond=False)


def min_p(x: Vector, p: float, min_keep: int) -> Positions:
    """Candidates with p_i >= p * p_max, that is x_i >= x_max + log p.

    Nguyen et al. 2024, arXiv:2407.01082.
    """
    kept = np.flatnonzero(x >= float(x.max()) + log(p))
    return kept if kept.size >= min_keep else np.sort(top_k(x, min_keep))


def typical(x: Vector, p: float, min_keep: int) -> Positions:
    """Candidates whose surprise is nearest to the entropy, until their probability exceeds p.

    Meister et al. 2022, arXiv:2202.00666. With d_i = x_i - x_max the surprise -log p_i is
    log Z - d_i and the entropy H is log Z - sum p_j d_j, so |-log p_i - H| = |sum p_j d_j - d_i|:
    the logarithms cancel. Equal distances: the lower id first.
    """
    d = x - x.max()
    w = exp(d)
    z = total(w)
    distance = np.abs(total(w * d) / z - d)
    return _take(-distance, w, p * z, min_keep, beyond=True)


def xtc(x: Vector, threshold: float, min_keep: int) -> Positions:
    """Exclude top choices: of the candidates with p_i >= threshold, all but the least probable go.

    p-e-w 2024, github.com/oobabooga/text-generation-webui/pull/6335; nothing goes when fewer than
    min_keep would stay.
    """
    w = exp(x - x.max())
    top = np.flatnonzero(w >= threshold * total(w))
    gone = top.size - 1
    if gone < 1 or x.size - gone < min_keep:
        return np.arange(x.size)
    least = top[x[top] == x[top].min()][-1]
    keep = np.ones(x.size, dtype=np.bool_)
    keep[top] = False
    keep[least] = True
    return np.flatnonzero(keep)


def mirostat(x: Vector, mu: float) -> Positions:
    """Candidates with surprise -log2 p_i <= mu, or the most probable alone. Basu et al. 2020,
    arXiv:2007.14966, alg. 2.
    """
    d = x - x.max()
    kept = np.flatnonzero(log(total(exp(d))) - d <= mu * LN2)
    return kept if kept.size else np.array([x.argmax()], dtype=np.intp)
