"""The tiny models: made as the script says, sane in numbers, and their goldens fit them and each other."""

from __future__ import annotations

import hashlib
import lzma
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest

from models.tiny import FILES, Golden, golden, golden_real, names, specs, tiny_model
from models.tiny.blocks import TensorType, weights
from models.tiny.specs import ARCHS, SPECS, VOCABULARIES
from models.tiny.vocab import BYTE, byte_letters
from models.tiny.writer import write

REAL = ["gemma3-270m-q4_k_m", "qwen2.5-coder-0.5b-q4_k_m", "smollm2-135m-q4_1"]


def rms(x: np.ndarray) -> float:
    return float(np.sqrt((x.astype(np.float64) ** 2).mean()))


@pytest.mark.parametrize("spec", ARCHS, ids=lambda spec: spec.name)
def test_committed_file_is_what_the_script_makes(spec: specs.Spec, tmp_path: Path) -> None:
    write(spec, tmp_path / "made.gguf")
    assert (tmp_path / "made.gguf").read_bytes() == lzma.decompress(
        (FILES / f"{spec.name}.gguf.xz").read_bytes()
    )


def test_only_models_of_the_list_are_committed() -> None:
    assert sorted(path.name for path in FILES.iterdir()) == sorted(
        f"{name}.gguf.xz" for name in names("arch")
    )


@pytest.mark.parametrize("name", names())
def test_golden_belongs_to_the_file(name: str, tmp_path: Path) -> None:
    path = tiny_model(name, tmp_path)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == golden(name).sha256
    assert tiny_model(name, tmp_path) == path  # the second time it is there already
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_does_not_fit_its_golden_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SPECS, "format-q4_0", replace(SPECS["format-q4_0"], eps=2e-5))
    with pytest.raises(ValueError, match=r"format-q4_0: the file made here has SHA-256 [0-9a-f]{64}"):
        tiny_model("format-q4_0", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", TensorType, ids=lambda kind: kind.name)
def test_random_blocks_have_the_size_asked_for(kind: TensorType) -> None:
    data = weights("blocks", (256, 1024), 1 / 16, kind)
    # powers of two as scales come no nearer than this
    near = 0.25 if kind in (TensorType.MXFP4, TensorType.NVFP4) else 0.03
    assert rms(dequantized(data, kind)) * 16 == pytest.approx(1.0, abs=near)


def dequantized(data: np.ndarray, kind: TensorType) -> np.ndarray:
    """float32; Q1_0 and Q2_0 by definition (half-float d, codes from the low bits up), others by `gguf`."""
    if kind not in (TensorType.Q1_0, TensorType.Q2_0):
        dtype = {TensorType.F32: "<f4", TensorType.F16: "<f2"}.get(kind, np.uint8)
        return gguf.dequantize(data.view(dtype), gguf.GGMLQuantizationType(int(kind)))
    bits = 1 if kind is TensorType.Q1_0 else 2
    blocks = data.reshape(-1, 18)
    d = blocks[:, :2].copy().view("<f2").astype(np.float32)
    codes = (blocks[:, 2:, None] >> np.arange(0, 8, bits, dtype=np.uint8)) & (2**bits - 1)
    values = codes.reshape(len(blocks), -1).astype(np.float32)
    return d * (2 * values - 1 if bits == 1 else values - 1)


def test_ternary_blocks_never_hold_the_fourth_code() -> None:
    data = weights("ternary", (8, 1024), 0.1, TensorType.TQ2_0).reshape(-1, 66)[:, :64]
    assert all(((data >> bit) & 3).max() == 2 for bit in (0, 2, 4, 6))


@pytest.mark.parametrize("name", VOCABULARIES)
def test_vocabulary_can_write_every_byte(name: str) -> None:
    vocab = VOCABULARIES[name]()
    assert len(vocab.tokens) == len(set(vocab.tokens)) == len(vocab.types)
    if vocab.model == "gpt2":
        assert set(byte_letters()) <= set(vocab.tokens)
        assert {merge.replace(" ", "") for merge in vocab.merges} <= set(vocab.tokens)
    else:
        assert vocab.types.count(BYTE) == 256
        assert len(vocab.scores) == len(vocab.tokens)


def test_keys_are_named_as_a_converter_names_them(tmp_path: Path) -> None:
    reader = gguf.GGUFReader(tiny_model("gemma3-linear", tmp_path))
    wanted = {
        "general.architecture": "gemma3", "gemma3.block_count": 7, "gemma3.attention.key_length": 48,
        "gemma3.attention.sliding_window": 16, "gemma3.rope.freq_base": 1e6,
        "gemma3.rope.scaling.type": "linear", "gemma3.rope.scaling.factor": 8.0,
        "gemma3.final_logit_softcapping": 8.0, "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.add_space_prefix": False, "tokenizer.ggml.unknown_token_id": 3,
    }  # fmt: skip
    assert {key: reader.fields[key].contents() for key in wanted} == wanted
    names_found = {tensor.name for tensor in reader.tensors}
    assert "output.weight" not in names_found
    assert "blk.6.post_ffw_norm.weight" in names_found


def expected_error(name: str) -> float:
    """What llama.cpp may be off: int8 activations, its half-precision GELU table, or next to nothing."""
    if name.startswith("gemma3"):
        return 4e-3
    if SPECS[name].kind is TensorType.F32:
        return 2e-4  # half of it because golden logits are kept in 16 bits
    return {TensorType.F16: 5e-3, TensorType.BF16: 4e-2}.get(SPECS[name].kind, 0.2)


@pytest.mark.parametrize("name", [name for name in names() if golden(name).exact is not None])
def test_two_engines_agree(name: str) -> None:
    wanted = golden(name)
    assert wanted.exact is not None
    found = wanted.logits[: len(wanted.exact)]
    assert len(wanted.exact) >= 16
    assert rms(wanted.exact) > 1.5  # the model says something
    assert rms(found - wanted.exact) < expected_error(name)


@pytest.mark.parametrize("name", names())
def test_golden_greedy_starts_where_its_logits_point(name: str) -> None:
    wanted = golden(name)
    row = wanted.logits[wanted.prompt - 1]
    best = np.sort(row)[-2:]
    # the prompt alone and the whole text are batches of different sizes: kernels differ, activations round
    near = 1e-3 if SPECS[name].kind is TensorType.F32 else 0.3
    assert row[wanted.greedy[0]] >= best[1] - near
    assert best[1] - best[0] == pytest.approx(wanted.greedy_margin[0], abs=2 * near)
    assert len(wanted.greedy) == len(wanted.greedy_margin) == 32
    assert len(set(wanted.greedy)) > 8  # no model that only repeats itself
    assert len(wanted.logits) == (len(wanted.ids) if name in names("arch") else 48)


def test_top_is_sorted_and_normalized() -> None:
    logits = np.array([[0.0, 2.0, 1.0], [5.0, 5.0, -1.0]], np.float32)
    best, logprob = Golden("x", "", {}, 0, "", [], 0, logits, [], [], None).top(2)
    assert best.tolist() == [[1, 2], [0, 1]]
    wanted = [[2 - np.log(1 + np.e + np.e**2), 1 - np.log(1 + np.e + np.e**2)]]
    np.testing.assert_allclose(logprob[:1], wanted, rtol=1e-12)
    np.testing.assert_allclose(np.exp(logprob[1]), 1 / (2 + np.exp(-6)), rtol=1e-12)


@pytest.mark.parametrize("stem", REAL)
def test_real_goldens_are_whole(stem: str) -> None:
    facts = golden_real(stem)
    assert len(facts["sha256"]) == 64
    assert len(facts["prompts"]) == 4
    for prompt in facts["prompts"]:
        assert len(prompt["greedy"]) == len(prompt["greedy_margin"]) == 32
        assert [top["position"] for top in prompt["top"]] == list(
            range(len(prompt["ids"]) - 4, len(prompt["ids"]))
        )
        for top in prompt["top"]:
            assert len(top["ids"]) == len(set(top["ids"])) == 20
            assert top["logits"] == sorted(top["logits"], reverse=True)
            assert np.exp(np.array(top["logits"]) - top["logsumexp"]).sum() <= 1.001
        last = prompt["top"][-1]
        assert last["ids"][0] == prompt["greedy"][0] or last["logits"][0] - last["logits"][1] < 0.5
