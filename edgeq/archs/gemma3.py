"""Gemma 3, text (Gemma Team 2025).

x += norm(attention(norm(x))); x += norm(feed_forward(norm(x))). Embeddings times √D, the head tied to them; five layers
attend to a sliding window with their own rotary base, every sixth to everything; heads normalized; GELU-gated units.
"""

from __future__ import annotations

import math
from typing import Any

from edgeq.archs import blocks
from edgeq.config import Config, Keys, RopeScaling
from edgeq.errors import ModelError
from edgeq.ops import Act, RopeStyle
from edgeq.program import Builder, Program

LAYERS_27B = 62  # this size alone scales queries by its width per head, as Google's code does


def windows(keys: Keys, layers: int) -> list[int]:
    """Window of each layer, 0 where it attends to everything: as the file says, else every sixth layer is full."""
    window = keys.count("attention.sliding_window", 0, low=0, high=(1 << 31) - 1)
    pattern: Any = keys.metadata.get(keys.name("attention.sliding_window_pattern"))
    if hasattr(pattern, "tolist"):
        if len(pattern) != layers:
            raise ModelError(
                f"{keys.name('attention.sliding_window_pattern')}: {len(pattern)} entries, expected {layers}"
            )
        return [window if local else 0 for local in pattern.tolist()]
    every = keys.count("attention.sliding_window_pattern", 6, high=layers + 6)
    return [window if layer % every < every - 1 else 0 for layer in range(layers)]


def lower(keys: Keys, tensors: blocks.Tensors, vocab: int, context: int) -> Program:
    """The program of a model of `vocab` tokens, for a context of `context` positions."""
    cfg = Config.read(keys)
    per_head = cfg.width // cfg.heads[0] if cfg.layers == LAYERS_27B else cfg.head_dim
    b = Builder()
    full = b.rope_table("rope", *blocks.rotary_frequencies(cfg.rope_dim, cfg.rope_base, cfg.rope))
    local_base = keys.number("rope.freq_base_swa", 10000.0)
    local = b.rope_table("rope_local", *blocks.rotary_frequencies(cfg.rope_dim, local_base, RopeScaling()))
    x: int = b.embed(b.tensor("token_embd.weight", vocab, cfg.width), cfg.width, math.sqrt(cfg.width))
    for layer, window in enumerate(windows(keys, cfg.layers)):
        b.layer = layer
        p = f"blk.{layer}."
        h: int = b.norm(f"{p}attn_norm", x, b.tensor(f"{p}attn_norm.weight", cfg.width), cfg.eps)
        h = blocks.attention(
            b, tensors, cfg, layer, h, local if window else full, style=RopeStyle.HALVES,
            scale=1.0 / math.sqrt(per_head), qk_norm=True, window=window,
        )  # fmt: skip
        h = b.norm(f"{p}attn_post_norm", h, b.tensor(f"{p}post_attention_norm.weight", cfg.width), cfg.eps)
        x = b.sum(f"{p}sa_out", h, x)
        h = b.norm(f"{p}ffn_norm", x, b.tensor(f"{p}ffn_norm.weight", cfg.width), cfg.eps)
        h = blocks.feed_forward(b, tensors, cfg, layer, h, Act.GELU)
        h = b.norm(f"{p}ffn_post_norm", h, b.tensor(f"{p}post_ffw_norm.weight", cfg.width), cfg.eps)
        x = b.sum(f"{p}l_out", h, x)
    b.layer = cfg.layers
    logits = blocks.head(b, tensors, cfg, x, vocab)
    cap = keys.number("final_logit_softcapping", 0.0)
    return b.finish(b.softcap("result_capped", logits, cap) if cap else logits, cfg.layers)
