"""A model's numbers as config.json gives them: typed, checked once, named by config.json's own keys.

`tie_word_embeddings` and the like have defaults that a config may leave out; those are the family's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeq.errors import ModelError, shown

LARGEST = 3.4e38  # of a number: what float32 holds, as GGUF keeps them
_NONE = object()


class Hparams:
    """Keys of a config. Every getter refuses wrong types and values out of range, by name."""

    def __init__(self, config: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> None:
        self.config = {**(defaults or {}), **{k: v for k, v in config.items() if v is not None}}

    def __contains__(self, key: str) -> bool:
        return key in self.config

    def get(self, key: str, default: Any = None) -> Any:
        return self.config.get(key, default)

    def count(self, key: str, default: Any = _NONE, high: int = 1 << 31) -> int:
        """A whole number 1 ≤ n ≤ high."""
        value = self._get(key, default)
        if type(value) is not int or not 1 <= value <= high:
            raise ModelError(f"config.json: {key} is {shown(value, 40)}; expected a whole number from 1 to {high}")
        return value

    def number(self, key: str, default: Any = _NONE, below: float = math.inf) -> float:
        """A number over 0 and under `below`, also when it is rounded to float32, as GGUF keeps it."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= LARGEST:
            raise ModelError(f"config.json: {key} is {shown(value, 40)}; expected a number over 0, at most {LARGEST:g}")
        rounded = float(np.float32(float(value)))
        if not 0 < rounded < below:
            under = f", under {below:g}" if below < math.inf else ""
            raise ModelError(
                f"config.json: {key} is {shown(value, 40)}, {rounded:g} as float32; expected a number over 0{under}"
            )
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise ModelError(f"config.json: {key} is {shown(value, 40)}; expected true or false")
        return value

    def word(self, key: str, default: Any = _NONE) -> str:
        value = self._get(key, default)
        if not isinstance(value, str):
            raise ModelError(f"config.json: {key} is {shown(value, 40)}; expected a string")
        return value

    def table(self, key: str) -> dict[str, Any] | None:
        """A JSON object, or None."""
        value = self.config.get(key)
        if value is not None and not isinstance(value, dict):
            raise ModelError(f"config.json: {key} is {shown(value, 40)}; expected a JSON object")
        return value

    def _get(self, key: str, default: Any) -> Any:
        value = self.config.get(key, default)
        if value is _NONE:
            raise ModelError(f"config.json: {key} is missing")
        return value

    # What every family here has

    @property
    def layers(self) -> int:
        return self.count("num_hidden_layers", high=1024)

    @property
    def width(self) -> int:
        return self.count("hidden_size", high=1 << 20)

    @property
    def ff(self) -> int:
        return self.count("intermediate_size", high=1 << 20)

    @property
    def vocab(self) -> int:
        return self.count("vocab_size", high=1 << 22)  # as many strings as edgeq.gguf reads

    @property
    def heads(self) -> int:
        return self.count("num_attention_heads", high=1 << 16)

    @property
    def kv_heads(self) -> int:
        return self.count("num_key_value_heads", self.heads, high=1 << 16)

    @property
    def head_dim(self) -> int:
        if "head_dim" not in self and self.width % self.heads:
            raise ModelError(
                f"config.json: hidden_size {self.width} is no multiple of num_attention_heads {self.heads}, "
                "and head_dim is missing"
            )
        return self.count("head_dim", self.width // self.heads, high=4096)

    @property
    def context(self) -> int:
        return self.count("max_position_embeddings", high=(1 << 32) - 1)

    def sizes(self) -> dict[str, int]:
        """The sizes that shapes of tensors are written in."""
        return {
            "vocab": self.vocab, "width": self.width, "ff": self.ff, "head_dim": self.head_dim,
            "q": self.heads * self.head_dim, "kv": self.kv_heads * self.head_dim,
        }  # fmt: skip
