"""Tiny random LoRA adapters as PEFT saves them, for checkpoints of this package, with PEFT's logits.

    write("qwen2-rslora", folder)   adapter_config.json and adapter_model.safetensors in `folder`
    golden("qwen2-rslora")          the logits of PEFT for the first TOKENS ids (models/make_adapters.py)
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import checkpoints
from models.checkpoints.specs import tensors
from models.checkpoints.writer import stored, write_safetensors

GOLDEN = checkpoints.GOLDEN.parent / "adapters.npz"
TOKENS = 12
LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Adapter:
    """`ranks`: of modules, by the end of their names, where it is not that of the config."""

    checkpoint: str
    modules: tuple[str, ...] = LINEARS
    config: dict[str, Any] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=dict)
    dtype: str = "F32"


ADAPTERS = {
    "llama-head": Adapter("llama", (*LINEARS, "lm_head")),
    "llama-gqa-patterns": Adapter(
        "llama-gqa-bias",
        config={"alpha_pattern": {"layers.0.self_attn.k_proj": 3, "^model.layers.1.self_attn.q_proj": 5}},
        ranks={"q_proj": 2, "layers.1.mlp.down_proj": 5},
        dtype="F16",
    ),
    "qwen2-rslora": Adapter("qwen2", config={"use_rslora": True}, dtype="BF16"),
    "qwen3-attention": Adapter("qwen3", LINEARS[:4], {"r": 1, "lora_alpha": 3}),
    "gemma3": Adapter("gemma3"),
    "llama-embedding": Adapter("llama", ("embed_tokens", "v_proj", "lm_head"), {"lora_alpha": 6}),
    "gemma3-embedding": Adapter("gemma3", ("embed_tokens", "o_proj"), dtype="BF16"),
}


def write(name: str, folder: Path) -> Adapter:
    """Puts the adapter into `folder`; gives what it is."""
    adapter = ADAPTERS[name]
    config = {
        "peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": list(adapter.modules), "bias": "none",
        "task_type": "CAUSAL_LM", "rank_pattern": adapter.ranks, **adapter.config,
    }  # fmt: skip
    draw = np.random.RandomState(2)
    entries = {}
    for weight, shape in tensors(checkpoints.SPECS[adapter.checkpoint]).items():
        module = weight.removesuffix(".weight")
        if not module.endswith(adapter.modules) or len(shape) != 2:
            continue
        rank = next((n for end, n in adapter.ranks.items() if module.endswith(end)), config["r"])
        a = draw.standard_normal((rank, shape[1])) / np.sqrt(shape[1])
        b = draw.standard_normal((shape[0], rank)) * 0.25
        for half, values in (("A", a), ("B", b)):
            key = f"base_model.model.{module}.lora_{half}.weight"
            if module.endswith("embed_tokens"):  # whose A is [r, tokens], B [width, r]
                key = f"base_model.model.{module}.lora_embedding_{'BA'['AB'.index(half)]}"
                values = values.T
            entries[key] = stored(np.ascontiguousarray(values, np.float32), adapter.dtype)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1))
    write_safetensors(folder / "adapter_model.safetensors", entries)
    return adapter


def golden(name: str) -> NDArray[np.float32]:
    """PEFT's logits [TOKENS, V], float32 arithmetic, kept in 16 bits."""
    return checkpoints.golden(name, GOLDEN)
