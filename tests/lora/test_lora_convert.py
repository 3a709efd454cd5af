"""PEFT's folders: converted they answer as PEFT does, matrices are what NumPy makes of them, the rest is refused."""

from __future__ import annotations

import contextlib
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import gguf as package
import numpy as np
import pytest

import edgeq
from edgeq import _lib, convert, lora
from edgeq.cli import main
from edgeq.convert.safetensors import read
from edgeq.errors import EdgeqError, FormatError, GGUFError, ModelError, UsageError
from edgeq.gguf import Value, Writer
from edgeq.lora.merge import merge
from models import checkpoints
from models.checkpoints import adapters
from models.checkpoints.writer import stored, write_safetensors
from tests.small import folder

BACKENDS = ["reference", "numba", *(["native"] if _lib.available() else [])]


@cache
def base(name: str) -> tuple[Path, Path]:
    """The folder of a tiny checkpoint, and the GGUF file of it."""
    place, file = folder() / f"base-{name}", folder() / f"base-{name}.gguf"
    checkpoints.write(name, place)
    convert.convert(place, file, "f32")
    return place, file


def logits(file: Path, ids: list[int], backend: str = "reference", **settings: Any) -> np.ndarray:
    with edgeq.load(file, backend=backend, threads=2, kv_type="F32", **settings) as model:
        return model.logits(ids)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", adapters.ADAPTERS)
def test_a_converted_adapter_answers_as_peft_does(name: str, backend: str, tmp_path: Path) -> None:
    if backend == "numba":
        pytest.importorskip("numba")
    spec = adapters.write(name, tmp_path / "in")
    _, file = base(spec.checkpoint)
    lora.convert(tmp_path / "in", tmp_path / "a.gguf", file)
    ids = checkpoints.ids(checkpoints.SPECS[spec.checkpoint])[: adapters.TOKENS]
    wanted = adapters.golden(name)
    assert np.abs(logits(file, ids, backend, lora=tmp_path / "a.gguf") - wanted).max() < 1e-3
    assert np.abs(logits(file, ids) - wanted).max() > 0.1


def test_a_folder_given_to_load_is_converted_on_the_way(tmp_path: Path) -> None:
    spec = adapters.write("llama-gqa-patterns", tmp_path / "in")
    place, file = base(spec.checkpoint)
    ids = checkpoints.ids(checkpoints.SPECS[spec.checkpoint])[: adapters.TOKENS]
    for source, model in (("a.gguf", place), ("b.gguf", file)):  # a checkpoint as the base is as good as its file
        lora.convert(tmp_path / "in", tmp_path / source, model)
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()
    found = logits(file, ids, lora=[(tmp_path / "in", 0.5)])
    assert np.array_equal(found, logits(file, ids, lora=[(tmp_path / "a.gguf", 0.5)]))


def rows_of_pairs(b: np.ndarray, heads: int) -> np.ndarray:
    """B with the rows of each head as GGML's llama turns them, written out."""
    size = b.shape[0] // heads
    order = [h * size + half * (size // 2) + i for h in range(heads) for i in range(size // 2) for half in (0, 1)]
    return b[order]


def test_every_matrix_is_what_numpy_makes_of_it(tmp_path: Path) -> None:
    """Names, the order of q and k, scales with patterns; read back by the gguf package."""
    adapters.write("llama-gqa-patterns", tmp_path / "in")
    place, _ = base("llama-gqa-bias")
    lora.convert(tmp_path / "in", tmp_path / "a.gguf", place)
    found = package.GGUFReader(tmp_path / "a.gguf")
    fields = {name: field.contents() for name, field in found.fields.items()}
    assert fields["general.type"] == "adapter"
    assert fields["adapter.type"] == "lora"
    assert fields["general.architecture"] == "llama"
    assert fields["adapter.lora.alpha"] == 8.0
    assert fields["general.name"] == "In"
    assert fields["general.quantization_version"] == 2
    got = {t.name: t.data for t in found.tensors}
    source = {t.name: t.array().astype(np.float32) for t in read(tmp_path / "in" / "adapter_model.safetensors")}
    assert len(got) == len(source) == 28
    names = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
             "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
             "mlp.down_proj": "ffn_down"}  # fmt: skip
    alphas = {"layers.0.self_attn.k_proj": 3, "layers.1.self_attn.q_proj": 5}
    for layer in (0, 1):
        for module, short in names.items():
            key = f"base_model.model.model.layers.{layer}.{module}"
            a, b = source[f"{key}.lora_A.weight"], source[f"{key}.lora_B.weight"]
            if short in ("attn_q", "attn_k"):
                b = rows_of_pairs(b, 4 if short == "attn_q" else 2)
            wanted = alphas.get(f"layers.{layer}.{module}", 8) / a.shape[0] * (b @ a)
            name = f"blk.{layer}.{short}.weight"
            assert got[f"{name}.lora_a"].shape == a.shape, name
            factor = np.float32(8.0 / a.shape[0])
            assert np.allclose(factor * (got[f"{name}.lora_b"] @ got[f"{name}.lora_a"]), wanted, atol=1e-6), name


@pytest.mark.parametrize("kind", ["f16", "bf16"])
def test_an_adapter_can_be_written_in_16_bits(kind: str, tmp_path: Path) -> None:
    adapters.write("qwen3-attention", tmp_path / "in")
    place, _ = base("qwen3")
    exact = lora.convert(tmp_path / "in", tmp_path / "f32.gguf", place)
    lora.convert(tmp_path / "in", tmp_path / "a.gguf", place, kind)
    found = lora.open(tmp_path / "a.gguf")
    assert list(found.pairs) == list(exact.pairs)
    for name, pair in exact.pairs.items():
        assert np.allclose(found.pairs[name].b, pair.b, rtol=2**-8)
    with pytest.raises(UsageError, match="adapters are written as F32, F16, BF16"):
        lora.convert(tmp_path / "in", tmp_path / "b.gguf", place, "q8_0")


# --- what is refused -------------------------------------------------------------------------------------------------

KEY = "base_model.model.model.layers.0.self_attn.q_proj"
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"peft_type": "IA3"}, "peft_type 'IA3'"),
    ({"peft_type": None}, "peft_type 'None'"),
    ({"use_dora": True}, "use_dora is True: DoRA"),
    ({"use_qalora": True}, "use_qalora is True: a method that edgeq does not know"),
    ({"arrow_config": {"top_k": 3}}, "arrow_config"),
    ({"modules_to_save": ["lm_head"]}, "modules_to_save .*whole layers"),
    ({"bias": "all"}, "bias is all: biases"),
    ({"lora_bias": True}, "lora_bias"),
    ({"fan_in_fan_out": True}, "transposed"),
    ({"layer_replication": [[0, 2], [1, 2]]}, "repeated"),
    ({"trainable_token_indices": [3]}, "trainable_token_indices"),
    ({"alora_invocation_tokens": [1]}, "middle of a text"),
    ({"init_lora_weights": "pissa_niter_4"}, r"another base than the model's\. Save the adapter .* or merge it there"),
    ({"lora_alpha": 0}, "lora_alpha is 0; expected a number over 0"),
    ({"lora_alpha": "8"}, "lora_alpha is 8; expected a number over 0"),
    ({"lora_alpha": float("nan")}, "lora_alpha is nan"),
    ({"r": 3}, "has rank 4, adapter_config.json says 3"),
    ({"rank_pattern": [4]}, r"rank_pattern is \[4\]"),
    ({"alpha_pattern": {"k_proj": 3, "(a+)+$": 3}}, r"alpha_pattern has '\(a\+\)\+\$'; edgeq takes names of modules"),
    ({"alpha_pattern": {"q_proj": -1}}, "q_proj is -1"),
]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    adapters.write("llama-head", tmp_path / "in")
    return tmp_path / "in"


def refused(made: Path, error: type[EdgeqError], message: str) -> None:
    target = made.parent / "a.gguf"
    with pytest.raises(error, match=message):
        lora.convert(made, target, base("llama")[0])
    assert not target.exists()


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_configs_that_are_no_low_rank_sum(change: dict[str, Any], message: str, made: Path) -> None:
    config = json.loads((made / "adapter_config.json").read_text())
    (made / "adapter_config.json").write_text(json.dumps(config | change))
    refused(made, ModelError, message)


def test_regular_expressions_for_ranks_were_refused(made: Path, tmp_path: Path) -> None:
    """The ranks are those of the tensors."""
    config = json.loads((made / "adapter_config.json").read_text())
    patterns = {"^model.layers.7": 9, r".*layers\.0\..*(q|v)_proj": 4}
    (made / "adapter_config.json").write_text(json.dumps(config | {"r": 3, "rank_pattern": patterns}))
    assert len(lora.convert(made, tmp_path / "a.gguf", base("llama")[0]).pairs) == 15


@pytest.mark.parametrize("inner", ["model.language_model.", "language_model.model."])
def test_patterns_that_name_the_language_model_were_passed_over(inner: str, made: Path, tmp_path: Path) -> None:
    """As adapters of multimodal models have them: transformers 5 saves the first name, older ones the second."""
    path, place = made / "adapter_model.safetensors", base("llama")[0]
    plain = lora.convert(made, tmp_path / "a.gguf", place)
    entries = {t.name: stored(t.array().copy(), "F32") for t in read(path)}
    write_safetensors(path, {n.replace("model.model.model.", f"model.model.{inner}"): e for n, e in entries.items()})
    config = json.loads((made / "adapter_config.json").read_text())
    layers = inner.removeprefix("model.") + "layers"
    patterns = {"alpha_pattern": {f"{layers}.0.self_attn.q_proj": 64}, "rank_pattern": {f"{layers}.0": 9}}
    (made / "adapter_config.json").write_text(json.dumps(config | patterns))
    found = lora.convert(made, tmp_path / "b.gguf", place)
    for name, pair in plain.pairs.items():
        factor = 8 if name == "blk.0.attn_q.weight" else 1
        assert np.array_equal(found.pairs[name].b, pair.b * np.float32(factor)), name


def test_what_changes_nothing_is_taken(made: Path, tmp_path: Path) -> None:
    config = json.loads((made / "adapter_config.json").read_text())
    more = {"use_dora": False, "modules_to_save": None, "megatron_core": "megatron.core", "lora_dropout": 0.1,
            "init_lora_weights": "gaussian", "eva_config": {"rho": 2.0}, "unheard_of": 1}  # fmt: skip
    (made / "adapter_config.json").write_text(json.dumps(config | more))
    assert len(lora.convert(made, tmp_path / "a.gguf", base("llama")[0]).pairs) == 15


NAN = np.full((4, 32), np.nan, np.float32)
TENSORS: list[tuple[dict[str, np.ndarray | None], type[EdgeqError], str]] = [
    ({f"{KEY}.lora_B.weight": None}, ModelError, "self_attn.q_proj has no lora_B"),
    ({f"{KEY}.lora_A.weight": None}, ModelError, "self_attn.q_proj has no lora_A"),
    ({f"{KEY}.lora_A.weight": NAN}, ModelError, r"attn_q\.weight: A has nan at \[0, 0\]"),
    ({f"{KEY}.lora_A.weight": np.ones((4, 32, 1), np.float32)}, ModelError, r"expected \[r, in\]"),
    ({f"{KEY}.lora_A.weight": np.ones((0, 32), np.float32), f"{KEY}.lora_B.weight": np.ones((32, 0), np.float32)},
     ModelError, "rank 0"),
    ({f"{KEY}.lora_A.default.weight": np.ones((4, 32), np.float32)}, ModelError, "twice under two names"),
    ({f"{KEY}.lora_{half}.weight".replace("model.model.model", "model.model.model.language_model"): np.ones(
        (4, 32) if half == "A" else (32, 4), np.float32) for half in "AB"}, ModelError, "q_proj is there twice"),
    ({f"{KEY}.lora_magnitude_vector": np.ones(32, np.float32)}, ModelError, "no lora_A or lora_B"),
    ({"base_model.model.model.embed_tokens.lora_embedding_A": np.ones((4, 304), np.float32)}, ModelError,
     "embed_tokens has no lora_embedding_B"),
    ({"base_model.model.model.embed_tokens.lora_A.weight": np.ones((4, 32), np.float32),
      "base_model.model.model.embed_tokens.lora_B.weight": np.ones((304, 4), np.float32)}, ModelError,
     "embed_tokens has no lora_embedding_A"),
    ({"base_model.model.lm_head.weight": np.ones((304, 32), np.float32)}, ModelError, "no lora_A or lora_B"),
    ({"base_model.model.model.layers.2.mlp.up_proj.lora_A.weight": np.ones((4, 32), np.float32)}, ModelError,
     "is no matrix of llama with 2 layers"),
    ({"base_model.model.model.norm.lora_A.weight": np.ones((4, 32), np.float32)}, ModelError, "is no matrix of llama"),
    ({f"{KEY}.lora_B.weight": np.ones((30, 4), np.float32)}, ModelError, "30 outputs, the model 4 heads"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "error", "message"), TENSORS)
def test_tensors_that_are_none_of_the_adapter(
    change: dict[str, np.ndarray | None], error: type[EdgeqError], message: str, made: Path
) -> None:
    path = made / "adapter_model.safetensors"
    entries = {t.name: stored(t.array().copy(), "F32") for t in read(path)}
    entries |= {name: stored(array, "F32") for name, array in change.items() if array is not None}
    write_safetensors(path, {name: entry for name, entry in entries.items() if change.get(name, 0) is not None})
    refused(made, error, message)


def test_the_weights_of_an_adapted_head_may_lie_beside_it(made: Path, tmp_path: Path) -> None:
    path = made / "adapter_model.safetensors"
    entries = {t.name: stored(t.array().copy(), "F32") for t in read(path)}
    lora.convert(made, tmp_path / "a.gguf", base("llama")[0])
    entries["base_model.model.lm_head.base_layer.weight"] = stored(np.ones((304, 32), np.float32), "F32")
    write_safetensors(path, entries)
    lora.convert(made, tmp_path / "b.gguf", base("llama")[0])
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()


def test_an_embedding_that_is_tied_to_the_head_in_training_is_refused(tmp_path: Path) -> None:
    adapters.write("llama-embedding", tmp_path / "in")
    config = tmp_path / "in" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"ensure_weight_tying": True}))
    with pytest.raises(ModelError, match="ensure_weight_tying"):
        lora.convert(tmp_path / "in", tmp_path / "a.gguf", base("llama")[0])


def test_an_adapter_of_the_embedding_lies_in_the_file_as_llama_cpp_has_it(tmp_path: Path) -> None:
    adapters.write("llama-embedding", tmp_path / "in")
    lora.convert(tmp_path / "in", tmp_path / "a.gguf", base("llama")[0])
    found = {t.name: t.data.shape for t in package.GGUFReader(tmp_path / "a.gguf").tensors}
    assert found["token_embd.weight.lora_a"] == (304, 4)
    assert found["token_embd.weight.lora_b"] == (32, 4)


@pytest.mark.parametrize("name", ["llama-embedding", "gemma3-embedding"])
def test_a_merged_embedding_answers_as_peft_does_where_the_head_is_another(name: str, tmp_path: Path) -> None:
    spec = adapters.write(name, tmp_path / "in")
    place, file = base(spec.checkpoint)
    lora.convert(tmp_path / "in", tmp_path / "a.gguf", place)
    words = ["lora", "merge", str(file), str(tmp_path / "a.gguf"), str(tmp_path / "m.gguf"), "-q"]
    if name == "gemma3-embedding":
        with pytest.raises(ModelError, match="its head is the embedding"):
            merge(file, tmp_path / "a.gguf", tmp_path / "m.gguf")
        assert main(words) == 2
        assert not (tmp_path / "m.gguf").exists()
        return
    assert main(words) == 0
    ids = checkpoints.ids(checkpoints.SPECS[spec.checkpoint])[: adapters.TOKENS]
    assert np.abs(logits(tmp_path / "m.gguf", ids) - adapters.golden(name)).max() < 1e-3


def test_files_that_are_broken_or_missing(made: Path, tmp_path: Path) -> None:
    weights = made / "adapter_model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:-5])
    refused(made, FormatError, "cut off")
    weights.rename(made / "adapter_model.bin")
    refused(made, UsageError, "a pickle")
    write_safetensors(weights, {})
    refused(made, ModelError, "without tensors")
    write_safetensors(weights, {"x": ("I32", np.ones(3, "<i4"))})
    refused(made, FormatError, "I32, expected floats")
    (made / "adapter_config.json").write_text("{")
    refused(made, FormatError, "no JSON")
    (made / "adapter_config.json").write_text("[" * 100000)
    refused(made, FormatError, "no JSON")
    (made / "adapter_config.json").write_text("3")
    refused(made, FormatError, "expected a JSON object")
    (made / "adapter_config.json").unlink()
    refused(made, UsageError, "adapter_config.json is missing")
    with pytest.raises(GGUFError):
        lora.convert(made, tmp_path / "a.gguf", tmp_path / "none.gguf")


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_what_is_no_file_was_waited_for_without_end(made: Path, name: str) -> None:
    (made / name).unlink()
    (made / name).symlink_to(name)
    refused(made, FormatError, f"{name}: a link that leads to no file")
    (made / name).unlink()
    if hasattr(os, "mkfifo"):
        os.mkfifo(made / name)
        refused(made, FormatError, f"{name}: no regular file")


def test_another_base_is_noticed(made: Path) -> None:
    with pytest.raises(ModelError, match=r"output\.weight: its head is the embedding"):
        edgeq.load(base("gemma3")[1], backend="reference", lora=made)
    adapters.write("qwen3-attention", made.parent / "other")
    with pytest.raises(ModelError, match="made for shape"):
        edgeq.load(base("qwen2")[1], backend="reference", lora=made.parent / "other")


@pytest.mark.parametrize("kind", ["folder", "file"])
@pytest.mark.parametrize(
    ("name", "half", "shape", "message"),
    [
        ("self_attn.q_proj", "A", (4, 31), r"tensor blk\.0\.attn_q\.weight: made for shape \[32, 31\], .* \[32, 32\]"),
        ("self_attn.k_proj", "B", (64, 4), r"tensor blk\.0\.attn_k\.weight: made for shape \[64, 32\], .* \[32, 32\]"),
        ("mlp.down_proj", "A", (4, 49), r"tensor blk\.0\.ffn_down\.weight: made for shape \[32, 49\], .* \[32, 48\]"),
    ],
)
def test_shapes_of_another_base_were_converted(
    kind: str, name: str, half: str, shape: tuple[int, int], message: str, made: Path
) -> None:
    path = made / "adapter_model.safetensors"
    entries = {t.name: stored(t.array().copy(), "F32") for t in read(path)}
    module = f"model.layers.0.{name}"
    entries[f"base_model.model.{module}.lora_{half}.weight"] = stored(np.ones(shape, np.float32), "F32")
    write_safetensors(path, entries)
    target = made.parent / "a.gguf"
    with pytest.raises(ModelError, match=rf"module {module}, {message}; take the model that the adapter was made for"):
        lora.convert(made, target, base("llama")[kind == "file"])
    assert not target.exists()


@pytest.mark.parametrize("kind", [0, 1])
def test_a_wider_base_of_the_same_architecture_was_taken(kind: int, made: Path) -> None:
    """The tiny Llama 3 has heads of 16, not 8; the checkpoint, and the file of it."""
    with pytest.raises(ModelError, match=r"q_proj, tensor .*attn_q\.weight: made for shape \[32, 32\], .* \[64, 32\]"):
        lora.convert(made, made.parent / "a.gguf", base("llama3")[kind])
    assert not (made.parent / "a.gguf").exists()


def test_damaged_folders_are_refused_or_read(made: Path) -> None:
    place = base("llama")[0]
    rng = np.random.default_rng(0)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        data = (made / name).read_bytes()
        for _ in range(150):
            damaged = bytearray(data)
            for at in rng.integers(0, min(len(data), 3000), rng.integers(1, 4)):
                damaged[at] = rng.integers(0, 256)
            (made / name).write_bytes(damaged)
            with contextlib.suppress(EdgeqError):
                lora.convert(made, made.parent / "a.gguf", place, overwrite=True)
        (made / name).write_bytes(data)


def test_a_folder_can_be_merged(made: Path, tmp_path: Path) -> None:
    _, file = base("llama")
    ids = checkpoints.ids(checkpoints.SPECS["llama"])[: adapters.TOKENS]
    assert main(["lora", "merge", str(file), str(made), str(tmp_path / "m.gguf"), "-q"]) == 0
    assert np.abs(logits(tmp_path / "m.gguf", ids) - adapters.golden("llama-head")).max() < 1e-3


def test_the_output_was_written_over_what_it_is_made_of(made: Path, tmp_path: Path) -> None:
    file, other = tmp_path / "base.gguf", tmp_path / "other.gguf"
    checkpoints.write("llama", tmp_path / "base")
    convert.convert(tmp_path / "base", file, "f32")
    (made / "README.md").write_text("text")
    lora.convert(made, other, file)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    model, adapter = str(file), str(made)
    for words in (
        ["lora", "merge", model, str(other), str(other)],
        ["lora", "merge", model, adapter, adapter + "/adapter_model.safetensors"],
        ["lora", "merge", model, adapter, adapter + "/adapter_config.json"],
        ["lora", "merge", model, str(other), adapter, str(other)],
        ["convert", adapter, model, "--base", model],
        ["convert", adapter, str(tmp_path / "base" / "config.json"), "--base", str(tmp_path / "base")],
        ["convert", adapter, adapter + "/adapter_config.json", "--base", model],
        ["convert", adapter, adapter + "/README.md", "--base", model],
    ):
        assert main([*words, "--overwrite"]) == 2, words
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before, words
    assert main(["convert", adapter, str(other), "--base", model, "--overwrite"]) == 0


# --- the command -----------------------------------------------------------------------------------------------------


def test_convert_knows_an_adapter(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, model = tmp_path / "a.gguf", str(base("llama")[1])
    assert main(["convert", str(made), str(out), "--base", model]) == 0
    assert "a.gguf: adapter for llama, 15 weights, rank 4, alpha 8" in capsys.readouterr().err
    assert len(lora.open(out).pairs) == 15
    assert main(["convert", str(made), str(out), "--base", model, "--overwrite", "--type", "f16", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["alpha"], facts["ranks"], len(facts["weights"])) == (8.0, [4], 15)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{in}", "{out}"], "add --base MODEL"),
        (["{in}", "--base", "{base}"], "OUT is missing"),
        (["{in}", "{out}", "--base", "{base}", "--vocab-only"], "--vocab-only"),
        (["{base}", "{out}", "--base", "{base}"], "is no PEFT adapter"),
        (["{in}", "{out}", "--base", "{in}"], "config.json is missing"),
    ],
)
def test_convert_says_what_an_adapter_needs(
    words: list[str], message: str, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"in": made, "out": tmp_path / "a.gguf", "base": base("llama")[0]}
    assert main(["convert", *(word.format(**names) for word in words)]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "a.gguf").exists()


def test_a_base_that_is_no_model_was_refused_without_its_name(made: Path, tmp_path: Path) -> None:
    _, file = base(adapters.ADAPTERS["llama-head"].checkpoint)
    lora.convert(made, tmp_path / "a.gguf", file)
    with pytest.raises(ModelError, match=r"a\.gguf: general\.type is 'adapter'; expected a model as the base"):
        lora.convert(made, tmp_path / "b.gguf", tmp_path / "a.gguf")
    with Writer(tmp_path / "few.gguf", {"general.architecture": Value("string", "llama")}, []):
        pass
    with pytest.raises(ModelError, match=r"few\.gguf: metadata key llama\.block_count is missing"):
        lora.convert(made, tmp_path / "b.gguf", tmp_path / "few.gguf")
    with pytest.raises(ModelError, match=r"few\.gguf: metadata key llama\.block_count is missing"):
        merge(tmp_path / "few.gguf", made, tmp_path / "b.gguf")
    assert not (tmp_path / "b.gguf").exists()
