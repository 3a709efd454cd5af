"""Whole files: every tensor as `quants.quantize` has it, and whatever happens no broken file under the final name."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import gguf as gguf_package
import numpy as np
import pytest

from edgeq import gguf, quants
from edgeq.errors import FormatError, GGUFError, ModelError, UsageError
from edgeq.imatrix import Entry, ImportanceMatrix
from edgeq.quantize import Options, quantize
from edgeq.quantize.stream import spread
from edgeq.quants import gain

LAYERS, COLUMNS, DOWN = 3, 256, 512


class Importances:
    """As many numbers as a tensor has columns; entries for `names`."""

    datasets = ("calibration.txt",)
    chunk_count = 7

    def __init__(self, names, shape=None):
        self.entries = dict.fromkeys(names)
        self.shape = shape

    def importance(self, name, matrices, n):
        if name not in self.entries:
            return None
        w = np.exp(np.random.default_rng(len(name) + n).standard_normal((matrices, n))).astype(np.float32)
        return w[0] if matrices == 1 else w

    def unreached(self, name):
        return 0


def tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    out = {"token_embd.weight": (600, COLUMNS), "output_norm.weight": (COLUMNS,)}
    for i in range(LAYERS):
        b = f"blk.{i}."
        out |= {b + "attn_v.weight": (128, COLUMNS), b + "attn_norm.weight": (COLUMNS,),
                b + "ffn_up.weight": (DOWN, COLUMNS), b + "ffn_down.weight": (COLUMNS, DOWN),
                b + "ffn_gate_exps.weight": (2, 65, COLUMNS)}  # fmt: skip
    return {name: (rng.standard_normal(shape) * 0.03).astype(np.float32) for name, shape in out.items()}


METADATA = {
    "general.architecture": "llama", "llama.block_count": gguf.Value("u32", LAYERS), "general.name": "a model",
    "llama.attention.head_count": gguf.Value("u32", 4), "general.file_type": gguf.Value("u32", 1),
}  # fmt: skip


def write_source(path: Path, change=None, **more) -> Path:
    rows = []
    for name, x in tensors().items():
        if change:
            change(name, x)
        fmt = "F32" if x.ndim == 1 else "BF16" if "down" in name else "F16"
        with np.errstate(over="ignore"):
            data = {"F32": x, "F16": x.astype(np.float16), "BF16": (x.view(np.uint32) >> 16).astype(np.uint16)}[fmt]
        rows.append((name, x.shape, fmt, data))
    gguf.write(path, METADATA, rows, **more)
    return path


@pytest.fixture
def source(tmp_path):
    return write_source(tmp_path / "source.gguf")


def expected(source: Path, report, importances=None) -> dict[str, bytes]:
    """What each tensor must be, from the encoder alone."""
    out = {}
    with gguf.open(source) as g:
        for result in report.results:
            c, t = result.choice, g.tensors[result.choice.name]
            if not c.changes:
                out[c.name] = bytes(t.raw)
                continue
            x = quants.dequantize(t.data, t.format).reshape(t.shape)
            matrices = x.shape[0] if x.ndim > 2 else 1
            w = importances and importances.importance(c.name, matrices, x.shape[-1])
            data = quants.quantize(x, c.target, w)
            if "ffn_up" in c.name or "ffn_gate" in c.name:
                for i in range(matrices):
                    rows, own = x.reshape(matrices, -1, x.shape[-1])[i], data.reshape(matrices, -1, data.shape[-1])[i]
                    gain.keep_size(rows, own, c.target, None if w is None else w.reshape(matrices, -1)[i])
            out[c.name] = data.tobytes()
    return out


def contents(path: Path) -> dict[str, bytes]:
    with gguf.open(path) as g:
        return {t.name: bytes(t.raw) for t in g.tensors.values()}


def files(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


@pytest.mark.parametrize("kind", ["Q4_K_M", "IQ2_M", "Q8_0", "BF16", "F32"])
def test_every_tensor_is_what_the_encoder_makes_of_it(source, tmp_path, kind):
    report = quantize(source, tmp_path / "out.gguf", kind)
    assert contents(tmp_path / "out.gguf") == expected(source, report)
    assert report.paths == (str(tmp_path / "out.gguf"),)


def test_importances_reach_every_matrix(source, tmp_path):
    w = Importances(name for name in tensors() if name.startswith("blk."))
    report = quantize(source, tmp_path / "out.gguf", "Q4_K_M", importance=w, importance_file="/some/where/im.gguf")
    assert contents(tmp_path / "out.gguf") == expected(source, report, w)
    matrices = {n for n, x in tensors().items() if n.startswith("blk.") and x.ndim > 1}
    assert {r.choice.name for r in report.results if r.weighted} == matrices
    assert report.missing == ("token_embd.weight",)
    with gguf.open(tmp_path / "out.gguf") as g:
        assert g.metadata["quantize.imatrix.file"] == "im.gguf"
        assert g.metadata["quantize.imatrix.dataset"] == "calibration.txt"
        assert (g.metadata["quantize.imatrix.entries_count"], g.metadata["quantize.imatrix.chunks_count"]) == (15, 7)


def test_metadata_says_what_it_is_and_keeps_the_rest(source, tmp_path):
    quantize(source, tmp_path / "out.gguf", "Q4_K_M")
    fields = gguf_package.GGUFReader(tmp_path / "out.gguf").fields
    assert fields["general.file_type"].contents() == 15
    assert fields["general.quantization_version"].contents() == 2
    assert fields["general.name"].contents() == "a model"


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_bytes_do_not_depend_on_threads(source, tmp_path, threads):
    quantize(source, tmp_path / "out.gguf", "Q3_K_M", threads=threads)
    quantize(source, tmp_path / "one.gguf", "Q3_K_M", threads=1)
    assert (tmp_path / "out.gguf").read_bytes() == (tmp_path / "one.gguf").read_bytes()


@pytest.mark.parametrize("threads", [0, -1, 1.5, "a"])
def test_numbers_of_threads_that_are_none_are_refused(source, tmp_path, threads):
    with pytest.raises(UsageError, match="threads: expected a whole number from 1, found "):
        quantize(source, tmp_path / "out.gguf", "Q3_K_M", threads=threads)
    assert files(tmp_path) == {"source.gguf"}


def test_losses_are_said(source, tmp_path):
    report = quantize(source, tmp_path / "out.gguf", "Q4_K_M")
    losses = {r.choice.name: r.loss.relative for r in report.results}
    assert 0.05 < losses["blk.1.ffn_up.weight"] < 0.09
    assert losses["output_norm.weight"] == 0
    tried = quantize(source, tmp_path / "none.gguf", "Q4_K_M", dry_run=True)
    assert [r.choice for r in tried.results] == [r.choice for r in report.results]
    assert all(abs(r.loss.relative - losses[r.choice.name]) < 0.01 for r in tried.results)
    assert files(tmp_path) == {"source.gguf", "out.gguf"}


def test_a_dry_run_looks_at_the_whole_of_a_tensor(tmp_path):
    """Rows get harder, in a period of heads too; later matrices have other importances."""
    rng = np.random.default_rng(3)
    rows, heads = np.linspace(0, 1.5, 24576)[:, None], np.tile(np.geomspace(1, 9, 64), 384)[:, None]
    x = np.sign(rng.standard_normal((24576, 64))) * np.exp(rng.standard_normal((24576, 64)) * rows) * heads
    x = (x / np.abs(x).max()).astype(np.float16).reshape(6, 4096, 64)
    name = "blk.0.ffn_gate_exps.weight"
    gguf.write(tmp_path / "in.gguf", METADATA, [(name, x.shape, "F16", x)])
    w = Importances([name])
    for importance in (None, w):
        quantize(tmp_path / "in.gguf", tmp_path / "out.gguf", "Q4_0", importance=importance, overwrite=True)
        data = np.frombuffer(contents(tmp_path / "out.gguf")[name], np.uint8).reshape(6, 4096, -1)
        real = quants.error_report(x, data, "Q4_0", importance and w.importance(name, 6, 64)).relative
        tried, again = (
            quantize(tmp_path / "in.gguf", "", "Q4_0", importance=importance, dry_run=True, threads=n).results[0].loss
            for n in (1, 3)
        )
        assert tried == again and tried.rows == 4096
        assert abs(tried.relative / real - 1) < 0.1


def test_an_estimate_sees_what_is_not_finite_in_rows_far_inside(tmp_path):
    x = np.ones((40, 1 << 17), np.float16)
    x[20:, 3] = np.nan
    gguf.write(tmp_path / "in.gguf", METADATA, [("blk.0.ffn_up.weight", x.shape, "F16", x)])
    with pytest.raises(FormatError, match=r"found nan at \[[23]\d, 3\]"):
        quantize(tmp_path / "in.gguf", "", "Q8_0", dry_run=True)


@pytest.mark.parametrize(("total", "n"), [(1, 1), (7, 7), (10, 16), (4096, 64), (151936, 256), (1 << 33, 1000)])
def test_rows_of_an_estimate_are_spread(total, n):
    rows = spread(total, n)
    assert len(rows) == min(n, total) and (np.diff(rows) > 0).all() and rows[0] >= 0 and rows[-1] < total
    stretches = rows * n // total if total >= n else rows
    assert stretches.tolist() == list(range(len(rows)))
    if total >= 64 * n:
        assert len(set((rows % 64).tolist())) > 32  # and keep no step with heads


def test_quantizing_again_has_to_be_allowed(source, tmp_path):
    quantize(source, tmp_path / "q8.gguf", "Q8_0")
    with pytest.raises(UsageError, match=r"tensor token_embd.weight: is Q8_0 already, and 12 others"):
        quantize(tmp_path / "q8.gguf", tmp_path / "out.gguf", "Q4_K_M")
    report = quantize(tmp_path / "q8.gguf", tmp_path / "out.gguf", "Q4_K_M", allow_requantize=True)
    assert contents(tmp_path / "out.gguf") == expected(tmp_path / "q8.gguf", report)
    assert "blk.0.attn_v.weight" in report.requantized


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["blk.1.ffn_up.weight", "blk.2.ffn_gate_exps.weight", "blk.0.ffn_down.weight"])
def test_weights_that_are_not_finite_are_named_and_nothing_is_written(tmp_path, bad, name):
    def change(n, x):
        if n == name:
            x.reshape(-1, x.shape[-1])[-2, 100] = bad

    source = write_source(tmp_path / "bad.gguf", change)
    before = source.read_bytes()
    with pytest.raises(FormatError, match=rf"tensor {name}, rows from \d+ on: .* at \[\d+, 100\]; expected finite"):
        quantize(source, tmp_path / "out.gguf", "Q4_K_M")
    assert files(tmp_path) == {"bad.gguf"}
    assert source.read_bytes() == before


def test_the_place_of_a_weight_that_is_not_finite_is_that_in_the_tensor(tmp_path):
    x = np.ones((5000, 64), np.float16)
    x[4999, 3] = np.nan
    gguf.write(tmp_path / "in.gguf", METADATA, [("blk.0.ffn_up.weight", x.shape, "F16", x)])
    message = r"tensor blk\.0\.ffn_up\.weight, rows from 4096 on: Q8_0: found nan at \[4999, 3\]; expected finite"
    with pytest.raises(FormatError, match=message):
        quantize(tmp_path / "in.gguf", tmp_path / "out.gguf", "Q8_0")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_do_not_pass_in_tensors_that_keep_their_format(tmp_path, bad):
    def change(n, x):
        if n == "blk.1.attn_norm.weight":
            x[[17, 30]] = bad

    source = write_source(tmp_path / "bad.gguf", change)
    message = rf"tensor blk\.1\.attn_norm\.weight: F32: found {bad} at \[17\]; expected finite numbers"
    for kind in ("Q4_K_M", "COPY"):
        with pytest.raises(FormatError, match=message):
            quantize(source, tmp_path / "out.gguf", kind)
    assert files(tmp_path) == {"bad.gguf"}


FINITE = {"F16": np.float16, "F32": np.float32, "F64": np.float64}


@pytest.mark.parametrize("fmt", ["F16", "BF16", "F32", "F64"])
def test_a_weight_far_inside_a_tensor_that_is_copied_is_looked_at(tmp_path, fmt):
    x = np.full((3, 3_000_001), np.finfo(np.float16).max, np.float32)
    x[2, 3_000_000] = np.nan
    data = (x.view(np.uint32) >> 16).astype(np.uint16) if fmt == "BF16" else x.astype(FINITE[fmt])
    gguf.write(tmp_path / "in.gguf", METADATA, [("blk.0.x.bias", x.shape, fmt, data)])
    with pytest.raises(FormatError, match=rf"tensor blk\.0\.x\.bias: {fmt}: found nan at \[2, 3000000\]"):
        quantize(tmp_path / "in.gguf", tmp_path / "out.gguf", "Q8_0")


@pytest.mark.parametrize("fmt", ["Q8_0", "Q4_K", "MXFP4"])
def test_scales_of_quantized_tensors_that_are_copied_are_looked_at(tmp_path, fmt):
    found = quants.by_name(fmt)
    data = np.zeros((2, found.row_bytes(512)), np.uint8)
    data[1, found.nbytes : 2 * found.nbytes] = 255
    gguf.write(tmp_path / "in.gguf", METADATA, [("blk.0.ffn_up.weight", (2, 512), fmt, data)])
    message = rf"tensor blk\.0\.ffn_up\.weight: {fmt}: found nan as a scale of block 1 in row 1; expected finite"
    with pytest.raises(FormatError, match=message):
        quantize(tmp_path / "in.gguf", tmp_path / "out.gguf", "COPY")


def test_integers_and_finite_numbers_are_copied_as_they_are(tmp_path):
    x = np.array([0, -0.0, 65504, -65504, 6e-8], np.float16)
    rows = [("a", (5,), "F16", x), ("b", (3,), "I32", np.array([-1, 0x7F800000, 1], np.int32)), ("c", (), "F32", x[:2])]
    gguf.write(tmp_path / "in.gguf", METADATA, rows)
    quantize(tmp_path / "in.gguf", tmp_path / "out.gguf", "Q4_K_M")
    assert contents(tmp_path / "out.gguf") == contents(tmp_path / "in.gguf")


@pytest.mark.parametrize("kind", ["Q4_K_M", "Q8_0"])
def test_copy_takes_every_tensor_as_it_is(source, tmp_path, kind):
    quantize(source, tmp_path / "q.gguf", kind)
    for path in (source, tmp_path / "q.gguf"):
        report = quantize(path, tmp_path / "out.gguf", "copy", overwrite=True)
        assert (report.mix, report.requantized) == ("COPY", ())
        assert contents(tmp_path / "out.gguf") == contents(path)
        with gguf.open(tmp_path / "out.gguf") as a, gguf.open(path) as b:
            assert a.metadata["general.file_type"] == b.metadata["general.file_type"]
    for options in (Options((("attn", "Q8_0"),)), Options(output="Q8_0"), Options(pure=True)):
        with pytest.raises(UsageError, match="type COPY: keeps every tensor as it is"):
            quantize(source, tmp_path / "out.gguf", "COPY", options=options, overwrite=True)


def matrix(**counts):
    """An importance matrix: for a weight (dots as __) counts of its matrices."""
    sizes = {name: x.shape for name, x in tensors().items()}
    entries = {}
    for key, n in counts.items():
        name = key.replace("__", ".")
        n = np.array(n)
        entries[name] = Entry((n[:, None] > 0) * np.ones((len(n), sizes.get(name, (COLUMNS,))[-1])), n)
    return ImportanceMatrix(entries)


def test_an_entry_without_a_count_is_refused_when_it_is_used(source, tmp_path):
    for zero in (matrix(blk__0__attn_v__weight=[5], blk__1__ffn_gate_exps__weight=[0, 0]),
                 ImportanceMatrix({"blk.1.ffn_gate_exps.weight": Entry(np.zeros((2, COLUMNS)), [3, 0])})):  # fmt: skip
        with pytest.raises(UsageError, match=r"matrix, blk\.1\.ffn_gate_exps\.weight: nothing was counted for it"):
            quantize(source, tmp_path / "out.gguf", "Q4_K_M", importance=zero)
    assert files(tmp_path) == {"source.gguf"}
    unused = matrix(blk__0__ffn_down__weight=[5], blk__1__ffn_gate_exps__weight=[0, 0])
    kept = Options((("ffn_gate_exps", "F16"),))
    quantize(source, tmp_path / "out.gguf", "Q4_K_M", importance=unused, options=kept)


def test_experts_without_a_count_are_told_of(source, tmp_path):
    found = matrix(blk__0__attn_v__weight=[5], blk__1__ffn_gate_exps__weight=[4, 0])
    report = quantize(source, tmp_path / "out.gguf", "Q4_K_M", importance=found)
    assert report.notes == (
        "importance matrix, blk.1.ffn_gate_exps.weight: nothing on 1 of 2 experts: their columns count alike",
    )


def test_importances_of_a_model_with_more_layers_are_refused(source, tmp_path):
    names = [f"blk.{i}.ffn_up.weight" for i in range(LAYERS + 1)]
    with pytest.raises(UsageError, match=r"has an entry blk\.3\.ffn_up\.weight, .* has 3 layers; .* another model"):
        quantize(source, tmp_path / "out.gguf", "Q4_K_M", importance=Importances(names))
    assert files(tmp_path) == {"source.gguf"}
    fewer = Importances([*names[:LAYERS], "blk.1.attn_q.weight"])
    report = quantize(source, tmp_path / "out.gguf", "Q4_K_M", importance=fewer)
    assert report.notes == ("importance matrix: the model lacks the tensors of 1 entries, from blk.1.attn_q.weight on",)


def test_importances_of_another_model_are_refused(source, tmp_path):
    with pytest.raises(UsageError, match=r"has no entry for any tensor of .*; it belongs to another model"):
        quantize(source, tmp_path / "out.gguf", "Q4_K_M", importance=Importances(["blk.99.ffn_up.weight"]))
    assert files(tmp_path) == {"source.gguf"}


def test_a_pattern_that_is_too_large_is_a_usage_error(source, tmp_path):
    with pytest.raises(UsageError, match="no regular expression"):
        quantize(source, tmp_path / "out.gguf", "Q8_0", options=Options((("x{99999999999}", "Q4_0"),)))


def test_a_float64_that_float32_cannot_hold_is_named_without_a_warning(tmp_path, recwarn):
    x = np.ones((4, 32))
    x[3, 7] = 1e300
    gguf.write(tmp_path / "in.gguf", METADATA, [("blk.0.ffn_up.weight", x.shape, "F64", x)])
    message = r"tensor blk\.0\.ffn_up\.weight, rows from 0 on: (Q8_0|F32): found 1e\+300 at \[3, 7\]; expected"
    for kind in ("Q8_0", "F32"):
        with pytest.raises(FormatError, match=message):
            quantize(tmp_path / "in.gguf", tmp_path / "out.gguf", kind)
    assert not recwarn.list


@pytest.mark.parametrize(("general", "rows", "message"), [
    ("imatrix", 1, "general.type is 'imatrix': an importance matrix, .*; expected a model"),
    ("adapter", 1, "general.type is 'adapter': an adapter, .*; expected a model"),
    ("model", 0, "has no tensors; expected a model"),
])  # fmt: skip
def test_files_that_are_no_models_are_refused(tmp_path, general, rows, message):
    table = [("blk.0.ffn_up.weight", (2, 256), "F32", np.ones((2, 256), np.float32))][:rows]
    gguf.write(tmp_path / "in.gguf", {**METADATA, "general.type": general}, table)
    for kind in ("F16", "Q8_0", "COPY"):
        for dry_run in (False, True):
            with pytest.raises(ModelError, match=message):
                quantize(tmp_path / "in.gguf", tmp_path / "out.gguf", kind, dry_run=dry_run)
    assert files(tmp_path) == {"in.gguf"}


def test_the_source_is_never_written_over(source):
    with pytest.raises(UsageError, match="is the file that is read"):
        quantize(source, source, "Q4_K_M", overwrite=True)


def test_a_source_that_changes_meanwhile_is_an_error(source, tmp_path):
    def touch(done, total, name):
        if name.startswith("blk.2"):
            os.utime(source, ns=(1, 1))

    with pytest.raises(GGUFError, match="was changed while it was read; nothing was written"):
        quantize(source, tmp_path / "out.gguf", "Q4_K_M", progress=touch)
    assert files(tmp_path) == {"source.gguf"}


def test_split_models_stay_split_or_become_one(tmp_path):
    whole = write_source(tmp_path / "source.gguf")
    gguf.split_model(whole, tmp_path / "parts", max_tensors=5)
    parts = sorted(tmp_path.glob("parts-*"))
    one = quantize(parts[0], tmp_path / "one.gguf", "Q4_K_M")
    many = quantize(parts[0], tmp_path / "many.gguf", "Q4_K_M", keep_split=True)
    assert len(one.paths) == 1 and len(many.paths) == len(parts) > 2
    assert contents(Path(many.paths[0])) == contents(Path(one.paths[0]))
    with gguf.open(parts[0]) as a, gguf.open(many.paths[0]) as b:
        assert [t.part for t in a.tensors.values()] == [t.part for t in b.tensors.values()]


def test_a_source_that_is_not_split_is_told_of_where_it_was_to_stay_split(source, tmp_path):
    report = quantize(source, tmp_path / "out.gguf", "Q8_0", keep_split=True)
    assert report.notes == ("--keep-split: the source is not split; the result is one file",)
    gguf.split_model(source, tmp_path / "parts", max_tensors=5)
    parts = min(tmp_path.glob("parts-*"))
    assert quantize(parts, tmp_path / "many.gguf", "Q8_0", keep_split=True).notes == ()


class Stop(BaseException):
    """Ctrl-C, at a chosen point."""


def stop_at(name):
    def progress(done, total, now):
        if now == name:
            raise Stop

    return progress


def test_an_interrupted_run_leaves_nothing(source, tmp_path):
    with pytest.raises(Stop):
        quantize(source, tmp_path / "out.gguf", "Q4_K_M", progress=stop_at("blk.1.ffn_down.weight"))
    assert files(tmp_path) == {"source.gguf"}


def again(source, target, **more):
    """A second run, and the tensors that it wrote."""
    written = []

    class Watched(gguf.Writer):
        def write(self, name, data):
            written.append(name)
            super().write(name, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgeq.quantize.run.Writer", Watched)
        report = quantize(source, target, "Q4_K_M", resume=True, **more)
    return report, written


@pytest.mark.parametrize("keep_split", [False, True])
def test_an_interrupted_run_is_gone_on_with(tmp_path, keep_split):
    source = write_source(tmp_path / "source.gguf")
    if keep_split:
        gguf.split_model(source, tmp_path / "parts", max_tensors=4)
        source = min(tmp_path.glob("parts-*"))
    plain = quantize(source, tmp_path / "plain.gguf", "Q4_K_M", keep_split=keep_split)
    before = files(tmp_path)
    with pytest.raises(Stop):
        quantize(source, tmp_path / "out.gguf", "Q4_K_M", resume=True, keep_split=keep_split,
                 progress=stop_at("blk.2.ffn_up.weight"))  # fmt: skip
    left = files(tmp_path) - before
    assert left and all(name.startswith(".out") for name in left)
    report, written = again(source, tmp_path / "out.gguf", keep_split=keep_split)
    assert written == [f"blk.2.{name}.weight" for name in ("ffn_up", "ffn_down", "ffn_gate_exps")]
    for ours, theirs in zip(report.paths, plain.paths):
        assert Path(ours).read_bytes() == Path(theirs).read_bytes()
    assert files(tmp_path) - before == {Path(p).name for p in report.paths}


def test_parts_with_long_names_do_not_share_a_file_in_the_making(tmp_path):
    gguf.split_model(write_source(tmp_path / "source.gguf"), tmp_path / "parts", max_tensors=4)
    source, name = min(tmp_path.glob("parts-*")), "a-model-with-a-name-of-more-than-forty-eight-characters-Q4_K_M"
    plain = quantize(source, tmp_path / "plain", "Q4_K_M", keep_split=True)
    with pytest.raises(Stop):
        quantize(source, tmp_path / name, "Q4_K_M", resume=True, keep_split=True,
                 progress=stop_at("blk.2.ffn_up.weight"))  # fmt: skip
    report = quantize(source, tmp_path / name, "Q4_K_M", resume=True, keep_split=True)
    assert [Path(p).read_bytes() for p in report.paths] == [Path(p).read_bytes() for p in plain.paths]


@pytest.mark.parametrize("damage", ["first tensor", "last tensor", "header", "journal", "gone", "short"])
def test_what_an_interrupted_run_left_is_checked(source, tmp_path, damage):
    quantize(source, tmp_path / "plain.gguf", "Q4_K_M")
    with pytest.raises(Stop):
        quantize(source, tmp_path / "out.gguf", "Q4_K_M", resume=True, progress=stop_at("blk.2.ffn_up.weight"))
    part, journal = tmp_path / ".out.gguf.part", tmp_path / ".out.gguf.journal"
    data = bytearray(part.read_bytes())
    with gguf.open(tmp_path / "plain.gguf") as g:
        places = {t.name: t.offset for t in g.tensors.values()}
    if damage == "gone":
        part.unlink()
    elif damage == "short":
        part.write_bytes(data[: places["blk.1.ffn_up.weight"] + 10])
    elif damage == "journal":
        journal.write_bytes(journal.read_bytes()[:-40])
    else:
        at = {"first tensor": "token_embd.weight", "last tensor": "blk.1.ffn_down.weight"}.get(damage)
        data[places[at] if at else 40] ^= 1
        part.write_bytes(data)
    again(source, tmp_path / "out.gguf")
    assert (tmp_path / "out.gguf").read_bytes() == (tmp_path / "plain.gguf").read_bytes()


@pytest.mark.parametrize("place", ["edgeq.quantize.run.__version__", "edgeq.quants.native._lib.path"])
def test_another_version_or_library_does_not_go_on_with_what_is_left(source, tmp_path, monkeypatch, place):
    with pytest.raises(Stop):
        quantize(source, tmp_path / "out.gguf", "Q4_K_M", resume=True, progress=stop_at("blk.2.ffn_up.weight"))
    (tmp_path / "other").write_bytes(b"a library")
    monkeypatch.setattr(place, "9.9" if "version" in place else lambda: str(tmp_path / "other"))
    _, written = again(source, tmp_path / "out.gguf")
    assert len(written) == len(tensors())


def test_another_type_does_not_go_on_with_what_is_left(source, tmp_path):
    with pytest.raises(Stop):
        quantize(source, tmp_path / "out.gguf", "Q5_K_M", resume=True, progress=stop_at("blk.2.ffn_up.weight"))
    quantize(source, tmp_path / "out.gguf", "Q4_K_M", resume=True)
    quantize(source, tmp_path / "plain.gguf", "Q4_K_M")
    assert (tmp_path / "out.gguf").read_bytes() == (tmp_path / "plain.gguf").read_bytes()
    assert files(tmp_path) == {"source.gguf", "out.gguf", "plain.gguf"}


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
def test_two_runs_for_one_file_do_not_mix(source, tmp_path):
    def second(done, total, name):
        with pytest.raises(UsageError, match="another run is writing it"):
            quantize(source, tmp_path / "out.gguf", "Q4_K_M", resume=True)

    quantize(source, tmp_path / "out.gguf", "Q4_K_M", resume=True, progress=second)
    quantize(source, tmp_path / "plain.gguf", "Q4_K_M")
    assert (tmp_path / "out.gguf").read_bytes() == (tmp_path / "plain.gguf").read_bytes()


def split(tmp_path):
    """A model in parts of 4 tensors, and what is in the folder then."""
    gguf.split_model(write_source(tmp_path / "source.gguf"), tmp_path / "parts", max_tensors=4)
    return min(tmp_path.glob("parts-*")), files(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("n", range(1, 11))
def test_a_resumed_run_killed_between_renames_is_gone_on_with(tmp_path, n):
    source, before = split(tmp_path)
    plain = quantize(source, tmp_path / "plain.gguf", "Q4_K_M", keep_split=True)
    old = quantize(source, tmp_path / "out.gguf", "Q8_0", keep_split=True) if n % 2 else None
    code = f"""
import os, signal, sys
from edgeq.quantize import quantize
real, calls = os.replace, []
def killed(*args):
    calls.append(args)
    if len(calls) == {n}:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args)
os.replace = killed
quantize(sys.argv[1], sys.argv[2], "Q4_K_M", keep_split=True, resume=True, overwrite={bool(old)})
"""
    words = [sys.executable, "-c", code, source, tmp_path / "out.gguf"]
    code = subprocess.run(list(map(str, words)), check=False).returncode
    assert code in (0, -signal.SIGKILL) and len(plain.paths) == 5
    if code:
        report, written = again(source, tmp_path / "out.gguf", keep_split=True, overwrite=bool(old))
        assert written == []
        for ours, theirs in zip(report.paths, plain.paths):
            assert Path(ours).read_bytes() == Path(theirs).read_bytes()
    assert len(files(tmp_path) - before) == 10 and not [name for name in files(tmp_path) if name.startswith(".")]


@pytest.mark.parametrize("resume", [False, True])
def test_parts_that_cannot_be_put_in_place_leave_the_old_model(tmp_path, monkeypatch, resume):
    source, _ = split(tmp_path)
    old = quantize(source, tmp_path / "out.gguf", "Q8_0", keep_split=True)
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    more = {"keep_split": True, "overwrite": True}

    def refused(a, b, real=os.replace):
        if a.endswith("out-00003-of-00005.gguf"):
            raise PermissionError(1, "Operation not permitted")
        real(a, b)

    with monkeypatch.context() as m:
        m.setattr(os, "replace", refused)
        with pytest.raises(GGUFError, match=r"out-00003-of-00005.gguf: cannot be written: .*; nothing was replaced"):
            quantize(source, tmp_path / "out.gguf", "Q4_K_M", resume=resume, **more)
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert (files(tmp_path) > before.keys()) if resume else (files(tmp_path) == before.keys())
    if resume:
        assert again(source, tmp_path / "out.gguf", **more)[1] == []
        assert files(tmp_path) == before.keys() and gguf.verify(old.paths[0]) == []


@pytest.mark.parametrize("ending", ["part", "journal"])
@pytest.mark.parametrize("kind", ["link", "link to nothing", "hard link", "folder", "fifo"])
def test_links_in_place_of_what_an_interrupted_run_left_are_refused(source, tmp_path, ending, kind):
    hidden, victim = tmp_path / f".out.gguf.{ending}", tmp_path / "victim"
    victim.write_bytes(b"precious")
    if kind.startswith("link"):
        hidden.symlink_to(victim.name if kind == "link" else "nothing")
    elif kind == "hard link":
        os.link(victim, hidden)
    elif kind == "folder":
        hidden.mkdir()
    elif hasattr(os, "mkfifo"):
        os.mkfifo(hidden)
    before = files(tmp_path)
    words = {"hard link": "is a file with 2 names", "folder": "no regular", "fifo": "no regular"}.get(kind, "symbolic")
    with pytest.raises(UsageError, match=rf"\.out\.gguf\.{ending}: .*{words}.*; remove it"):
        quantize(source, tmp_path / "out.gguf", "Q4_K_M", resume=True)
    assert files(tmp_path) == before and victim.read_bytes() == b"precious"


def test_a_part_that_is_a_link_to_the_source_does_not_overwrite_it(source, tmp_path):
    before = Path(source).read_bytes()
    os.link(source, tmp_path / ".out.gguf.part")
    with pytest.raises(UsageError, match="2 names"):
        quantize(source, tmp_path / "out.gguf", "Q4_K_M", resume=True)
    assert Path(source).read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
def test_a_run_without_resume_removes_what_an_interrupted_one_left(tmp_path):
    source, before = split(tmp_path)
    more = {"keep_split": True, "progress": stop_at("blk.2.ffn_up.weight")}
    with pytest.raises(Stop):
        quantize(source, tmp_path / "out.gguf", "Q4_K_M", resume=True, **more)
    left = files(tmp_path) - before
    with pytest.raises(Stop):  # one that fails does not
        quantize(source, tmp_path / "out.gguf", "Q4_K_M", **more)
    assert files(tmp_path) - before == left
    report = quantize(source, tmp_path / "out.gguf", "Q4_K_M", keep_split=True)
    assert files(tmp_path) - before == {Path(p).name for p in report.paths}


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
def test_a_run_without_resume_lets_another_one_go_on(source, tmp_path):
    def second(done, total, name):
        if name == "blk.1.ffn_up.weight":
            quantize(source, tmp_path / "out.gguf", "Q8_0", overwrite=True)
            assert {".out.gguf.part", ".out.gguf.journal"} < files(tmp_path)

    quantize(source, tmp_path / "out.gguf", "Q4_K_M", resume=True, overwrite=True, progress=second)
    quantize(source, tmp_path / "plain.gguf", "Q4_K_M")
    assert (tmp_path / "out.gguf").read_bytes() == (tmp_path / "plain.gguf").read_bytes()
    assert files(tmp_path) == {"source.gguf", "out.gguf", "plain.gguf"}


@pytest.mark.parametrize("call", ["write", "posix_fallocate", "first tensor"])
def test_a_resumed_run_that_has_written_nothing_leaves_no_hidden_files(source, tmp_path, monkeypatch, call):
    def full(*args):
        raise OSError(28, "No space left on device")

    if call != "first tensor":
        monkeypatch.setattr(os, call, full, raising=False)
    with pytest.raises((GGUFError, Stop)):
        quantize(source, tmp_path / "out.gguf", "Q4_K_M", resume=True, progress=stop_at("token_embd.weight"))
    assert files(tmp_path) == {"source.gguf"}


def test_a_resumed_run_that_starts_anew_and_has_written_nothing_leaves_no_hidden_files(source, tmp_path):
    for kind, name in (("Q5_K_M", "blk.2.ffn_up.weight"), ("Q4_K_M", "token_embd.weight")):
        with pytest.raises(Stop):
            quantize(source, tmp_path / "out.gguf", kind, resume=True, progress=stop_at(name))
    assert files(tmp_path) == {"source.gguf"}


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="space is not reserved there")
@pytest.mark.parametrize("kind", ["Q4_K_M", "Q8_0"])
def test_a_full_disk_takes_nothing_of_an_earlier_run(source, tmp_path, monkeypatch, kind):
    with pytest.raises(Stop):
        quantize(source, tmp_path / "out.gguf", "Q4_K_M", resume=True, progress=stop_at("blk.2.ffn_up.weight"))

    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as m:
        m.setattr(os, "posix_fallocate", full)
        with pytest.raises(GGUFError, match="No space left"):
            quantize(source, tmp_path / "out.gguf", kind, resume=True)
    assert len(again(source, tmp_path / "out.gguf")[1]) == 3


CHILD = """
import resource, sys
from edgeq.quantize import quantize
if sys.argv[3] != "0":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
for _ in range(int(sys.argv[4])):
    quantize(sys.argv[1], sys.argv[2], "Q4_K_M", overwrite=True, resume=sys.argv[5] == "1", progress=lambda *a: None)
"""


def child(source, target, limit=0, times=1, resume=False):
    words = [sys.executable, "-c", CHILD, source, target, limit, times, int(resume)]
    return subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("resume", [False, True])
def test_killed_runs_never_leave_a_broken_file(source, tmp_path, resume):
    plain = tmp_path / "plain.gguf"
    quantize(source, plain, "Q4_K_M")
    target = tmp_path / "out.gguf"
    rng = random.Random(1)
    for _ in range(12):
        process = child(source, target, times=200, resume=resume)
        time.sleep(0.25 + rng.random() * 0.5)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if target.exists():
            assert target.read_bytes() == plain.read_bytes()
    quantize(source, target, "Q4_K_M", overwrite=True, resume=resume)
    assert target.read_bytes() == plain.read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
@pytest.mark.parametrize("limit", [100, 5000, 200_000])
def test_a_full_disk_is_an_error_and_leaves_nothing(source, tmp_path, limit):
    code = f"import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n{CHILD}"
    words = [sys.executable, "-c", code, source, tmp_path / "out.gguf", limit, 1, 0]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "GGUFError" in done.stderr and "cannot be written" in done.stderr
    assert files(tmp_path) == {"source.gguf"}


def test_memory_does_not_grow_with_a_tensor(tmp_path):
    shape = (40_000, 1024)  # 82 MB as F16, 164 MB as float32
    path = tmp_path / "large.gguf"
    chunk = np.zeros((1000, 1024), np.float16)
    with gguf.Writer(path, METADATA, [gguf.tensor_info("token_embd.weight", shape, "F16")]) as w:
        w.write("token_embd.weight", (chunk for _ in range(40)))
    tracemalloc.start()
    quantize(path, tmp_path / "out.gguf", "Q8_0", threads=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6


def test_patterns_reach_the_file(source, tmp_path):
    options = Options(overrides=(("ffn_down", "Q8_0"),), embedding="Q6_K")
    quantize(source, tmp_path / "out.gguf", "Q4_K_M", options=options)
    with gguf.open(tmp_path / "out.gguf") as g:
        assert g.tensors["blk.1.ffn_down.weight"].format.name == "Q8_0"
        assert g.tensors["token_embd.weight"].format.name == "Q6_K"


def test_importances_of_an_earlier_quantization_are_not_claimed(source, tmp_path):
    w = Importances(name for name in tensors() if name.startswith("blk."))
    quantize(source, tmp_path / "q8.gguf", "Q8_0", importance=w, importance_file="im.gguf")
    quantize(tmp_path / "q8.gguf", tmp_path / "out.gguf", "Q4_K_M", allow_requantize=True)
    with gguf.open(tmp_path / "out.gguf") as g:
        assert not [key for key in g.metadata if key.startswith("quantize.imatrix.")]


def test_importances_stay_named_while_every_tensor_is_as_it_was(source, tmp_path):
    w = Importances(name for name in tensors() if name.startswith("blk."))
    quantize(source, tmp_path / "q4.gguf", "Q4_K_M", importance=w, importance_file="im.gguf")
    for kind in ("COPY", "Q4_K_M"):
        quantize(tmp_path / "q4.gguf", tmp_path / f"{kind}.gguf", kind)
        with gguf.open(tmp_path / "q4.gguf") as a, gguf.open(tmp_path / f"{kind}.gguf") as b:
            assert b.metadata["quantize.imatrix.file"] == "im.gguf"
            assert dict(a.metadata) == dict(b.metadata)


@pytest.mark.parametrize("kind", ["COPY", "F16", "BF16", "F32"])
@pytest.mark.parametrize("dry_run", [False, True])
def test_importances_that_change_nothing_are_refused_and_not_recorded(source, tmp_path, kind, dry_run):
    for w in (Importances(name for name in tensors() if name.startswith("blk.")), Importances(["another.weight"])):
        with pytest.raises(UsageError, match=r"matrix: no tensor is quantized, so importances change nothing; leave"):
            quantize(source, tmp_path / "out.gguf", kind, importance=w, importance_file="im.gguf", dry_run=dry_run)
    assert files(tmp_path) == {"source.gguf"}


def test_importances_without_an_entry_for_what_is_quantized_are_refused(source, tmp_path):
    w = Importances(name for name in tensors() if name.startswith("blk."))
    options = Options(embedding="Q8_0")
    with pytest.raises(UsageError, match=r"has no entry for token_embd\.weight, and nothing else that is quantized"):
        quantize(source, tmp_path / "out.gguf", "F16", importance=w, options=options)
    assert files(tmp_path) == {"source.gguf"}
    w = Importances([*w.entries, "token_embd.weight"])
    report = quantize(source, tmp_path / "out.gguf", "F16", importance=w, options=options)
    assert "token_embd.weight" in {r.choice.name for r in report.results if r.weighted}


def test_a_run_that_ends_while_it_looks_at_what_is_left_loses_nothing(source, tmp_path, monkeypatch):
    with pytest.raises(Stop):
        quantize(source, tmp_path / "out.gguf", "Q4_K_M", resume=True, progress=stop_at("blk.2.ffn_up.weight"))
    journal = next(tmp_path.glob(".out*.journal")).read_text()

    def killed(self, digest):
        raise Stop

    monkeypatch.setattr("edgeq.gguf.writer.Writer._taken_up", killed)
    with pytest.raises(Stop):
        quantize(source, tmp_path / "out.gguf", "Q4_K_M", resume=True)
    assert next(tmp_path.glob(".out*.journal")).read_text() == journal
