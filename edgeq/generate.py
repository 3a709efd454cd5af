"""The token loop: prompt in, pieces of text out, until an end token, a stop string, a limit, or the
caller says so.

Owns streaming, stop strings, finish reasons, usage and timings. Sequences and caches are the session's
affair.
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from edgeq.backends.base import Cancel
from edgeq.errors import BackendError, Cancelled, ContextError, UsageError, shown
from edgeq.record import Record
from edgeq.session import whole_numbers

if TYPE_CHECKING:
    from edgeq.model import Model
    from edgeq.sampling import Sampling
    from edgeq.session import Session
    from edgeq.speculation import Drafts
    from edgeq.speculation.draft import DraftModel


class Piece(Record):
    """One token of an answer. `text` may be empty while a character or a stop string is incomplete.

    logprob: natural logarithm of its probability by the model alone; top: (id, log-probability), most
    probable first. What is still held back when an end token comes is written by a last piece, whose id
    is that token."""

    text: str
    id: int
    logprob: float
    top: tuple[tuple[int, float], ...]


class Usage(Record):
    """Tokens: of the prompt, of those the ones that were still held, and generated ones (an end token is
    none); guesses that were run, and of those the ones that saved a step."""

    prompt: int
    cached: int
    generated: int
    drafted: int = 0
    accepted: int = 0


class Timings(Record):
    """Seconds: running the prompt, until the first token was chosen, and for all tokens after the first.

    The time that the caller takes between pieces does not count."""

    prompt: float
    first_token: float
    generate: float


class Limits(Record):
    """Where an answer ends besides at an end token: `max_tokens` None is as far as the context goes."""

    max_tokens: int | None = None
    stop: str | Sequence[str] = ()
    ignore_end: bool = False

    def _settle(self) -> None:
        n = self.max_tokens
        if n is not None and (not isinstance(n, int) or isinstance(n, bool) or n < 0):
            raise UsageError(
                f"max_tokens: expected a whole number from 0 or None, found {shown(repr(n), 40)}"
            )


class Generation:
    """An answer in the making: iterate it (also with `async for`); close it, or use it as a context
    manager, to stop.

    When it has ended: `finish_reason` ("stop": an end token or stop string, "length": max_tokens,
    "context": no room is left, "cancelled", "error": an exception ended it), `usage`, `timings`, `ids`
    and `text`. With `details` it yields `Piece`, else str (never empty). A `cancel` flag of the caller's
    that is set stays set: clear it to use it again."""

    def __init__(
        self, session: Session, prompt: Sequence[int], sampling: Sampling, limits: Limits, *,
        seed: int | None = None, details: bool = False, top_logprobs: int = 0, sequence: int = 0,
        cancel: Cancel | None = None, drafts: Drafts | None = None,
    ) -> None:  # fmt: skip
        from edgeq.sampling import Sampler
        from edgeq.speculation import Drafts, Speculation
        from edgeq.stop import StopStrings

        self.session, self.sequence = session, sequence
        self.prompt = whole_numbers(prompt)
        if not self.prompt:
            raise UsageError(
                "a prompt of no tokens: expected at least one; a model without BOS needs some text"
            )
        if len(self.prompt) > session.context:
            over = len(self.prompt) - session.context
            raise ContextError(
                f"prompt of {len(self.prompt)} tokens, context of {session.context}: {over} too many; "
                "shorten it or ask for a larger context"
            )
        self._edition = session.edition(sequence)
        tokenizer, vocab = session.model.tokenizer, session.model.vocab
        if not isinstance(top_logprobs, int) or not 0 <= top_logprobs <= vocab:
            raise UsageError(f"top_logprobs: expected 0 to {vocab}, found {shown(repr(top_logprobs), 40)}")
        self.sampler = Sampler(sampling, vocab, seed, self.prompt, tokenizer.token_bytes)
        self.finish_reason: str | None = None
        self.ids: list[int] = []
        self.text = ""
        self.usage = Usage(len(self.prompt), 0, 0)
        self.timings = Timings(0.0, 0.0, 0.0)
        self.cancel_flag = Cancel() if cancel is None else cancel  # an unset flag is false
        self._limits, self._details, self._top = limits, details, top_logprobs
        self._stops = StopStrings(limits.stop)
        self._stream = tokenizer.stream(at_start=False)
        self._ends = frozenset() if limits.ignore_end else tokenizer.end_ids
        self.speculation = Speculation(session, self.prompt, drafts or Drafts(), sequence)
        self._run = self._pieces()
        self._turn = threading.RLock()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        while True:
            with self._turn:
                if self._run.gi_running:
                    raise UsageError("an answer cannot be continued from within itself (a hook)")
                piece = next(self._run)
            if self._details or piece.text:
                return piece if self._details else piece.text

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        import asyncio
        from contextlib import suppress

        step = asyncio.ensure_future(asyncio.to_thread(next, self, None))
        try:
            piece = await asyncio.shield(step)
        except asyncio.CancelledError:
            self.cancel()
            with suppress(Exception):
                await step  # ends within one step; only then is the session free again
            raise
        if piece is None:
            raise StopAsyncIteration
        return piece

    def cancel(self) -> None:
        """Ends the answer from any thread, within one step; iteration then stops with reason "cancelled"."""
        self.cancel_flag.set()

    def close(self) -> None:
        """Ends the answer here; waits for a step that another thread is in, and cancels it."""
        if not self._turn.acquire(blocking=False):
            self.cancel()
            self._turn.acquire()
        try:
            if self._run.gi_running:  # called by a hook of this very answer
                self.cancel()
                return
            self._run.close()
            self.finish_reason = self.finish_reason or "cancelled"
        finally:
            self._turn.release()

    def __enter__(self) -> Generation:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _pieces(self) -> Any:
        try:
            yield from self._until_end()
        except Cancelled:
            self.finish_reason = "cancelled"
        except (KeyboardInterrupt, GeneratorExit):
            self.finish_reason = self.finish_reason or "cancelled"
            raise
        except BaseException:
            self.finish_reason = "error"
            raise

    def _until_end(self) -> Iterator[Piece]:
        began = time.perf_counter()
        logits = self._prompted(began)
        if self._limits.max_tokens == 0:
            self.finish_reason = "length"
            return
        while True:
            token = self._chosen(logits)
            now = time.perf_counter()
            if not self.ids:
                self.timings = self.timings.replace(first_token=now - began)
            else:
                self.timings = self.timings.replace(generate=self.timings.generate + now - began)
            text = self._text_of(token)
            if text or token not in self._ends:
                yield self._piece(text, token, logits)
            if self.finish_reason:
                return
            began = time.perf_counter()
            if self.session.edition(self.sequence) != self._edition:
                raise UsageError(
                    "something else changed the session's sequence while this answer was in the making"
                )
            wanted = (self._limits.max_tokens or self.session.context) - len(self.ids)
            logits = self.speculation.append(token, wanted, self.cancel_flag)
            self._edition = self.session.edition(self.sequence)

    def _prompted(self, began: float) -> Any:
        try:
            logits, cached = self.session.sync_row(self.prompt, self.sequence, cancel=self.cancel_flag)
        finally:
            self.timings = self.timings.replace(prompt=time.perf_counter() - began)
        self._edition = self.session.edition(self.sequence)
        self.usage = self.usage.replace(cached=cached)
        return logits

    def _chosen(self, logits: Any) -> int:
        if self.cancel_flag:
            raise Cancelled("the answer was cancelled")
        try:
            token = self.sampler.sample(logits)
        except BackendError as error:
            if not self.session.model.weights.memory or self.sampler.settings.hook:  # a hook's own errors pass
                raise
            raise BackendError(f"{error}; or the scale of an adapter is too large: try a smaller one") from None
        if self.cancel_flag:  # by a hook
            raise Cancelled("the answer was cancelled")
        self.sampler.accept(token)
        return token

    def _text_of(self, token: int) -> str:
        """What the token lets out; sets the finish reason where it is the last one."""
        if token in self._ends:
            self.finish_reason = "stop"
            return self._held_back()
        self.ids.append(token)
        made = self.speculation
        self.usage = self.usage.replace(generated=len(self.ids), drafted=made.drafted, accepted=made.accepted)
        text, stopped = self._stops.feed(self._stream.feed(token))
        if stopped:
            self.finish_reason = "stop"
        elif len(self.ids) == self._limits.max_tokens:
            self.finish_reason = "length"
        elif self.session.room(self.sequence) == 0:
            self.finish_reason = "context"
        return text + self._held_back() if self.finish_reason else text

    def _held_back(self) -> str:
        """The beginning of a stop string that never came, an incomplete character."""
        text, stopped = self._stops.feed(self._stream.flush())
        if stopped:
            self.finish_reason = "stop"
            return text
        return text + self._stops.flush()

    def _piece(self, text: str, token: int, logits: Any) -> Piece:
        self.text += text
        if not self._details:
            return Piece(text, token, 0.0, ())
        found = self.sampler.logprobs(logits, [token], self._top)
        return Piece(text, token, found.chosen[0], found.top)


def start(
    session: Session, prompt: str | bytes | Sequence[int], *, max_tokens: int | None = None,
    stop: str | Sequence[str] = (), seed: int | None = None, details: bool = False, top_logprobs: int = 0,
    parse_special: bool = True, ignore_end: bool = False, sequence: int = 0, cancel: Cancel | None = None,
    lookup: bool = True, draft: Model | DraftModel | None = None, draft_tokens: int | None = None,
    sampling: Sampling | None = None, kind: type[Generation] | None = None, **settings: Any,
) -> Generation:  # fmt: skip
    """A generation from text (completed as it stands, without a template) or token ids.

    Tokens are drafted by looking up what followed in the text so far (`lookup`), and by a smaller model with the
    same vocabulary (`draft`), at most `draft_tokens` at once (None: as many as pay; 0: none), and checked
    together. That makes it faster where it can, and never changes what is generated: see `edgeq.speculation`.

    `settings` are fields of `Sampling` (temperature, top_k, ...) that replace those of `sampling`; `kind`
    is a subclass of Generation to make."""
    from edgeq.sampling import Sampling
    from edgeq.speculation import Drafts

    if unknown := sorted(set(settings) - set(Sampling.fields)):
        known = ", ".join(Sampling.fields)
        raise UsageError(f"unknown setting {shown(', '.join(unknown))}; sampling has {known}")
    if sampling is not None and not isinstance(sampling, Sampling):
        raise UsageError(f"sampling: expected an edgeq.Sampling, found {shown(type(sampling).__name__)}")
    chosen = sampling.replace(**settings) if sampling else Sampling(**settings)
    ids = (
        session.model.tokenize(prompt, parse_special=parse_special)
        if isinstance(prompt, (str, bytes))
        else prompt
    )
    return (kind or Generation)(
        session, ids, chosen, Limits(max_tokens, stop, ignore_end), seed=seed, details=details,
        top_logprobs=top_logprobs, sequence=sequence, cancel=cancel, drafts=Drafts(lookup, draft, draft_tokens),
    )  # fmt: skip
