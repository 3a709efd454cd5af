"""`edgeq imatrix` as a person and a program meet it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq import _lib, cli, imatrix
from edgeq.imatrix import Collector, Entry, ImportanceMatrix, builtin
from tests.small import tiny

needs_backend = pytest.mark.skipif(not _lib.available(), reason="the command runs on the native backend")


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)

    def run_it(*words: Any) -> tuple[int, str, str]:
        code = cli.main(["imatrix", *map(str, words)])
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return run_it


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "text").write_text("The river froze twice that year. Nobody complained.\n" * 30)
    return tiny("llama3")


def made(path: str, sums: Any = (2.0, 8.0), tokens: int = 512, **more: Any) -> str:
    ImportanceMatrix({"blk.0.w": Entry(sums, [tokens])}, [path], 1, 512).save(path, **more)
    return path


@needs_backend
def test_a_matrix_is_collected_and_reported(call: Any, model: Path) -> None:
    code, out, err = call(model, "text", "-o", "im.gguf", "--chunk-size", 40, "--chunks", 3, "-t", 1)
    assert (code, out) == (0, "")
    assert "wrote im.gguf: 14 weights, 3 chunks of 40 tokens, from text\n" in err
    assert "warning: 120 tokens were counted at most" in err
    found = imatrix.load("im.gguf")
    assert (found.chunk_count, found.chunk_size, found.datasets) == (3, 40, ["text"])
    assert set(found.entries) == {
        f"blk.{i}.{n}.weight" for i in (0, 1)
        for n in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    }  # fmt: skip

    code, out, err = call(model, "text", "text", "-o", "im.dat", "--chunk-size", 40, "--chunks", 3, "-t", 1,
                          "--from-chunk", 1, "--output-weight", "--json")  # fmt: skip
    facts = json.loads(out)
    assert code == 0 and facts["chunk_count"] == 3 and facts["datasets"] == ["text", "text"]
    assert facts["tensors"][-1]["name"] == "token_embd.weight" and facts["tensors"][-1]["tokens"] == 120
    assert Path("im.dat").read_bytes()[:4] != b"GGUF"


@needs_backend
def test_without_a_text_the_one_that_comes_with_edgeq_is_run(call: Any, model: Path) -> None:
    assert call(model, "-o", "im.gguf", "--chunk-size", 20, "--chunks", 1)[0] == 0
    assert imatrix.load("im.gguf").datasets == [builtin.NAME]


@needs_backend
def test_an_earlier_matrix_is_added(call: Any, model: Path) -> None:
    words = (model, "text", "--chunk-size", 40, "-t", 1)
    assert call(*words, "-o", "a", "--chunks", 2)[0] == 0
    assert call(*words, "-o", "b", "--chunks", 2, "--from-chunk", 2, "--merge", "a", "--save-frequency", 1)[0] == 0
    assert call(*words, "-o", "c", "--chunks", 4)[0] == 0
    both, all_at_once = imatrix.load("b"), imatrix.load("c")
    assert both.chunk_count == 4
    for name, entry in all_at_once.entries.items():
        assert np.allclose(both.entries[name].sums, entry.sums, rtol=1e-5), name


@needs_backend
@pytest.mark.parametrize(
    ("frequency", "left"), [(None, "no incomplete file is left"), (3, "im holds the first 3 chunks")]
)
def test_after_an_interrupt_it_is_said_what_is_there(
    call: Any, model: Path, frequency: int | None, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = Collector.add

    def interrupted(self: Collector, tokens: Any, **more: Any) -> None:
        if self.chunks == 5:
            raise KeyboardInterrupt
        add(self, tokens, **more)

    monkeypatch.setattr(Collector, "add", interrupted)
    words = ["--save-frequency", frequency] if frequency else []
    code, out, err = call(model, "text", "-o", "im", "--chunk-size", 20, *words)
    assert (code, out) == (cli.INTERRUPTED, "") and err.endswith(f"interrupted; {left}\n")


@needs_backend
@pytest.mark.parametrize("frequency", [None, 2])
def test_after_an_interrupt_there_is_what_was_complete(
    call: Any, model: Path, frequency: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = Collector.add

    def interrupted(self: Collector, tokens: Any, **more: Any) -> None:
        if self.chunks == 3:
            raise KeyboardInterrupt
        add(self, tokens, **more)

    monkeypatch.setattr(Collector, "add", interrupted)
    words = ["--save-frequency", frequency] if frequency else []
    assert call(model, "text", "-o", "im", "--chunk-size", 20, *words)[0] == cli.INTERRUPTED
    if frequency:
        assert imatrix.load("im").chunk_count == 2
    assert sorted(os.listdir()) == (["im", "text"] if frequency else ["text"])


@needs_backend
def test_what_stands_in_the_way_is_found_before_the_work(
    call: Any, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Collector, "add", lambda *_, **__: pytest.fail("worked"))
    Path("old").write_text("x")
    for words, message in (
        ((model, "text"), "-o OUT is missing"),
        ((model, "text", "-o", "old"), "old: exists already"),
        ((model, "text", "-o", "text", "--overwrite"), "text: is the file that is read"),
        ((model, "text", "-o", "none/new"), "none/new: cannot be written: No such file or directory"),
        ((model, "text", "-o", "text/new"), "text/new: cannot be written: Not a directory"),
        ((model, "text", "-o", "n" * 300), "too long for the filesystem"),
        ((model, "text", "-o", "new", "--merge", "old"), "old: byte 0: number of entries"),
        ((model, "nothing", "-o", "new"), "text nothing: No such file"),
        ((model, "text", "-o", "new", "--chunk-size", 99999), "a chunk has 99999"),
        (("missing.gguf", "-o", "new"), "missing.gguf"),
        ((), "MODEL is missing"),
    ):
        code, out, err = call(*words)
        assert (code, out) == (2, "") and message in err, words
    assert not Path("new").exists()


@needs_backend
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="Linux: a limit over what is in use")
def test_a_text_without_an_end_is_refused(call: Any, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeq.cli.imatrix.TEXT_MAX", 1 << 20, raising=False)
    resource = pytest.importorskip("resource")
    old = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as found:
        here = int(found.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (here + (256 << 20), old[1]))
    try:
        code, out, err = call(model, "/dev/zero", "-o", "new")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, old)
    assert (code, out) == (2, "") and "text /dev/zero: over 1 MiB; give a part of it" in err
    assert not Path("new").exists()


def test_files_are_merged_without_a_model(call: Any) -> None:
    a, b, c = made("a.gguf"), made("b.dat", (4.0, 4.0)), made("c.gguf")
    for words in (("--merge", a, b, c), ("--merge", a, "--merge", b, "--merge", c)):
        code, out, err = call(*words, "-o", "all.gguf", "--overwrite")
        assert (code, out) == (0, "") and "wrote all.gguf: 1 weights, 3 chunks of 512" in err
        found = imatrix.load("all.gguf")
        assert found.entries["blk.0.w"].sums.tolist() == [[8, 20]]
        assert found.datasets == ["a.gguf", "b.dat", "c.gguf"]
    code, _, err = call("--merge", a, b, "-o", a, "--overwrite")
    assert code == 2 and "a.gguf: is the file that is read" in err
    made("d.gguf", (1.0,))
    code, _, err = call("--merge", a, "d.gguf", "-o", "no")
    assert code == 2 and "blk.0.w: 1 x 2 and 1 x 1 values" in err and not Path("no").exists()


def test_matrices_of_other_weights_are_merged_with_a_warning(call: Any) -> None:
    ImportanceMatrix({f"blk.{i}.w": Entry([1.0, 2.0], [512]) for i in range(3)}).save("a.gguf")
    code, _, err = call("--merge", "a.gguf", made("b.gguf"), "-o", "all.gguf")
    assert code == 0 and len(imatrix.load("all.gguf").entries) == 3
    assert "warning: b.gguf: no entry for 2 of the 3 weights that others have, from blk.1.w on" in err
    assert "a.gguf: no entry" not in err


def test_an_entry_without_a_count_is_shown_with_a_warning(call: Any) -> None:
    ImportanceMatrix({"blk.0.w": Entry([1.0, 2.0], [0])}).save("a.gguf")
    for words in (("--show", "a.gguf"), ("--merge", "a.gguf", "a.gguf", "-o", "b.gguf")):
        code, _, err = call(*words)
        assert code == 0 and "warning: nothing was counted for blk.0.w; edgeq quantize refuses" in err


def test_a_file_is_converted(call: Any) -> None:
    made("a.gguf", tokens=100)
    assert call("--convert", "a.gguf", "-o", "a.dat")[0] == 0
    assert call("--convert", "a.dat", "-o", "again.gguf", "--chunk-size", 100)[0] == 0
    found = imatrix.load("again.gguf")
    assert found.chunk_size == 100 and found.entries["blk.0.w"].counts.tolist() == [100]
    assert call("--convert", "a.gguf", "-o", "odd", "--output-format", "dat")[0] == 0
    assert Path("odd").read_bytes() == Path("a.dat").read_bytes()
    assert "exists already" in call("--convert", "a.gguf", "-o", "odd")[2]


def test_options_that_count_for_nothing_are_refused(call: Any) -> None:
    a, b = made("a.gguf"), made("b.gguf")
    for options in (("--chunks", 3), ("--from-chunk", 1), ("--output-weight",), ("--parse-special",),
                    ("--save-frequency", 2), ("--threads", 1)):  # fmt: skip
        for words in (("--show", a), ("--convert", a, "-o", "c.dat"), ("--merge", a, "--merge", b, "-o", "c.gguf"),
                      ("--merge", a, b, "-o", "c.gguf")):  # fmt: skip
            code, out, err = call(*words, *options)
            assert (code, out) == (2, "") and f"{options[0]}: of no use, as no model is run; leave it out" in err
    for options in (("-o", "c.gguf"), ("--output-format", "dat"), ("--overwrite",)):
        code, out, err = call("--show", a, *options)
        assert (code, out) == (2, "") and ": of no use, as --show writes no file; leave it out" in err
    for words in (("--show", a), ("--convert", a, "-o", "c.dat"), ("--merge", a, b, "-o", "c.gguf")):
        code, out, err = call(*words, "--chunk-size", 100)
        assert (code, out) == (2, "") and "--chunk-size: of no use, as a GGUF file says how long its chunks are" in err
    assert "--output, --overwrite: of no use" in call("--show", a, "-o", "c.gguf", "--overwrite")[2]
    assert sorted(os.listdir()) == ["a.gguf", "b.gguf"]


def test_statistics_are_shown(call: Any) -> None:
    made("a\x1b[2J.gguf", (0.0, 512.0))
    code, out, err = call("--show", "a\x1b[2J.gguf")
    lines = out.splitlines()
    assert code == 0 and lines[0] == "1 weights, 1 chunk of 512 tokens, from a\\x1b[2J.gguf"
    assert lines[2].split()[:4] == ["tensor", "columns", "tokens", "mean"]
    assert lines[3].split() == ["blk.0.w", "2", "512", "0.5", "0", "1", "0.5", "50.0%", "0.00", "100.0%", "100.0%"]
    assert "warning: 512 tokens" in err and "always zero in blk.0.w (50 %)" in err

    facts = json.loads(call("--show", "a\x1b[2J.gguf", "--json")[1])
    assert facts["tensors"][0]["maximum"] == 1 and len(facts["warnings"]) == 2
    for words in (("--show", "a", "model"), ("--show", "a", "--merge", "b"), ("--show", "a", "--convert", "b")):
        assert "take one file each" in call(*words)[2]
    assert call("--show", "missing")[0] == 2


@needs_backend
def test_a_model_is_no_matrix(call: Any, model: Path) -> None:
    code, _, err = call("--show", model)
    assert code == 2 and "general.type is" in err and "this is no importance matrix" in err
