"""Drafters that know, and drafters that lie; and what an answer with them did, to the last bit. Owns no test."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import edgeq
from edgeq.generate import Generation, start
from edgeq.session import Session
from tests import small


def model(name: str = "llama3", **given: Any) -> edgeq.Model:
    """With one thread: many small steps of two wait for each other on a busy machine."""
    return small.model(name, threads=1, **given)


class Told:
    """Drafts what it is told: `say(position, n)` gives the tokens from that position of the answer on."""

    def __init__(self, lengths: Sequence[int], say: Callable[[int, int], list[int]]) -> None:
        self.lengths, self.say = list(lengths), say
        self.pushed: list[int] = []
        self.judged: list[bool] = []

    def push(self, token: int) -> None:
        self.pushed.append(token)

    def plan(self, most: int, costs: Any) -> tuple[int, float]:
        self.lengths.append(self.lengths.pop(0))
        return min(most, self.lengths[-1]), 1.0

    def draft(self, n: int, cancel: Any) -> list[int]:
        return self.say(len(self.pushed), n)[:n]

    def judge(self, right: bool) -> None:
        self.judged.append(right)


def knowing(ids: Sequence[int], lengths: Sequence[int], wrong: Sequence[int], lie: Sequence[int]) -> Told:
    """Knows the answer `ids`; at positions in `wrong` it says one of `lie` instead."""

    def say(at: int, n: int) -> list[int]:
        known = [*ids[at : at + n], *[lie[0]] * n][:n]
        return [lie[i % len(lie)] if at + i in wrong else token for i, token in enumerate(known)]

    return Told(lengths, say)


def begun(session: Session, prompt: Any, drafter: Any = None, **settings: Any) -> Generation:
    """An answer for which `drafter` alone drafts; without one, nobody does."""
    answer = start(session, prompt, **{"draft_tokens": 0 if drafter is None else None, **settings})
    answer.speculation._drafters = [] if drafter is None else [drafter]
    session.costs.one = 1.0  # as if there had been a step: the very first one is of one token else
    return answer


def observed(answer: Generation) -> dict[str, Any]:
    """All that can be seen of an answer while and after it is made: every bit of every row of logits included."""
    session, seen, rows = answer.session, [], []
    sample = answer.sampler.sample

    def watched(logits: Any) -> int:
        rows.append(zlib.crc32(np.asarray(logits).tobytes()))
        return sample(logits)

    answer.sampler.sample = watched  # type: ignore[method-assign]
    for piece in answer:
        seen.append((piece, len(session.tokens()), session.room()))
    usage = answer.usage
    return {
        "pieces": seen, "rows": rows, "ids": answer.ids, "text": answer.text, "reason": answer.finish_reason,
        "tokens": session.tokens(), "room": session.room(), "sampler": answer.sampler.state(),
        "usage": (usage.prompt, usage.cached, usage.generated),
    }  # fmt: skip
