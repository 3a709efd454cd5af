"""Whether drafting pays: what steps of several tokens take, measured as they run, and how many tokens to draft.

Owns the arithmetic alone: it decides about speed, never about the text. Chances that drafts are right are the
drafters' affair.
"""

from __future__ import annotations

from collections.abc import Sequence

CHEAP = 0.06  # of a step: what a further token is thought to take before anything was measured
HOPE = 0.7  # of what it takes in sizes that were measured: in one that was not
ONE, MORE = 0.125, 0.25  # weights of a measurement in the running means
MOST = 2.0  # times what was expected: as much as a measurement counts at most, for the machine may be busy
OLD = 256  # steps after which a measurement of several tokens is forgotten
GAIN = 1.07  # over drafting nothing: less is not worth it


class Costs:
    """What steps take. `one`: seconds of a step of one token, 0 until there was one; `ratios[n]`: of a step of n.

    Running means by size. Sizes that were not measured lately follow their neighbours, a little cheaper: so they
    are tried, again and again, but seldom, where a low price would pay; and a bad measurement is not for ever."""

    def __init__(self, most: int) -> None:
        self.one = 0.0
        self.ratios = [1.0 + CHEAP * (n - 1) for n in range(most + 1)]
        self._steps = 0
        self._when = [-OLD] * (most + 1)

    def add(self, tokens: int, seconds: float) -> None:
        """A step of so many tokens took so long."""
        self._steps += 1
        if tokens == 1:
            one = self.one or seconds
            self.one = one + ONE * (min(seconds, MOST * one) - one)
            if self._steps % OLD == 0:
                self._settle()
        elif self.one:
            ratio = self.ratios[tokens]
            found = min(seconds / self.one, MOST * ratio)
            self.ratios[tokens] = max(1.0, ratio + MORE * (found - ratio) if self._known(tokens) else found)
            self._when[tokens] = self._steps
            self._settle()

    def _known(self, tokens: int) -> bool:
        return self._steps - self._when[tokens] < OLD

    def _settle(self) -> None:
        """Prices of the sizes that were not measured lately."""
        ratios, last, slope = self.ratios, 1, 0.0
        for n in range(2, len(ratios)):
            if self._known(n):
                step = (ratios[n] - ratios[last]) / (n - last)
                if last == 1:  # below the smallest that is known: the same hope
                    step *= HOPE
                for between in range(last + 1, n):
                    ratios[between] = ratios[last] + step * (between - last)
                last, slope = n, HOPE * (ratios[n] - 1) / (n - 1)
        for n in range(last + 1, len(ratios)):
            ratios[n] = ratios[n - 1] + max(slope, CHEAP)


def best(chances: Sequence[float], ratios: Sequence[float], each: float = 0.0) -> tuple[int, float]:
    """How many tokens to draft, and how many times as fast as without drafts that should be.

    chances: per drafted token, that it is right if those before it are; ratios: of the time of a step by its
    tokens, as `Costs` has them; each: what it takes to draft one, of a step. With n drafted, a step gives
    1 + c1 + c1 c2 + ... + c1 ... cn tokens: Leviathan, Kalman, Matias, "Fast inference from transformers via
    speculative decoding", ICML 2023 (arXiv:2211.17192), theorem 3.8, with a chance per token, and with steps that
    take what was measured where theirs all take the same."""
    chosen, gain, least = 0, 1.0, GAIN
    tokens = alive = 1.0
    for n, chance in enumerate(chances, 1):
        alive *= chance
        tokens += alive
        found = tokens / (ratios[n + 1] + n * each)
        if found > least:
            chosen, gain, least = n, found, found
    return chosen, gain
