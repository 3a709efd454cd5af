"""Qwen2 and Qwen2.5: Llama with biases on q, k and v, and rotary halves."""

from __future__ import annotations

from edgeq.convert.families.family import Family, attention, ends, gated, norm, tied, window_ignored

FAMILY = Family(
    arch="qwen2",
    classes=("Qwen2ForCausalLM",),
    slots=(
        *ends(), norm("attn_norm", "input_layernorm"), *attention(),
        norm("ffn_norm", "post_attention_layernorm"), *gated(bias=False),
    ),
    keys=lambda h: {},
    defaults={
        "hidden_act": "silu", "rms_norm_eps": 1e-6, "max_position_embeddings": 32768, "use_sliding_window": False,
        "max_window_layers": 28,
    },
    biases=lambda h: ("attn_q", "attn_k", "attn_v"),
    warn=window_ignored,
    adjust=tied,
)  # fmt: skip
