"""Models whose container is sound and whose contents are not: loading names the key or tensor, or the model runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeq
from edgeq import gguf
from edgeq.backends.base import Batch
from edgeq.errors import EdgeqError, FileChangedError, ModelError, TokenizerError
from edgeq.gguf import Value
from edgeq.quants import FORMATS
from tests.small import BACKEND, tiny

Change = Callable[[dict[str, Any], list[Any]], None]


def remade(path: Path, change: Change, name: str = "llama3") -> Path:
    """A tiny model written again after `change` had its way with metadata and (name, shape, format, data) rows."""
    with gguf.open(tiny(name)) as g:
        metadata = dict(g.metadata.typed())
        rows = [(t.name, t.shape, t.format.name, t.data.tobytes()) for t in g.tensors.values()]
        change(metadata, rows)
        gguf.write(path, metadata, rows)
    return path


def key(name: str, kind: str, value: Any) -> Change:
    def change(metadata: dict[str, Any], rows: list[Any]) -> None:
        metadata[name] = Value(kind, value)

    return change


def without(name: str) -> Change:
    def change(metadata: dict[str, Any], rows: list[Any]) -> None:
        metadata.pop(name)

    return change


def tensor(name: str, edit: Callable[[tuple[Any, ...]], tuple[Any, ...] | None]) -> Change:
    def change(metadata: dict[str, Any], rows: list[Any]) -> None:
        at = next(i for i, row in enumerate(rows) if row[0] == name)
        new = edit(rows[at])
        rows[at : at + 1] = [new] if new else []

    return change


BROKEN: dict[str, tuple[Change, str]] = {
    "architecture_missing": (without("general.architecture"), "general.architecture"),
    "architecture_unknown": (key("general.architecture", "string", "mamba9"), "edgeq runs"),
    "architecture_path": (key("general.architecture", "string", "../../etc/passwd"), "not known"),
    "architecture_number": (key("general.architecture", "u32", 7), "general.architecture"),
    "type_adapter": (key("general.type", "string", "adapter"), "general.type"),
    **{f"missing_{n.replace('.', '_')}": (without(f"llama.{n}"), f"llama.{n}") for n in (
        "block_count", "embedding_length", "attention.head_count", "feed_forward_length", "context_length",
        "attention.layer_norm_rms_epsilon")},
    **{f"block_count_{n}": (key("llama.block_count", "u32", n), "block_count|blk.1|attn_norm") for n in (0, 1, 10**6)},
    "block_count_max": (key("llama.block_count", "u32", 2**32 - 1), "block_count"),
    "block_count_string": (key("llama.block_count", "string", "2"), "block_count"),
    "block_count_float": (key("llama.block_count", "f32", 2.0), "block_count"),
    "block_count_negative": (key("llama.block_count", "i32", -2), "block_count"),
    "block_count_bool": (key("llama.block_count", "bool", True), "block_count"),
    "embedding_zero": (key("llama.embedding_length", "u32", 0), "embedding_length"),
    "embedding_other": (key("llama.embedding_length", "u32", 512), "attn_norm|token_embd|dimension_count"),
    "embedding_huge": (key("llama.embedding_length", "u32", 2**31), "embedding_length"),
    "ff_zero": (key("llama.feed_forward_length", "u32", 0), "feed_forward_length"),
    "ff_other": (key("llama.feed_forward_length", "u32", 96), "ffn_gate"),
    "heads_zero": (key("llama.attention.head_count", "u32", 0), "head_count"),
    "heads_seven": (key("llama.attention.head_count", "u32", 7), "head_count|attn_q"),
    "heads_max": (key("llama.attention.head_count", "u32", 2**32 - 1), "head_count"),
    "kv_heads_zero": (key("llama.attention.head_count_kv", "u32", 0), "head_count_kv"),
    "kv_heads_three": (key("llama.attention.head_count_kv", "u32", 3), "head_count"),
    "key_length_zero": (key("llama.attention.key_length", "u32", 0), "key_length"),
    "key_length_huge": (key("llama.attention.key_length", "u32", 2**30), "key_length"),
    "rope_odd": (key("llama.rope.dimension_count", "u32", 15), "dimension_count 15 is odd"),
    "rope_wide": (key("llama.rope.dimension_count", "u32", 4096), "dimension_count"),
    **{f"rope_base_{i}": (key("llama.rope.freq_base", "f32", x), "freq_base")
       for i, x in enumerate((0.0, -1.0, float("nan"), float("inf")))},
    "rope_scaling_unknown": (key("llama.rope.scaling.type", "string", "sideways"), "scaling.type"),
    "rope_factor_nan": (key("llama.rope.scaling.factor", "f32", float("nan")), "scaling.factor"),
    "rope_factor_negative": (key("llama.rope.scaling.factor", "f32", -4.0), "scaling.factor"),
    "rope_freqs_short": (tensor("rope_freqs.weight", lambda r: (r[0], (r[1][0] - 2,), r[2], r[3][:-8])), "rope_freqs"),
    "rope_freqs_zero": (tensor("rope_freqs.weight", lambda r: (*r[:3], bytes(len(r[3])))), "rope_freqs"),
    **{f"eps_{i}": (key("llama.attention.layer_norm_rms_epsilon", "f32", x), "epsilon")
       for i, x in enumerate((float("nan"), -1e-5, float("inf")))},
    **{f"eps_large_{x}": (key("llama.attention.layer_norm_rms_epsilon", "f32", x), "epsilon: .* over 0, under 1; found")
       for x in (1.0, 1.5, 3.0)},
    "eps_integer": (key("llama.attention.layer_norm_rms_epsilon", "u32", 1), "epsilon"),
    "context_zero": (key("llama.context_length", "u32", 0), "context_length"),
    "context_huge": (key("llama.context_length", "u64", 2**40), "context_length"),
    "experts": (key("llama.expert_count", "u32", 8), "expert"),
    "tensor_missing": (tensor("blk.1.ffn_up.weight", lambda r: None), "blk.1.ffn_up.weight is missing"),
    "embedding_missing": (tensor("token_embd.weight", lambda r: None), "token_embd.weight is missing"),
    "tensor_transposed": (tensor("blk.0.ffn_up.weight", lambda r: (r[0], r[1][::-1], *r[2:])), "blk.0.ffn_up.weight"),
    "tensor_vector": (tensor("blk.0.attn_norm.weight", lambda r: (r[0], (1, *r[1]), *r[2:])), "blk.0.attn_norm"),
    "tensor_extra": (lambda m, rows: rows.append(("blk.0.attn_q.surprise", (4,), "F32", bytes(16))), "surprise"),
    "layer_extra": (lambda m, rows: rows.append(("blk.9.attn_norm.weight", (4,), "F32", bytes(16))), "blk.9"),
    "tokens_few": (key("tokenizer.ggml.tokens", "array[string]", ["a", "b"]), "tokenizer.ggml.tokens"),
    "tokens_missing": (without("tokenizer.ggml.tokens"), "tokenizer.ggml.tokens"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_refused_by_name(case: str, tmp_path: Path) -> None:
    change, words = BROKEN[case]
    path = remade(tmp_path / "model.gguf", change)
    started = time.perf_counter()
    with pytest.raises(ModelError, match=words):
        edgeq.load(path, backend=BACKEND, threads=1)
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("fmt", ["I8", "I32", "I64", "F64", "Q8_1", "Q8_K"])
def test_formats_that_no_linear_has_are_refused_by_name(fmt: str, tmp_path: Path) -> None:
    def change(metadata: dict[str, Any], rows: list[Any]) -> None:
        at = next(i for i, row in enumerate(rows) if row[0] == "blk.0.ffn_down.weight")
        name, shape = rows[at][:2]
        rows[at] = (name, shape, fmt, bytes(shape[0] * FORMATS[fmt].row_bytes(shape[1])))

    with gguf.open(tiny()) as g:
        if g.tensors["blk.0.ffn_down.weight"].shape[1] % FORMATS[fmt].block:
            pytest.skip("the tiny model's rows are no multiple of this block")
    with pytest.raises(ModelError, match=f"blk.0.ffn_down.weight: format {fmt}"):
        edgeq.load(remade(tmp_path / "model.gguf", change), backend=BACKEND)


LOADS: dict[str, Change] = {
    "context_4_billion": key("llama.context_length", "u32", 2**32 - 1),
    "name_with_escapes": key("general.name", "string", "\x1b[2Jevil\n\u202e"),
    "unknown_keys": key("llama.something.new", "f64", 1.5),
    "file_type_odd": key("general.file_type", "u32", 12345),
    "eos_past_the_end": key("tokenizer.ggml.eos_token_id", "u32", 2**31),
    "template_broken": key("tokenizer.chat_template", "string", "{% for %}"),
    "template_no_text": key("tokenizer.chat_template", "u32", 5),
}


@pytest.mark.parametrize("case", LOADS)
def test_loads_and_answers(case: str, tmp_path: Path) -> None:
    with edgeq.load(remade(tmp_path / "model.gguf", LOADS[case]), backend=BACKEND, threads=1, context=64) as model:
        assert model.generate("hi", max_tokens=2, temperature=0.0, ignore_end=True).session is not None
        assert len(list(model.generate("hi", max_tokens=2, temperature=0.0, ignore_end=True))) <= 2


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_end_in_an_error_not_in_token_0(value: float, tmp_path: Path) -> None:
    def poison(row: tuple[Any, ...]) -> tuple[Any, ...]:
        data = np.frombuffer(row[3], np.float32).copy()
        data[3] = value
        return (*row[:3], data.tobytes())

    path = remade(tmp_path / "model.gguf", tensor("output_norm.weight", poison))
    with edgeq.load(path, backend=BACKEND, threads=1, context=64) as model:
        answer = model.generate("hi", max_tokens=2)
        with pytest.raises(EdgeqError, match=r"(?i)nan|inf"):
            list(answer)


@pytest.mark.skipif(BACKEND != "native", reason="only the native backend guards its mapping")
@pytest.mark.parametrize("how", ["shrunk", "rewritten"])
def test_a_file_that_changes_while_it_is_mapped_is_an_error_not_a_crash(how: str, tmp_path: Path) -> None:
    path = remade(tmp_path / "model.gguf", lambda metadata, rows: None)
    model = edgeq.load(path, backend=BACKEND, threads=2, context=64)
    session = model.session()
    session.extend([1, 2, 3])
    if how == "shrunk":
        with path.open("r+b") as f:
            f.truncate(8192)
    else:
        time.sleep(0.01)
        path.write_bytes(path.read_bytes())
    with pytest.raises(FileChangedError, match="changed"):
        session.extend([4])
    if how == "shrunk":  # and when nobody looked first: the fault inside the step is caught
        state = model.executable.new_state(1, 64)
        with pytest.raises(FileChangedError, match="changed or shrank"):
            model.executable.step(state, Batch.single([1, 2], 0))


def test_tokenizer_errors_are_named(tmp_path: Path) -> None:
    path = remade(tmp_path / "model.gguf", key("tokenizer.ggml.model", "string", "runes"))
    with edgeq.load(path, backend=BACKEND) as model, pytest.raises(TokenizerError, match="runes"):
        model.tokenize("x")


@pytest.mark.parametrize("base", [1.0, 0.5])
def test_yarn_with_a_rotary_base_of_one_divided_by_zero(tmp_path: Path, base: float) -> None:
    with gguf.open(tiny("qwen2-yarn")) as g:
        metadata = dict(g.metadata.typed())
        rows = [(t.name, t.shape, t.format.name, t.data.tobytes()) for t in g.tensors.values()]
    key("qwen2.rope.freq_base", "f32", base)(metadata, rows)
    gguf.write(tmp_path / "flat.gguf", metadata, rows)
    with pytest.raises(ModelError, match=r"qwen2\.rope\.freq_base .* over 1"):
        edgeq.load(tmp_path / "flat.gguf", backend=BACKEND)
