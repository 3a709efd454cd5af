"""Speculative decoding: tokens are drafted cheaply and checked together, in one step of the model.

Owns who drafts, how much, and what it came to. Nothing here decides what the text is: every token is drawn by the
answer's own sampler from the model's own logits, a drafted token only saves the step after it if it is the one that
was drawn. So the text is the same, bit for bit, with greedy decoding and with sampling from the same seed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from edgeq.errors import UsageError, shown
from edgeq.record import Record

if TYPE_CHECKING:
    import numpy as np

    from edgeq.backends.base import Cancel
    from edgeq.backends.rows import Row
    from edgeq.model import Model
    from edgeq.session import Session
    from edgeq.speculation.draft import DraftModel
    from edgeq.speculation.pays import Costs


class Drafts(Record):
    """What may draft: prompt lookup, and a model; `tokens`: at most so many at once, None: as many as pay."""

    lookup: bool = True
    model: Model | DraftModel | None = None
    tokens: int | None = None

    def _settle(self) -> None:
        if not isinstance(self.lookup, bool):
            raise UsageError(f"lookup: expected True or False, found {shown(repr(self.lookup), 40)}")
        n = self.tokens
        if n is not None and (not isinstance(n, int) or isinstance(n, bool) or n < 0):
            raise UsageError(f"draft_tokens: expected a whole number from 0 or None, found {shown(repr(n), 40)}")


class Drafter(Protocol):
    """Follows a text and guesses how it goes on."""

    def push(self, token: int) -> None:
        """The text goes on with this token."""
        ...

    def plan(self, most: int, costs: Costs) -> tuple[int, float]:
        """How many tokens to draft, at most `most`, and how many times as fast that should be; 0 for none."""
        ...

    def draft(self, n: int, cancel: Cancel | None) -> list[int]:
        """At most n tokens; called after a plan that promised most."""
        ...

    def judge(self, right: bool) -> None:
        """Whether the next drafted token was the one; what was drafted behind a wrong one is not judged."""
        ...


class Speculation:
    """The steps of one answer. `drafted`: tokens that were run as guesses; `accepted`: of those, the ones that
    saved a step."""

    def __init__(self, session: Session, prompt: Sequence[int], drafts: Drafts, sequence: int = 0) -> None:
        self.drafted = self.accepted = 0
        self._session, self._sequence, self._prompt, self._drafts = session, sequence, prompt, drafts
        self._most = min(session.most_ahead, session.most_ahead if drafts.tokens is None else drafts.tokens)
        self._model = draft_model(session.model, drafts.model)
        self._drafters: list[Drafter] | None = None  # made behind the first token, which need not wait for it
        self._by: Drafter | None = None  # who drafted the tokens that are still to be judged
        self._left = 0

    def append(self, token: int, wanted: int, cancel: Cancel | None) -> np.ndarray | Row:
        """Appends a token to the session's sequence; gives the logits [V] after it.

        wanted: tokens that may come after it at most."""
        if self._drafters is None:
            self._drafters = self._begin()
        for drafter in self._drafters:
            drafter.push(token)
        session, sequence = self._session, self._sequence
        if session.foreseen(token, sequence):
            self.accepted += 1
            self._judge(True)
            return session.append_row(token, sequence, cancel=cancel)
        self._judge(False)
        draft = self._draft(min(wanted, session.room(sequence)) - 1, cancel)
        began = time.perf_counter()
        logits = session.append_row(token, sequence, draft=draft, cancel=cancel)
        session.costs.add(1 + len(draft), time.perf_counter() - began)
        self.drafted += len(draft)
        self._left = len(draft)
        return logits

    def _begin(self) -> list[Drafter]:
        made: list[Drafter] = []
        if self._drafts.lookup and self._most:
            from edgeq.speculation.lookup import Lookup

            made.append(Lookup(self._prompt))
        if self._model is not None and self._most:
            self._model.begin(self._prompt)
            made.append(self._model)
        return made

    def _draft(self, most: int, cancel: Cancel | None) -> list[int]:
        most, costs, chosen, promise, by = min(most, self._most), self._session.costs, 0, 0.0, None
        if most > 0 and costs.one:  # the first step is one token, to compare with
            for drafter in self._drafters or ():
                n, gain = drafter.plan(most, costs)
                if n and gain > promise:
                    chosen, promise, by = n, gain, drafter
        self._by = by
        return by.draft(chosen, cancel) if by else []

    def _judge(self, right: bool) -> None:
        if self._left and self._by:
            self._by.judge(right)
            self._left -= 1


def draft_model(model: Model, given: Any) -> DraftModel | None:
    """What drafts for `model`, ready to follow a text: made from a loaded model, or made before.

    Raises UsageError for anything else, and where nothing can be drafted for the model or not by that one."""
    if given is None:
        return None
    from edgeq.model import Model
    from edgeq.speculation.draft import DraftModel

    if not isinstance(given, (Model, DraftModel)):
        raise UsageError(f"draft: expected a loaded edgeq.Model, found {shown(type(given).__name__)}")
    if model.executable.small_batch < 2:
        raise UsageError(
            f"draft: nothing can be drafted for this model: its backend, {model.backend.name}, or its chunks have the "
            "same bits for one token at a time only; the native and numba backends check several at once"
        )
    return DraftModel(model, given) if isinstance(given, Model) else given
