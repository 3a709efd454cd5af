"""Tiny checkpoints of every architecture, converted and run, against the logits of transformers for them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import edgeq
from edgeq import convert, gguf
from edgeq.backends.reference import ReferenceBackend
from edgeq.convert import safetensors
from edgeq.errors import ModelError, UsageError
from edgeq.imatrix import Entry, ImportanceMatrix
from edgeq.quantize import quantize
from models import checkpoints
from models.checkpoints.writer import Stored, stored, weights, write_shards, write_spec


def logits(path: Path, spec: checkpoints.Spec) -> np.ndarray:
    with edgeq.load(path, context=spec.context, backend=ReferenceBackend(np.float64), kv_type="F32") as model:
        return model.logits(checkpoints.ids(spec))


def difference(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(found.astype(np.float64) - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("name", checkpoints.SPECS)
def test_logits_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    spec = checkpoints.write(name, tmp_path / "in")
    convert.convert(tmp_path / "in", tmp_path / "out.gguf", "f32")
    wanted = checkpoints.golden(name)
    found = logits(tmp_path / "out.gguf", spec)
    assert difference(found, wanted) < 1e-4
    assert (found.argmax(1) == wanted.argmax(1)).all()


@pytest.mark.parametrize("name", ["llama", "llama-gqa-bias", "qwen3", "gemma3"])
def test_auto_loses_nothing(name: str, tmp_path: Path) -> None:
    spec = checkpoints.write(name, tmp_path / "in")
    convert.convert(tmp_path / "in", tmp_path / "out.gguf")
    with gguf.open(tmp_path / "out.gguf") as file:
        assert file.tensors["blk.0.attn_q.weight"].format.name == spec.dtype
        assert file.tensors["blk.0.attn_norm.weight"].format.name == "F32"
    assert difference(logits(tmp_path / "out.gguf", spec), checkpoints.golden(name)) < 1e-4


@pytest.mark.parametrize(("kind", "most"), [("f16", 0.005), ("bf16", 0.04)])
def test_rounding_to_16_bits_is_small(kind: str, most: float, tmp_path: Path) -> None:
    spec = checkpoints.write("llama", tmp_path / "in")
    convert.convert(tmp_path / "in", tmp_path / "out.gguf", kind)
    assert difference(logits(tmp_path / "out.gguf", spec), checkpoints.golden("llama")) < most


def test_quantized_types(tmp_path: Path) -> None:
    spec = checkpoints.write("llama", tmp_path / "in")
    report = convert.convert(tmp_path / "in", tmp_path / "out.gguf", "q8_0")
    kinds = {item.name: item.format for item in report.plan.items}
    assert kinds["token_embd.weight"] == "Q8_0" and kinds["blk.0.attn_norm.weight"] == "F32"
    assert kinds["blk.0.ffn_down.weight"] == "F16"  # rows of 48 are no whole blocks
    assert "blk.0.ffn_down.weight: rows of 48 are no whole blocks of Q8_0: made F16" in report.notes
    assert difference(logits(tmp_path / "out.gguf", spec), checkpoints.golden("llama")) < 0.06
    assert report.metadata["general.file_type"].value == 7


def test_keys_are_those_of_the_architecture(tmp_path: Path) -> None:
    checkpoints.write("gemma3-scaled", tmp_path / "in")
    report = convert.convert(tmp_path / "in", tmp_path / "out.gguf", name="A model", context=64)
    keys = {key: value.value for key, value in report.metadata.items()}
    assert keys["general.architecture"] == "gemma3" and keys["general.name"] == "A model"
    assert keys["gemma3.context_length"] == 64
    assert keys["gemma3.attention.sliding_window"] == 8
    assert keys["gemma3.attention.sliding_window_pattern"] == [True, False, True]
    assert keys["gemma3.rope.freq_base"] == 1e6 and keys["gemma3.rope.freq_base_swa"] == 1e4
    assert (keys["gemma3.rope.scaling.type"], keys["gemma3.rope.scaling.factor"]) == ("linear", 8.0)
    assert keys["general.file_type"] == 32


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3", "gemma3"])
def test_the_size_of_heads_is_said_where_it_is_not_that_of_the_width(name: str, tmp_path: Path) -> None:
    """As llama.cpp's converter does; Qwen3 and Gemma 3 have sizes of their own where config.json is silent."""
    spec = checkpoints.write(name, tmp_path)
    keys = convert.prepare(tmp_path, "", vocab_only=True).metadata
    assert (f"{keys['general.architecture'].value}.attention.key_length" in keys) == ("head_dim" in spec.text)
    config = json.loads((tmp_path / "config.json").read_text())
    config.pop("head_dim", None)
    (tmp_path / "config.json").write_text(json.dumps(config))
    keys = convert.prepare(tmp_path, "", vocab_only=True).metadata
    assert (f"{name}.attention.key_length" in keys) == (name in ("qwen3", "gemma3"))


@pytest.mark.parametrize(
    ("top", "scaling", "original", "factor"),
    [
        (None, {"factor": 16.0}, 64, 16.0),  # 128 / 64 in its place
        (None, {}, 64, 2.0),
        (32, {}, 32, 4.0),  # beside the parameters, which wins
        (32, {"factor": 8.0}, 32, 8.0),
        (None, {"factor": 0.5}, 64, 1.0),
    ],
)
def test_the_factor_of_longrope_was_that_of_the_contexts(
    tmp_path: Path, top: int | None, scaling: dict[str, float], original: int, factor: float
) -> None:
    checkpoints.write("llama-longrope-long", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["rope_scaling"] |= {"original_max_position_embeddings": 64, **scaling}
    config["original_max_position_embeddings"] = top
    (tmp_path / "config.json").write_text(json.dumps(config))
    keys = convert.prepare(tmp_path, "", vocab_only=True).metadata
    assert keys["llama.rope.scaling.original_context_length"].value == original
    wanted = math.sqrt(1 + math.log(factor) / math.log(original))
    assert keys["llama.rope.scaling.attn_factor"].value == pytest.approx(wanted)


@pytest.mark.parametrize(("top", "inner", "original"), [(None, 64, 64), (32, 64, 32), (None, None, 128)])
def test_the_original_context_of_llama3_was_8192_or_that_of_the_parameters(
    tmp_path: Path, top: int | None, inner: int | None, original: int
) -> None:
    spec = checkpoints.write("llama3", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["original_max_position_embeddings"] = top
    config["rope_parameters"]["original_max_position_embeddings"] = inner
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = convert.prepare(tmp_path, "").plan.items[-1]
    p = config["rope_parameters"]
    turns = original * p["rope_theta"] ** (-np.arange(0, spec.text["head_dim"], 2) / spec.text["head_dim"]) / 2 / np.pi
    assert found.name == "rope_freqs.weight" and found.values is not None
    assert np.array_equal(found.values == 1, turns >= p["high_freq_factor"])
    assert np.array_equal(found.values == p["factor"], turns <= p["low_freq_factor"])


@pytest.mark.parametrize(("name", "bias"), [("qwen2", "k_proj"), ("llama-gqa-bias", "o_proj")])
def test_a_bias_that_the_model_needs_must_be_there(name: str, bias: str, tmp_path: Path) -> None:
    spec = checkpoints.write(name, tmp_path)
    entries = {n: stored(v, spec.dtype) for n, v in weights(spec).items()}
    write_shards(tmp_path, {n: e for n, e in entries.items() if n != f"model.layers.0.self_attn.{bias}.bias"})
    with pytest.raises(ModelError, match=rf"{bias}\.bias is missing"):
        convert.prepare(tmp_path, "")


def test_tensors_of_the_vision_part_are_left_out_and_said(tmp_path: Path) -> None:
    checkpoints.write("gemma3-multimodal", tmp_path / "in")
    report = convert.prepare(tmp_path / "in", tmp_path / "out.gguf")
    assert any("1 tensors of the vision part" in note for note in report.notes)
    assert not any("vision" in item.name for item in report.plan.items)


def importances(path: Path) -> ImportanceMatrix:
    """Another one for every matrix of a model's layers."""
    with gguf.open(path) as file:
        shapes = {t.name: t.shape for t in file.tensors.values() if len(t.shape) == 2 and t.name.startswith("blk.")}
    draw = np.random.RandomState(5)
    return ImportanceMatrix({name: Entry(draw.rand(1, n) ** 4, np.ones(1)) for name, (_, n) in shapes.items()})


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("name", "mix"), [("llama", "Q4_K_M"), ("gemma3", "iq3_m"), ("qwen2", "Q4_0")])
def test_a_mix_in_one_pass_is_that_of_two(tmp_path: Path, name: str, mix: str, weighted: bool) -> None:
    """Converted to floats and quantized then, or at once."""
    checkpoints.write(name, tmp_path / "in")
    convert.convert(tmp_path / "in", tmp_path / "floats.gguf", "f32")
    w = importances(tmp_path / "floats.gguf") if weighted else None
    quantize(tmp_path / "floats.gguf", tmp_path / "two.gguf", mix, importance=w, importance_file="im.gguf")
    report = convert.convert(tmp_path / "in", tmp_path / "one.gguf", mix, importance=w, importance_file="x/im.gguf")
    with gguf.open(tmp_path / "one.gguf") as one, gguf.open(tmp_path / "two.gguf") as two:
        assert list(one.tensors) == list(two.tensors)
        for a, b in zip(one.tensors.values(), two.tensors.values()):
            assert (a.name, a.format, bytes(a.raw)) == (b.name, b.format, bytes(b.raw))
        for key in ("general.file_type", "quantize.imatrix.file", "quantize.imatrix.entries_count"):
            assert one.metadata.get(key) == two.metadata.get(key)
        assert ("quantize.imatrix.file" in one.metadata) == weighted
    assert not any("importances" in note for note in report.notes)
    assert any("are no whole blocks of" in note for note in report.notes) or mix == "Q4_0"


def test_the_output_was_written_over_the_importances(tmp_path: Path) -> None:
    checkpoints.write("llama", tmp_path / "in")
    few = ImportanceMatrix({"blk.0.attn_q.weight": Entry(np.ones((1, 32)), np.ones(1))})
    path = tmp_path / "im.gguf"
    path.write_bytes(b"mine")
    with pytest.raises(UsageError, match="is the file that is read"):
        convert.convert(tmp_path / "in", path, "q4_0", importance=few, importance_file=path, overwrite=True)
    convert.convert(tmp_path / "in", tmp_path / "f32.gguf", "f32")
    with pytest.raises(UsageError, match="is the file that is read"):
        quantize(tmp_path / "f32.gguf", path, "q4_0", importance=few, importance_file=path, overwrite=True)
    assert path.read_bytes() == b"mine"


def test_importances_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    checkpoints.write("llama", tmp_path / "in")
    other = ImportanceMatrix({"blk.9.attn_q.weight": Entry(np.ones((1, 64)), np.ones(1))})
    with pytest.raises(UsageError, match=r"has no entry for any tensor of .*it belongs to another model"):
        convert.convert(tmp_path / "in", tmp_path / "out.gguf", "q4_0", importance=other)
    with pytest.raises(UsageError, match=r"q8_0.*importances change nothing"):
        convert.convert(tmp_path / "in", tmp_path / "out.gguf", "q8_0", importance=other)
    wide = ImportanceMatrix({"blk.0.attn_q.weight": Entry(np.ones((1, 48)), np.ones(1))})
    with pytest.raises(UsageError, match=r"blk\.0\.attn_q\.weight.*48"):
        convert.convert(tmp_path / "in", tmp_path / "out.gguf", "q4_0", importance=wide)
    assert not (tmp_path / "out.gguf").exists()
    few = ImportanceMatrix({"blk.0.attn_q.weight": Entry(np.ones((1, 32)), np.ones(1))})
    notes = convert.prepare(tmp_path / "in", "", "q4_0", importance=few).notes
    assert any("no importances for 13 tensors, from blk.0.attn_k.weight on" in note for note in notes), notes


def tie(folder: Path, change: Callable[[dict[str, Stored]], None]) -> convert.Report:
    """The plan of the qwen2 checkpoint, tied by its config, after a change to its tensors."""
    spec = checkpoints.write("qwen2", folder)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tie_word_embeddings": True}))
    entries = {name: stored(values, spec.dtype) for name, values in weights(spec).items()}
    change(entries)
    write_shards(folder, entries)
    return convert.prepare(folder, folder / "out.gguf")


HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


def test_the_head_of_a_tied_model_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safetensors, "PIECE", 1000)
    report = tie(tmp_path, lambda entries: entries.update({HEAD: entries[EMBEDDING]}))
    assert "output.weight" not in {item.name for item in report.plan.items}
    assert any("ties the head" in note for note in report.notes)
    report = tie(tmp_path, lambda entries: entries.pop(HEAD) and None)
    assert "output.weight" not in {item.name for item in report.plan.items}
    assert not any("head" in note for note in report.notes)


def last_number(entries: dict[str, Stored]) -> None:
    dtype, values = entries[EMBEDDING]
    values = values.copy()
    values[-1, -1] ^= 1  # of BF16, the last bit
    entries[HEAD] = dtype, values


def another_dtype(entries: dict[str, Stored]) -> None:
    dtype, values = entries[EMBEDDING]
    assert dtype == "BF16"
    entries[HEAD] = "F32", np.left_shift(values, 16, dtype=np.uint32).view("<f4")


@pytest.mark.parametrize("change", [lambda entries: None, last_number, another_dtype])
def test_a_head_that_differs_from_the_embedding_was_dropped(
    tmp_path: Path, change: Callable[[dict[str, Stored]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers keeps both, whatever tie_word_embeddings says."""
    monkeypatch.setattr(safetensors, "PIECE", 1000)
    report = tie(tmp_path, change)
    assert "output.weight" in {item.name for item in report.plan.items}
    assert any("lm_head.weight: kept, for it is not the embedding" in note for note in report.notes)


def test_the_same_checkpoint_gives_the_same_bytes(tmp_path: Path) -> None:
    checkpoints.write("llama3", tmp_path / "in")
    for out in ("a.gguf", "b.gguf"):
        convert.convert(tmp_path / "in", tmp_path / out)
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()


def test_chunks_of_rows_make_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeq.convert import output

    checkpoints.write("llama", tmp_path / "in")
    convert.convert(tmp_path / "in", tmp_path / "whole.gguf")
    monkeypatch.setattr(output, "CHUNK", 100)
    convert.convert(tmp_path / "in", tmp_path / "parts.gguf")
    assert (tmp_path / "whole.gguf").read_bytes() == (tmp_path / "parts.gguf").read_bytes()


def test_few_bits_without_importances_are_warned_of(tmp_path: Path) -> None:
    wide = {**checkpoints.SPECS["llama"].config, "hidden_size": 256, "intermediate_size": 256, "head_dim": 64,
            "num_attention_heads": 4, "num_key_value_heads": 4}  # fmt: skip
    write_spec(checkpoints.Spec("wide", wide), tmp_path / "in")
    notes = convert.prepare(tmp_path / "in", "", "iq2_xs").notes
    assert any("tensors of very few bits have no importances" in note for note in notes)
    assert not any("importances" in note for note in convert.prepare(tmp_path / "in", "", "q4_k_m").notes)
