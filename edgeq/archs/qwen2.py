"""Qwen2 and Qwen2.5 (Yang et al. 2024): the Llama decoder with biases on q, k and v and rotary halves."""

from __future__ import annotations

from edgeq.archs import blocks
from edgeq.archs.llama import decoder
from edgeq.config import Config, Keys
from edgeq.ops import RopeStyle
from edgeq.program import Program


def lower(keys: Keys, tensors: blocks.Tensors, vocab: int, context: int) -> Program:
    """The program of a model of `vocab` tokens, for a context of `context` positions."""
    return decoder(keys, Config.read(keys), tensors, vocab, context, RopeStyle.HALVES, qk_norm=False)
