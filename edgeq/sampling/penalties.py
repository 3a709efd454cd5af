"""Logit bias, and the repetition, frequency and presence penalties: edits of single logits.

Not here: DRY (dry.py). Edits compute in float64 and store float32, the type of the logits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeq.sampling.logits import Logits
from edgeq.sampling.mathfn import FLOAT32_MAX, Vector
from edgeq.sampling.settings import Sampling


def store(x: Logits, ids: NDArray[np.intp], values: Vector) -> None:
    """x[ids] = values; finite values stay finite in float32, -inf stays -inf."""
    x[ids] = np.where(np.isneginf(values), values, np.clip(values, -FLOAT32_MAX, FLOAT32_MAX))


def add_bias(x: Logits, ids: NDArray[np.intp], bias: Vector) -> None:
    """x_i += bias_i; a bias of -inf bans the token."""
    store(x, ids, x[ids] + bias)


class RecentTokens:
    """How often each token occurs among the last n of a history; n = -1 counts all of it."""

    def __init__(self, n: int, history: Sequence[int]) -> None:
        self.n = n
        self.counts: dict[int, int] = {}
        for token in history[len(history) - n if 0 <= n < len(history) else 0 :]:
            self.counts[token] = self.counts.get(token, 0) + 1

    def push(self, history: Sequence[int]) -> None:
        """Count the newest token of `history`, and drop the one that leaves the window."""
        token = history[-1]
        self.counts[token] = self.counts.get(token, 0) + 1
        if 0 <= self.n < len(history):
            old = history[-self.n - 1]
            self.counts[old] -= 1
            if not self.counts[old]:
                del self.counts[old]


def penalize(x: Logits, counts: dict[int, int], s: Sampling) -> None:
    """x = (x * r if x <= 0 else x / r) - c * frequency - presence, for tokens seen c > 0 times.

    Keskar et al. 2019 (arXiv:1909.05858, section 4.1) divide by r whatever the sign; that would
    favour repeated tokens with a negative logit, so those are multiplied, as llama.cpp does.
    Frequency and presence: OpenAI's API reference.
    """
    if not counts:
        return
    ids = np.fromiter(counts.keys(), np.intp, len(counts))
    c = np.fromiter(counts.values(), np.float64, len(counts))
    v = x[ids].astype(np.float64)
    v = np.where(v <= 0.0, v * s.repeat_penalty, v / s.repeat_penalty)
    v -= c * s.frequency_penalty
    v -= s.presence_penalty
    store(x, ids, v)
