"""Sampler: draws the tokens of one sequence and remembers what it drew.

Owns the state of a sequence, its snapshots and its checks. The arithmetic is in chain.py, which brings NumPy
and is imported when the first logits are there: a sampler can be made while they are computed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from edgeq.errors import UsageError
from edgeq.sampling.settings import Sampling, found, is_int, is_number

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgeq.sampling.chain import Chain
    from edgeq.sampling.dry import Pieces
    from edgeq.sampling.logprobs import LogProbs
    from edgeq.sampling.mathfn import Vector
    from edgeq.sampling.penalties import RecentTokens


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
        for token in dict(settings.logit_bias):
            if token >= self.vocab_size:
                raise UsageError(
                    f"Sampling.logit_bias names token {token}; ids of this model are below "
                    f"{vocab_size}"
                )
        self._pieces = pieces
        if settings.dries:
            _ = self._chain  # raises UsageError for breakers without pieces
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
        self._recent = self._counted(history) if self.settings.penalizes else None

    def _counted(self, history: list[int]) -> RecentTokens:
        from edgeq.sampling.penalties import RecentTokens

        return RecentTokens(self.settings.repeat_last_n, history)

    @cached_property
    def _chain(self) -> Chain:
        from edgeq.sampling.chain import Chain

        return Chain(self.settings, self.vocab_size, self._pieces)

    def _token(self, token: Any) -> int:
        if not is_int(token) or not 0 <= token < self.vocab_size:
            raise UsageError(
                f"a token id must be an integer from 0 to {self.vocab_size - 1}; got {found(token)}"
            )
        return int(token)

    @property
    def plain(self) -> bool:
        """Whether a token is the likeliest one as the model sees it, which takes no NumPy to find."""
        return self.settings.temperature == 0.0 and not self.settings.edits

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

        Logits that are no array yet may bring `first_maximum`, which finds it or gives -1 where one is not finite.

        BackendError names a logit that is NaN or +inf; UsageError is for logits of a wrong shape,
        for a hook's bad logits, and where every token is masked. A hook's own exception passes.
        """
        if self.plain and hasattr(logits, "first_maximum") and len(logits) == self.vocab_size:
            top = int(logits.first_maximum())
            if top >= 0:  # else the chain finds the words for what is wrong
                return top
        x, top = self._edited(logits)
        if self.settings.temperature == 0.0:
            return top
        token, self._mu = self._chain.draw(x, self._seed, self._draws, self._mu)
        self._draws += 1
        return token

    def distribution(self, logits: Any) -> tuple[NDArray[np.intp], Vector]:
        """What the next `sample` will draw from: ids, ascending, and their probabilities."""
        x, top = self._edited(logits)
        return self._chain.distribution(x, top, self._seed, self._draws, self._mu)

    def logprobs(self, logits: Any, ids: Iterable[int] = (), top_k: int = 0) -> LogProbs:
        """Log-probabilities of `ids` and of the `top_k` most probable tokens, by the model alone.

        No setting, bias or hook applies; -inf for a token that is masked in `logits`.
        """
        if not is_int(top_k) or not 0 <= top_k <= self.vocab_size:
            raise UsageError(
                f"logprobs top_k must be an integer from 0 to {self.vocab_size}; got {found(top_k)}"
            )
        return self._chain.logprobs(logits, [self._token(token) for token in ids], int(top_k))

    def _edited(self, logits: Any) -> tuple[Any, int]:
        """Logits float32 [V] after hook, bias, penalties and DRY, and the position of their first maximum."""
        return self._chain.edited(logits, self._history, self._recent)


def _tuple(history: Any) -> tuple[Any, ...]:
    if not isinstance(history, Iterable):
        raise UsageError(
            f"the sampler's history must be a sequence of token ids; got {found(history)}"
        )
    return tuple(history)
