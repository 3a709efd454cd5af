"""Llama 1 to 3, Mistral, TinyLlama, SmolLM2 (Touvron et al. 2023; GGUF architecture `llama`).

x += attention(norm(x)); x += feed_forward(norm(x)): pre-norm RMS, rotary positions, grouped queries, SiLU-gated units.
"""

from __future__ import annotations

import math

from edgeq.archs import blocks
from edgeq.config import Config, Keys
from edgeq.errors import ModelError
from edgeq.ops import Act, RopeStyle
from edgeq.program import Builder, Program


def lower(keys: Keys, tensors: blocks.Tensors, vocab: int, context: int) -> Program:
    """The program of a model of `vocab` tokens, for a context of `context` positions."""
    cfg = Config.read(keys)
    if cfg.rope_dim != cfg.head_dim:
        raise ModelError(
            f"{keys.name('rope.dimension_count')} is {cfg.rope_dim}, expected the head width {cfg.head_dim}"
        )
    return decoder(keys, cfg, tensors, vocab, context, RopeStyle.PAIRS, qk_norm=False)


def decoder(
    keys: Keys, cfg: Config, tensors: blocks.Tensors, vocab: int, context: int, style: RopeStyle, qk_norm: bool
) -> Program:
    """The decoder that the Llama and Qwen families share."""
    b = Builder()
    scale = keys.number("attention.scale", 0.0) or 1.0 / math.sqrt(cfg.head_dim)
    freqs, mscale = blocks.rotary_frequencies(
        cfg.rope_dim, cfg.rope_base, cfg.rope, blocks.rope_factors(cfg, tensors, context)
    )
    table = b.rope_table("rope", freqs, mscale)
    x: int = b.embed(b.tensor("token_embd.weight", vocab, cfg.width), cfg.width)
    for layer in range(cfg.layers):
        b.layer = layer
        p = f"blk.{layer}."
        h: int = b.norm(f"{p}attn_norm", x, b.tensor(f"{p}attn_norm.weight", cfg.width), cfg.eps)
        h = blocks.attention(b, tensors, cfg, layer, h, table, style=style, scale=scale, qk_norm=qk_norm)
        x = b.sum(f"{p}ffn_inp", x, h)
        h = b.norm(f"{p}ffn_norm", x, b.tensor(f"{p}ffn_norm.weight", cfg.width), cfg.eps)
        h = blocks.feed_forward(b, tensors, cfg, layer, h, Act.SILU)
        x = b.sum(f"{p}l_out", x, h)
    b.layer = cfg.layers
    return b.finish(blocks.head(b, tensors, cfg, x, vocab), cfg.layers)
