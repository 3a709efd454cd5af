"""A small model drafts for a large one.

Leviathan, Kalman, Matias, "Fast inference from transformers via speculative decoding", ICML 2023, arXiv:2211.17192.
Here the small model's likeliest tokens are proposed, and kept where they are what the large one's own sampler draws.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeq.errors import UsageError, shown
from edgeq.speculation.pays import best

if TYPE_CHECKING:
    import numpy as np

    from edgeq.backends.base import Cancel
    from edgeq.model import Model
    from edgeq.speculation.pays import Costs

TOKENS = "tokenizer.ggml.tokens"
CHANCE = 0.7  # that a drafted token is right, before there were any
NEW, PRICE = 0.05, 0.25  # weights of a token in the running chance, of a draft in the running price of a token
PROBE = 3  # tokens of a draft whose price is not known, or that is thought not to pay
PAUSE, LONGER = 16, 4  # tokens until drafts that do not pay are tried again; so many times as many each time
CLOSE = 4  # tokens: who must catch up with more is not timed at it


class DraftModel:
    """A model that drafts for `model`, with a session of its own that follows a text: one at a time.

    Raises UsageError where the two do not share a vocabulary."""

    def __init__(self, model: Model, draft: Model) -> None:
        check_vocabulary(model, draft)
        self._session = draft.session(context=min(draft.context, draft.trained_context, model.context))
        self._vocab = min(model.vocab, draft.vocab)
        self.begin(())

    def begin(self, prompt: Sequence[int]) -> None:
        """Another text, of which nothing is known; what the session holds of it is used."""
        self._text = list(prompt)
        self._foreign = max(self._text, default=0) >= self._vocab  # a token that the small model does not know
        self._ran: int | None = None  # tokens of the text that the session holds; None: not known
        self._guesses: list[int] = []  # what it holds behind them
        self._each = 0.0  # seconds that drafting a token takes; 0 until it was measured
        self._chance = CHANCE
        self._pause, self._next = PAUSE, 0

    def push(self, token: int) -> None:
        """The text goes on."""
        self._text.append(token)
        self._foreign = self._foreign or token >= self._vocab

    def plan(self, most: int, costs: Costs) -> tuple[int, float]:
        """As many tokens as pay, or now and then a few to see whether they would, if right ones could."""
        here = len(self._text)
        most = min(most, self._session.context - here + 1)
        if self._foreign or most < 1:
            return 0, 1.0
        n, gain = best([self._chance] * most, costs.ratios, self._each / costs.one)
        if not self._each:
            return min(n, PROBE), gain
        if n:
            self._pause = PAUSE
            return n, gain
        if here < self._next or not best([1.0] * most, costs.ratios, self._each / costs.one)[0]:
            return 0, 1.0
        self._next = here + self._pause
        self._pause *= LONGER
        return min(PROBE, most), gain

    def draft(self, n: int, cancel: Cancel | None = None) -> list[int]:
        """The n likeliest tokens, one after the other. Raises what a step raises."""
        behind, began = len(self._text) - (self._ran or 0), time.perf_counter()
        logits = self._caught_up(cancel)
        times = [time.perf_counter() - began] if behind <= CLOSE else []
        guesses = [int(logits[: self._vocab].argmax())]
        while len(guesses) < n:
            began = time.perf_counter()
            logits = self._session.append(guesses[-1], cancel=cancel)
            guesses.append(int(logits[: self._vocab].argmax()))
            times.append(time.perf_counter() - began)
        self._ran, self._guesses = len(self._text), guesses[:-1]
        if times:  # the shortest: the machine may have been busy
            self._each += PRICE * (min(times) - self._each) if self._each else min(times)
        return guesses

    def _caught_up(self, cancel: Cancel | None) -> np.ndarray:
        """The logits after the text, of which only what is new is run."""
        text, ran, session = self._text, self._ran, self._session
        self._ran = None  # until all is well: then the session is what it was
        if ran is None:
            return session.sync(text, cancel=cancel)[0]
        for guess in self._guesses:
            if ran + 1 >= len(text) or text[ran] != guess:
                break
            ran += 1
        return session.extend(text[session.rewind(ran) :], cancel=cancel)

    def judge(self, right: bool) -> None:
        """A drafted token was right or wrong."""
        self._chance += NEW * (right - self._chance)


def check_vocabulary(model: Model, draft: Model) -> None:
    """Raises UsageError unless every id that both have stands for the same piece of text in both.

    One may have more ids: files of one family differ in how far their tables are padded."""
    own, other = model.file.metadata[TOKENS], draft.file.metadata[TOKENS]
    if own == other:
        return
    differ = (i for i, (a, b) in enumerate(zip(own, other)) if a != b)
    at = next(differ, None)
    if at is not None:
        raise UsageError(
            f"draft model {shown(draft.file.path)}: its token {at} is '{shown(other[at], 40)}', the model's is "
            f"'{shown(own[at], 40)}'; a draft model needs the same vocabulary"
        )
