"""`edgeq convert` as a person and a program meet it: table, report, JSON, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeq import gguf
from edgeq.cli import main
from models import checkpoints
from tests.convert.test_prequantized import DOWN, UP, quantized_checkpoint, scaled_checkpoint


@pytest.fixture
def source(tmp_path: Path) -> Path:
    checkpoints.write("gemma3-multimodal", tmp_path / "in")
    return tmp_path / "in"


def test_a_file_is_written_and_reported(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.gguf"
    assert main(["convert", str(source), str(out), "--type", "f16", "--name", "Tiny", "--context", "99"]) == 0
    text = capsys.readouterr()
    assert text.out == ""
    assert "out.gguf: gemma3, 93 tensors (50 F16, 43 F32)" in text.err
    assert "note: 1 tensors of the vision part are left out" in text.err
    with gguf.open(out) as file:
        assert file.metadata["general.name"] == "Tiny" and file.metadata["gemma3.context_length"] == 99


def test_a_dry_run_shows_every_tensor_and_writes_nothing(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", str(source), "--dry-run"]) == 0
    text = capsys.readouterr()
    lines = text.out.splitlines()
    assert lines[0].split() == ["tensor", "shape", "from", "type", "bytes"]
    assert len(lines) == 94
    assert lines[1].split() == ["token_embd.weight", "304", "x", "32", "BF16", "BF16", "19.0", "KiB"]
    assert "would write" in text.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


def test_a_target_called_like_stdout_is_refused(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["convert", str(source), "-", "-q"]) == 2
    assert capsys.readouterr().err.startswith("edgeq: -: stdout takes no such file")
    assert main(["convert", str(source), "./-", "-q"]) == 0 and not gguf.verify("-")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["-", "in"]


def test_json_holds_what_the_import_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quantized_checkpoint(tmp_path / "in", zero=None)
    assert main(["convert", str(tmp_path / "in"), str(tmp_path / "out.gguf"), "--json"]) == 0
    text = capsys.readouterr()
    facts = json.loads(text.out)
    rows = {t["name"]: t for t in facts["tensors"]}
    assert facts["quantization"] == "gptq" and facts["written"] is True
    q = rows["blk.0.attn_q.weight"]
    assert (q["from"], q["type"], q["taken_over"]) == ("GPTQ 4 bit", "Q4_1", True)
    assert 0 < q["rms_error"] < 1e-3
    assert "rms_error" not in rows["token_embd.weight"]
    assert "GPTQ 4 bit to Q4_1: 0 of 14 tensors exactly; the others with an added error of" in text.err


def test_exact_imports_are_said_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quantized_checkpoint(tmp_path / "in")
    assert main(["convert", str(tmp_path / "in"), str(tmp_path / "out.gguf"), "--quiet"]) == 0
    assert "GPTQ 4 bit to Q4_0: 14 of 14 tensors exactly\n" in capsys.readouterr().err


def test_groups_that_fit_no_format_are_a_fallback_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quantized_checkpoint(tmp_path / "in", group=16)
    assert main(["convert", str(tmp_path / "in"), "--dry-run"]) == 0
    assert "note: blk.0.attn_q.weight: groups or scales fit no format: made F16" in capsys.readouterr().err


def test_one_fallback_of_many_tensors_took_a_line_for_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quantized_checkpoint(tmp_path / "in", group=16)
    assert main(["convert", str(tmp_path / "in"), "--dry-run"]) == 0
    found = [line for line in capsys.readouterr().err.splitlines() if "fit no format" in line]
    assert found == ["note: blk.0.attn_q.weight: groups or scales fit no format: made F16, and 13 more tensors"]
    assert main(["convert", str(tmp_path / "in"), "--dry-run", "--json"]) == 0
    text = capsys.readouterr()
    facts = json.loads(text.out)
    assert sum(t["note"] == "groups or scales fit no format: made F16" for t in facts["tensors"]) == 14
    assert text.err.count("fit no format") == 1


def test_floats_that_round_were_said_to_be_exact(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scaled_checkpoint(tmp_path / "in", "float16", {UP: 1.1e-8, DOWN: 0.011})
    assert main(["convert", str(tmp_path / "in"), str(tmp_path / "out.gguf")]) == 0
    text = " ".join(capsys.readouterr().err.split())
    assert "F8_E4M3, scaled to F16: 0 of 2 tensors exactly" in text and "; --type f32 rounds nothing" in text
    assert " warning: 1 tensor lost far more than" in text and "note: warning" not in text
    assert main(["convert", "--help"]) == 0
    help_text = " ".join(capsys.readouterr().out.split())
    assert "are dequantized exactly (in float32) and stored in the float type that config.json names" in help_text


def test_a_vocabulary_alone(source: Path, tmp_path: Path) -> None:
    (source / "model.safetensors").unlink()
    assert main(["convert", str(source), str(tmp_path / "out.gguf"), "--vocab-only"]) == 0
    with gguf.open(tmp_path / "out.gguf") as file:
        assert not file.tensors and len(file.metadata["tokenizer.ggml.tokens"]) == 304


def test_usage_errors_are_2(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.gguf"
    assert main(["convert", str(source)]) == 2
    assert "OUT is missing" in capsys.readouterr().err
    assert main(["convert", str(tmp_path / "no"), str(out)]) == 2
    assert main(["convert", str(source), str(out), "--type", "q99"]) == 2
    assert main(["convert", str(source), str(out)]) == 0
    assert main(["convert", str(source), str(out)]) == 2
    assert main(["convert", str(source), str(out), "--overwrite"]) == 0
