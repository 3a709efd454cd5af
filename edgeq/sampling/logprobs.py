"""Log-probabilities of tokens under the model alone, before any setting touches its logits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeq.sampling.filters import descending
from edgeq.sampling.mathfn import exp, log, total


class LogProbs(NamedTuple):
    """`chosen`: for the ids asked for, in order; `top`: pairs (id, value), most probable first."""

    chosen: tuple[float, ...]
    top: tuple[tuple[int, float], ...]


def logprobs(x: NDArray[np.float32], ids: Iterable[int], top_k: int) -> LogProbs:
    """log p_i = d_i - log sum e^d_j, d = x - x_max: natural logarithms, by the fixed exp and log.

    x: float32 [V], finite or -inf, not all -inf; ids in [0, V); top_k in [0, V].
    """
    d = x.astype(np.float64)
    d -= d.max()
    log_z = log(total(exp(d)))
    top = descending(x, top_k) if top_k else ()
    chosen = tuple(float(d[i]) - log_z for i in ids)
    return LogProbs(chosen, tuple((int(i), float(d[i]) - log_z) for i in top))
