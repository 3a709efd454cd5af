"""Whether drafting pays: what steps of 1 to 16 tokens take, measured as they run, and how many tokens to draft.

Owns the arithmetic alone: it decides about speed, never about the text. Chances that drafts are right are the
drafters' affair.
"""

from __future__ import annotations

from collections.abc import Sequence

CHEAP = 0.06  # of a step of one token: what a further token is thought to take until it was measured
NEW = 0.125  # weight of a measurement in the running mean
MOST = 1.5  # times what was expected: as much as a measurement counts at most, for the machine may be busy
EVERY, FADE = 64, 0.9  # in so many steps without a measurement the mean falls to this share of it
GAIN = 1.03  # tokens a second, against none drafted: less is not worth it


class Costs:
    """`seconds[n]`: what a step of n tokens is thought to take; 0 for n = 1 until it was measured.

    Running means per n. What was never measured is thought cheap, and what was not measured for long becomes
    cheaper by and by: so it is tried (again) where a low price would pay, and one bad measurement is forgotten."""

    def __init__(self, most: int) -> None:
        self.seconds = [0.0] * (most + 1)
        self._means = [0.0] * (most + 1)
        self._fresh: set[int] = set()
        self._steps = 0

    def add(self, tokens: int, seconds: float) -> None:
        """A step of so many tokens took so long."""
        mean, expected = self._means[tokens], self.seconds[tokens]
        counted = min(seconds, MOST * expected) if expected else seconds
        mean = mean + NEW * (counted - mean) if mean else counted
        self._means[tokens] = self.seconds[tokens] = mean
        self._steps += 1
        if tokens > 1:
            self._fresh.add(tokens)
        elif self._steps % EVERY > 1:
            return
        if self._steps % EVERY == 0:
            self._fade()
        self._fill()

    def _fade(self) -> None:
        for n in range(2, len(self._means)):
            if n not in self._fresh:
                self._means[n] *= FADE
        self._fresh.clear()

    def _fill(self) -> None:
        """Sizes that were not measured: between neighbours that were, or cheap behind the last one."""
        one, last = self._means[1], 1
        means, seconds = self._means, self.seconds
        for n in range(2, len(means)):
            seconds[n] = seconds[n - 1] + CHEAP * one
            if means[n]:
                means[n] = seconds[n] = max(means[n], one)  # what has faded is not free
                slope = (means[n] - seconds[last]) / (n - last)
                for between in range(last + 1, n):
                    seconds[between] = seconds[last] + slope * (between - last)
                last = n


def best(chances: Sequence[float], seconds: Sequence[float], each: float = 0.0) -> tuple[int, float]:
    """How many tokens to draft for the most tokens a second, and how many a second that gives.

    chances: per drafted token, that it is right if those before it are; seconds: of a step by its tokens, as
    `Costs` has them; each: seconds that it takes to draft one. With n drafted, a step gives
    1 + c1 + c1 c2 + ... + c1 ... cn tokens: Leviathan, Kalman, Matias, "Fast inference from transformers via
    speculative decoding", ICML 2023 (arXiv:2211.17192), equation 1, with a chance per token. Where theirs costs
    one step whatever n is, here it costs what was measured."""
    one = seconds[1]
    if not one:
        return 0, 0.0
    drafted, rate, least = 0, 1.0 / one, GAIN / one
    tokens = alive = 1.0
    for n, chance in enumerate(chances, 1):
        alive *= chance
        tokens += alive
        found = tokens / (seconds[n + 1] + n * each)
        if found > least:
            drafted, rate, least = n, found, found
    return drafted, rate
