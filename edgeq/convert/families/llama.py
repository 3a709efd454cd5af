"""Llama 1 to 3, Mistral, TinyLlama, SmolLM2: GGUF's `llama`."""

from __future__ import annotations

from edgeq.convert.families.family import Family, Keys, attention, ends, gated, norm, tied, window_ignored
from edgeq.convert.hparams import Hparams
from edgeq.convert.rope import u32


def keys(h: Hparams) -> Keys:
    return {"vocab_size": u32(h.vocab), "rope.dimension_count": u32(h.head_dim)}


FAMILY = Family(
    arch="llama",
    classes=("LlamaForCausalLM", "LLaMAForCausalLM", "MistralForCausalLM"),
    slots=(
        *ends(), norm("attn_norm", "input_layernorm"), *attention(permuted=True),
        norm("ffn_norm", "post_attention_layernorm"), *gated(),
    ),
    keys=keys,
    defaults={"hidden_act": "silu", "rms_norm_eps": 1e-6, "max_position_embeddings": 2048},
    factors=True,
    warn=window_ignored,
    adjust=tied,
)  # fmt: skip
