"""Sampler: the chain that Sampling describes, from logits to a token id, for one sequence.

Given the same logits, seed, settings and history the same token comes out on every platform:
mathfn.py says why. Owns the state of a sequence and its rewind. Not here: the filters (filters.py,
penalties.py, dry.py) and text (stop.py).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeq.errors import UsageError
from edgeq.sampling import filters
from edgeq.sampling.dry import Dry, Pieces
from edgeq.sampling.logits import EDITED, GIVEN, HOOKED, Logits, as_logits, first_maximum
from edgeq.sampling.logprobs import LogProbs, logprobs
from edgeq.sampling.mathfn import LN2, Vector, exp, log, total
from edgeq.sampling.penalties import RecentTokens, add_bias, penalize
from edgeq.sampling.rng import uniforms
from edgeq.sampling.settings import Sampling, found, is_int, is_number

# A colder one could overflow (x - max) / T; at 1e-30 every difference of two logits is decisive.
_COLDEST = 1e-30


class SamplerState(NamedTuple):
    """All that a sampler remembers, as plain values: to keep, compare, or write to a file."""

    seed: int
    draws: int  # tokens drawn so far: the counter of the generator
    mu: float  # Mirostat's running bound on surprise, bits
    history: tuple[int, ...]


class Sampler:
    """Chooses tokens for one sequence.

    `history`: ids before the first draw (the prompt), which penalties and DRY see. `seed`: 0 to
    2^64 - 1, or None for one from the operating system, readable as `.seed`. `pieces`: what each
    token writes, as a sequence or a function of the id; DRY needs it for its breakers. A call to
    `sample` draws, a call to `accept` appends the token to the history.
    """

    def __init__(
        self,
        settings: Sampling,
        vocab_size: int,
        seed: int | None = None,
        history: Iterable[int] = (),
        pieces: Pieces | None = None,
    ) -> None:
        if not isinstance(settings, Sampling):
            raise UsageError(
                f"Sampler settings must be an edgeq.sampling.Sampling; got {found(settings)}"
            )
        if not is_int(vocab_size) or not 1 <= vocab_size < 2**31:
            raise UsageError(
                f"vocab_size must be an integer from 1 to 2147483647; got {found(vocab_size)}"
            )
        self.settings = settings
        self.vocab_size = int(vocab_size)
        bias = dict(settings.logit_bias)
        self._bias_ids = np.array(list(bias), dtype=np.intp)
        self._bias = np.array(list(bias.values()), dtype=np.float64)
        for token in bias:
            if token >= self.vocab_size:
                raise UsageError(
                    f"Sampling.logit_bias names token {token}; ids of this model are below "
                    f"{vocab_size}"
                )
        self._dry = Dry(settings, pieces) if settings.dries else None
        self._edits = bool(bias or settings.hook or settings.penalizes or self._dry)
        seed = int.from_bytes(os.urandom(8), "little") if seed is None else seed
        self._set(SamplerState(seed, 0, 2.0 * settings.mirostat_tau, _tuple(history)))

    def _set(self, state: SamplerState) -> None:
        if not is_int(state.seed) or not 0 <= state.seed < 2**64:
            raise UsageError(
                "the sampler's seed must be an integer from 0 to 2^64 - 1, or None for a random "
                f"one; got {found(state.seed)}"
            )
        if not is_int(state.draws) or not 0 <= state.draws < 2**64:
            raise UsageError(
                f"draws must be an integer from 0 to 2^64 - 1; got {found(state.draws)}"
            )
        if not is_number(state.mu) or not -1e300 <= state.mu <= 1e300:
            raise UsageError(f"the sampler's mu must be a finite number; got {found(state.mu)}")
        history = list(_tuple(state.history))
        plain = set(map(type, history)) <= {int}  # the usual case, checked at C speed
        if history and not (plain and min(history) >= 0 and max(history) < self.vocab_size):
            history = [self._token(token) for token in history]
        self._seed, self._draws, self._mu = int(state.seed), int(state.draws), float(state.mu)
        self._history = history
        s = self.settings
        self._recent = RecentTokens(s.repeat_last_n, history) if s.penalizes else None

    def _token(self, token: Any) -> int:
        if not is_int(token) or not 0 <= token < self.vocab_size:
            raise UsageError(
                f"a token id must be an integer from 0 to {self.vocab_size - 1}; got {found(token)}"
            )
        return int(token)

    @property
    def seed(self) -> int:
        """The seed in use; give it to a new Sampler to draw the same tokens again."""
        return self._seed

    @property
    def history(self) -> tuple[int, ...]:
        """All ids so far: the given history and what was accepted."""
        return tuple(self._history)

    def state(self) -> SamplerState:
        """A snapshot for `restore`."""
        return SamplerState(self._seed, self._draws, self._mu, tuple(self._history))

    def restore(self, state: SamplerState) -> None:
        """Go back (or on) to a snapshot of this or another sampler for the same vocabulary."""
        if not isinstance(state, SamplerState):
            raise UsageError(
                f"Sampler.restore takes what Sampler.state returned; got {found(state)}"
            )
        self._set(state)

    def copy(self) -> Sampler:
        """An independent sampler in the same state; settings and the text of tokens are shared."""
        twin = object.__new__(Sampler)
        twin.__dict__.update(self.__dict__)
        twin._set(self.state())
        return twin

    def accept(self, token: int) -> None:
        """Append a token to the history, drawn or not."""
        self._history.append(self._token(token))
        if self._recent is not None:
            self._recent.push(self._history)

    def sample(self, logits: Any) -> int:
        """The next token for logits float32 [V], which stay as they are; -inf masks a token.

        BackendError names a logit that is NaN or +inf; UsageError is for logits of a wrong shape,
        for a hook's bad logits, and where every token is masked. A hook's own exception passes.
        """
        x, top = self._prepared(logits)
        if self.settings.temperature == 0.0:
            return top
        ids, w, d = self._weights(x)
        running = np.add.accumulate(w)
        z = float(running[-1])
        u, _ = uniforms(self._seed, self._draws)
        chosen = int(np.searchsorted(running, u * z, side="right"))  # u * z < z: always in range
        self._draws += 1
        if self.settings.mirostat:
            surprise = (log(z) - float(d[chosen])) / LN2
            self._mu -= self.settings.mirostat_eta * (surprise - self.settings.mirostat_tau)
        return int(ids[chosen])

    def distribution(self, logits: Any) -> tuple[NDArray[np.intp], Vector]:
        """What the next `sample` will draw from: ids, ascending, and their probabilities."""
        x, top = self._prepared(logits)
        if self.settings.temperature == 0.0:
            return np.array([top], dtype=np.intp), np.ones(1)
        ids, w, _ = self._weights(x)
        return ids, w / total(w)

    def logprobs(self, logits: Any, ids: Iterable[int] = (), top_k: int = 0) -> LogProbs:
        """Log-probabilities of `ids` and of the `top_k` most probable tokens, by the model alone.

        No setting, bias or hook applies; -inf for a token that is masked in `logits`.
        """
        if not is_int(top_k) or not 0 <= top_k <= self.vocab_size:
            raise UsageError(
                f"logprobs top_k must be an integer from 0 to {self.vocab_size}; got {found(top_k)}"
            )
        x = as_logits(logits, self.vocab_size, "the logits")
        first_maximum(x, GIVEN)
        return logprobs(x, [self._token(token) for token in ids], int(top_k))

    def _prepared(self, logits: Any) -> tuple[Logits, int]:
        """Logits after hook, bias, penalties and DRY, and the position of their first maximum."""
        s = self.settings
        x = as_logits(logits, self.vocab_size, "the logits")
        top = first_maximum(x, GIVEN)
        if not self._edits:
            return x, top
        x = x.copy()
        if s.hook is not None:
            changed = s.hook(tuple(self._history), x)
            if changed is not None:
                x = as_logits(changed, self.vocab_size, "what Sampling.hook returned").copy()
            first_maximum(x, HOOKED)
        if self._bias.size:
            add_bias(x, self._bias_ids, self._bias)
        if self._recent is not None:
            penalize(x, self._recent.counts, s)
        if self._dry is not None:
            self._dry.apply(x, self._history)
        return x, first_maximum(x, EDITED)

    def _weights(self, x: Logits) -> tuple[NDArray[np.intp], Vector, Vector]:
        """Ids that are left, ascending; their weights e^d; d = (x - max) / T."""
        s = self.settings
        t = max(s.temperature, _COLDEST)
        ids = filters.top_k(x, s.top_k if s.top_k and not s.mirostat else x.size)
        v = (x if ids.size == x.size else x[ids]).astype(np.float64)
        if v.min() == -math.inf:
            ids, v = ids[v > -math.inf], v[v > -math.inf]
        for keep in self._truncations(t):
            kept = keep(v)
            ids, v = ids[kept], v[kept]
        d = (v - v.max()) / t
        return ids, exp(d), d

    def _truncations(self, t: float) -> Iterable[Any]:
        """The filters after top_k that are on, in order, as functions of the candidates' logits."""
        s, least = self.settings, self.settings.min_keep
        if s.mirostat:
            yield lambda v: filters.mirostat((v - v.max()) / t, self._mu)
            return
        if s.typical_p < 1.0:
            yield lambda v: filters.typical(v, s.typical_p, least)
        if s.top_p < 1.0:
            yield lambda v: filters.top_p(v, s.top_p, least)
        if s.min_p > 0.0:
            yield lambda v: filters.min_p(v, s.min_p, least)
        if s.xtc_probability > 0.0 and s.xtc_threshold <= 0.5 and self._xtc_acts():
            yield lambda v: filters.xtc(v, s.xtc_threshold, least)

    def _xtc_acts(self) -> bool:
        return uniforms(self._seed, self._draws)[1] < self.settings.xtc_probability


def _tuple(history: Any) -> tuple[Any, ...]:
    if not isinstance(history, Iterable):
        raise UsageError(
            f"the sampler's history must be a sequence of token ids; got {found(history)}"
        )
    return tuple(history)
