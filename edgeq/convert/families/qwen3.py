"""Qwen3, dense: Qwen2 without the biases, with a norm on every head of q and k."""

from __future__ import annotations

from collections.abc import Iterator

from edgeq.convert.families.family import Family, attention, ends, gated, norm, output_bias, tied, window_ignored
from edgeq.convert.hparams import Hparams


def warn(h: Hparams) -> Iterator[str]:
    yield from window_ignored(h)
    yield from output_bias(h)


FAMILY = Family(
    arch="qwen3",
    classes=("Qwen3ForCausalLM",),
    slots=(
        *ends(), norm("attn_norm", "input_layernorm"), *attention(),
        norm("attn_q_norm", "self_attn.q_norm", "head_dim"), norm("attn_k_norm", "self_attn.k_norm", "head_dim"),
        norm("ffn_norm", "post_attention_layernorm"), *gated(bias=False),
    ),
    keys=lambda h: {},
    defaults={
        "hidden_act": "silu", "rms_norm_eps": 1e-6, "max_position_embeddings": 32768, "head_dim": 128,
        "use_sliding_window": False, "max_window_layers": 28,
    },
    warn=warn,
    adjust=tied,
)  # fmt: skip
