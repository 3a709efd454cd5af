"""What every sampler setting means, written once more from the papers in plain Python floats.

Independent of edgeq: no import from it, other formulas where there is a choice (probabilities and
logarithms instead of differences of logits). A set is a set of token ids.
"""

from __future__ import annotations

import math


def softmax(x: dict[int, float]) -> dict[int, float]:
    top = max(x.values())
    w = {i: math.exp(v - top) for i, v in x.items()}
    z = math.fsum(w.values())
    return {i: v / z for i, v in w.items()}


def ranked(x: dict[int, float]) -> list[int]:
    """Most probable first, ties by id."""
    return sorted(x, key=lambda i: (-x[i], i))


def top_k(x: dict[int, float], k: int) -> set[int]:
    return set(ranked(x)[:k])


def top_p(x: dict[int, float], p: float, min_keep: int) -> set[int]:
    probability, kept, mass = softmax(x), [], 0.0
    for i in ranked(x):
        if mass >= p and len(kept) >= max(min_keep, 1):
            break
        kept.append(i)
        mass += probability[i]
    return set(kept)


def min_p(x: dict[int, float], p: float, min_keep: int) -> set[int]:
    probability = softmax(x)
    floor = p * max(probability.values())
    return {i for n, i in enumerate(ranked(x)) if probability[i] >= floor or n < min_keep}


def typical(x: dict[int, float], p: float, min_keep: int) -> set[int]:
    probability = softmax(x)
    surprise = {i: -math.log(q) for i, q in probability.items()}
    entropy = math.fsum(probability[i] * surprise[i] for i in x)
    kept, mass = [], 0.0
    for i in sorted(x, key=lambda i: (abs(surprise[i] - entropy), i)):
        if mass > p and len(kept) >= max(min_keep, 1):
            break
        kept.append(i)
        mass += probability[i]
    return set(kept)


def xtc(x: dict[int, float], threshold: float, min_keep: int) -> set[int]:
    probability = softmax(x)
    order = ranked(x)
    above = [i for i in order if probability[i] >= threshold]
    gone = set(above[:-1])
    return set(x) - gone if len(x) - len(gone) >= min_keep else set(x)


def mirostat(x: dict[int, float], mu: float) -> set[int]:
    probability = softmax(x)
    return {i for i in x if -math.log2(probability[i]) <= mu} or {ranked(x)[0]}


def penalized(
    x: list[float],
    history: list[int],
    last_n: int,
    repeat: float,
    frequency: float,
    presence: float,
) -> list[float]:
    window = history if last_n < 0 else history[len(history) - min(last_n, len(history)) :]
    out = list(x)
    for i in set(window):
        out[i] = out[i] / repeat if out[i] > 0 else out[i] * repeat
        out[i] -= window.count(i) * frequency + presence
    return out


def dry_penalties(
    history: list[int],
    texts: list[str],
    multiplier: float,
    base: float,
    allowed: int,
    last_n: int,
    breakers: tuple[str, ...],
) -> dict[int, float]:
    """Token -> what is subtracted, by trying every earlier position and every length."""
    window = history if last_n < 0 else history[len(history) - min(last_n, len(history)) :]
    n = len(window)
    if n <= allowed:
        return {}
    limit = 0  # tokens at the end in whose text, with all that precedes it, no breaker ends
    while limit < n and not any(_ends_in(window[: n - limit], texts, b) for b in breakers):
        limit += 1
    if limit < allowed:
        return {}
    penalties: dict[int, float] = {}
    for end in range(1, n):  # an earlier stretch window[:end], followed by window[end]
        length = 0
        while length < min(end, limit) and window[end - 1 - length] == window[n - 1 - length]:
            length += 1
        token = window[end]
        if length >= allowed and not any(b in texts[token] for b in breakers):
            penalty = multiplier * base ** (length - allowed)
            penalties[token] = max(penalties.get(token, 0.0), penalty)
    return penalties


def _ends_in(tokens: list[int], texts: list[str], breaker: str) -> bool:
    """Whether an occurrence of `breaker` in the text of `tokens` ends in the last one."""
    before = "".join(texts[i] for i in tokens[:-1])
    whole = before + texts[tokens[-1]]
    return any(
        whole.startswith(breaker, at) and at + len(breaker) > len(before)
        for at in range(len(whole))
    )
