"""Quantized checkpoints: every method's values, and what becomes of its whole numbers in a GGUF file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq import convert, gguf, quants
from edgeq.convert import grid
from edgeq.convert.checkpoint import Checkpoint
from edgeq.convert.prequantized import awq, bnb, compressed, fp8, gptq
from edgeq.convert.source import Integers, Source
from edgeq.errors import ModelError
from models import checkpoints
from models.checkpoints.writer import stored, weights, write_shards, write_tokenizer
from tests.convert import packers

ROWS, COLUMNS, GROUP = 16, 128, 32
GROUPS = np.arange(COLUMNS) // GROUP
SHUFFLED = np.random.RandomState(5).permutation(GROUPS)


def all_values(source: Source) -> np.ndarray:
    return source.floats(np.arange(source.shape[0]))


def one(found: dict[str, Source], left: dict[str, Any]) -> Source:
    assert not left, f"not taken: {sorted(left)}"
    return found["x.weight"]


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("form", ["gptq", "gptq_v2"])
@pytest.mark.parametrize("groups", [GROUPS, SHUFFLED], ids=["neighbours", "desc_act"])
def test_gptq(bits: int, form: str, groups: np.ndarray) -> None:
    rows = 32  # as many as fill words with zeros of 3 bits
    numbers, zeros, scales = packers.integers(rows, COLUMNS, bits, GROUP)
    zeros[0, 0] = 1 << bits if form == "gptq" and bits < 8 else zeros[0, 0]
    zeros %= 1 << bits  # zero 0 is stored as the largest number in version 1
    raw = packers.tensors(packers.gptq("x", numbers, zeros, scales, groups, bits, form == "gptq"))
    found = gptq.sources({"bits": bits, "group_size": GROUP, "checkpoint_format": form}, raw)
    wanted = packers.values(numbers, zeros, scales, groups)
    assert np.array_equal(all_values(one(found, raw)), wanted.astype(np.float32))
    some = np.array([3, 1, 7])
    assert np.array_equal(found["x.weight"].floats(some), wanted[some].astype(np.float32))


def test_awq() -> None:
    numbers, zeros, scales = packers.integers(ROWS, COLUMNS, 4, GROUP)
    raw = packers.tensors(packers.awq("x", numbers, zeros, scales))
    found = awq.sources({"bits": 4, "group_size": GROUP, "version": "gemm"}, raw)
    wanted = packers.values(numbers, zeros, scales, GROUPS)
    assert np.array_equal(all_values(one(found, raw)), wanted.astype(np.float32))


@pytest.mark.parametrize("nested", [False, True])
def test_bitsandbytes_4_bits(nested: bool) -> None:
    entries, wanted = packers.four_bit("x.weight", ROWS, COLUMNS, nested)
    raw = packers.tensors(entries)
    found = all_values(one(bnb.sources({}, raw), raw))
    np.testing.assert_allclose(found, wanted, rtol=3e-7)


@pytest.mark.parametrize("stored", ["F16", "BF16", "F32"])
def test_four_bits_in_words_of_another_type(stored: str) -> None:
    """With bnb_4bit_quant_storage, as FSDP needs it."""
    entries, wanted = packers.four_bit("x.weight", ROWS, COLUMNS, False)
    dtype = {"F16": "<f2", "BF16": "<u2", "F32": "<f4"}[stored]
    entries["x.weight"] = packers.entry(entries["x.weight"][1].reshape(-1).view(dtype)[:, None], stored)
    raw = packers.tensors(entries)
    np.testing.assert_allclose(all_values(one(bnb.sources({}, raw), raw)), wanted, rtol=3e-7)


def test_bitsandbytes_int8() -> None:
    draw = np.random.RandomState(0)
    codes = draw.randint(-127, 128, (ROWS, COLUMNS)).astype(np.int8)
    scb = draw.rand(ROWS).astype(np.float32)
    raw = packers.tensors({
        "x.weight": packers.entry(codes), "x.SCB": packers.entry(scb),
        "x.weight_format": packers.entry(np.array(0, np.uint8)),
    })  # fmt: skip
    found = all_values(one(bnb.sources({}, raw), raw))
    np.testing.assert_allclose(found, codes * scb[:, None].astype(np.float64) / 127, rtol=3e-7)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_compressed_tensors_packed(bits: int, symmetric: bool) -> None:
    numbers, zeros, scales = packers.integers(ROWS, COLUMNS, bits, GROUP)
    raw = packers.tensors(packers.compressed("x", numbers, None if symmetric else zeros, scales, bits))
    scheme = {"num_bits": bits, "type": "int", "strategy": "group", "group_size": GROUP}
    settings = {"format": "pack-quantized", "config_groups": {"group_0": {"weights": scheme}}}
    if symmetric:
        zeros = np.full_like(zeros, 1 << bits - 1)
    wanted = packers.values(numbers, zeros, scales, GROUPS)
    assert np.array_equal(all_values(one(compressed.sources(settings, raw), raw)), wanted.astype(np.float32))


def test_compressed_tensors_int8_by_rows() -> None:
    draw = np.random.RandomState(0)
    codes = draw.randint(-128, 128, (ROWS, COLUMNS)).astype(np.int8)
    scales = draw.rand(ROWS, 1).astype(np.float16)
    raw = packers.tensors({"x.weight": packers.entry(codes), "x.weight_scale": packers.entry(scales)})
    scheme = {"num_bits": 8, "type": "int", "strategy": "channel"}
    settings = {"format": "int-quantized", "config_groups": {"group_0": {"weights": scheme}}}
    found = one(compressed.sources(settings, raw), raw)
    assert np.array_equal(all_values(found), (codes * scales.astype(np.float64)).astype(np.float32))
    assert isinstance(found, Integers) and grid.formats(found) == ("Q8_0",)


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_one_zero_for_all_packed_numbers_was_refused(bits: int) -> None:
    """It lies there as int8, about 0, where others are packed."""
    numbers, _, _ = packers.integers(ROWS, COLUMNS, bits, COLUMNS)
    raw = packers.tensors(
        packers.compressed("x", numbers, None, np.array([0.25], np.float16), bits)
        | {"x.weight_zero_point": packers.entry(np.array([-2], np.int8))}
    )
    settings = packed_settings(num_bits=bits, strategy="tensor")
    wanted = (numbers - (1 << bits - 1) + 2) * 0.25
    assert np.array_equal(all_values(one(compressed.sources(settings, raw), raw)), wanted.astype(np.float32))


def packed_settings(form: str = "pack-quantized", **weights: Any) -> dict[str, Any]:
    return {"format": form, "config_groups": {"group_0": {"weights": {"type": "int", **weights}}}}


@pytest.mark.parametrize(
    ("bits", "zero", "formats"),
    [(4, None, ("Q4_0", "Q4_1", "Q5_0", "Q8_0")), (4, 3, ("Q4_1", "Q5_0", "Q8_0")), (5, None, ("Q5_0", "Q8_0")),
     (8, None, ("Q8_0",))],
)  # fmt: skip
def test_numbers_of_few_bits_in_int8_became_q8_0(bits: int, zero: int | None, formats: tuple[str, ...]) -> None:
    draw, middle = np.random.RandomState(0), 1 << bits - 1
    codes = draw.randint(-middle, middle, (ROWS, COLUMNS)).astype(np.int8)
    scales = draw.rand(ROWS, COLUMNS // GROUP).astype(np.float16) + np.float16(0.1)
    entries = {"x.weight": packers.entry(codes), "x.weight_scale": packers.entry(scales)}
    if zero is not None:
        entries["x.weight_zero_point"] = packers.entry(np.full(scales.shape, zero, np.int8))
    settings = packed_settings("naive-quantized", num_bits=bits, strategy="group", group_size=GROUP)
    raw = packers.tensors(entries)
    found = one(compressed.sources(settings, raw), raw)
    wanted = ((codes - (zero or 0)) * scales.astype(np.float64)[:, GROUPS]).astype(np.float32)
    assert np.array_equal(all_values(found), wanted)
    assert isinstance(found, Integers) and grid.formats(found) == formats
    taken = quants.dequantize(grid.blocks(found, formats[0], np.arange(ROWS)), formats[0])
    assert np.allclose(taken, wanted, rtol=2**-10, atol=0.01)  # of Q4_1's minimum
    codes[3, 5] = -middle - 1 if bits < 8 else 127
    raw = packers.tensors(entries)
    found = one(compressed.sources(settings, raw), raw)
    if bits < 8:
        with pytest.raises(ModelError, match=f"x.weight: numbers beyond the {bits} bits"):
            found.floats(np.arange(ROWS))


def test_fp8_in_groups_was_refused() -> None:
    draw = np.random.RandomState(0)
    codes = draw.randint(0, 0x7F, (ROWS, COLUMNS)).astype(np.uint8)
    scales = draw.rand(ROWS, COLUMNS // GROUP).astype(np.float32)
    raw = packers.tensors({
        "x.weight": packers.entry(codes, "F8_E4M3"), "x.weight_scale": packers.entry(scales),
    })  # fmt: skip
    settings = packed_settings("float-quantized", num_bits=8, type="float", strategy="group", group_size=GROUP)
    found = all_values(one(compressed.sources(settings, raw), raw))
    wanted = np.array([[e4m3(int(c)) for c in row] for row in codes], np.float32) * scales[:, GROUPS]
    assert np.array_equal(found, wanted)


def modelopt_checkpoint(folder: Path, algorithm: str, inside: bool) -> dict[str, np.ndarray]:
    """The `llama` checkpoint as ModelOpt exports it; settings in config.json, or as before beside it."""
    spec = checkpoints.write("llama", folder)
    own = {"quant_algo": algorithm, "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}
    if inside:
        config = {**spec.config, "quantization_config": {"quant_method": "modelopt", "producer": {}, **own}}
        (folder / "config.json").write_text(json.dumps(config))
    else:
        (folder / "hf_quant_config.json").write_text(json.dumps({"producer": {}, "quantization": own}))
    entries, wanted = {}, {}
    for i, (name, value) in enumerate(weights(spec).items()):
        if not name.endswith("_proj.weight"):
            entries[name] = stored(value, "BF16")
            continue
        codes = np.random.RandomState(i).randint(0, 0x7F, value.shape).astype(np.uint8)
        base, scale = name.removesuffix(".weight"), np.float32(0.01)
        entries |= {name: packers.entry(codes, "F8_E4M3"), f"{base}.weight_scale": packers.entry(np.array(scale))}
        entries |= {f"{base}.{kind}": packers.entry(np.array(scale)) for kind in ("input_scale", "k_scale", "v_scale")}
        wanted[name] = np.array([[e4m3(int(c)) for c in row] for row in codes], np.float32) * scale
    write_shards(folder, entries)
    return wanted


@pytest.mark.parametrize("inside", [True, False])
def test_fp8_of_modelopt(tmp_path: Path, inside: bool) -> None:
    wanted = modelopt_checkpoint(tmp_path / "in", "FP8", inside)
    report = convert.convert(tmp_path / "in", tmp_path / "out.gguf", "f32")
    assert report.plan.method == "modelopt"
    with gguf.open(tmp_path / "out.gguf") as file:
        found = file.tensors["blk.1.ffn_up.weight"].data.view(np.float32)
    assert np.array_equal(found, wanted["model.layers.1.mlp.up_proj.weight"])


@pytest.mark.parametrize("algorithm", ["NVFP4", "W4A16_AWQ", "FP8_PB_WO", 3])
def test_other_algorithms_of_modelopt_are_refused_by_name(tmp_path: Path, algorithm: Any) -> None:
    modelopt_checkpoint(tmp_path, algorithm, True)
    with pytest.raises(ModelError, match=f"quant_algo '?{algorithm}'? of ModelOpt; known is FP8"):
        convert.prepare(tmp_path, "")


def e4m3(code: int) -> float:
    """The value of a byte by the specification: sign, exponent with bias 7, fraction of 3 bits."""
    sign, exponent, fraction = code >> 7, code >> 3 & 15, code & 7
    size = fraction / 8 * 2.0**-6 if exponent == 0 else (1 + fraction / 8) * 2.0 ** (exponent - 7)
    return math.nan if code & 127 == 127 else -size if sign else size


@pytest.mark.parametrize(
    ("scale", "block", "suffix"),
    [((1,), None, "_scale"), ((ROWS, 1), None, "_scale"), ((4, 8), [4, 16], "_scale_inv"), ((), None, "_scale_inv"),
     ((2, 2), [10, 100], "_scale_inv")],
)  # fmt: skip
def test_fp8(scale: tuple[int, ...], block: list[int] | None, suffix: str) -> None:
    draw = np.random.RandomState(0)
    codes = draw.choice([c for c in range(256) if c & 127 != 127], (ROWS, COLUMNS)).astype(np.uint8)
    scales = np.asarray(draw.rand(*scale) if scale else draw.rand(), np.float32)
    raw = packers.tensors({
        "x.weight": packers.entry(codes, "F8_E4M3"), f"x.weight{suffix}": packers.entry(scales),
        "x.input_scale": packers.entry(scales),
    })  # fmt: skip
    settings = {"weight_block_size": block} if block else {}
    found = all_values(one(fp8.sources(settings, raw), raw))
    rows, columns = block or ([1, COLUMNS] if scales.size == ROWS else [ROWS, COLUMNS])
    table = scales.reshape(-(-ROWS // rows), -(-COLUMNS // columns))
    for r in range(ROWS):
        for c in range(0, COLUMNS, 7):
            assert found[r, c] == np.float32(e4m3(int(codes[r, c]))) * table[r // rows, c // columns]


def packed_source(zero: int | None, bits: int = 4, group: int = GROUP) -> Integers:
    numbers, zeros, scales = packers.integers(ROWS, COLUMNS, bits, group)
    zeros = zeros if zero is None else np.full_like(zeros, zero)
    raw = packers.tensors(packers.gptq("x", numbers, zeros, scales, np.arange(COLUMNS) // group, bits, False))
    settings = {"bits": bits, "group_size": group, "checkpoint_format": "gptq_v2"}
    found = gptq.sources(settings, raw)["x.weight"]
    assert isinstance(found, Integers)
    return found


@pytest.mark.parametrize("group", [32, 64, 128])
@pytest.mark.parametrize(
    ("zero", "bits", "formats"),
    [(8, 4, ("Q4_0", "Q4_1", "Q5_0", "Q8_0")), (None, 4, ("Q4_1", "Q5_0", "Q8_0")),
     (2, 2, ("Q4_0", "Q4_1", "Q5_0", "Q8_0")),
     (128, 8, ("Q8_0",)), (127, 8, ())],
)  # fmt: skip
def test_whole_numbers_are_taken_over(group: int, zero: int | None, bits: int, formats: tuple[str, ...]) -> None:
    source = packed_source(zero, bits, group)
    assert grid.formats(source) == formats
    rows = np.array([5, 0, 9])
    wanted = source.floats(rows)
    for fmt in formats:
        found = quants.dequantize(grid.blocks(source, fmt, rows), fmt)
        if fmt == "Q4_1":  # its minimum is rounded to fp16
            low = np.abs(source.scales(rows) * source.zeros(rows)).max()
            assert np.abs(found - wanted).max() <= low * 2.0**-11
        else:
            assert np.array_equal(found, wanted)


def test_groups_that_are_no_neighbours_fit_no_format() -> None:
    numbers, zeros, scales = packers.integers(ROWS, COLUMNS, 4, GROUP)
    raw = packers.tensors(packers.gptq("x", numbers, zeros, scales, SHUFFLED, 4, True))
    source = gptq.sources({"bits": 4, "group_size": GROUP}, raw)["x.weight"]
    assert isinstance(source, Integers) and grid.formats(source) == ()


def test_zeros_that_differ_count_for_the_range() -> None:
    numbers, zeros, scales = packers.integers(ROWS, COLUMNS, 4, GROUP)
    zeros[:] = 8
    zeros[3, 1] = 6  # 15 - 6 is more than Q4_0 holds
    raw = packers.tensors(packers.gptq("x", numbers, zeros, scales, GROUPS, 4, True))
    source = gptq.sources({"bits": 4, "group_size": GROUP}, raw)["x.weight"]
    assert isinstance(source, Integers) and grid.formats(source) == ("Q4_1", "Q5_0", "Q8_0")


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_a_scale_beyond_fp16_fits_no_format(scale: float) -> None:
    codes, scb = np.ones((ROWS, COLUMNS), np.int8), np.full(ROWS, 127, np.float32)
    scb[ROWS // 2] = scale * 127
    raw = packers.tensors({"x.weight": packers.entry(codes), "x.SCB": packers.entry(scb)})
    source = bnb.sources({}, raw)["x.weight"]
    assert isinstance(source, Integers) and grid.formats(source) == ()


@pytest.mark.parametrize(
    ("scale", "zero", "formats"),
    [(5000.0, 15, ("Q5_0", "Q8_0")), (4000.0, 15, ("Q4_1", "Q5_0", "Q8_0")), (65504.0, 8, ("Q4_0", "Q5_0", "Q8_0")),
     (65520.0, 8, ()), (3e38, 15, ()), (math.inf, 8, ()), (math.nan, 8, ())],
)  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_a_minimum_beyond_fp16_became_infinite_in_q4_1(scale: float, zero: int, formats: tuple[str, ...]) -> None:
    numbers, zeros, scales = packers.integers(ROWS, COLUMNS, 4, GROUP)
    zeros[:], scales = zero, scales.astype(np.float32)
    scales[2, 1] = scale
    raw = packers.tensors(packers.gptq("x", numbers, zeros, scales, GROUPS, 4, True))
    source = gptq.sources({"bits": 4, "group_size": GROUP}, raw)["x.weight"]
    assert isinstance(source, Integers) and grid.formats(source) == formats
    for fmt in formats:
        assert np.isfinite(quants.dequantize(grid.blocks(source, fmt, np.arange(ROWS)), fmt)).all()


# Whole checkpoints


def quantized_checkpoint(folder: Path, zero: int | None = 8, group: int = 32) -> dict[str, np.ndarray]:
    """The `llama` checkpoint with wider layers and every linear in GPTQ; gives the value of each."""
    spec = checkpoints.SPECS["llama"]
    config = {**spec.config, "hidden_size": 64, "intermediate_size": 128, "head_dim": 16, "num_key_value_heads": 2,
              "dtype": "float16"}  # fmt: skip
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4, "group_size": group, "desc_act": False}
    wide = checkpoints.Spec("wide", config)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    write_tokenizer(folder, config["vocab_size"])
    entries, wanted = {}, {}
    for i, (name, value) in enumerate(weights(wide).items()):
        if "_proj.weight" not in name:
            entries[name] = stored(value, "F16")
            continue
        base = name.removesuffix(".weight")
        numbers, zeros, scales = packers.integers(*value.shape, 4, group, seed=i)
        zeros = zeros if zero is None else np.full_like(zeros, zero)
        groups = np.arange(value.shape[1]) // group
        entries |= packers.gptq(base, numbers, zeros, scales, groups, 4, True)
        entries[f"{base}.bias"] = packers.entry(np.zeros(value.shape[0], np.float16))
        wanted[name] = packers.values(numbers, zeros, scales, groups)
    write_shards(folder, entries)
    return wanted


def test_a_symmetric_checkpoint_becomes_q4_0_exactly(tmp_path: Path) -> None:
    wanted = quantized_checkpoint(tmp_path / "in")
    report = convert.convert(tmp_path / "in", tmp_path / "out.gguf")
    with gguf.open(tmp_path / "out.gguf") as file:
        assert "blk.0.attn_v.bias" not in file.tensors  # all zeros
        assert file.tensors["token_embd.weight"].format.name == "F16"
        v = file.tensors["blk.0.attn_v.weight"]
        assert v.format.name == "Q4_0"
        values = quants.dequantize(v.data, v.format)
        assert np.array_equal(values, wanted["model.layers.0.self_attn.v_proj.weight"].astype(np.float32))
        q = quants.dequantize(file.tensors["blk.1.attn_q.weight"].data, "Q4_0").reshape(4, 8, 2, 64)
        source = wanted["model.layers.1.self_attn.q_proj.weight"].astype(np.float32).reshape(4, 2, 8, 64)
        assert np.array_equal(q, source.swapaxes(1, 2))  # pairs in place of halves
    taken = [item for item in report.plan.items if item.taken]
    assert len(taken) == len(wanted) and all(report.errors[item.name].none for item in taken)
    assert report.metadata["general.file_type"].value in (1, 2)


def test_an_asymmetric_checkpoint_says_what_the_minimum_costs(tmp_path: Path) -> None:
    quantized_checkpoint(tmp_path / "in", zero=None)
    report = convert.convert(tmp_path / "in", tmp_path / "out.gguf")
    assert {item.format for item in report.plan.items if item.taken} == {"Q4_1"}
    assert all(0 < error.rms < 1e-3 for error in report.errors.values())


def test_a_wider_format_takes_an_asymmetric_one_exactly(tmp_path: Path) -> None:
    quantized_checkpoint(tmp_path / "in", zero=None)
    plan = convert.prepare(tmp_path / "in", "", "q5_0").plan
    assert all(item.taken for item in plan.items if "ffn" in item.name and len(item.shape) == 2)


def test_another_format_is_made_of_the_values(tmp_path: Path) -> None:
    wanted = quantized_checkpoint(tmp_path / "in")
    report = convert.convert(tmp_path / "in", tmp_path / "out.gguf", "f32")
    with gguf.open(tmp_path / "out.gguf") as file:
        up = file.tensors["blk.0.ffn_up.weight"].data.view(np.float32)
    assert np.array_equal(up, wanted["model.layers.0.mlp.up_proj.weight"].astype(np.float32))
    assert all(error.none for error in report.errors.values())


def scaled_checkpoint(folder: Path, dtype: str, scales: dict[str, float]) -> None:
    """The `llama` checkpoint with a linear in FP8 for each name in `scales`."""
    spec = checkpoints.write("llama", folder)
    own = {"dtype": dtype, "quantization_config": {"quant_method": "fp8"}}
    (folder / "config.json").write_text(json.dumps({**spec.config, **own}))
    entries = {n: stored(v, "BF16") for n, v in weights(spec).items()}
    for name, scale in scales.items():
        codes = np.random.RandomState(0).randint(0, 0x7F, entries[name][1].shape).astype(np.uint8)
        entries[name] = packers.entry(codes, "F8_E4M3")
        entries[f"{name}_scale"] = packers.entry(np.array(scale, np.float32))
    write_shards(folder, entries)


UP, DOWN = "model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.down_proj.weight"


@pytest.mark.parametrize(
    ("dtype", "kind", "warned"), [("float16", "auto", True), ("bfloat16", "auto", False), ("float16", "f32", False)]
)
def test_a_tensor_that_became_zeros_was_not_warned_of(tmp_path: Path, dtype: str, kind: str, warned: bool) -> None:
    scaled_checkpoint(tmp_path / "in", dtype, {UP: 1e-12, DOWN: 0.01})
    report = convert.convert(tmp_path / "in", tmp_path / "out.gguf", kind)
    wanted = (
        "warning: 1 tensor lost far more than F16 rounds (0.049 %), with numbers too small for it: blk.0.ffn_up.weight "
        "100 %; take --type bf16 or f32"
    )
    assert [note for note in report.notes if note.startswith("warning: ")] == [wanted] * warned
    assert report.errors["blk.0.ffn_up.weight"].none == (kind == "f32")


# Refusals


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("modelopt", {"quant_algo": "FP8"}), ("fp8", {}), ("fp8", {"weight_block_size": [32, 32]}), ("fbgemm_fp8", {}),
        ("compressed-tensors", packed_settings("float-quantized", num_bits=8, type="float", strategy="tensor")),
    ],
)  # fmt: skip
def test_a_weight_in_fp8_without_its_scale_was_taken_unscaled(
    tmp_path: Path, method: str, settings: dict[str, Any]
) -> None:
    spec = checkpoints.write("llama", tmp_path / "in")
    own = {"quantization_config": {"quant_method": method, **settings}}
    (tmp_path / "in" / "config.json").write_text(json.dumps({**spec.config, **own}))
    entries = {n: stored(v, "BF16") for n, v in weights(spec).items()}
    name = "model.layers.1.mlp.up_proj.weight"
    entries[name] = packers.entry(np.full(entries[name][1].shape, 0x38, np.uint8), "F8_E4M3")
    write_shards(tmp_path / "in", entries)
    with pytest.raises(ModelError, match=r"tensor .*1\.mlp\.up_proj\.weight_scale \(or weight_scale_inv\) is missing"):
        convert.convert(tmp_path / "in", tmp_path / "out.gguf")
    assert not (tmp_path / "out.gguf").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bits": 5}, "bits"), ({"bits": "4"}, "bits"), ({"group_size": 0}, "group_size"),
        ({"checkpoint_format": "marlin"}, "marlin"), ({"group_size": 48}, "qzeros"), ({"bits": 8}, "shape"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_are_refused(changes: dict[str, Any], words: str) -> None:
    numbers, zeros, scales = packers.integers(ROWS, COLUMNS, 4, GROUP)
    raw = packers.tensors(packers.gptq("x", numbers, zeros, scales, GROUPS, 4, True))
    with pytest.raises(ModelError, match=words):
        gptq.sources({"bits": 4, "group_size": GROUP, **changes}, raw)


def test_a_missing_part_is_named() -> None:
    numbers, zeros, scales = packers.integers(ROWS, COLUMNS, 4, GROUP)
    raw = packers.tensors(packers.gptq("x", numbers, zeros, scales, GROUPS, 4, True))
    del raw["x.scales"]
    with pytest.raises(ModelError, match=r"tensor x\.scales is missing"):
        gptq.sources({"bits": 4, "group_size": GROUP}, raw)


def test_a_g_idx_beyond_the_groups_is_refused() -> None:
    numbers, zeros, scales = packers.integers(ROWS, COLUMNS, 4, GROUP)
    raw = packers.tensors(packers.gptq("x", numbers, zeros, scales, GROUPS + 1, 4, True))
    with pytest.raises(ModelError, match="g_idx"):
        gptq.sources({"bits": 4, "group_size": GROUP}, raw)


def test_a_block_size_of_0_was_refused_without_what_was_expected() -> None:
    entries, _ = packers.four_bit("x.weight", ROWS, COLUMNS, False)
    state = np.frombuffer(json.dumps({"blocksize": 0, "shape": [ROWS, COLUMNS]}).encode(), np.uint8)
    entries["x.weight.quant_state.bitsandbytes__nf4"] = packers.entry(state)
    with pytest.raises(ModelError, match=r"x\.weight: blocksize of its quant_state is 0; expected a whole number"):
        bnb.sources({}, packers.tensors(entries))


def test_a_weight_that_is_there_quantized_and_as_floats_was_there_twice_under_one_name(tmp_path: Path) -> None:
    quantized_checkpoint(tmp_path / "in")
    entries = {n: (t.dtype, t.array().copy()) for n, t in Checkpoint(tmp_path / "in").tensors.items()}
    name = "model.layers.1.mlp.up_proj.weight"
    write_shards(tmp_path / "in", entries | {name: stored(np.ones((128, 64), np.float32), "F16")})
    words = rf"tensor {name} is there twice: in the parts of GPTQ 4 bit, and as F16; expected one"
    with pytest.raises(ModelError, match=words):
        convert.prepare(tmp_path / "in", "")


def test_settings_of_a_quantization_that_no_tensor_has_were_ignored_silently(tmp_path: Path) -> None:
    spec = checkpoints.write("llama", tmp_path)
    own = {"quantization_config": {"quant_method": "gptq", "bits": 4}}
    (tmp_path / "config.json").write_text(json.dumps({**spec.config, **own}))
    report = convert.prepare(tmp_path, "")
    assert report.notes == [
        "the checkpoint names gptq as its quantization, and no tensor is quantized: taken as floats"
    ]


@pytest.mark.parametrize("shape", [[ROWS, COLUMNS + 2], [ROWS, COLUMNS - 1], [ROWS], "x", [-1, 2], [1 << 40, 1 << 40]])
def test_a_quant_state_that_lies_is_refused(shape: Any) -> None:
    entries, _ = packers.four_bit("x.weight", ROWS, COLUMNS, False)
    state = np.frombuffer(json.dumps({"blocksize": 64, "shape": shape}).encode(), np.uint8)
    entries["x.weight.quant_state.bitsandbytes__nf4"] = packers.entry(state)
    with pytest.raises(ModelError, match=r"x\.weight"):
        bnb.sources({}, packers.tensors(entries))


def test_an_unknown_method_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    quantized_checkpoint(tmp_path / "in")
    path = tmp_path / "in" / "config.json"
    path.write_text(path.read_text().replace('"quant_method": "gptq"', '"quant_method": "aqlm"'))
    with pytest.raises(ModelError, match=r"aqlm.*known are gptq, awq"):
        convert.prepare(tmp_path / "in", "")


HUGE = 10**30


def test_sizes_beyond_any_model_are_refused() -> None:
    numbers, zeros, scales = packers.integers(ROWS, COLUMNS, 4, COLUMNS)
    with pytest.raises(ModelError, match="group_size"):
        awq.sources({"group_size": HUGE}, packers.tensors(packers.awq("x", numbers, zeros, scales)))
    raw = {"x.weight": packers.entry(np.zeros((4, 4), np.uint8), "F8_E4M3"),
           "x.weight_scale": packers.entry(np.ones((1, 1), np.float32))}  # fmt: skip
    with pytest.raises(ModelError, match="two whole numbers"):
        fp8.sources({"weight_block_size": [HUGE, HUGE]}, packers.tensors(raw))
    for key, value in (("blocksize", HUGE), ("nested_blocksize", HUGE), ("nested_offset", 10**400)):
        entries, _ = packers.four_bit("x.weight", ROWS, COLUMNS, True)
        name = "x.weight.quant_state.bitsandbytes__nf4"
        state = json.loads(entries[name][1].tobytes()) | {key: value}
        entries[name] = packers.entry(np.frombuffer(json.dumps(state).encode(), np.uint8))
        with pytest.raises(ModelError, match=key):
            bnb.sources({}, packers.tensors(entries))


@pytest.mark.parametrize("shape", [(0, 4), (4, 0)])
def test_matrices_without_a_number_are_refused(shape: tuple[int, int]) -> None:
    raw = {"x.weight": packers.entry(np.zeros(shape, np.uint8), "F8_E4M3"),
           "x.weight_scale": packers.entry(np.ones(1, np.float32))}  # fmt: skip
    with pytest.raises(ModelError, match=r"x\.weight: shape .*, expected \['over 0', 'over 0'\]"):
        fp8.sources({}, packers.tensors(raw))
