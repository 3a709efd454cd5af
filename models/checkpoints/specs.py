"""What each tiny checkpoint is: its config.json, and the sizes and names of its tensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

VOCAB, WIDTH, FF, HEAD = 304, 32, 48, 8

BASE: dict[str, Any] = {
    "vocab_size": VOCAB, "hidden_size": WIDTH, "intermediate_size": FF, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "rms_norm_eps": 1e-5,
    "bos_token_id": None, "eos_token_id": None, "pad_token_id": None, "tie_word_embeddings": False,
}  # fmt: skip


@dataclass(frozen=True)
class Spec:
    """One checkpoint. `config`: config.json; `dtype`: of its tensors; `prefix`: before the names of a text model;
    `context`: the session's size, which decides which factors of longrope apply; `shards`: files of weights."""

    name: str
    config: dict[str, Any]
    dtype: str = "BF16"
    prefix: str = ""
    context: int = 128
    shards: int = 1
    sizes: dict[str, int] = field(default_factory=dict)

    @property
    def text(self) -> dict[str, Any]:
        """The config of the text model."""
        found: dict[str, Any] = self.config.get("text_config", self.config)
        return found


def _config(model: str, cls: str, **changes: Any) -> dict[str, Any]:
    act = {"hidden_activation": "gelu_pytorch_tanh"} if "gemma" in model else {"hidden_act": "silu"}
    return {"architectures": [cls], "model_type": model, **BASE, **act, **changes}


def _llama(**changes: Any) -> dict[str, Any]:
    return _config("llama", "LlamaForCausalLM", rope_theta=10000.0, **changes)


def _gemma(**changes: Any) -> dict[str, Any]:
    gemma = {
        "num_hidden_layers": 7, "head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 16,
        "tie_word_embeddings": True,
    } | changes  # fmt: skip
    return _config("gemma3_text", "Gemma3ForCausalLM", **gemma)


_V5 = {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
       "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}  # fmt: skip
_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
_LONG = {
    "rope_type": "longrope",
    "short_factor": [1.0, 1.1, 1.3, 1.5],
    "long_factor": [1.0, 2.0, 4.0, 8.0],
}

_LIST = (
    Spec("llama", _llama(num_key_value_heads=4), dtype="F32"),
    Spec("llama-gqa-bias", _llama(attention_bias=True, mlp_bias=True, tie_word_embeddings=True), dtype="F16"),
    Spec(
        "llama3",
        _config(
            "llama", "LlamaForCausalLM", head_dim=16,
            rope_parameters={
                "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
            },
        ),
        shards=3,
    ),
    Spec("llama-linear", _llama(rope_scaling={"type": "linear", "factor": 4.0})),
    Spec("llama-yarn", _llama(rope_scaling=_YARN)),
    Spec("llama-yarn-factor", _llama(rope_scaling={**_YARN, "attention_factor": 1.5, "beta_fast": 16.0})),
    Spec("llama-longrope-short", _llama(rope_scaling=_LONG, original_max_position_embeddings=64), context=64),
    Spec("llama-longrope-long", _llama(rope_scaling=_LONG, original_max_position_embeddings=16), context=128),
    Spec("mistral", _config("mistral", "MistralForCausalLM", rope_theta=1e6, sliding_window=None, head_dim=16)),
    Spec("qwen2", _config("qwen2", "Qwen2ForCausalLM", rope_theta=1e6, use_sliding_window=False)),
    Spec(
        "qwen2-tied-yarn",
        _config("qwen2", "Qwen2ForCausalLM", rope_theta=1e6, rope_scaling=_YARN, tie_word_embeddings=True),
    ),
    Spec("qwen3", _config("qwen3", "Qwen3ForCausalLM", rope_theta=1e6, head_dim=16)),
    Spec("gemma3", _gemma(rope_theta=1e6, rope_local_base_freq=10000.0)),
    Spec(
        "gemma3-scaled",
        _gemma(
            rope_parameters=_V5, query_pre_attn_scalar=24, num_hidden_layers=3,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        ),
    ),
    Spec(
        "gemma3-multimodal",
        {
            "architectures": ["Gemma3ForConditionalGeneration"],
            "model_type": "gemma3",
            "text_config": {k: v for k, v in _gemma(rope_theta=1e6).items() if k != "architectures"},
            "vision_config": {"model_type": "siglip_vision_model"},
        },
        prefix="language_model.",
    ),
)  # fmt: skip

SPECS = {spec.name: spec for spec in _LIST}


def tensors(spec: Spec) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of the text model, as transformers names them."""
    c = spec.text
    head = c.get("head_dim", c["hidden_size"] // c["num_attention_heads"])
    q, kv = c["num_attention_heads"] * head, c["num_key_value_heads"] * head
    d, f, v = c["hidden_size"], c["intermediate_size"], c["vocab_size"]
    gemma, qwen3 = "gemma" in c["model_type"], c["model_type"] == "qwen3"
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (v, d), "model.norm.weight": (d,)}
    if not c["tie_word_embeddings"]:
        found["lm_head.weight"] = (v, d)
    for layer in range(c["num_hidden_layers"]):
        p = f"model.layers.{layer}."
        linears = {
            "self_attn.q_proj": (q, d), "self_attn.k_proj": (kv, d), "self_attn.v_proj": (kv, d),
            "self_attn.o_proj": (d, q), "mlp.gate_proj": (f, d), "mlp.up_proj": (f, d), "mlp.down_proj": (d, f),
        }  # fmt: skip
        for name, shape in linears.items():
            found[f"{p}{name}.weight"] = shape
            qkv = name[-6] in "qkv" and "attn" in name
            biased = c.get("attention_bias") if "attn" in name else c.get("mlp_bias")
            if biased or (c["model_type"] == "qwen2" and qkv):
                found[f"{p}{name}.bias"] = shape[:1]
        norms = ["input_layernorm", "post_attention_layernorm"]
        if gemma:
            norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
        found |= {f"{p}{name}.weight": (d,) for name in norms}
        if gemma or qwen3:
            found |= {f"{p}self_attn.{n}_norm.weight": (head,) for n in "qk"}
    return found


for _spec in _LIST:
    _spec.sizes.update(vocab=_spec.text["vocab_size"], width=_spec.text["hidden_size"])
