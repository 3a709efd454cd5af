"""`edgeq quantize`: words, options, and what it says."""

from __future__ import annotations

import json
import os
import re
import signal
import struct
import subprocess
import sys
from typing import ClassVar

import numpy as np
import pytest

from edgeq import cli, gguf
from edgeq.pull.progress import Silent
from tests.quantize.shapes import model, write_model


@pytest.fixture
def narrow(tmp_path):
    """Rows that do not divide into blocks of 256."""
    path = tmp_path / "narrow.gguf"
    write_model(path, model("llama", 2, 9, 3, columns=576, down=1536, tied=True))
    return path


def run(capsys, *words):
    code = cli.main(["quantize", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def formats(path):
    with gguf.open(path) as g:
        return {t.name: t.format.name for t in g.tensors.values()}


def write_dat(path, **entries):
    out = struct.pack("<i", len(entries))
    for name, n in entries.items():
        data = name.replace("__", ".").encode()
        out += struct.pack("<i", len(data)) + data + struct.pack("<ii", 1, n) + struct.pack(f"<{n}f", *[1.0] * n)
    path.write_bytes(out + struct.pack("<ii", 1, 4) + b"ones")
    return path


def test_the_result_stands_beside_the_source_unless_told(narrow, capsys):
    assert run(capsys, narrow, "q4_k_m")[0] == 0
    assert formats(narrow.with_name("narrow-Q4_K_M.gguf"))["blk.1.ffn_down.weight"] == "Q6_K"
    assert run(capsys, narrow, narrow.with_name("x.gguf"), "Q8_0")[0] == 0
    assert set(formats(narrow.with_name("x.gguf")).values()) == {"Q8_0", "F32"}


def test_every_fallback_is_said(narrow, capsys):
    _, out, err = run(capsys, narrow, "Q4_K_M")
    assert out == ""
    assert "11 tensors: rows of 576 are not whole blocks of 256: Q5_0 instead of Q4_K" in err
    assert "\n1 tensor: rows of 576 are not whole blocks of 256: Q8_0 instead of Q6_K" in err
    assert "bits a weight (11 Q5_0, 2 Q8_0, 1 Q4_K, 1 Q6_K)" in err


def test_a_dry_run_shows_a_table_and_writes_nothing(narrow, capsys, tmp_path):
    code, out, err = run(capsys, narrow, "Q4_K_M", "--dry-run")
    assert code == 0 and "would write" in err
    head, *rows = out.splitlines()
    assert head.split() == ["shape", "from", "to", "bytes", "error", "tensor"]
    assert len(rows) == 20
    assert any("blk.0.attn_q.weight  rows of 576 are not whole blocks of 256 (Q4_K)" in row for row in rows)
    assert [p.name for p in tmp_path.iterdir()] == ["narrow.gguf"]


def test_a_dry_run_says_that_its_errors_are_estimates(capsys, tmp_path):
    x = np.ones((5000, 64), np.float16)
    rows = [(f"blk.0.ffn_{name}.weight", x[:n].shape, "F16", x[:n]) for name, n in (("up", 5000), ("down", 100))]
    gguf.write(tmp_path / "in.gguf", {"general.architecture": "llama", "llama.block_count": gguf.Value("u32", 1)}, rows)
    _, out, err = run(capsys, tmp_path / "in.gguf", "Q4_0", "--dry-run")
    assert [row.split()[-3] for row in out.splitlines()[1:]] == ["~0.00", "0.00"]
    assert "~: an estimate from 4096 rows spread over the tensor; what is not finite elsewhere goes unseen" in err
    facts = json.loads(run(capsys, tmp_path / "in.gguf", "Q4_0", "--dry-run", "--json")[1])
    assert [t["error_rows"] for t in facts["tensors"]] == [4096, 100]
    facts = json.loads(run(capsys, tmp_path / "in.gguf", "Q4_0", "--json")[1])
    assert [t["error_rows"] for t in facts["tensors"]] == [256 + 57, 7]


def test_json(narrow, capsys):
    code, out, _ = run(capsys, narrow, "Q3_K_M", "--json")
    facts = json.loads(out)
    assert code == 0 and facts["mix"] == "Q3_K_M" and facts["files"] == [str(narrow.with_name("narrow-Q3_K_M.gguf"))]
    assert facts["fallbacks"] == 12
    row = next(t for t in facts["tensors"] if t["name"] == "blk.1.attn_k.weight")
    assert (row["from"], row["to"], row["fallback_from"], row["importance"]) == ("F16", "Q4_0", "Q3_K", False)


def test_patterns_from_the_line_come_before_those_of_a_file(narrow, capsys, tmp_path):
    (tmp_path / "types.txt").write_text("attn=Q8_0 ffn_up=Q4_1\nffn_down=Q5_K\n")
    options = ["--tensor-type", "attn_q=F16", "--tensor-type-file", tmp_path / "types.txt", "--embedding-type", "Q5_0"]
    assert run(capsys, narrow, "Q4_K_M", *options)[0] == 0
    found = formats(narrow.with_name("narrow-Q4_K_M.gguf"))
    assert found["blk.0.attn_q.weight"] == "F16"
    assert found["blk.0.attn_k.weight"] == "Q8_0"
    assert found["blk.1.ffn_up.weight"] == "Q4_1"
    assert found["blk.1.ffn_down.weight"] == "Q5_K"
    assert found["token_embd.weight"] == "Q5_0"


def test_a_file_of_patterns_that_is_too_long_is_not_cut(narrow, capsys, tmp_path):
    (tmp_path / "types.txt").write_text("attn_q=F16\n" * 100_000)
    code, _, err = run(capsys, narrow, "Q4_K_M", "--tensor-type-file", tmp_path / "types.txt")
    assert code == 2 and "types.txt: over 1048576 characters" in err


def test_a_word_of_a_file_that_is_no_pattern_is_named_with_its_line(narrow, capsys, tmp_path):
    (tmp_path / "types.txt").write_text("attn_q=F16 ffn_up=Q4_1\r\n\n# comment\n")
    code, out, err = run(capsys, narrow, "Q4_K_M", "--tensor-type-file", tmp_path / "types.txt")
    assert (code, out, err) == (2, "", f"edgeq: {tmp_path / 'types.txt'}, line 3: #: expected PATTERN=TYPE\n")


def test_a_file_of_patterns_that_cannot_be_read_is_named_with_its_option(narrow, capsys, tmp_path):
    for name in (tmp_path / "none", tmp_path):
        code, out, err = run(capsys, narrow, "Q4_K_M", "--tensor-type-file", name)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert f"--tensor-type-file {name}: " in err and "expected the name of a file of PATTERN=TYPE words" in err


def test_importance_matrices_of_llama_cpp_serve(narrow, capsys, tmp_path):
    dat = write_dat(tmp_path / "im.dat", blk__0__attn_q__weight=576, blk__0__ffn_down__weight=1536)
    code, out, err = run(capsys, narrow, "Q4_K_M", "--imatrix", dat, "--json")
    assert code == 0
    weighted = {t["name"] for t in json.loads(out)["tensors"] if t["importance"]}
    assert weighted == {"blk.0.attn_q.weight", "blk.0.ffn_down.weight"}
    assert "im.dat: nothing on 12 tensors, from blk.0." in err


def test_patterns_that_fit_nothing_are_not_passed_over_in_silence(narrow, capsys):
    words = (narrow, "Q8_0", "--dry-run", "--tensor-type", "ATTN_Q=q5_0", "--tensor-type", "attn_w=Q4_0")
    code, out, err = run(capsys, *words)
    assert code == 0 and err.splitlines()[0] == "tensor types that fit no tensor: attn_w=Q4_0"
    assert any(row.split()[3:] and "Q5_0" in row and "attn_q" in row for row in out.splitlines())
    assert json.loads(run(capsys, *words, "--json")[1])["notes"] == ["tensor types that fit no tensor: attn_w=Q4_0"]


def test_options_that_no_tensor_takes_are_not_passed_over_in_silence(narrow, capsys):
    code, out, err = run(capsys, narrow, "F16", "--output-type", "Q8_0", "--keep-split", "--json")
    option, split = json.loads(out)["notes"]
    assert code == 0 and err.splitlines()[:2] == [option, split]
    assert option.startswith("--output-type Q8_0: no tensor takes it: ") and split.startswith("--keep-split: ")


def test_the_name_of_a_part_is_not_in_that_of_the_result(narrow, capsys, tmp_path):
    gguf.split_model(narrow, tmp_path / "sp", max_tensors=8)
    first = min(tmp_path.glob("sp-*"))
    assert run(capsys, first, "Q8_0", "--keep-split")[0] == 0
    assert run(capsys, first, "copy")[0] == 0
    assert run(capsys, first, "7", "--overwrite")[0] == 0
    expected = {f"sp{kind}-0000{i}-of-00003.gguf" for i in (1, 2, 3) for kind in ("", "-Q8_0")}
    found = {p.name for p in tmp_path.iterdir()} - {"narrow.gguf"}
    assert found == expected | {"sp-Q8_0.gguf", "sp-COPY.gguf"}


class Bar(Silent):
    """Remembers what a bar was told."""

    told: ClassVar[list] = []

    def start(self, label, done, total):
        self.told.append(("start", done, total))

    def update(self, done):
        self.told.append(("update", done))

    def name(self, label):
        self.told.append(("name", label))


def test_one_bar_runs_over_the_whole_file(narrow, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("edgeq.pull.progress.Bar", Bar)
    monkeypatch.setattr(Bar, "told", told := [])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert run(capsys, narrow, "Q8_0")[0] == 0
    with gguf.open(narrow) as g:
        sizes = {t.name: t.nbytes for t in g.tensors.values()}
    done = [word[1] for word in told if word[0] == "update"]
    assert [word for word in told if word[0] == "start"] == [("start", 0, sum(sizes.values()))]
    assert done == sorted(done) and done[-1] == sum(sizes.values())
    assert {word[1] for word in told if word[0] == "name"} | {"token_embd.weight", "output_norm.weight"} == set(sizes)


END = """
import os, signal, sys
from edgeq import cli
from edgeq.cli.quantize import _Progress
number = getattr(signal, sys.argv[1])

def call(self, done, total, name):
    if name == "blk.1.ffn_down.weight":
        assert [n for n in os.listdir(os.path.dirname(sys.argv[3])) if n.startswith(".")]
        os.kill(os.getpid(), number)

_Progress.__call__ = call
sys.exit(cli.main(["quantize", *sys.argv[3:]]))
"""


def ended(number, *words):
    """edgeq quantize that gets a signal when the last tensor but some is at work; its exit code and stderr."""
    done = subprocess.run([sys.executable, "-c", END, number, "", *map(str, words)], capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_leaves_no_hidden_part_file(narrow, tmp_path, number, code):
    assert ended(number, narrow, tmp_path / "out.gguf", "Q8_0") == (code, "interrupted; no incomplete file is left\n")
    assert os.listdir(tmp_path) == ["narrow.gguf"]


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_signal_leaves_what_can_be_gone_on_with(narrow, capsys, tmp_path, number):
    words = (narrow, tmp_path / "out.gguf", "Q8_0", "--resume")
    assert ended(number, *words)[1] == "interrupted; run it again to go on from there\n"
    assert {".out.gguf.part", ".out.gguf.journal"} < set(os.listdir(tmp_path))
    done = len((tmp_path / ".out.gguf.journal").read_text().splitlines()) - 1
    assert done > 10
    assert run(capsys, *words)[0] == 0
    assert run(capsys, narrow, tmp_path / "plain.gguf", "Q8_0")[0] == 0
    assert (tmp_path / "out.gguf").read_bytes() == (tmp_path / "plain.gguf").read_bytes()


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_what_a_killed_run_left_is_removed_by_the_next(narrow, capsys, tmp_path):
    words = (narrow, tmp_path / "out.gguf", "Q8_0")
    assert ended("SIGKILL", *words)[0] == -signal.SIGKILL
    assert len([name for name in os.listdir(tmp_path) if name.startswith(".out.gguf.part-")]) == 1
    assert run(capsys, *words)[0] == 0
    assert sorted(os.listdir(tmp_path)) == ["narrow.gguf", "out.gguf"]


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_signals_are_handled_as_before_when_a_command_has_ended(capsys):
    before = signal.getsignal(signal.SIGTERM)
    run(capsys, "a.gguf")
    assert signal.getsignal(signal.SIGTERM) is before
    ignoring = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    try:
        with cli.tidy_end():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, ignoring)


def test_importances_of_another_width_are_refused(narrow, capsys, tmp_path):
    dat = write_dat(tmp_path / "im.dat", blk__0__attn_q__weight=512)
    code, _, err = run(capsys, narrow, "Q4_K_M", "--imatrix", dat)
    assert code == 2 and "blk.0.attn_q.weight: expected 1 x 576 values, found 1 x 512" in err


def test_few_bits_without_importances_are_warned_of(narrow, capsys):
    _, _, err = run(capsys, narrow, "IQ2_XS")
    assert "2 tensors of very few bits have no importances: expect little of them" in err


def test_quantizing_again_warns_of_what_it_loses(narrow, capsys):
    run(capsys, narrow, "Q8_0")
    q8 = narrow.with_name("narrow-Q8_0.gguf")
    code, _, err = run(capsys, q8, "Q4_0")
    assert code == 2 and "is Q8_0 already" in err
    code, _, err = run(capsys, q8, "Q4_0", "--allow-requantize")
    assert code == 0 and "tensors were quantized before: their errors add to those named here" in err


def test_quantizing_again_says_how_much_it_loses_now(capsys, tmp_path):
    x = np.random.default_rng(1).standard_normal((300, 64)).astype(np.float16)
    rows = [(f"blk.0.ffn_{name}.weight", x.shape, "F16", x) for name in ("up", "down")]
    gguf.write(tmp_path / "in.gguf", {"general.architecture": "llama", "llama.block_count": gguf.Value("u32", 1)}, rows)
    assert run(capsys, tmp_path / "in.gguf", tmp_path / "q8.gguf", "Q8_0")[0] == 0
    words = (tmp_path / "q8.gguf", "Q4_0", "--allow-requantize", "--tensor-type", "up=Q2_0")
    for more in ((), ("--dry-run",), ("--overwrite", "--json")):
        code, out, err = run(capsys, *words, *more)
        found = re.search(
            r"2 tensors were quantized before: their errors add to those named here, ([\d.]+) % of what was stored on "
            r"average, ([\d.]+) % at most \(blk.0.ffn_up.weight\)", err)  # fmt: skip
        mean, most = map(float, found.groups())
        assert code == 0 and 15 < mean < most < 60
    errors = [t["relative_error"] for t in json.loads(out)["tensors"]]
    assert mean == round(100 * sum(errors) / 2, 2) and most == round(100 * max(errors), 2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.gguf"], "expected IN [OUT] TYPE, found 1 words"),
        (["a.gguf", "Q9"], "type Q9: expected one of F32"),
        (["missing.gguf", "Q8_0"], "missing.gguf"),
        (["a.gguf", "Q8_0", "--recipe", "mine"], "recipe mine: expected llama.cpp"),
        (["a.gguf", "Q8_0", "--imatrix", ""], "--imatrix: expected the name of a file, found ''"),
        (["a.gguf", "Q8_0", "--tensor-type", "attn"], "tensor type attn: expected PATTERN=TYPE"),
        (["a.gguf", "Q8_0", "--tensor-type", "=Q8_0"], "expected PATTERN=TYPE"),
    ],
)
def test_bad_words_are_errors_of_one_line(capsys, words, message):
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert message in err and err.count("\n") == 1


def test_a_target_that_exists_is_not_replaced_unasked(narrow, capsys):
    run(capsys, narrow, "Q8_0")
    code, _, err = run(capsys, narrow, "Q8_0")
    assert code == 2 and "exists already" in err
    assert run(capsys, narrow, "Q8_0", "--overwrite")[0] == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="left out: needs /dev/full")
def test_a_full_stdout_is_named_and_the_model_that_is_written_too(narrow, tmp_path):
    words = ["quantize", str(narrow), str(tmp_path / "out.gguf"), "Q8_0", "--json"]
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "edgeq", *words], stdout=full, stderr=subprocess.PIPE, text=True)
    said, error = done.stderr.splitlines()
    assert done.returncode == 2 and said.startswith(f"{tmp_path / 'out.gguf'}: ") and formats(tmp_path / "out.gguf")
    assert error == "edgeq: stdout: No space left on device; what was to be printed is not complete"
    for word in (["--version"], ["gguf", "verify", str(narrow), "--json"]):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "edgeq", *word], stdout=full, stderr=subprocess.PIPE, text=True
            )
        assert done.returncode == 2 and done.stderr.splitlines()[-1] == error
