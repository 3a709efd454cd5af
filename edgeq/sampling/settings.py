"""Sampling: the settings of a sampler, checked when they are made.

Names, defaults and meaning are llama.cpp's. Not here: what a setting does to logits (filters.py,
penalties.py, dry.py) and in which order (chain.py).
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from edgeq.errors import UsageError, shown
from edgeq.record import Record

_INT_MAX = 2**31 - 1
_BREAKERS_MAX = 64  # breakers, and characters in one of them: they are looked for at every token
_OFF_0, _OFF_1 = "0 turns it off", "1 turns it off"

# name: (least, greatest, note). The outer bounds of penalties keep float64 from overflowing.
_FLOATS = {
    "temperature": (0.0, 1e6, "0 is greedy"),
    "top_p": (0.0, 1.0, _OFF_1),
    "min_p": (0.0, 1.0, _OFF_0),
    "typical_p": (0.0, 1.0, _OFF_1),
    "repeat_penalty": (1e-6, 1e6, _OFF_1),
    "frequency_penalty": (-1e6, 1e6, _OFF_0),
    "presence_penalty": (-1e6, 1e6, _OFF_0),
    "dry_multiplier": (0.0, 1e6, _OFF_0),
    "dry_base": (1.0, 1e6, ""),
    "xtc_probability": (0.0, 1.0, _OFF_0),
    "xtc_threshold": (0.0, 1.0, "above 0.5 turns XTC off"),
    "mirostat_tau": (0.0, 1e3, "bits"),
    "mirostat_eta": (0.0, 1e3, ""),
}
_INTS = {
    "top_k": (0, _INT_MAX, _OFF_0),
    "min_keep": (0, _INT_MAX, ""),
    "repeat_last_n": (-1, _INT_MAX, "0 turns it off, -1 is the whole context"),
    "dry_allowed_length": (0, _INT_MAX, ""),
    "dry_penalty_last_n": (-1, _INT_MAX, "0 turns it off, -1 is the whole context"),
}


class Sampling(Record):
    """How the next token is chosen.

    The chain, in llama.cpp's order: hook, logit_bias, penalties, DRY, top_k, typical_p, top_p,
    min_p, XTC, temperature, draw. `temperature=0` is greedy: the first maximum after hook, bias,
    penalties and DRY; the filters cannot change it. `mirostat=2` takes the place of top_k,
    typical_p, top_p, min_p and XTC, after temperature.
    A value out of range raises UsageError with the field, its range and the value.
    """

    # Divides the logits; 0 is greedy.
    temperature: float = 0.8
    # Keep the k most probable tokens; 0 is off.
    top_k: int = 40
    # Keep the fewest most probable tokens that hold this probability together; 1 is off.
    top_p: float = 0.95
    # Keep tokens at least this fraction as probable as the most probable one; 0 is off.
    min_p: float = 0.05
    # Locally typical sampling: keep the tokens of most usual surprise that hold it; 1 is off.
    typical_p: float = 1.0
    # typical_p, top_p, min_p and XTC leave at least so many tokens.
    min_keep: int = 0
    # Logits of recent tokens are divided by it if positive, else multiplied; 1 is off.
    repeat_penalty: float = 1.0
    # How many tokens repeat, frequency and presence penalty look back; -1 is all.
    repeat_last_n: int = 64
    # Subtracted once per occurrence, and once if there is any; 0 is off.
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    # DRY subtracts multiplier * base^(repeated length - allowed length); 0 is off.
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    # How many tokens DRY looks back; -1 is all.
    dry_penalty_last_n: int = 64
    # Texts over which DRY sees no repetition.
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    # Chance that XTC drops all tokens above the threshold but the least probable; 0 is off.
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    # 2 is Mirostat 2, 0 is off; tau is the target surprise in bits, eta the learning rate.
    mirostat: int = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    # Added to logits by token id, -inf bans; kept as a tuple of pairs.
    logit_bias: Mapping[int, float] | tuple[tuple[int, float], ...] = ()
    # hook(history, copy of the logits, float32 [V]) changes them in place or returns others.
    hook: Callable[[tuple[int, ...], Any], Any] | None = None

    def _settle(self) -> None:
        own = self.__dict__
        for name, (low, high, note) in _FLOATS.items():
            own[name] = float(_number(name, own[name], low, high, note, False))
        for name, (least, most, note) in _INTS.items():
            own[name] = int(_number(name, own[name], least, most, note, True))
        own["mirostat"] = int(_number("mirostat", self.mirostat, 0, 2, "0 is off, 2 is Mirostat 2", True))
        if self.mirostat == 1:
            raise UsageError(
                "Sampling.mirostat must be 0 (off) or 2 (Mirostat 2); got 1, which is not offered"
            )
        own["dry_sequence_breakers"] = _breakers(self.dry_sequence_breakers)
        own["logit_bias"] = _bias(self.logit_bias)
        if self.hook is not None and not callable(self.hook):
            raise UsageError(f"Sampling.hook must be a function or None; got {found(self.hook)}")

    @property
    def penalizes(self) -> bool:
        """Whether repetition, frequency or presence penalty does anything."""
        neutral = (
            self.repeat_penalty == 1.0
            and self.frequency_penalty == 0.0
            and self.presence_penalty == 0.0
        )
        return self.repeat_last_n != 0 and not neutral

    @property
    def dries(self) -> bool:
        """Whether DRY does anything."""
        return self.dry_multiplier > 0.0 and self.dry_penalty_last_n != 0

    @property
    def edits(self) -> bool:
        """Whether logits are changed before a token is chosen."""
        return bool(self.logit_bias or self.hook or self.penalizes or self.dries)


def found(value: object) -> str:
    """`value` for a message: its repr, or its type where repr fails (on an int of 5,000 digits)."""
    try:
        return shown(repr(value), 60)
    except Exception:
        return f"a value of type {shown(type(value).__name__, 60)}"


def is_int(value: object) -> bool:
    """True for Python and NumPy integers; a boolean is not an integer."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """True for real numbers, Python's and NumPy's; a boolean is not a number."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _number(name: str, value: Any, low: float, high: float, note: str, whole: bool) -> Any:
    right = is_int(value) if whole else is_number(value)
    if right and low <= value <= high:
        return value
    noun = "an integer" if whole else "a number"
    note = f" ({note})" if note else ""
    raise UsageError(
        f"Sampling.{name} must be {noun} from {low:g} to {high:g}{note}; got {found(value)}"
    )


def _breakers(value: object) -> tuple[str, ...]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise UsageError(
            f"Sampling.dry_sequence_breakers must be a sequence of strings; got {found(value)}"
        )
    breakers = tuple(value)
    if len(breakers) > _BREAKERS_MAX:
        raise UsageError(
            f"Sampling.dry_sequence_breakers takes {_BREAKERS_MAX} strings; got {len(breakers)}"
        )
    for text in breakers:
        if not isinstance(text, str) or not 1 <= len(text) <= _BREAKERS_MAX:
            raise UsageError(
                "Sampling.dry_sequence_breakers must hold strings of 1 to "
                f"{_BREAKERS_MAX} characters; got {found(text)}"
            )
    return breakers


def _bias(value: Any) -> tuple[tuple[int, float], ...]:
    """Pairs (id, bias) in order of id. Takes a mapping, or the pairs this function returns."""
    field = (
        "Sampling.logit_bias must map token ids (integers from 0) to numbers "
        "from -1e+30 to 1e+30, or -inf to ban"
    )
    try:
        pairs = [
            (token, bias)
            for token, bias in (value.items() if isinstance(value, Mapping) else value)
        ]
    except (TypeError, ValueError):
        raise UsageError(f"{field}; got {found(value)}") from None
    for token, bias in pairs:
        in_range = is_number(bias) and (abs(bias) <= 1e30 or bias == float("-inf"))
        if not (is_int(token) and token >= 0 and in_range):
            raise UsageError(f"{field}; got {found(token)}: {found(bias)}")
    if len({int(token) for token, _ in pairs}) != len(pairs):
        raise UsageError("Sampling.logit_bias names a token id twice; give each id one bias")
    return tuple(sorted((int(token), float(bias)) for token, bias in pairs))
