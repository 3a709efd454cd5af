"""What is wrong with a checkpoint is said by name, nothing is left behind, and the source stays as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import edgeq
from edgeq import convert
from edgeq.errors import EdgeqError, FormatError, ModelError, UsageError
from models import checkpoints
from models.checkpoints.writer import stored, weights, write_safetensors, write_shards

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 66), 1 << 66) | st.just(10**400) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    checkpoints.write("llama", tmp_path / "in")
    return tmp_path / "in"


def reconfigured(source: Path, **changes: Any) -> None:
    path = source / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def reweighted(source: Path, change: Callable[[dict[str, Any]], None], shards: int = 1) -> None:
    entries = {n: stored(v, "F32") for n, v in weights(checkpoints.SPECS["llama"]).items()}
    change(entries)
    write_shards(source, entries, shards)


def refused(source: Path, kind: type[EdgeqError], words: str, type_: str = "auto") -> None:
    before = {p: p.read_bytes() for p in source.rglob("*") if p.is_file()}
    with pytest.raises(kind, match=words):
        convert.convert(source, source.parent / "out.gguf", type_)
    assert sorted(p.name for p in source.parent.iterdir()) == ["in"]
    assert {p: p.read_bytes() for p in source.rglob("*") if p.is_file()} == before


def drop(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda entries: entries.pop(name)


def put(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda entries: entries.update({name: stored(np.asarray(value, np.float32), "F32")})


def spoil(name: str, value: float) -> Callable[[dict[str, Any]], None]:
    def change(entries: dict[str, Any]) -> None:
        entries[name][1][1, 2] = value

    return change


Q = "model.layers.0.self_attn.q_proj.weight"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop("model.layers.1.mlp.up_proj.weight"), r"tensor model\.layers\.1\.mlp\.up_proj\.weight is missing"),
        (drop("lm_head.weight"), r"tensor lm_head\.weight is missing"),
        (put(Q, np.zeros((32, 31))), r"q_proj\.weight: shape \[32, 31\], expected \[32, 32\]"),
        (put("model.layers.2.mlp.up_proj.weight", np.zeros((48, 32))), r"1 tensors are not part of llama"),
        (spoil(Q, np.nan), r"q_proj\.weight: nan at \[2, 2\] of blk\.0\.attn_q\.weight"),
        (spoil("model.embed_tokens.weight", -np.inf), r"embed_tokens\.weight: -inf at \[1, 2\]"),
    ],
)
def test_tensors(source: Path, change: Callable[[dict[str, Any]], None], words: str) -> None:
    reweighted(source, change)
    refused(source, ModelError, words)


def test_integers_where_floats_should_be(source: Path) -> None:
    reweighted(source, lambda entries: entries.update({Q: ("I32", np.zeros((32, 32), "<i4"))}))
    refused(source, ModelError, "I32, expected floats")


def test_values_beyond_f16(source: Path) -> None:
    reweighted(source, spoil(Q, 1e6))
    refused(source, ModelError, r"attn_q\.weight: F16: found 1000000\.0 at .*65504.*use --type bf16", "f16")


def test_shards(source: Path) -> None:
    (source / "model.safetensors").unlink()
    reweighted(source, lambda entries: None, 3)
    shard = source / "model-00002-of-00003.safetensors"
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    refused(source, FormatError, r"model-00002-of-00003\.safetensors: .*cut off")
    shard.unlink()
    refused(source, FormatError, r"1 of 3 shards are missing: model-00002-of-00003\.safetensors")
    write_safetensors(shard, {"x": ("U8", np.zeros(1, np.uint8))})
    refused(source, FormatError, "tensor x is not there by model.safetensors.index.json")
    write_safetensors(shard, {})
    refused(source, FormatError, r"is missing in model-00002-of-00003\.safetensors")


@pytest.mark.parametrize(
    "name", ["../in/model.safetensors", "/etc/passwd", "..", "a\\b.safetensors", "c:b.safetensors", "", 3, None]
)
def test_an_index_that_leaves_the_folder(source: Path, name: Any) -> None:
    (source / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": name}}))
    refused(source, FormatError, "expected the name of a safetensors file in the same folder")


def test_pickles_are_refused_with_the_way_out(source: Path) -> None:
    (source / "model.safetensors").rename(source / "pytorch_model.bin")
    refused(source, UsageError, r"pytorch_model\.bin: a pickle, which runs code.*safe_serialization")


def test_two_files_without_an_index(source: Path) -> None:
    (source / "model.safetensors").rename(source / "a.safetensors")
    write_safetensors(source / "b.safetensors", {})
    refused(source, FormatError, "2 safetensors files and no")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architectures": ["MixtralForCausalLM"]}, "'MixtralForCausalLM' is not known; edgeq converts Llama.*Gemma3"),
        ({"architectures": None}, "architectures is missing"),
        ({"hidden_act": "relu"}, "activation 'relu'; llama has silu"),
        ({"num_attention_heads": 3}, "num_attention_heads 3"),
        ({"num_hidden_layers": 1 << 40}, "num_hidden_layers"),
        ({"hidden_size": "32"}, "hidden_size is 32; expected a whole number"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps is nan"),
        ({"rms_norm_eps": 10**400}, "rms_norm_eps is 1000.*; expected a number over 0, at most 3.4e.38"),
        ({"rms_norm_eps": 1}, "rms_norm_eps is 1, 1 as float32; expected a number over 0, under 1"),
        ({"rms_norm_eps": 3.0}, "rms_norm_eps is 3.0, 3 as float32; expected a number over 0, under 1"),
        ({"rms_norm_eps": 1 - 1e-12}, "rms_norm_eps is 0.999.*, 1 as float32; expected a number over 0, under 1"),
        ({"rms_norm_eps": 1e-320}, "rms_norm_eps is 1e-320, 0 as float32; expected a number over 0, under 1"),
        ({"rope_theta": 1e-46}, "rope_theta is 1e-46, 0 as float32; expected a number over 0$"),
        ({"rope_scaling": {"rope_type": "longrope", "long_factor": [1e-46] * 4}}, "long_factor .* 0 as float32"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2}, "rope_theta": 1 + 1e-12}, "rope_theta 1 of yarn; .* 1"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 3e38, "attention_factor": 2e-45}},
         r"would not load: metadata key llama\.rope\.scaling\.attn_factor: expected float, over 0, finite; found"),
        ({"rope_scaling": {"rope_type": "longrope", "long_factor": [10**400] * 4}}, "long_factor .* at most 3.4e.38"),
        ({"vocab_size": None}, "vocab_size is missing"),
        ({"vocab_size": 16_000_000}, "vocab_size is 16000000; expected a whole number from 1 to 4194304"),
        ({"rope_scaling": {"rope_type": "mrope"}}, "rope scaling 'mrope' is not known"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "factor is missing"),
        ({"rope_scaling": {"rope_type": "longrope", "long_factor": [1]}}, "long_factor of rope scaling; expected 4"),
        ({"rope_scaling": {"rope_type": "llama3", "low_freq_factor": 4}}, "low_freq_factor 4 is not under"),
        ({"rope_scaling": [1]}, "rope_scaling is .* expected a JSON object"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"architectures": ["Qwen2ForCausalLM"], "rope_scaling": {"rope_type": "llama3"}}, "for llama alone"),
        ({"quantization_config": {"quant_method": "quip"}}, "quantization method 'quip' is not known"),
        ({"text_config": 3}, "text_config"),
    ],
)  # fmt: skip
def test_configs(source: Path, changes: dict[str, Any], words: str) -> None:
    reconfigured(source, **changes)
    refused(source, ModelError, words)


@pytest.mark.parametrize("eps", [1e-45, 0.5, 0.9999999])
def test_the_smallest_and_largest_epsilon_convert_to_a_model_that_loads(source: Path, eps: float) -> None:
    reconfigured(source, rms_norm_eps=eps)
    convert.convert(source, source.parent / "out.gguf")
    edgeq.load(source.parent / "out.gguf", backend="reference").close()


def test_what_gguf_cannot_say_is_noted(source: Path) -> None:
    reconfigured(source, sliding_window=16, rope_scaling={"rope_type": "dynamic", "factor": 2.0})
    notes = convert.prepare(source, "").notes
    assert any("sliding_window 16" in note for note in notes)
    assert any("'dynamic' has no form in GGUF; right up to 128" in note for note in notes)


@pytest.mark.parametrize(
    ("scaling", "kind"), [({}, "missing"), ({"type": None}, "missing"), ({"rope_type": "default"}, "'default'")]
)
@pytest.mark.parametrize("key", ["rope_scaling", "rope_parameters"])
def test_a_scaling_without_a_kind_was_dropped_silently(
    source: Path, key: str, scaling: dict[str, Any], kind: str
) -> None:
    before = json.loads((source / "config.json").read_text())
    table = {**scaling, "factor": 4.0, "rope_theta": 10000.0}
    config = {k: v for k, v in before.items() if not k.startswith("rope_")} | {key: table}
    (source / "config.json").write_text(json.dumps(config))
    notes = convert.prepare(source, "").notes
    assert f"config.json: rope_type is {kind}, so nothing is scaled and factor left out" in notes


@pytest.mark.parametrize("name", ["", " ", "a\udcff"])
def test_a_name_that_is_none_was_written_or_ignored(source: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"name.*: (empty|not UTF-8); expected the name of the model"):
        convert.convert(source, source.parent / "out.gguf", name=name)
    assert not (source.parent / "out.gguf").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text there")
def test_a_folder_whose_name_is_no_utf_8_gave_the_model_such_a_name(source: Path) -> None:
    folder = source.parent / os.fsdecode(b"a\xffb")
    source.rename(folder)
    found = convert.prepare(folder, "").metadata
    assert found["general.name"].value == "A\ufffdB"
    for value in found.values():
        assert not isinstance(value.value, str) or value.value.encode("utf-8")


@pytest.mark.parametrize(
    ("changes", "warned"),
    [
        ({}, True), ({"max_window_layers": 2}, False), ({"max_window_layers": 1}, True),
        ({"use_sliding_window": False}, False), ({"layer_types": ["full_attention"] * 2}, False),
        ({"layer_types": ["full_attention", "sliding_attention"], "max_window_layers": 9}, True),
    ],
)  # fmt: skip
def test_windows_that_no_layer_has_were_warned_of(tmp_path: Path, changes: dict[str, Any], warned: bool) -> None:
    checkpoints.write("qwen2", tmp_path)
    reconfigured(tmp_path, **{"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 0, **changes})
    assert any("sliding_window 16" in note for note in convert.prepare(tmp_path, "").notes) == warned


def test_a_window_from_the_28th_layer_on_is_the_default(tmp_path: Path) -> None:
    checkpoints.write("qwen2", tmp_path)
    reconfigured(tmp_path, use_sliding_window=True, sliding_window=16)
    assert not any("sliding_window" in note for note in convert.prepare(tmp_path, "").notes)


@pytest.mark.parametrize("name", ["qwen3", "gemma3", "llama-gqa-bias"])
def test_a_bias_that_llama_cpp_does_not_load_is_noted(tmp_path: Path, name: str) -> None:
    spec = checkpoints.write(name, tmp_path)
    assert not any("attn_output.bias" in note for note in convert.prepare(tmp_path, "").notes)
    entries = {n: stored(v, spec.dtype) for n, v in weights(spec).items()}
    for weight in [n for n in entries if "self_attn" in n and n.endswith("_proj.weight")]:
        entries[weight.replace("weight", "bias")] = stored(np.ones(len(entries[weight][1]), np.float32), spec.dtype)
    write_shards(tmp_path, entries)
    reconfigured(tmp_path, attention_bias=True)
    notes = convert.prepare(tmp_path, "").notes
    assert any("llama.cpp knows no attn_output.bias" in note for note in notes) == (name != "llama-gqa-bias")


def test_sampling_hints_that_gguf_cannot_hold_are_left_out(source: Path) -> None:
    hints = {"top_k": 10**400, "top_p": 1e300, "temperature": 10**400, "min_p": float("nan"), "repetition_penalty": 1.5}
    (source / "generation_config.json").write_text(json.dumps(hints))
    found = convert.prepare(source, "").metadata
    assert [k for k in found if "sampling" in k] == ["general.sampling.penalty_repeat"]


def test_a_model_card_is_read_in_linear_time(source: Path) -> None:
    (source / "README.md").write_text("---\nlicense:" + " " * 200_000 + "#\nlicense_name:  mine \n---\n")
    started = time.perf_counter()
    found = convert.prepare(source, "").metadata
    assert time.perf_counter() - started < 10  # a pattern with nested repeats takes hours
    assert "general.license" not in found and found["general.license.name"].value == "mine"


def test_files_that_are_no_json(source: Path) -> None:
    for content in (b"{", b"[]", b"\xff", b"[" * 100000, b""):
        (source / "config.json").write_bytes(content)
        refused(source, FormatError, r"config\.json")
    (source / "config.json").unlink()
    refused(source, UsageError, r"config\.json is missing")


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a folder"):
        convert.convert(tmp_path / "no", tmp_path / "out.gguf")


def fifo(path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no FIFOs here")
    os.mkfifo(path)


def loop(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize("put", [fifo, loop, Path.mkdir])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "other.safetensors"])
def test_what_is_no_file_was_waited_for_without_end(source: Path, name: str, put: Callable[[Path], None]) -> None:
    path = source / name
    (source / ("model.safetensors" if name == "other.safetensors" else name)).unlink()
    put(path)
    words = rf"{name}: (no regular file|a link that leads to no file); expected a file"
    with pytest.raises(FormatError, match=words):
        convert.prepare(source, "")


@pytest.mark.parametrize("put", [fifo, loop, Path.mkdir])
def test_a_shard_that_is_no_file(source: Path, put: Callable[[Path], None]) -> None:
    (source / "model.safetensors").unlink()
    reweighted(source, lambda entries: None, 3)
    shard = source / "model-00002-of-00003.safetensors"
    shard.unlink()
    put(shard)
    with pytest.raises(FormatError, match=r"model-00002-of-00003\.safetensors: .*; expected a file"):
        convert.prepare(source, "")


def test_a_shard_with_a_name_too_long_for_the_disk_is_missing(source: Path) -> None:
    long = {"weight_map": {"x": "a" * 5000 + ".safetensors"}}
    (source / "model.safetensors.index.json").write_text(json.dumps(long))
    refused(source, FormatError, "1 of 1 shards are missing")


def test_types(source: Path) -> None:
    refused(source, UsageError, "type q9: expected one of F32", "q9")
    refused(source, UsageError, "type i32: expected one of F32", "i32")


def test_an_existing_file_is_kept(source: Path) -> None:
    target = source.parent / "out.gguf"
    target.write_bytes(b"mine")
    with pytest.raises(EdgeqError, match=r"out\.gguf"):
        convert.convert(source, target)
    assert target.read_bytes() == b"mine"
    convert.convert(source, target, overwrite=True)
    assert target.read_bytes()[:4] == b"GGUF"


@pytest.mark.parametrize(
    "name",
    ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "README.md", "chat_template.jinja",
     "additional_chat_templates/rag.jinja", "link"],
)  # fmt: skip
@pytest.mark.parametrize("vocab_only", [False, True])
def test_the_output_was_written_over_files_of_the_checkpoint(source: Path, name: str, vocab_only: bool) -> None:
    path = source / name
    path.parent.mkdir(exist_ok=True)
    if name == "link":
        path.symlink_to("config.json")
    elif not path.exists():
        path.write_text("text")
    before = path.read_bytes()
    with pytest.raises(UsageError, match="is the file that is read"):
        convert.convert(source, path, vocab_only=vocab_only, overwrite=True)
    assert path.read_bytes() == before


def test_a_model_may_be_written_over_in_the_folder_of_its_checkpoint(source: Path) -> None:
    for name in ("a.gguf", "out"):
        convert.convert(source, source / name)
        convert.convert(source, source / name, overwrite=True)


def test_a_file_that_changes_meanwhile(source: Path) -> None:
    def told(item: Any, nbytes: int) -> None:
        os.utime(source / "model.safetensors", (1, 1))

    with pytest.raises(FormatError, match=r"model\.safetensors: changed while it was read"):
        convert.convert(source, source.parent / "out.gguf", told=told)
    assert not (source.parent / "out.gguf").exists()


@pytest.mark.parametrize("at", [1, 3, 12])
def test_a_file_that_is_cut_off_meanwhile_does_not_end_the_process(source: Path, at: int) -> None:
    """As it would where files are mapped: run apart from this process."""
    code = (
        "import os, sys; from edgeq import convert; n = 0\n"
        "def told(item, nbytes):\n"
        "    global n; n += 1\n"
        f"    if n == {at}: os.truncate(sys.argv[1] + '/model.safetensors', 4096)\n"
        "convert.convert(sys.argv[1], sys.argv[2], told=told)\n"
    )
    words = [sys.executable, "-c", code, str(source), str(source.parent / "out.gguf")]
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 1 and "FormatError" in done.stderr and "changed while it was read" in done.stderr
    assert sorted(p.name for p in source.parent.iterdir()) == ["in"]


NAMES = ["qwen2", "llama-yarn", "llama-longrope-long", "llama3", "gemma3-scaled", "gemma3-multimodal"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(NAMES), st.data(), JSON)
def test_any_config_is_taken_or_refused(tmp_path: Path, name: str, data: st.DataObject, value: Any) -> None:
    folder = tmp_path / name
    if not folder.exists():
        checkpoints.write(name, folder)
    config = json.loads(json.dumps(checkpoints.SPECS[name].config))
    place = config
    for _ in range(2):
        key = data.draw(st.sampled_from([*place, "rope_parameters", "quantization_config", "layer_types"]))
        if not isinstance(place.get(key), dict):
            break
        place = place[key] if data.draw(st.booleans()) else place
        key = data.draw(st.sampled_from(sorted(place)))
    place[key] = value
    (folder / "config.json").write_text(json.dumps(config))
    with suppress(EdgeqError):
        convert.prepare(folder, "")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["tokenizer.json", "tokenizer_config.json", "generation_config.json"]), st.data(), JSON)
def test_any_tokenizer_is_taken_or_refused(source: Path, name: str, data: st.DataObject, value: Any) -> None:
    path = source / name
    checkpoints.write("llama", source)
    content = json.loads(path.read_text()) if path.exists() else {}
    keys = [*content, "eos_token_id", "bos_token", "added_tokens_decoder", "top_k"]
    key = data.draw(st.sampled_from(keys))
    inner = content.get(key)
    if isinstance(inner, dict) and inner and data.draw(st.booleans()):
        inner[data.draw(st.sampled_from(sorted(inner)))] = value
    else:
        content[key] = value
    path.write_text(json.dumps(content))
    with suppress(EdgeqError):
        convert.prepare(source, "", vocab_only=True)
    path.unlink()
