"""Hugging Face transformers as an oracle for tiny models: exact, independent of llama.cpp and of edgeq.

Builds the transformers model that a GGUF file stands for, weights dequantized by the `gguf` package, undoing
what llama.cpp's converter does to a checkpoint (rotary pairs reordered for `llama`, one added to Gemma's
norms). Needs torch, transformers and `gguf`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
import transformers
from numpy.typing import NDArray

LAYER = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
GEMMA = LAYER | {
    "post_attention_norm": "post_attention_layernorm", "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}  # fmt: skip
TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
CLASSES = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3", "gemma3": "Gemma3"}


def logits(path: str | Path, ids: Sequence[int], context: int) -> NDArray[np.float32]:
    """float32 [T, V]; `context` is the session's size, which picks longrope's factors as llama.cpp does."""
    reader = gguf.GGUFReader(path)
    keys = {
        name: field.contents() for name, field in reader.fields.items() if not name.startswith("tokenizer.")
    }
    tensors = {tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}
    config = _config(keys, tensors, context)
    family = CLASSES[str(keys["general.architecture"])]
    model = getattr(transformers, f"{family}ForCausalLM")(config).to(torch.float32).eval()
    state = dict(_state(keys, tensors))
    missing, unexpected = model.load_state_dict(state, strict=False)
    if (
        unexpected
        or set(missing) - {"lm_head.weight"}
        or ("lm_head.weight" in missing) != config.tie_word_embeddings
    ):
        raise ValueError(f"{path}: transformers misses {missing} and does not know {unexpected}")
    model.tie_weights()
    with torch.no_grad():
        return model(torch.tensor([list(ids)]), use_cache=False).logits[0].numpy().astype(np.float32)


def _config(keys: dict[str, Any], tensors: dict[str, NDArray[Any]], context: int) -> Any:
    arch = str(keys["general.architecture"])
    own = {name.removeprefix(f"{arch}."): value for name, value in keys.items()}
    heads, width = own["attention.head_count"], own["embedding_length"]
    head_dim = own.get("attention.key_length", width // heads)
    options: dict[str, Any] = {
        "vocab_size": tensors["token_embd.weight"].shape[0], "hidden_size": width,
        "intermediate_size": own["feed_forward_length"], "num_hidden_layers": own["block_count"],
        "num_attention_heads": heads, "num_key_value_heads": own["attention.head_count_kv"],
        "head_dim": head_dim, "max_position_embeddings": own["context_length"],
        "rms_norm_eps": own["attention.layer_norm_rms_epsilon"],
        "tie_word_embeddings": "output.weight" not in tensors, "attn_implementation": "eager",
        "rope_parameters": _rope(own, tensors, context), "bos_token_id": None, "eos_token_id": None,
        "pad_token_id": None,
    }  # fmt: skip
    if arch == "llama":
        options["attention_bias"] = "blk.0.attn_q.bias" in tensors
        options["mlp_bias"] = "blk.0.ffn_up.bias" in tensors
    if arch == "gemma3":
        local = {"rope_type": "default", "rope_theta": 10000.0}
        options["rope_parameters"] = {
            "full_attention": options["rope_parameters"],
            "sliding_attention": local,
        }
        options["query_pre_attn_scalar"] = head_dim
        options["sliding_window"] = own["attention.sliding_window"]
        options["final_logit_softcapping"] = own.get("final_logit_softcapping")
        options["layer_types"] = [
            "full_attention" if layer % 6 == 5 else "sliding_attention" for layer in range(own["block_count"])
        ]
        return transformers.Gemma3TextConfig(**options)
    return getattr(transformers, f"{CLASSES[arch]}Config")(**options)


def _rope(own: dict[str, Any], tensors: dict[str, NDArray[Any]], context: int) -> dict[str, Any]:
    rope: dict[str, Any] = {
        "rope_type": own.get("rope.scaling.type", "default"),
        "rope_theta": own["rope.freq_base"],
    }
    original = int(own.get("rope.scaling.original_context_length", 0))
    if rope["rope_type"] in ("linear", "yarn"):
        rope["factor"] = own["rope.scaling.factor"]
    if rope["rope_type"] == "yarn":
        rope["original_max_position_embeddings"] = original
    if rope["rope_type"] == "longrope":
        rope |= {
            f"{kind}_factor": tensors[f"rope_factors_{kind}.weight"].tolist() for kind in ("long", "short")
        }
        rope["attention_factor"] = own["rope.scaling.attn_factor"]
        # transformers goes by the length of the text, llama.cpp by that of the session
        rope["original_max_position_embeddings"] = 1 if context > original else 1 << 30
        rope["factor"] = 1.0
    if "rope_freqs.weight" in tensors:  # the parameters from which models/tiny/specs.py computes the tensor
        rope |= {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
        rope["original_max_position_embeddings"] = 64
    return rope


def _state(keys: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> Any:
    """Name and value of every parameter, as the checkpoint has them."""
    arch = str(keys["general.architecture"])
    heads = {
        "attn_q": keys[f"{arch}.attention.head_count"],
        "attn_k": keys[f"{arch}.attention.head_count_kv"],
    }
    for name, data in tensors.items():
        parts = name.split(".")
        if name.startswith("rope_") or parts[-1] == "scale":
            continue
        value = torch.from_numpy(data.astype(np.float32))
        if (
            parts[-1] == "weight"
            and (scale := tensors.get(name.removesuffix("weight") + "scale")) is not None
        ):
            value = value * float(scale[0])
        if arch == "gemma3" and parts[-2].endswith("norm"):
            value = value - 1.0
        if arch == "llama" and parts[-2] in heads:
            value = _halves(value, heads[parts[-2]])
        if parts[0] == "blk":
            layer = (GEMMA if arch == "gemma3" else LAYER)[parts[2]]
            yield f"model.layers.{parts[1]}.{layer}.{parts[3]}", value
        else:
            yield f"{TOP[parts[0]]}.{parts[1]}", value


def _halves(value: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of each head from rotary pairs (0, 1), (2, 3) ... to pairs (0, n/2), (1, n/2 + 1) ..."""
    pairs = value.reshape(heads, -1, 2, *value.shape[1:])
    return pairs.swapaxes(1, 2).reshape(value.shape)
