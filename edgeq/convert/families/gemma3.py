"""Gemma 3, text, alone or out of a multimodal checkpoint. Norms hold w where the file wants 1 + w."""

from __future__ import annotations

import math

from edgeq.convert.families.family import Family, Keys, Slot, attention, ends, gated, norm, output_bias, tied
from edgeq.convert.hparams import Hparams
from edgeq.convert.rope import f32, u32
from edgeq.errors import ModelError, shown
from edgeq.gguf import Value

LAYERS_27B = 62  # runtimes know this size by its layers, and scale its queries by width / heads
EVERY = 6  # layers between full ones, where config.json and file are silent


def keys(h: Hparams) -> Keys:
    if h.get("attn_logit_softcapping") is not None:
        raise ModelError("config.json: attn_logit_softcapping; Gemma 3 has none")
    if h.get("use_bidirectional_attention"):
        raise ModelError("config.json: use_bidirectional_attention; edgeq runs models that look back alone")
    own: Keys = {}
    if h.get("final_logit_softcapping"):
        own["final_logit_softcapping"] = f32(h.number("final_logit_softcapping"))
    local = local_layers(h)
    if any(local):
        own["attention.sliding_window"] = u32(h.count("sliding_window"))
    if local != [layer % EVERY < EVERY - 1 for layer in range(h.layers)] and any(local):
        own["attention.sliding_window_pattern"] = Value("array[bool]", local)
    return own


def local_layers(h: Hparams) -> list[bool]:
    """Which layers attend to the window alone."""
    types = h.get("layer_types")
    if types is None:
        every = h.count("sliding_window_pattern", EVERY)
        return [layer % every < every - 1 for layer in range(h.layers)]
    kinds = ("sliding_attention", "full_attention")
    if not isinstance(types, list) or len(types) != h.layers or not all(t in kinds for t in types):
        raise ModelError(f"config.json: layer_types {shown(types, 80)}; expected {h.layers} of {' or '.join(kinds)}")
    return [t == kinds[0] for t in types]


def adjust(h: Hparams, slots: list[Slot]) -> list[Slot]:
    """Runtimes scale queries by 1 / √head_dim; another `query_pre_attn_scalar` goes into the norm of q, which is
    linear in it."""
    assumed = h.width // h.heads if h.layers == LAYERS_27B else h.head_dim
    times = math.sqrt(assumed / h.number("query_pre_attn_scalar", 256))
    return [s.replace(times=times) if s.target.endswith("attn_q_norm.weight") else s for s in tied(h, slots)]


FAMILY = Family(
    arch="gemma3",
    classes=("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"),
    slots=(
        *ends(plus=1.0), norm("attn_norm", "input_layernorm", plus=1.0), *attention(),
        norm("attn_q_norm", "self_attn.q_norm", "head_dim", plus=1.0),
        norm("attn_k_norm", "self_attn.k_norm", "head_dim", plus=1.0),
        norm("post_attention_norm", "post_attention_layernorm", plus=1.0),
        norm("ffn_norm", "pre_feedforward_layernorm", plus=1.0), *gated(bias=False),
        norm("post_ffw_norm", "post_feedforward_layernorm", plus=1.0),
    ),
    keys=keys,
    defaults={
        "vocab_size": 262208, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "rms_norm_eps": 1e-6,
        "max_position_embeddings": 131072, "rope_theta": 1_000_000.0, "rope_local_base_freq": 10_000.0,
        "query_pre_attn_scalar": 256, "sliding_window": 4096, "hidden_activation": "gelu_pytorch_tanh",
        "tie_word_embeddings": True,
    },
    activation=("gelu_pytorch_tanh",),
    warn=output_bias,
    adjust=adjust,
)  # fmt: skip
