"""The token loop: prompt in, pieces of text out, until an end token, a stop string, a limit, or the caller says so.

Owns streaming, stop strings, finish reasons, usage and timings. Sequences and caches are the session's affair.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgeq.backends.base import Cancel
from edgeq.errors import Cancelled, ContextError, UsageError

if TYPE_CHECKING:
    from edgeq.sampling import Sampling
    from edgeq.session import Session


@dataclass(frozen=True)
class Piece:
    """One token of an answer. `text` may be empty while a character or a stop string is incomplete."""

    text: str
    id: int
    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Usage:
    """Tokens: of the prompt, of those the ones that were still held, and generated ones."""

    prompt: int
    cached: int
    generated: int


@dataclass(frozen=True)
class Timings:
    """Seconds: running the prompt, until the first token was chosen, and for all tokens after the first."""

    prompt: float
    first_token: float
    generate: float


@dataclass(frozen=True)
class Limits:
    """Where an answer ends besides at an end token: `max_tokens` None is as far as the context goes."""

    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    ignore_end: bool = False

    def __post_init__(self) -> None:
        n = self.max_tokens
        if n is not None and (not isinstance(n, int) or isinstance(n, bool) or n < 0):
            raise UsageError(f"max_tokens: expected a whole number from 0 or None, found {n!r}")


class Generation:
    """An answer in the making: iterate it (also with `async for`); close it, or use it as a context manager, to stop.

    When it has ended: `finish_reason` ("stop": an end token or stop string, "length": max_tokens, "context": no room is
    left, "cancelled"), `usage`, `timings`, `ids` and `text`. With `details` it yields `Piece`, else str (never empty)."""

    def __init__(
        self, session: Session, prompt: Sequence[int], sampling: Sampling, limits: Limits, *, seed: int | None = None,
        details: bool = False, top_logprobs: int = 0, sequence: int = 0, cancel: Cancel | None = None,
    ) -> None:  # fmt: skip
        from edgeq.sampling import Sampler
        from edgeq.stop import StopStrings

        self.session, self.sequence = session, sequence
        self.prompt = list(prompt)
        if not self.prompt:
            raise UsageError("a prompt of no tokens: expected at least one; a model without BOS needs some text")
        if len(self.prompt) > session.context:
            over = len(self.prompt) - session.context
            raise ContextError(f"prompt of {len(self.prompt)} tokens, context of {session.context}: {over} too many")
        tokenizer = session.model.tokenizer
        self.sampler = Sampler(sampling, session.model.vocab, seed, self.prompt, tokenizer.token_bytes)
        self.finish_reason: str | None = None
        self.ids: list[int] = []
        self.text = ""
        self.usage = Usage(len(self.prompt), 0, 0)
        self.timings = Timings(0.0, 0.0, 0.0)
        self.cancel_flag = cancel or Cancel()
        self._limits, self._details, self._top = limits, details, top_logprobs
        self._stops = StopStrings(limits.stop)
        self._stream = tokenizer.stream()
        self._ends = frozenset() if limits.ignore_end else tokenizer.end_ids
        self._run = self._pieces()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        while True:
            piece = next(self._run)
            if self._details or piece.text:
                return piece if self._details else piece.text

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            piece = await asyncio.to_thread(next, self, None)
        except asyncio.CancelledError:
            self.cancel()
            raise
        if piece is None:
            raise StopAsyncIteration
        return piece

    def cancel(self) -> None:
        """Ends the answer from any thread, within one step; iteration then stops with reason "cancelled"."""
        self.cancel_flag.set()

    def close(self) -> None:
        """Ends the answer here."""
        self._run.close()

    def __enter__(self) -> Generation:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _pieces(self) -> Iterator[Piece]:
        try:
            yield from self._until_end()
        except Cancelled:
            self.finish_reason = "cancelled"
        except (KeyboardInterrupt, GeneratorExit):
            self.finish_reason = self.finish_reason or "cancelled"
            raise

    def _until_end(self) -> Iterator[Piece]:
        started = time.perf_counter()
        logits, cached = self.session.sync(self.prompt, self.sequence, cancel=self.cancel_flag)
        self.usage = replace(self.usage, cached=cached)
        self.timings = replace(self.timings, prompt=time.perf_counter() - started)
        begun = None
        while self._limits.max_tokens is None or len(self.ids) < self._limits.max_tokens:
            if self.cancel_flag:
                raise Cancelled("the answer was cancelled")
            token = self.sampler.sample(logits)
            self.sampler.accept(token)
            now = time.perf_counter()
            begun = begun or now
            self.timings = replace(self.timings, first_token=begun - started, generate=now - begun)
            if token in self._ends:
                self.finish_reason = "stop"
                break
            self.ids.append(token)
            self.usage = replace(self.usage, generated=len(self.ids))
            text, stopped = self._stops.feed(self._stream.feed(token))
            yield self._piece(text, token, logits)
            if stopped:
                self.finish_reason = "stop"
                return
            if len(self.ids) == self._limits.max_tokens:
                break
            if self.session.room(self.sequence) == 0:
                self.finish_reason = "context"
                break
            logits = self.session.extend([token], self.sequence, cancel=self.cancel_flag)
        self.finish_reason = self.finish_reason or "length"
        yield from self._rest(logits)

    def _rest(self, logits: Any) -> Iterator[Piece]:
        """What was held back: the beginning of a stop string that never came, an incomplete character."""
        text, stopped = self._stops.feed(self._stream.flush())
        if not stopped:
            text += self._stops.flush()
        else:
            self.finish_reason = "stop"
        if text and self.ids:
            self.text += text
            yield Piece(text, self.ids[-1], 0.0, ())

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
    sampling: Sampling | None = None, kind: type[Generation] | None = None, **settings: Any,
) -> Generation:  # fmt: skip
    """A generation from text (completed as it stands, without a template) or token ids.

    `settings` are fields of `Sampling` (temperature, top_k, ...) that replace those of `sampling`; `kind` is a subclass
    of Generation to make."""
    from dataclasses import fields

    from edgeq.sampling import Sampling

    unknown = set(settings) - {f.name for f in fields(Sampling)}
    if unknown:
        raise UsageError(f"unknown setting {', '.join(sorted(unknown))}; sampling has {', '.join(f.name for f in fields(Sampling))}")
    chosen = replace(sampling, **settings) if sampling else Sampling(**settings)
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    ids = session.model.tokenize(prompt, parse_special=parse_special) if isinstance(prompt, (str, bytes)) else prompt
    return (kind or Generation)(
        session, ids, chosen, Limits(max_tokens, stops, ignore_end), seed=seed, details=details,
        top_logprobs=top_logprobs, sequence=sequence, cancel=cancel,
    )  # fmt: skip
