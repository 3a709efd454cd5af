"""The least time that the machine allows a case: reading what must be read, multiplying what must be multiplied."""

from __future__ import annotations

from typing import Any, NamedTuple

from edgeq.bench.cases import SMALL_CONTEXT, Case


class Floor(NamedTuple):
    """Seconds, and which of the two takes them: "memory", "int8" or "tiles"."""

    seconds: float
    bound: str


def kv_bytes(facts: dict[str, Any], position: int) -> int:
    """Bytes of keys and values that the token at `position` looks at, itself included."""
    return _looked(facts, position + 1) - _looked(facts, position)


def _looked(facts: dict[str, Any], tokens: int) -> int:
    """Bytes of keys and values that the first `tokens` tokens look at, one after the other."""
    total = 0
    for each, window in facts["caches"]:
        short = min(tokens, window or tokens)
        total += each * (short * (short + 1) // 2 + (tokens - short) * window)
    return total


def work(case: Case, facts: dict[str, Any]) -> tuple[float, float]:
    """Bytes and multiply-adds of a case. A prompt reads the weights once; its attention is not counted."""
    if case.kind == "tg":
        kv = _looked(facts, case.depth + case.n) - _looked(facts, case.depth)
        return case.n * facts["weights"] + kv, case.n * (facts["products"] + facts["head"])
    last = (SMALL_CONTEXT if case.kind == "batch" else 0) + case.n - 1
    return facts["weights"] + kv_bytes(facts, last), case.n * facts["products"] + facts["head"]


def floor(case: Case, facts: dict[str, Any], read: float, peak: float, unit: str = "int8") -> Floor:
    """read: bytes a second; peak: operations a second of `unit`, two per multiply-add."""
    nbytes, products = work(case, facts)
    return max(Floor(nbytes / read, "memory"), Floor(2 * products / peak, unit))
