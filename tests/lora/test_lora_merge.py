"""Merged models: the sum in float32, in the format that was asked for, and nothing else touched."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import edgeq
from edgeq import gguf, quants
from edgeq.errors import EdgeqError, FormatError, GGUFError, ModelError, UsageError
from edgeq.lora import Adapter, Pair
from edgeq.lora import merge as merging
from edgeq.lora.merge import merge, notes
from tests.lora.made import adapter, factor, merged, write
from tests.small import tiny

IDS = list(range(20, 60))


def logits(path: Path, **settings: object) -> np.ndarray:
    with edgeq.load(path, backend="reference", kv_type="F32", **settings) as model:  # type: ignore[arg-type]
        return model.logits(IDS)


def weights(path: Path) -> dict[str, tuple[str, np.ndarray]]:
    with gguf.open(path) as file:
        return {
            name: (t.format.name, quants.dequantize(t.data, t.format).reshape(t.shape))
            for name, t in file.tensors.items()
        }


@pytest.mark.parametrize("name", ["llama-bias", "gemma3", "format-q4_k", "format-f16", "format-nvfp4-scale"])
def test_a_merged_model_in_floats_is_the_model_with_the_adapter(name: str, tmp_path: Path) -> None:
    made = adapter(tiny(name))
    report = merge(tiny(name), [(made, 0.5)], tmp_path / "m.gguf", "f32")
    wanted = logits(tiny(name), lora=[(made, 0.5)])
    assert np.abs(logits(tmp_path / "m.gguf") - wanted).max() < 2e-5 * max(1.0, np.abs(wanted).max())
    assert {m.name for m in report.merged} == set(made.pairs)
    assert all(m.rounding < 1e-5 < m.change for m in report.merged)


def test_the_sum_is_what_numpy_makes_of_it(tmp_path: Path) -> None:
    first, second = adapter(tiny(), 4, 8.0, 1), adapter(tiny(), 2, 2.0, 2, "blk.1.")
    merge(tiny(), [(first, 0.5), second], tmp_path / "m.gguf")
    wanted = weights(merged(tiny(), [(first, 0.5), (second, 1.0)], tmp_path / "w.gguf"))
    found = weights(tmp_path / "m.gguf")
    assert list(found) == list(weights(tiny()))
    for name, (fmt, values) in found.items():
        assert fmt == "F32"
        assert np.allclose(values, wanted[name][1], rtol=1e-5, atol=1e-6), name


@pytest.mark.parametrize("fmt", ["q4_k", "q4_0", "iq2_xxs"])
def test_a_quantized_weight_keeps_its_format_and_others_their_bytes(fmt: str, tmp_path: Path) -> None:
    model, out = tiny(f"format-{fmt}"), tmp_path / "m.gguf"
    made = adapter(model, only="blk.0.attn_")
    report = merge(model, made, out)
    with gguf.open(model) as old, gguf.open(out) as new:
        assert dict(old.metadata) == dict(new.metadata)
        assert list(old.tensors) == list(new.tensors)
        for name, tensor in old.tensors.items():
            data = new.tensors[name].data
            assert new.tensors[name].format == tensor.format
            if name not in made.pairs:
                assert np.array_equal(data, tensor.data), name
                continue
            pair = made.pairs[name]
            total = quants.dequantize(tensor.data, tensor.format) + np.float32(factor(made, name)) * (pair.b @ pair.a)
            assert np.array_equal(data, quants.quantize(total, tensor.format)), name
    assert all(m.rounding > 0 for m in report.merged)
    assert "4 of them were quantized and are rounded again" in notes(report)[1]


def test_the_model_was_written_over_its_adapter(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    write(path, adapter(tiny()))
    before = path.read_bytes()
    with pytest.raises(UsageError, match="is the file that is read"):
        merge(tiny(), path, path, overwrite=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", [None, "f16"])
def test_weights_to_which_nothing_is_added_were_rounded_again(kind: str | None, tmp_path: Path) -> None:
    model, out = tiny("format-iq2_xxs"), tmp_path / "m.gguf"
    made = adapter(model)
    report = merge(model, [(made, 0.0)], out, kind)
    assert report.merged == () and "0 weights changed" in notes(report)[0]
    with gguf.open(model) as old, gguf.open(out) as new:
        assert {n: (t.format, bytes(t.raw)) for n, t in old.tensors.items()} == {
            n: (t.format, bytes(t.raw)) for n, t in new.tensors.items()
        }
    untrained = {n: Pair(p.a, np.zeros_like(p.b)) if "attn_q" in n else p for n, p in made.pairs.items()}
    report = merge(model, made.replace(pairs=untrained), out, kind, overwrite=True)
    assert {m.name for m in report.merged} == {n for n in made.pairs if "attn_q" not in n}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["token_embd.weight", "blk.1.attn_norm.weight", "blk.1.ffn_up.weight"])
def test_weights_of_the_base_that_are_not_finite_were_copied(name: str, bad: float, tmp_path: Path) -> None:
    """Also where an adapter is there, but adds zeros."""
    made, zeros = adapter(tiny(), only="blk.0."), Pair(np.ones((1, 64), np.float32), np.zeros((112, 1), np.float32))
    with gguf.open(tiny()) as file:
        rows = [(t.name, t.shape, t.format.name, bytearray(t.raw)) for t in file.tensors.values()]
        next(data for n, _, _, data in rows if n == name)[20:24] = np.float32(bad).tobytes()
        gguf.write(tmp_path / "bad.gguf", file.metadata, [(n, s, f, bytes(d)) for n, s, f, d in rows])
    made = made.replace(pairs={**made.pairs, "blk.1.ffn_up.weight": zeros})
    with pytest.raises(FormatError, match=rf"tensor {name}: F32: found {bad} at \[.*5\]; expected finite numbers"):
        merge(tmp_path / "bad.gguf", made, tmp_path / "m.gguf")
    assert [p.name for p in tmp_path.iterdir()] == ["bad.gguf"]


def test_a_type_is_that_of_what_changes(tmp_path: Path) -> None:
    model, out = tiny("format-q4_k"), tmp_path / "m.gguf"
    made = adapter(model, only="blk.0.ffn_")
    assert len(notes(merge(model, made, out, "F16"))) == 1
    found = weights(out)
    assert {fmt for name, (fmt, _) in found.items() if name in made.pairs} == {"F16"}
    assert found["blk.1.ffn_up.weight"][0] == "Q4_K"


def test_a_split_base_becomes_one_file(tmp_path: Path) -> None:
    paths = gguf.split_model(tiny(), str(tmp_path / "part"), max_tensors=10)
    made = adapter(tiny())
    merge(paths[0], made, tmp_path / "m.gguf")
    merge(tiny(), made, tmp_path / "w.gguf")
    assert gguf.hash_tensors(tmp_path / "m.gguf").all == gguf.hash_tensors(tmp_path / "w.gguf").all


def test_nothing_is_left_behind_where_it_fails(tmp_path: Path) -> None:
    made = adapter(tiny("format-f16"))
    name = "blk.1.ffn_down.weight"
    pair = made.pairs[name]
    huge = made.replace(pairs={**made.pairs, name: Pair(pair.a, pair.b * np.float32(1e9))})
    cases: list[tuple[object, str | None, type[EdgeqError], str]] = [
        (huge, None, ModelError, r"blk\.1\.ffn_down\.weight, rows from 0 on: F16: found"),
        (adapter(tiny("qwen2")), None, ModelError, "architecture 'qwen2'"),
        ([], None, UsageError, "no adapter"),
        (made, "f99", UsageError, "f99"),
        (made, "i32", UsageError, "I32 cannot be written"),
    ]
    for given, kind, error, message in cases:
        with pytest.raises(error, match=message):
            merge(tiny("format-f16"), given, tmp_path / "m.gguf", kind)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_sum_beyond_float32_names_tensor_and_adapters(tmp_path: Path) -> None:
    """Each adapter is within it, all of them are not."""
    name = "blk.0.attn_q.weight"
    pairs = {name: Pair(np.ones((1, 64), np.float32), np.full((64, 1), 5e36, np.float32))}
    many = [adapter(tiny(), alpha=1.0).replace(pairs=pairs, path=f"a{i}") for i in range(80)]
    with pytest.raises(ModelError, match=rf"tensor {name}, rows from 0 on: F32: found inf .* with a0, a1, .* scale"):
        merge(tiny(), many, tmp_path / "m.gguf")
    assert not list(tmp_path.iterdir())


def test_the_place_of_a_number_that_is_too_large_is_that_in_the_tensor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "STEP", 16 * 64)
    b = np.zeros((64, 1), np.float32)
    b[37] = 1e9
    made = adapter(tiny()).replace(pairs={"blk.0.attn_q.weight": Pair(np.ones((1, 64), np.float32), b)})
    with pytest.raises(ModelError, match=r"attn_q\.weight, rows from 32 on: F16: found .* at \[37, 0\]"):
        merge(tiny(), made, tmp_path / "m.gguf", "f16")


def test_a_base_that_is_broken_is_not_blamed_on_the_adapter(tmp_path: Path) -> None:
    with gguf.open(tiny()) as file:
        rows = [(t.name, t.shape, t.format.name, bytes(t.raw)) for t in file.tensors.values()]
        rows = [(n, s, f, b"\0\0\xc0\x7f" + d[4:] if n == "blk.0.attn_q.weight" else d) for n, s, f, d in rows]
        gguf.write(tmp_path / "bad.gguf", file.metadata, rows)
    with pytest.raises(
        ModelError, match=r"tensor blk\.0\.attn_q\.weight, rows from 0 on: F32: found nan at [^;]*; [^;]*$"
    ):
        merge(tmp_path / "bad.gguf", adapter(tiny()), tmp_path / "m.gguf")
    assert [p.name for p in tmp_path.iterdir()] == ["bad.gguf"]


def test_bytes_do_not_depend_on_how_many_rows_are_summed_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = adapter(tiny())
    merge(tiny(), made, tmp_path / "whole.gguf")
    monkeypatch.setattr(merging, "STEP", 700)
    merge(tiny(), made, tmp_path / "parts.gguf")
    assert (tmp_path / "parts.gguf").read_bytes() == (tmp_path / "whole.gguf").read_bytes()


def test_a_base_that_changes_meanwhile_becomes_nothing(tmp_path: Path) -> None:
    base = tmp_path / "base.gguf"
    base.write_bytes(tiny().read_bytes())
    with pytest.raises(GGUFError, match=r"base\.gguf: the file was changed while it was read"):
        merge(base, adapter(tiny()), tmp_path / "m.gguf", progress=lambda done, total, name: os.utime(base, (1, 1)))
    assert [p.name for p in tmp_path.iterdir()] == ["base.gguf"]


def test_the_base_is_not_written_over(tmp_path: Path) -> None:
    made = adapter(tiny())
    copy = tmp_path / "base.gguf"
    copy.write_bytes(tiny().read_bytes())
    with pytest.raises(UsageError):
        merge(copy, made, copy, overwrite=True)
    assert copy.read_bytes() == tiny().read_bytes()


def test_a_scaled_weight_of_nothing_takes_no_adapter(tmp_path: Path) -> None:
    model = tiny("format-nvfp4-scale")
    made = adapter(model, only="blk.0.attn_q.weight")
    with gguf.open(model) as file:
        rows = [gguf.tensor_info(t.name, t.shape, t.format) for t in file.tensors.values()]
        with gguf.Writer(tmp_path / "zero.gguf", file.metadata, rows) as writer:
            for name, t in file.tensors.items():
                writer.write(name, bytes(t.nbytes) if name == "blk.0.attn_q.scale" else t.data)
    with pytest.raises(ModelError, match=r"blk\.0\.attn_q\.scale: 0\.0"):
        merge(tmp_path / "zero.gguf", made, tmp_path / "m.gguf")


def test_adapters_come_from_files_too(tmp_path: Path) -> None:
    made: Adapter = adapter(tiny())
    merge(tiny(), [(write(tmp_path / "a.gguf", made), 2.0)], tmp_path / "m.gguf")
    merge(tiny(), [(made, 2.0)], tmp_path / "w.gguf")
    assert (tmp_path / "m.gguf").read_bytes() == (tmp_path / "w.gguf").read_bytes()
