"""The chain that Sampling describes, from logits to a token id.

Given the same logits, seed, settings and history the same token comes out on every platform:
mathfn.py says why. Owns the order of the steps. Not here: the state of a sequence (sampler.py), the filters
(filters.py, penalties.py, dry.py) and text (stop.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.sampling import filters
from edgeq.sampling.dry import Dry, Pieces
from edgeq.sampling.logits import EDITED, GIVEN, HOOKED, Logits, as_logits, first_maximum
from edgeq.sampling.logprobs import LogProbs, logprobs
from edgeq.sampling.mathfn import LN2, Vector, exp, log, total
from edgeq.sampling.penalties import RecentTokens, add_bias, penalize
from edgeq.sampling.rng import uniforms
from edgeq.sampling.settings import Sampling

# A colder one could overflow (x - max) / T; at 1e-30 every difference of two logits is decisive.
_COLDEST = 1e-30


class Chain:
    """The steps for one vocabulary; holds no state. `pieces`: what tokens write, which DRY needs."""

    def __init__(self, settings: Sampling, vocab_size: int, pieces: Pieces | None) -> None:
        self.settings = settings
        self.vocab_size = vocab_size
        bias = dict(settings.logit_bias)
        self._bias_ids = np.array(list(bias), dtype=np.intp)
        self._bias = np.array(list(bias.values()), dtype=np.float64)
        self._dry = Dry(settings, pieces) if settings.dries else None

    def edited(
        self, logits: Any, history: list[int], recent: RecentTokens | None
    ) -> tuple[Logits, int]:
        """Logits float32 [V] after hook, bias, penalties and DRY, and the position of their first maximum."""
        s = self.settings
        x = as_logits(logits, self.vocab_size, "the logits")
        top = first_maximum(x, GIVEN)
        if not s.edits:
            return x, top
        x = x.copy()
        if s.hook is not None:
            changed = s.hook(tuple(history), x)
            if changed is not None:
                x = as_logits(changed, self.vocab_size, "what Sampling.hook returned").copy()
            first_maximum(x, HOOKED)
        if self._bias.size:
            add_bias(x, self._bias_ids, self._bias)
        if recent is not None:
            penalize(x, recent.counts, s)
        if self._dry is not None:
            self._dry.apply(x, history)
        return x, first_maximum(x, EDITED)

    def draw(self, x: Logits, seed: int, draws: int, mu: float) -> tuple[int, float]:
        """A token id, and Mirostat's bound after it."""
        ids, w, d = self._weights(x, seed, draws, mu)
        running = np.add.accumulate(w)
        z = float(running[-1])
        u, _ = uniforms(seed, draws)
        chosen = int(np.searchsorted(running, u * z, side="right"))  # u * z < z: always in range
        if self.settings.mirostat:
            surprise = (log(z) - float(d[chosen])) / LN2
            mu -= self.settings.mirostat_eta * (surprise - self.settings.mirostat_tau)
        return int(ids[chosen]), mu

    def distribution(
        self, x: Logits, top: int, seed: int, draws: int, mu: float
    ) -> tuple[NDArray[np.intp], Vector]:
        """What `draw` draws from: ids, ascending, and their probabilities."""
        if self.settings.temperature == 0.0:
            return np.array([top], dtype=np.intp), np.ones(1)
        ids, w, _ = self._weights(x, seed, draws, mu)
        return ids, w / total(w)

    def logprobs(self, logits: Any, ids: list[int], top_k: int) -> LogProbs:
        """Of `ids` and of the `top_k` most probable tokens, from the logits as they are given."""
        x = as_logits(logits, self.vocab_size, "the logits")
        first_maximum(x, GIVEN)
        return logprobs(x, ids, top_k)

    def _weights(
        self, x: Logits, seed: int, draws: int, mu: float
    ) -> tuple[NDArray[np.intp], Vector, Vector]:
        """Ids that are left, ascending; their weights e^d; d = (x - max) / T."""
        s = self.settings
        t = max(s.temperature, _COLDEST)
        ids = filters.top_k(x, s.top_k if s.top_k and not s.mirostat else x.size)
        v = (x if ids.size == x.size else x[ids]).astype(np.float64)
        if v.min() == -math.inf:
            ids, v = ids[v > -math.inf], v[v > -math.inf]
        for keep in self._truncations(t, seed, draws, mu):
            kept = keep(v)
            ids, v = ids[kept], v[kept]
        d = (v - v.max()) / t
        return ids, exp(d), d

    def _truncations(self, t: float, seed: int, draws: int, mu: float) -> Iterable[Any]:
        """The filters after top_k that are on, in order, as functions of the candidates' logits."""
        s, least = self.settings, self.settings.min_keep
        if s.mirostat:
            yield lambda v: filters.mirostat((v - v.max()) / t, mu)
            return
        if s.typical_p < 1.0:
            yield lambda v: filters.typical(v, s.typical_p, least)
        if s.top_p < 1.0:
            yield lambda v: filters.top_p(v, s.top_p, least)
        if s.min_p > 0.0:
            yield lambda v: filters.min_p(v, s.min_p, least)
        xtc = s.xtc_probability > 0.0 and s.xtc_threshold <= 0.5
        if xtc and uniforms(seed, draws)[1] < s.xtc_probability:
            yield lambda v: filters.xtc(v, s.xtc_threshold, least)
