"""Models that are headers: the names and numbers of well-known ones, with matrices of two rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgeq import gguf


def model(arch: str, layers: int, heads: int, kv: int, columns: int = 256, **more: Any) -> dict[str, Any]:
    return {"arch": arch, "layers": layers, "heads": heads, "kv": kv, "columns": columns, **more}


MODELS = {
    "plain": model("llama", 24, 8, 8),
    "few-layers": model("llama", 5, 8, 2),
    "grouped": model("llama", 32, 8, 2),
    "big": model("llama", 80, 8, 1, tied=False),
    "mixtral": model("llama", 16, 8, 2, experts=8),
    "many-experts": model("qwen3moe", 12, 8, 2, experts=16),
    "tied": model("qwen2", 24, 14, 2, columns=512, tied=True, bias=True),
    "narrow": model("llama", 30, 9, 3, columns=576, down=1536, tied=True),
    "odd": model("llama", 4, 4, 4, columns=48, down=80),
    "gemma": model("gemma3", 18, 4, 1, columns=640, down=2048, tied=True),
    "falcon": model("falcon", 32, 8, 8, fused=True),
}


def tensors(m: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    n, down, experts = m["columns"], m.get("down", 512), m.get("experts", 0)
    out: dict[str, tuple[int, ...]] = {"token_embd.weight": (2, n), "output_norm.weight": (n,)}
    if not m.get("tied"):
        out["output.weight"] = (2, n)
    for i in range(m["layers"]):
        b = f"blk.{i}."
        out[b + "attn_norm.weight"] = (n,)
        for part in ("attn_qkv",) if m.get("fused") else ("attn_q", "attn_k", "attn_v"):
            out[f"{b}{part}.weight"] = (2, n)
            if m.get("bias"):
                out[f"{b}{part}.bias"] = (2,)
        out[b + "attn_output.weight"] = (2, n)
        out[b + "ffn_norm.weight"] = (n,)
        if experts:
            out[b + "ffn_gate_inp.weight"] = (experts, n)
        stack, end = ((experts,), "_exps.weight") if experts else ((), ".weight")
        for part in ("ffn_up",) if m.get("fused") else ("ffn_gate", "ffn_up"):
            out[b + part + end] = (*stack, 2, n)
        out[b + "ffn_down" + end] = (*stack, 2, down)
    return out


def write_model(path: Path, m: dict[str, Any]) -> None:
    """A GGUF file of F16 matrices, all zero, that llama-quantize takes for a model."""
    arch, u32 = m["arch"], lambda x: gguf.Value("u32", x)
    metadata: dict[str, Any] = {
        "general.architecture": arch,
        f"{arch}.context_length": u32(64),
        f"{arch}.embedding_length": u32(m["columns"]),
        f"{arch}.block_count": u32(m["layers"]),
        f"{arch}.feed_forward_length": u32(m.get("down", 512)),
        f"{arch}.attention.head_count": u32(m["heads"]),
        f"{arch}.attention.head_count_kv": u32(m["kv"]),
        f"{arch}.attention.layer_norm_rms_epsilon": gguf.Value("f32", 1e-6),
        f"{arch}.attention.layer_norm_epsilon": gguf.Value("f32", 1e-6),
    }
    if m.get("experts"):
        metadata |= {f"{arch}.expert_count": u32(m["experts"]), f"{arch}.expert_used_count": u32(2),
                     f"{arch}.expert_feed_forward_length": u32(m.get("down", 512))}  # fmt: skip
    rows = [
        (name, shape, fmt, np.zeros(shape, fmt_type))
        for name, shape in tensors(m).items()
        for fmt, fmt_type in [("F32", np.float32) if len(shape) < 2 else ("F16", np.float16)]
    ]
    gguf.write(path, metadata, rows, overwrite=True)
