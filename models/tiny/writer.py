"""Writes a tiny model with the `gguf` package, keys and tensors as llama.cpp's converter lays them out.

The package is another project's writer on purpose: what edgeq reads in tests was not written by edgeq.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from models.tiny.blocks import TensorType, gauss, stream, weights
from models.tiny.specs import Spec
from models.tiny.vocab import Vocabulary

Tensor = tuple[
    str, tuple[int, ...], TensorType, NDArray[np.uint8]
]  # name, shape (rows, columns), type, bytes

# Sizes that keep a random network lively: attention looks at some positions more than at others, every layer
# moves the residual stream, and the logits are a few units wide.
GAIN = {
    "attn_q": 1.5,
    "attn_k": 1.5,
    "attn_v": 1.0,
    "attn_output": 2.0,
    "ffn_gate": 1.5,
    "ffn_up": 1.5,
    "ffn_down": 1.5,
}
NORM = {"attn_q_norm": 1.5, "attn_k_norm": 1.2, "post_attention_norm": 2.5, "post_ffw_norm": 2.5}


def write(spec: Spec, path: str | os.PathLike[str]) -> None:
    """Writes the model's file whole, or not at all."""
    part = Path(f"{path}.{os.getpid()}.part")
    writer = gguf.GGUFWriter(part, spec.arch)
    try:
        _metadata(writer, spec)
        _tokenizer(writer, spec.vocabulary())
        writer.add_quantization_version(2)
        tensors = list(_tensors(spec))
        for name, shape, kind, data in tensors:
            writer.add_tensor_info(name, shape, np.dtype(np.float32), data.nbytes, raw_dtype=kind)  # type: ignore[arg-type]
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for _, _, _, data in tensors:
            writer.write_tensor_data(data)
        writer.close()
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _metadata(writer: gguf.GGUFWriter, spec: Spec) -> None:
    writer.add_type("model")
    writer.add_name(f"Tiny random {spec.name}")
    writer.add_block_count(spec.layers)
    writer.add_context_length(spec.context)
    writer.add_embedding_length(spec.width)
    writer.add_feed_forward_length(spec.ff)
    writer.add_head_count(spec.heads)
    writer.add_head_count_kv(spec.kv_heads)
    for key, value in spec.scaling.items():
        name = f"{spec.arch}.rope.scaling.{key}"
        if isinstance(value, str):
            writer.add_string(name, value)
        elif isinstance(value, int):
            writer.add_uint32(name, value)
        else:
            writer.add_float32(name, value)
    writer.add_rope_freq_base(spec.base)
    writer.add_layer_norm_rms_eps(spec.eps)
    if spec.head_dim:
        writer.add_key_length(spec.head_dim)
        writer.add_value_length(spec.head_dim)
    if spec.softcap:
        writer.add_final_logit_softcapping(spec.softcap)
    if spec.window:
        writer.add_sliding_window(spec.window)
    if spec.kind is TensorType.F32:
        writer.add_file_type(0)  # mostly F32; converters have no label for most of the other files
    if spec.arch == "llama":
        writer.add_vocab_size(len(spec.vocabulary().tokens))
        writer.add_rope_dimension_count(spec.head_width)


def _tokenizer(writer: gguf.GGUFWriter, vocab: Vocabulary) -> None:
    writer.add_tokenizer_model(vocab.model)
    writer.add_tokenizer_pre(vocab.pre)
    writer.add_token_list(vocab.tokens)
    if vocab.scores:
        writer.add_token_scores(vocab.scores)
    writer.add_token_types(vocab.types)
    if vocab.merges:
        writer.add_token_merges(vocab.merges)
    for role, token in vocab.ids.items():
        writer.add_uint32(f"tokenizer.ggml.{role}_token_id", token)
    for flag, value in vocab.flags.items():
        writer.add_bool(f"tokenizer.ggml.{flag}", value)
    if vocab.chat_template:
        writer.add_chat_template(vocab.chat_template)


def _tensors(spec: Spec) -> Iterator[Tensor]:
    d, ff, size = spec.width, spec.ff, len(spec.vocabulary().tokens)
    q, kv = spec.heads * spec.head_width, spec.kv_heads * spec.head_width
    for name, factors in spec.rope_factors.items():
        yield _vector(f"{name}.weight", np.array(factors, np.float32))
    yield _matrix(spec, "token_embd", (size, d), 0.2 if spec.tied else 1.0)
    if not spec.tied:
        yield _matrix(spec, "output", (size, d), 3.0 / d**0.5)
    yield _norm(spec, "output_norm", d, 1.75 if spec.tied else 1.0)
    for layer in range(spec.layers):
        p = f"blk.{layer}."
        yield _norm(spec, f"{p}attn_norm", d)
        yield from _linear(spec, f"{p}attn_q", (q, d))
        yield from _linear(spec, f"{p}attn_k", (kv, d))
        yield from _linear(spec, f"{p}attn_v", (kv, d))
        yield from _linear(spec, f"{p}attn_output", (d, q))
        if spec.arch in ("qwen3", "gemma3"):
            yield _norm(spec, f"{p}attn_q_norm", spec.head_width)
            yield _norm(spec, f"{p}attn_k_norm", spec.head_width)
        if spec.arch == "gemma3":
            yield _norm(spec, f"{p}post_attention_norm", d)
        yield _norm(spec, f"{p}ffn_norm", d)
        yield from _linear(spec, f"{p}ffn_gate", (ff, d))
        yield from _linear(spec, f"{p}ffn_up", (ff, d))
        yield from _linear(spec, f"{p}ffn_down", (d, ff))
        if spec.arch == "gemma3":
            yield _norm(spec, f"{p}post_ffw_norm", d)


def _linear(spec: Spec, name: str, shape: tuple[int, int]) -> Iterator[Tensor]:
    part = name.rsplit(".", 1)[-1]
    scale = 0.5 + float(stream(f"{spec.name} {name}.scale", 1)[0]) / 256
    rms = GAIN[part] / shape[1] ** 0.5
    yield _matrix(spec, name, shape, rms / scale if spec.scales else rms)
    if spec.scales:
        yield _vector(f"{name}.scale", np.array([scale], np.float32))
    if part in spec.bias:
        yield _vector(f"{name}.bias", gauss(f"{spec.name} {name}.bias", shape[:1], 0.3))


def _matrix(spec: Spec, name: str, shape: tuple[int, int], rms: float) -> Tensor:
    return f"{name}.weight", shape, spec.kind, weights(f"{spec.name} {name}", shape, rms, spec.kind)


def _norm(spec: Spec, name: str, n: int, gain: float = 1.0) -> Tensor:
    mean = NORM.get(name.rsplit(".", 1)[-1], gain)
    return _vector(f"{name}.weight", gauss(f"{spec.name} {name}", (n,), 0.25 * mean, mean))


def _vector(name: str, values: NDArray[np.float32]) -> Tensor:
    return name, values.shape, TensorType.F32, np.ascontiguousarray(values, "<f4").view(np.uint8)
