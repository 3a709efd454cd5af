"""A model's hyperparameters as GGUF metadata gives them: typed, checked once, named by GGUF's own keys.

Owns reading and checking; what an architecture makes of the numbers is its own affair.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from edgeq.errors import ModelError, shown
from edgeq.record import Record

MAX_LAYERS = 1024
MAX_WIDTH = 1 << 20
MAX_CONTEXT = 1 << 31  # positions are int32
EPS_BELOW = 1.0  # an epsilon is small beside what it is added to: mean squares of about 1


class Keys:
    """Metadata keys of one architecture. Every getter refuses wrong types and values out of range, by name."""

    def __init__(self, metadata: Mapping[str, Any], arch: str) -> None:
        self.metadata = metadata
        self.arch = arch

    def count(self, key: str, default: int | None = None, low: int = 1, high: int = MAX_WIDTH) -> int:
        """A whole number low ≤ n ≤ high."""
        return int(self._check(key, self._get(key, default), int, lambda n: low <= n <= high, f"{low} to {high}"))

    def counts(self, key: str, layers: int, default: int | None = None) -> tuple[int, ...]:
        """One count per layer; the file may hold one number for all, or an array of `layers` of them."""
        value = self._get(key, default)
        if hasattr(value, "tolist"):
            value = value.tolist() if len(value) == layers else value
        if isinstance(value, list):
            return tuple(self._check(key, v, int, lambda n: 1 <= n <= MAX_WIDTH, f"1 to {MAX_WIDTH}") for v in value)
        return (
            self._check(key, value, int, lambda n: 1 <= n <= MAX_WIDTH, f"1 to {MAX_WIDTH} or {layers} of them"),
        ) * layers

    def number(self, key: str, default: float | None = None, low: float = 0.0, high: float = math.inf) -> float:
        """A finite float low ≤ x < high (low itself allowed only when it is the default)."""
        value = self._get(key, default)
        if default is not None and value == default:
            return float(value)
        bound = f"under {high:g}" if high < math.inf else "finite"
        ok = self._check(key, value, float, lambda x: low < x < high and math.isfinite(x), f"over {low:g}, {bound}")
        return float(ok)

    def word(self, key: str, default: str) -> str:
        return str(self._check(key, self._get(key, default), str, lambda s: len(s) <= 200, "at most 200 characters"))

    def name(self, key: str) -> str:
        return f"{self.arch}.{key}"

    def _get(self, key: str, default: Any) -> Any:
        value = self.metadata.get(self.name(key), default)
        if value is None:
            raise ModelError(f"metadata key {self.name(key)} is missing; a {self.arch} model needs it")
        return value

    def _check(self, key: str, value: Any, kind: type, ok: Callable[[Any], bool], wanted: str) -> Any:
        right = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
        if not right or not ok(value):
            what = "an array" if hasattr(value, "tolist") else f"{type(value).__name__} {shown(value, 40)}"
            raise ModelError(f"metadata key {self.name(key)}: expected {kind.__name__}, {wanted}; found {what}")
        return value


class RopeScaling(Record):
    """How rotary frequencies are stretched beyond the trained context. `kind`: none, linear, yarn or longrope."""

    kind: str = "none"
    factor: float = 1.0
    original_context: int = 0
    attn_factor: float = 1.0
    extrapolation: float = 1.0  # yarn: share of the unscaled frequency where the ramp is 1
    beta_fast: float = 32.0
    beta_slow: float = 1.0


class Config(Record):
    """What all transformer families share. Per-layer tuples have `layers` entries."""

    arch: str
    layers: int
    width: int
    context: int
    heads: tuple[int, ...]
    kv_heads: tuple[int, ...]
    head_dim: int
    ff: tuple[int, ...]
    eps: float
    rope_dim: int
    rope_base: float
    rope: RopeScaling

    @classmethod
    def read(cls, keys: Keys) -> Config:
        """Reads the common keys. Raises ModelError naming the key, what was expected and what was found."""
        if keys.metadata.get(keys.name("expert_count"), 0):
            raise ModelError(f"{keys.name('expert_count')}: mixture-of-experts models are not supported yet")
        layers = keys.count("block_count", high=MAX_LAYERS)
        width = keys.count("embedding_length")
        heads = keys.counts("attention.head_count", layers)
        kv_heads = keys.counts("attention.head_count_kv", layers) if keys.name(
            "attention.head_count_kv") in keys.metadata else heads  # fmt: skip
        for h, k in zip(heads, kv_heads):
            if h % k:
                raise ModelError(f"{keys.name('attention.head_count')} {h} is not a multiple of head_count_kv {k}")
        if keys.name("attention.key_length") not in keys.metadata and width % heads[0]:
            raise ModelError(f"{keys.name('embedding_length')} {width} is not a multiple of head_count {heads[0]}")
        head_dim = keys.count("attention.key_length", width // heads[0], high=4096)
        if keys.count("attention.value_length", head_dim, high=4096) != head_dim:
            raise ModelError(f"{keys.name('attention.value_length')}: expected {head_dim}, as key_length")
        rope_dim = keys.count("rope.dimension_count", head_dim, low=2, high=head_dim)
        if rope_dim % 2:
            raise ModelError(f"{keys.name('rope.dimension_count')} {rope_dim} is odd")
        context = keys.count("context_length", high=(1 << 32) - 1)
        rope_base, rope = keys.number("rope.freq_base", 10000.0), _rope_scaling(keys, context)
        if rope.kind == "yarn" and rope_base <= 1.0:
            raise ModelError(f"{keys.name('rope.freq_base')} is {rope_base:g}; yarn scaling needs a base over 1")
        return cls(
            arch=keys.arch,
            layers=layers,
            width=width,
            context=min(context, MAX_CONTEXT - 1),
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            ff=keys.counts("feed_forward_length", layers),
            eps=keys.number("attention.layer_norm_rms_epsilon", high=EPS_BELOW),
            rope_dim=rope_dim,
            rope_base=rope_base,
            rope=rope,
        )


def _rope_scaling(keys: Keys, context: int) -> RopeScaling:
    kind = keys.word("rope.scaling.type", "linear")
    if kind not in ("none", "linear", "yarn", "longrope"):
        raise ModelError(
            f"metadata key {keys.name('rope.scaling.type')}: expected none, linear, yarn or longrope; "
            f"found {shown(kind, 40)}"
        )
    factor = keys.number("rope.scaling.factor", 0.0) or keys.number("rope.scale_linear", 0.0) or 1.0
    return RopeScaling(
        kind=kind,
        factor=1.0 if kind == "none" else factor,
        original_context=keys.count("rope.scaling.original_context_length", context, high=(1 << 32) - 1),
        attn_factor=keys.number("rope.scaling.attn_factor", 1.0),
        extrapolation=keys.number("rope.scaling.yarn_ext_factor", 1.0),
        beta_fast=keys.number("rope.scaling.yarn_beta_fast", 32.0),
        beta_slow=keys.number("rope.scaling.yarn_beta_slow", 1.0),
    )
