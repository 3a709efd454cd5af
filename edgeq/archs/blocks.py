"""Blocks that two or more architectures share, and the rotary frequencies. They take switches, never a name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from edgeq.config import Config, RopeScaling
from edgeq.errors import ModelError
from edgeq.ops import NONE, Act, RopeStyle, Weight
from edgeq.program import Builder


class Tensors(Protocol):
    """What an architecture may ask of the file: which tensors there are, and the values of the tiny ones."""

    def __contains__(self, name: object) -> bool: ...

    def values(self, name: str, length: int) -> list[float]: ...


def maybe(b: Builder, tensors: Tensors, name: str, *shape: int) -> Weight:
    """The tensor if the file has it, else NONE."""
    return b.tensor(name, *shape) if name in tensors else Weight(NONE)


def rotary_frequencies(
    dim: int, base: float, scaling: RopeScaling, factors: Sequence[float] | None = None
) -> tuple[list[float], float]:
    """Angles per position of the dim/2 component pairs, and the factor on cos and sin.

    f_i = base^(-2i/dim) / factors_i, slowed by 1/factor for linear scaling; YaRN (Peng et al. 2023) keeps the fast
    pairs and slows the slow ones, with a ramp between. `factors`: llama3's rope_freqs or longrope's, one per pair."""
    freqs = [base ** (-2.0 * i / dim) / (factors[i] if factors else 1.0) for i in range(dim // 2)]
    if scaling.kind != "yarn":
        return [f / scaling.factor for f in freqs], scaling.attn_factor

    def turns_to_pair(turns: float) -> float:  # the pair that turns this often within the original context
        return dim * math.log(scaling.original_context / (turns * 2 * math.pi)) / (2 * math.log(base))

    low = max(0.0, math.floor(turns_to_pair(scaling.beta_fast)))
    high = min(dim - 1.0, math.ceil(turns_to_pair(scaling.beta_slow)))
    out = []
    for i, f in enumerate(freqs):
        keep = 1.0 - min(1.0, max(0.0, (i - low) / max(0.001, high - low)))
        keep *= scaling.extrapolation
        out.append(f / scaling.factor * (1.0 - keep) + f * keep)
    return out, scaling.attn_factor * (1.0 + 0.1 * math.log(scaling.factor))


def rope_factors(cfg: Config, tensors: Tensors, context: int) -> list[float] | None:
    """Per-pair divisors that the file brings: llama3's `rope_freqs`, or longrope's long or short ones by `context`."""
    name = "rope_freqs.weight"
    if cfg.rope.kind == "longrope":
        name = f"rope_factors_{'long' if context > cfg.rope.original_context else 'short'}.weight"
    if name not in tensors:
        return None
    values = tensors.values(name, cfg.rope_dim // 2)
    if not all(v > 0 and math.isfinite(v) for v in values):
        raise ModelError(f"tensor {name}: expected finite values over 0")
    return values


def project(b: Builder, tensors: Tensors, name: str, x: int, rows: int, cols: int) -> int:
    """x [T, cols] times the weight `name` [rows, cols], with second-level scale and bias where the file has them."""
    scale, bias = maybe(b, tensors, f"{name}.scale", 1), maybe(b, tensors, f"{name}.bias", rows)
    weight = b.tensor(f"{name}.weight", rows, cols)
    if scale == NONE:
        return b.linear(name, x, weight, rows, bias)
    if bias != NONE:
        raise ModelError(f"tensors {name}.scale and {name}.bias: a scaled weight with a bias is not known")
    return b.scale(f"{name}_scaled", b.linear(name, x, weight, rows), scale)


def attention(
    b: Builder, tensors: Tensors, cfg: Config, layer: int, x: int, table: int, *, style: RopeStyle, scale: float,
    qk_norm: bool = False, window: int = 0,
) -> int:  # fmt: skip
    """Grouped-query attention over the normalized x [T, D]; gives the projected output [T, D]."""
    p, e = f"blk.{layer}.", cfg.head_dim
    heads, kv_heads = cfg.heads[layer], cfg.kv_heads[layer]
    qw, kw = heads * e, kv_heads * e
    q, k, v = (project(b, tensors, f"{p}attn_{n}", x, rows, cfg.width) for n, rows in (("q", qw), ("k", kw), ("v", kw)))
    if qk_norm:
        q = b.norm(f"{p}q_normed", q, b.tensor(f"{p}attn_q_norm.weight", e), cfg.eps, e)
        k = b.norm(f"{p}k_normed", k, b.tensor(f"{p}attn_k_norm.weight", e), cfg.eps, e)
    q = b.rope(f"{p}q_rope", q, table, e, style)
    k = b.rope(f"{p}k_rope", k, table, e, style)
    cache = b.cache(kv_heads, e, window)
    b.kv_write(k, v, cache)
    out = b.attend(f"{p}attend", q, cache, heads, scale)
    return project(b, tensors, f"{p}attn_output", out, cfg.width, qw)


def feed_forward(b: Builder, tensors: Tensors, cfg: Config, layer: int, x: int, act: Act) -> int:
    """Gated feed-forward over the normalized x [T, D]; gives [T, D]."""
    p, d, f = f"blk.{layer}.", cfg.width, cfg.ff[layer]
    gate, up = (project(b, tensors, f"{p}ffn_{n}", x, f, d) for n in ("gate", "up"))
    return project(b, tensors, f"{p}ffn_down", b.glu(f"{p}ffn_glu", gate, up, act), d, f)


def head(b: Builder, tensors: Tensors, cfg: Config, x: int, vocab: int) -> int:
    """Final norm and logits of the wanted rows; the head is tied to the embedding where the file has no `output`."""
    x = b.take_rows("output_rows", x)
    x = b.norm("result_norm", x, b.tensor("output_norm.weight", cfg.width), cfg.eps)
    if "output.weight" in tensors:
        return project(b, tensors, "output", x, vocab, cfg.width)
    return b.linear(
        "output", x, b.tensor("token_embd.weight", vocab, cfg.width), vocab, maybe(b, tensors, "output.bias", vocab)
    )
